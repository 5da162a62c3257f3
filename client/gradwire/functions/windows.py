"""Window functions: weights that fade a piece of a signal in and out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import finish, ops
from gradwire.export import export
from gradwire_proto.catalog.arithmetic import CPP_NAME
from gradwire_proto.dtypes import Category, DType

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

Shape = Callable[[Any, float], Any]


def _window(name: str, shape: Shape, length: int, periodic: bool, dtype: DType | None, device: Any,
            requires_grad: bool) -> Tensor:  # fmt: skip
    """``shape(k, step)`` at the places ``k * step`` from 0 to 1, of which a periodic window leaves out the last."""
    dtype = dtype or default_dtype()
    if dtype.category < Category.FLOAT:
        raise RuntimeError(
            f"{name} expects floating point dtypes, got: TensorOptions(dtype={CPP_NAME.get(dtype.name, 'bool')}, "
            "device=cpu, layout=Strided (default), requires_grad=false (default), pinned_memory=false, "
            "memory_format=(nullopt))"
        )
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    if length < 2:
        return finish(ops.full((length,), 1, dtype=dtype), requires_grad, device)
    made = shape(ops.arange(0, length, 1, dtype=dtype), 1 / (length if periodic else length - 1))
    return finish(made, requires_grad, device)


def _cosines(*weights: float) -> Shape:
    """w0 - w1 cos(2 pi t) + w2 cos(4 pi t)."""

    def shape(k: Any, step: float) -> Any:
        made = weights[0] - weights[1] * (k * (2 * math.pi * step)).cos()
        return made if len(weights) < 3 else made + weights[2] * (k * (4 * math.pi * step)).cos()

    return shape


@export("hann_window")
def hann_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A period of a raised cosine."""
    return _window("hann_window", _cosines(0.5, 0.5), window_length, periodic, dtype, device, requires_grad)


@export("hamming_window")
def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
                   dtype: DType | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
                   requires_grad: bool = False) -> Tensor:  # fmt: skip
    """alpha less beta times a period of a cosine."""
    return _window("hamming_window", _cosines(alpha, beta), window_length, periodic, dtype, device, requires_grad)


@export("blackman_window")
def blackman_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A raised cosine with half a harmonic, flat at its ends."""
    shape = _cosines(0.42, 0.5, 0.08)
    return _window("blackman_window", shape, window_length, periodic, dtype, device, requires_grad)


@export("bartlett_window")
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A triangle."""

    def triangle(k: Any, step: float) -> Any:
        return 1 - (k * (2 * step) - 1).abs()

    return _window("bartlett_window", triangle, window_length, periodic, dtype, device, requires_grad)


@export("kaiser_window")
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None,
                  layout: Any = None, device: Any = None, pin_memory: bool = False,
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A Bessel function of a half circle; the larger beta, the narrower."""

    def bessel(k: Any, step: float) -> Any:
        height = (1 - (k * (2 * step) - 1).square()).clamp(min=0).sqrt() * beta
        return height.i0() / ops.full((), beta, dtype=k.dtype).i0()

    return _window("kaiser_window", bessel, window_length, periodic, dtype, device, requires_grad)
