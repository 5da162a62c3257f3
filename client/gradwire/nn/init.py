"""First values of parameters: each function fills a tensor in place, unrecorded, and returns it."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.functions.creation import empty
from gradwire.tensor import Tensor

GAINS: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
                     "sigmoid"), lambda slope: 1),
    "tanh": lambda slope: 5.0 / 3,
    "relu": lambda slope: math.sqrt(2.0),
    "leaky_relu": lambda slope: math.sqrt(2.0 / (1 + slope**2)),
    "selu": lambda slope: 0.75,
}  # fmt: skip
"""What keeps the size of numbers through a layer with an activation."""


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that goes with an activation; ``param`` is the slope of leaky_relu, 0.01 by default.

    Raises:
        ValueError: another activation.
    """
    if nonlinearity not in GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    if nonlinearity != "leaky_relu" or param is None:
        return GAINS[nonlinearity](0.01)
    if isinstance(param, bool) or not isinstance(param, (int, float)):
        raise ValueError(f"negative_slope {param} not a valid number")
    return GAINS[nonlinearity](param)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Numbers evenly spread between a and b."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)  # type: ignore[attr-defined, no-any-return]


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal numbers."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)  # type: ignore[attr-defined, no-any-return]


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Tensor:  # fmt: skip
    """Normal numbers between a and b, by the inverse of the distribution."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
            "incorrect.",
            stacklevel=2,
        )
    low, high = (math.erf((x - mean) / std / math.sqrt(2)) for x in (a, b))
    with no_grad():
        tensor.uniform_(low, high, generator=generator)  # type: ignore[attr-defined]
        tensor.erfinv_().mul_(std * math.sqrt(2)).add_(mean)  # type: ignore[attr-defined]
        return tensor.clamp_(a, b)  # type: ignore[attr-defined, no-any-return]


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same number everywhere."""
    with no_grad():
        return tensor.fill_(val)  # type: ignore[attr-defined, no-any-return]


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity, of a matrix."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with no_grad():
        return tensor.copy_(ops.eye(*tensor.shape, dtype=tensor.dtype))  # type: ignore[attr-defined, no-any-return]


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution that gives its input back, as far as there are channels."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    out = tensor.shape[0] // groups
    middle = tuple(s // 2 for s in tensor.shape[2:])
    with no_grad():
        tensor.zero_()  # type: ignore[attr-defined]
        for g in range(groups):
            for i in range(min(out, tensor.shape[1])):
                tensor[(g * out + i, i, *middle)] = 1  # type: ignore[index]
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    """How many numbers each number comes from, and goes to."""
    if tensor.ndim < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    modes = ["fan_in", "fan_out"]
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode.lower()} not supported, please use one of {modes}")
    return _fans(tensor)[modes.index(mode.lower())]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """N(0, std), std = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Tensor:  # fmt: skip
    """U(-b, b), b = gain * sqrt(3 / fan) (He et al., ICCV 2015)."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Tensor:  # fmt: skip
    """N(0, std), std = gain / sqrt(fan) (He et al., ICCV 2015)."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A matrix with orthogonal rows or columns, evenly from all there are (Saxe et al., ICLR 2014)."""
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    with no_grad():
        drawn = empty(max(rows, columns), min(rows, columns), dtype=tensor.dtype)
        q, r = ops.linalg_qr(normal_(drawn, generator=generator))
        q = q * r.diagonal().sign()  # without this it would not be evenly from all
        made = (q if rows >= columns else q.mT).reshape(tensor.shape)
        return tensor.copy_(made).mul_(gain)  # type: ignore[attr-defined, no-any-return]


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal numbers of which a fraction is zero in every column (Martens, ICML 2010)."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    with no_grad():
        order = empty(rows, columns).uniform_(generator=generator).argsort(0)  # type: ignore[attr-defined]
        normal_(tensor, 0.0, std, generator)
        return tensor.masked_fill_(order < math.ceil(sparsity * rows), 0)  # type: ignore[attr-defined, no-any-return]


def _old(new: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function by the name that it had before in-place functions ended in an underscore."""
    name = new.__name__.removesuffix("_")

    @functools.wraps(new)
    def old(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`.", FutureWarning, stacklevel=2
        )
        return new(*args, **kwargs)

    old.__name__ = old.__qualname__ = name
    old.__doc__ = f"The old name of :func:`{name}_`."
    return old


globals().update({f.__name__: f for f in map(_old, (
    uniform_, normal_, constant_, eye_, dirac_, xavier_uniform_, xavier_normal_, kaiming_uniform_, kaiming_normal_,
    orthogonal_, sparse_,
))})  # fmt: skip
