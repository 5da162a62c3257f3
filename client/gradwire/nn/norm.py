"""Layers that give numbers mean 0 and variance 1, over batches, channels or the last dimensions."""

from __future__ import annotations

import warnings
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.functions.creation import ones, zeros
from gradwire.nn import functional as F
from gradwire.nn import init
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


def _reset(norm: Any) -> None:
    """Weight and bias as they were at first."""
    if norm.weight is not None:
        init.ones_(norm.weight)
    if norm.bias is not None:
        init.zeros_(norm.bias)


class _NormBase(Module):
    """A norm over batches or examples, which may keep running statistics.

    Args:
        num_features: channels, C of (N, C, *).
        eps: added to the variance.
        momentum: of the newest statistics; None takes the mean of all.
        affine: multiply by a weight and, with ``bias``, add one, one for each channel.
        track_running_stats: keep ``running_mean`` and ``running_var``, and use them in evaluation.
    """

    dims: tuple[int, ...]
    _version = 2

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True):  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        made = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(num_features, **made)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, **made)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **made) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **made) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=dtypes.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        _reset(self)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version", 0) < 2 and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked  # the first version had none
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _check(self, input: Tensor) -> None:
        if input.ndim not in self.dims:
            told = " or ".join(f"{d}D" for d in self.dims)
            raise ValueError(f"expected {told} input (got {input.ndim}D input)")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")  # fmt: skip


class _BatchNorm(_NormBase):
    __doc__ = _NormBase.__doc__

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return self._averaged(input)
        from_batch = self.training or self.running_mean is None
        keep = not self.training or self.track_running_stats
        return F.batch_norm(input, self.running_mean if keep else None,  # type: ignore[no-any-return]
                            self.running_var if keep else None, self.weight, self.bias, from_batch,
                            momentum, self.eps)  # fmt: skip

    def _averaged(self, input: Tensor) -> Tensor:
        """The factor depends on a number that the server has, so statistics are first taken whole."""
        mean, var = self.running_mean.clone(), self.running_var.clone()
        made = F.batch_norm(input, mean, var, self.weight, self.bias, True, 1.0, self.eps)
        with no_grad():
            factor = self.num_batches_tracked.to(mean.dtype).reciprocal()
            self.running_mean.add_((mean - self.running_mean) * factor)
            self.running_var.add_((var - self.running_var) * factor)
        return made  # type: ignore[no-any-return]


class _InstanceNorm(_NormBase):
    __doc__ = _NormBase.__doc__

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
                 bias: bool = True):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing: Any,
                              unexpected: Any, errors: list[str]) -> None:  # fmt: skip
        old = [prefix + n for n in ("running_mean", "running_var") if prefix + n in state_dict]
        if "version" not in local_metadata and not self.track_running_stats and old:
            name, shown = type(self).__name__, [f'"{k}"' for k in old]
            errors.append(
                f"Unexpected running stats buffer(s) {' and '.join(shown)} for {name} with "
                "track_running_stats=False. If state_dict is a checkpoint saved before 0.4.0, this may be expected "
                f"because {name} does not track running stats by default since 0.4.0. Please remove these keys from "
                "state_dict. If the running stats are actually needed, instead set track_running_stats=True in "
                f"{name} to enable them. See the documentation of {name} for details."
            )
            for k in old:
                del state_dict[k]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        channels = input.ndim - self.dims[0]
        if input.shape[channels] != self.num_features and self.affine:
            raise ValueError(
                f"expected input's size at dim={channels} to match num_features ({self.num_features}), but got: "
                f"{input.shape[channels]}."
            )
        if input.shape[channels] != self.num_features:
            warnings.warn(
                f"input's size at dim={channels} does not match num_features. You can silence this warning by not "
                "passing in num_features, which is not used because affine=False",
                stacklevel=2,
            )
        whole = input if channels else input.unsqueeze(0)  # type: ignore[attr-defined]
        made = F.instance_norm(whole, self.running_mean, self.running_var, self.weight, self.bias,
                               self.training or not self.track_running_stats, self.momentum or 0.0,
                               self.eps)  # fmt: skip
        return made if channels else made.squeeze(0)  # type: ignore[no-any-return]


def _classes(name: str, base: type, dims: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    return {f"{name}{n}d": type(f"{name}{n}d", (base,), {"dims": d, "__module__": "gradwire.nn",
                                                        "__doc__": _NormBase.__doc__})
            for n, d in enumerate(dims, 1)}  # fmt: skip


CLASSES = {
    **_classes("BatchNorm", _BatchNorm, ((2, 3), (4,), (5,))),
    **_classes("InstanceNorm", _InstanceNorm, ((2, 3), (3, 4), (4, 5))),
}
globals().update(CLASSES)


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last dimensions.

    Args:
        normalized_shape: those dimensions.
        eps: added to the variance.
        elementwise_affine: multiply by a weight and, with ``bias``, add one, both of this shape.
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        shape, made = self.normalized_shape, {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(shape, **made)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(zeros(shape, **made)) if elementwise_affine and bias else None)

    def reset_parameters(self) -> None:
        _reset(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")  # fmt: skip


class RMSNorm(Module):
    """Root mean square 1 over the last dimensions.

    Args:
        normalized_shape: those dimensions.
        eps: added to the mean square; by default the type's epsilon.
        elementwise_affine: multiply by a weight of this shape.
    """

    def __init__(self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = ones(self.normalized_shape, device=device, dtype=dtype) if elementwise_affine else None
        self.register_parameter("weight", None if weight is None else Parameter(weight))

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Mean 0 and variance 1 over groups of channels.

    Args:
        num_groups: of the channels.
        num_channels: C of (N, C, *).
        eps: added to the variance.
        affine: multiply by a weight and, with ``bias``, add one, one for each channel.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        made = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(num_channels, **made)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_channels, **made)) if affine and bias else None)

    def reset_parameters(self) -> None:
        _reset(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")  # fmt: skip
