"""Activations as ``nn.functional`` has them, and those of their relatives that torch has elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

from gradwire.dispatch import check_real, ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire_proto.catalog.activation import need_float
from gradwire_proto.dtypes import DType

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _apply(name: str, input: Tensor, *args: Any, inplace: bool) -> Tensor:
    made: Tensor = getattr(ops, f"{name}_" if inplace else name)(input, *args)
    return made


@export("nn.functional.relu")
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` where positive, else 0."""
    return _apply("relu", input, inplace=inplace)


@export("nn.functional.relu6")
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` moved into the range from 0 to 6."""
    return _apply("hardtanh", input, 0, 6, inplace=inplace)


@export("nn.functional.leaky_relu")
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, else a small slope times ``input``."""
    return _apply("leaky_relu", input, negative_slope, inplace=inplace)


@export("nn.functional.elu")
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``alpha * (exp(input) - 1)``."""
    return _apply("elu", input, alpha, inplace=inplace)


@export("selu", "nn.functional.selu")
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``elu`` with the constants that keep mean and variance."""
    return _apply("elu", input, SELU_ALPHA, SELU_SCALE, inplace=inplace)


@export("celu", "nn.functional.celu")
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``elu`` whose slope is continuous at 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _apply("elu", input, alpha, 1.0, 1.0 / alpha, inplace=inplace)


@export("nn.functional.silu")
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``."""
    check_real("silu", input)
    return _apply("silu", input, inplace=inplace)


@export("nn.functional.mish")
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))``."""
    return _apply("mish", input, inplace=inplace)


@export("nn.functional.hardtanh")
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` moved into a range."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _apply("hardtanh", input, min_val, max_val, inplace=inplace)


@export("nn.functional.hardsigmoid")
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / 6 + 1/2`` moved into the range from 0 to 1."""
    return _apply("hardsigmoid", input, inplace=inplace)


@export("nn.functional.hardswish")
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)``."""
    return _apply("hardswish", input, inplace=inplace)


@export("nn.functional.threshold")
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where above the threshold, else the value."""
    return _apply("threshold", input, threshold, value, inplace=inplace)


def _inplace(f: Any, names: tuple[str, ...]) -> None:
    def in_place(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        made: Tensor = f(input, *args, inplace=True, **kwargs)
        return made

    in_place.__name__ = in_place.__qualname__ = f"{f.__name__}_"
    in_place.__doc__ = f"In-place form of {f.__name__}."
    export(*names)(in_place)


for _f in (relu, leaky_relu, elu, hardtanh, threshold):
    _inplace(_f, (f"nn.functional.{_f.__name__}_",))
for _f in (selu, celu):
    _inplace(_f, (f"{_f.__name__}_", f"nn.functional.{_f.__name__}_"))


@export("nn.functional.tanhshrink")
def tanhshrink(input: Tensor) -> Tensor:
    """``input - tanh(input)``."""
    return input - input.tanh()


@export("nn.functional.softsign")
def softsign(input: Tensor) -> Tensor:
    """``input / (1 + abs(input))``."""
    return input / (input.abs() + 1)


@export("nn.functional.sigmoid")
def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    return input.sigmoid()


@export("nn.functional.tanh")
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


@export("prelu", "nn.functional.prelu", "Tensor.prelu")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, else ``weight`` of its channel times ``input``."""
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype.legacy} and {weight.dtype.legacy}"
        )
    if weight.numel() != 1:
        if not input.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.numel()} "
                f"and channel size = {channels}."
            )
    if input.ndim != weight.ndim:
        shape = [1] * input.ndim
        if input.ndim > 1:
            shape[1] = weight.numel()
        weight = weight.reshape(shape)
    return ops.prelu_kernel(input, weight)


@export("rrelu", "nn.functional.rrelu")
def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:  # fmt: skip
    """``leaky_relu`` with random slopes in training, and with their mean otherwise."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slopes = ops.rand(tuple(input.shape), dtype=input.dtype) * (upper - lower) + lower
    if inplace:
        return input.mul_(ops.where(input > 0, 1.0, slopes))
    return ops.prelu_kernel(input, slopes)


_inplace(rrelu, ("rrelu_", "nn.functional.rrelu_"))


@export("nn.functional.glu")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """One half of ``input`` times the sigmoid of the other."""
    if not input.ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    at = range(input.ndim)[dim] if -input.ndim <= dim < input.ndim else dim
    size = input.size(at)
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {at} is size {size}")
    need_float("glu_cpu", input.dtype)
    a, b = ops.split(input, size // 2, at)
    made: Tensor = a * b.sigmoid()
    return made


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


@export("nn.functional.softmax")
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """``exp(input)`` over its sum along a dim."""
    return ops.softmax(input, _implicit_dim("softmax", input.ndim) if dim is None else dim, dtype)


@export("nn.functional.log_softmax")
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """Logarithm of ``softmax``."""
    return ops.log_softmax(input, _implicit_dim("log_softmax", input.ndim) if dim is None else dim, dtype)


@export("nn.functional.softmin")
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """``softmax`` of ``-input``."""
    return ops.softmax(-input, _implicit_dim("softmin", input.ndim) if dim is None else dim, dtype)


@export("nn.functional.gumbel_softmax")
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Differentiable draws of categories; with ``hard`` one-hot in value, though not in gradient."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    arrivals = ops.exponential_(ops.rand(tuple(logits.shape), dtype=logits.dtype))
    soft = ops.softmax((logits - arrivals.log()) / tau, dim)
    if not hard:
        return soft
    kept = soft.detach()
    one = ops.scatter(kept * 0, dim, kept.argmax(dim, keepdim=True), 1.0)
    return one - kept + soft
