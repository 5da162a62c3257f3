"""Activations, dropouts, pools, paddings, resizing and distances: layers that call one function each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from gradwire.dispatch import ops
from gradwire.functions.construct import tensor
from gradwire.functions.conv import each
from gradwire.nn import functional as F
from gradwire.nn import init
from gradwire.nn.linear import parameter
from gradwire.nn.module import Module
from gradwire.nn.table import declared, layer, layers, with_constructor
from gradwire.tensor import Tensor

ACTIVATIONS = layers([
    ("ReLU(inplace=False)", "relu"),
    ("ReLU6(inplace=False)", "relu6"),
    ("ELU(alpha=1.0, inplace=False)", "elu", "alpha={alpha}"),
    ("CELU(alpha=1.0, inplace=False)", "celu", "alpha={alpha}"),
    ("SELU(inplace=False)", "selu"),
    ("GLU(dim=-1)", "glu", "dim={dim}"),
    ("GELU(approximate='none')", "gelu", "approximate={approximate!r}"),
    ("Hardshrink(lambd=0.5)", "hardshrink", "{lambd}"),
    ("Softshrink(lambd=0.5)", "softshrink", "{lambd}"),
    ("Hardsigmoid(inplace=False)", "hardsigmoid"),
    ("Hardswish(inplace=False)", "hardswish"),
    ("LeakyReLU(negative_slope=0.01, inplace=False)", "leaky_relu", "negative_slope={negative_slope}"),
    ("LogSigmoid()", "logsigmoid"),
    ("LogSoftmax(dim=None)", "log_softmax", "dim={dim}"),
    ("Mish(inplace=False)", "mish"),
    ("RReLU(lower=0.125, upper=0.3333333333333333, inplace=False)", "rrelu", "lower={lower}, upper={upper}"),
    ("Sigmoid()", "sigmoid"),
    ("SiLU(inplace=False)", "silu"),
    ("Softmax(dim=None)", "softmax", "dim={dim}"),
    ("Softmin(dim=None)", "softmin", "dim={dim}"),
    ("Softplus(beta=1.0, threshold=20.0)", "softplus", "beta={beta}, threshold={threshold}"),
    ("Softsign()", "softsign"),
    ("Tanh()", "tanh"),
    ("Tanhshrink()", "tanhshrink"),
    ("Threshold(threshold, value, inplace=False)", "threshold", "threshold={threshold}, value={value}"),
])  # fmt: skip


def _is_probability(given: dict[str, Any]) -> None:
    if not 0 <= given["p"] <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {given['p']}")


DROPOUTS = {
    name: layer(f"{name}(p=0.5, inplace=False)", function, "p={p}, inplace={inplace}", fill=_is_probability)
    for name, function in (
        ("Dropout", "dropout"), ("Dropout1d", "dropout1d"), ("Dropout2d", "dropout2d"), ("Dropout3d", "dropout3d"),
        ("AlphaDropout", "alpha_dropout"), ("FeatureAlphaDropout", "feature_alpha_dropout"),
    )
}


def _strided(given: dict[str, Any]) -> None:
    if given["stride"] is None:
        given["stride"] = given["kernel_size"]


def _strided_line(given: dict[str, Any]) -> None:
    _strided(given)
    for k in ("kernel_size", "stride", "padding"):
        given[k] = given[k] if isinstance(given[k], tuple) else (given[k],)


def _fraction(n: int) -> Callable[[dict[str, Any]], None]:
    def check(given: dict[str, Any]) -> None:
        size, ratio = given["output_size"], given["output_ratio"]
        given["kernel_size"] = each(given["kernel_size"], n)
        if size is None and ratio is None:
            raise ValueError(
                f"FractionalMaxPool{n}d requires specifying either an output size, or a pooling ratio"
            )
        if size is not None and ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if size is not None:
            given["output_size"] = each(size, n)
            return
        given["output_ratio"] = (ratio,) * n if isinstance(ratio, float) else tuple(ratio)
        if not all(0 < r < 1 for r in given["output_ratio"]):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {ratio})")

    return check


POOLS: dict[str, type] = {}
for _n in (1, 2, 3):
    POOLS |= layers([
        (f"AdaptiveAvgPool{_n}d(output_size)", f"adaptive_avg_pool{_n}d", "output_size={output_size}"),
        (f"AdaptiveMaxPool{_n}d(output_size, return_indices=False)", f"adaptive_max_pool{_n}d",
         "output_size={output_size}"),
    ])  # fmt: skip
    POOLS[f"MaxPool{_n}d"] = layer(
        f"MaxPool{_n}d(kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False)",
        f"max_pool{_n}d",
        "kernel_size={kernel_size}, stride={stride}, padding={padding}, dilation={dilation}, ceil_mode={ceil_mode}",
        fill=_strided,
    )
    _more = ", divisor_override=None" if _n > 1 else ""
    POOLS[f"AvgPool{_n}d"] = layer(
        f"AvgPool{_n}d(kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True{_more})",
        f"avg_pool{_n}d", "kernel_size={kernel_size}, stride={stride}, padding={padding}",
        fill=_strided if _n > 1 else _strided_line,
    )  # fmt: skip
    POOLS[f"LPPool{_n}d"] = layer(
        f"LPPool{_n}d(norm_type, kernel_size, stride=None, ceil_mode=False)", f"lp_pool{_n}d",
        "norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, ceil_mode={ceil_mode}",
    )  # fmt: skip
for _n in (2, 3):
    POOLS[f"FractionalMaxPool{_n}d"] = layer(
        f"FractionalMaxPool{_n}d(kernel_size, output_size=None, output_ratio=None, return_indices=False, "
        "_random_samples=None)", f"fractional_max_pool{_n}d", fill=_fraction(_n), buffers=("_random_samples",),
    )  # fmt: skip


def _unpooling(n: int) -> type:
    name, told = declared(f"MaxUnpool{n}d(kernel_size, stride=None, padding=0)")
    run = getattr(F, f"max_unpool{n}d")

    def start(self: Any, given: dict[str, Any]) -> None:
        _strided(given)
        self.__dict__.update({k: each(v, n) for k, v in given.items()})

    def forward(self: Any, input: Tensor, indices: Tensor, output_size: Any = None) -> Any:
        return run(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self: Any) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    doc = f"A layer of :func:`gradwire.nn.functional.max_unpool{n}d`."
    return with_constructor(name, told, (Module,), doc, start, {"forward": forward, "extra_repr": extra_repr})


POOLS |= {f"MaxUnpool{n}d": _unpooling(n) for n in (1, 2, 3)}


class _Pad(Module):
    """A layer that pads the last dimensions.

    Args:
        padding: how far on every side: a number, or one for each side, the last dimension's first.
    """

    dims: int
    mode = "constant"
    value: Any = 0

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        if self.mode == "constant":
            return F.pad(input, self.padding, "constant", self.value)  # type: ignore[no-any-return]
        return F.pad(input, self.padding, self.mode)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: Any):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


PADS: dict[str, type] = {}
for _n in (1, 2, 3):
    for _name, _base, _mode in (("ReflectionPad", _Pad, "reflect"), ("ReplicationPad", _Pad, "replicate"),
                                ("CircularPad", _Pad, "circular"), ("ZeroPad", _Pad, "constant"),
                                ("ConstantPad", _ConstantPad, "constant")):  # fmt: skip
        _members = {"dims": _n, "mode": _mode, "__module__": "gradwire.nn", "__doc__": _Pad.__doc__}
        PADS[f"{_name}{_n}d"] = type(f"{_name}{_n}d", (_base,), _members)

SHAPES = layers([
    ("Fold(output_size, kernel_size, dilation=1, padding=0, stride=1)", "fold",
     "output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}"),
    ("Unfold(kernel_size, dilation=1, padding=0, stride=1)", "unfold",
     "kernel_size={kernel_size}, dilation={dilation}, padding={padding}, stride={stride}"),
    ("PixelShuffle(upscale_factor)", "pixel_shuffle", "upscale_factor={upscale_factor}"),
    ("PixelUnshuffle(downscale_factor)", "pixel_unshuffle", "downscale_factor={downscale_factor}"),
    ("ChannelShuffle(groups)", "channel_shuffle", "groups={groups}"),
    ("LocalResponseNorm(size, alpha=0.0001, beta=0.75, k=1.0)", "local_response_norm",
     "{size}, alpha={alpha}, beta={beta}, k={k}"),
    ("CosineSimilarity(dim=1, eps=1e-08)", "cosine_similarity"),
])  # fmt: skip


globals().update(ACTIVATIONS | DROPOUTS | POOLS | PADS | SHAPES)


class CrossMapLRN2d(Module):
    """Division of images, (N, C, H, W), by a power of k + alpha times the mean square of neighbouring channels.

    As in torch, the first channel is a neighbour of all.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.ndim}D instead.")
        reach, channels = (self.size + 1) // 2, range(input.shape[1])
        near = tensor([[float(j < c + reach and (j == 0 or j > c - reach)) for j in channels] for c in channels])
        squares = (input * input).flatten(2)  # type: ignore[operator]
        sums = ops.matmul(near.to(input.dtype), squares).reshape(input.shape)  # type: ignore[attr-defined]
        return input * (sums * (self.alpha / self.size) + self.k) ** -self.beta  # type: ignore[no-any-return, operator]

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class PairwiseDistance(Module):
    """The norm of the difference of rows.

    Args:
        p: the norm's order.
        eps: added to the difference, so that its gradient is finite.
        keepdim: keep the last dimension.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)  # type: ignore[no-any-return]


class Flatten(Module):
    """Neighbouring dimensions made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)  # type: ignore[attr-defined, no-any-return]

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """A dimension made several."""

    def __init__(self, dim: int, unflattened_size: Any):
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)):
            kind = type(unflattened_size).__name__
            raise TypeError(f"unflattened_size must be a tuple of ints, but found type {kind}")
        for i, n in enumerate(unflattened_size):
            if not isinstance(n, int):
                raise TypeError(
                    f"unflattened_size must be tuple of ints, but found element of type {type(n).__name__} at pos {i}"
                )
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, tuple(self.unflattened_size))  # type: ignore[attr-defined, no-any-return]

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Hardtanh(Module):
    """What is below ``min_val`` or above ``max_val`` is these."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None):  # fmt: skip
        super().__init__()
        for name, old in (("min_val", min_value), ("max_val", max_value)):
            if old is not None:
                text = f"keyword argument `{name}ue` is deprecated and renamed to `{name}`"
                warnings.warn(text, FutureWarning, stacklevel=2)
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if self.max_val <= self.min_val:
            raise AssertionError(f"max_val ({self.max_val}) must be greater than min_val ({self.min_val})")

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + ", inplace=True" * self.inplace


class Softmax2d(Module):
    """Softmax over the channels of images."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)  # type: ignore[no-any-return]


class PReLU(Module):
    """ReLU with a learnt slope below zero.

    Args:
        num_parameters: 1, or one for each channel.
        init: their first value.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = parameter(num_parameters, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Upsample(Module):
    """Images of another size.

    Args:
        size: of the result; or
        scale_factor: how many times the input's size.
        mode: "nearest", "linear", "bilinear", "bicubic", "trilinear" and so on.
        align_corners: whether the corners' middles stay where they are.
        recompute_scale_factor: take the factor from the sizes.
    """

    def __init__(self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                 align_corners: bool | None = None, recompute_scale_factor: bool | None = None):  # fmt: skip
        super().__init__()
        self.size, self.mode, self.align_corners = size, mode, align_corners
        several = isinstance(scale_factor, (tuple, list))
        self.scale_factor = tuple(map(float, scale_factor)) if several else scale_factor and float(scale_factor)
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,  # type: ignore[no-any-return]
                             recompute_scale_factor=self.recompute_scale_factor)  # fmt: skip

    def extra_repr(self) -> str:
        what = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images of another size, each pixel the nearest one's."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images of another size, each pixel between its neighbours, the corners kept."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
