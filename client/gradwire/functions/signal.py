"""torch.signal.windows: windows by formula, symmetric unless asked otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import finish, ops
from gradwire.export import export
from gradwire.types import strided
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def _points(name: str, M: int, dtype: DType | None, layout: Any) -> DType:
    """The type of a window's weights, once what all windows refuse is refused."""
    dtype = dtype or default_dtype()
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout not in (None, strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    return dtype


def _line(M: int, start: float, step: float, dtype: DType) -> Tensor:
    """M numbers from ``start``, ``step`` apart."""
    return ops.linspace(start, start + step * (M - 1), M, dtype=dtype)


def _span(M: int, sym: bool) -> float:
    """From the first weight to the last, in steps; a periodic window's is one longer than what is shown."""
    return (M - 1 if sym else M) or 1


def _weights(M: int, dtype: DType, made: Any, requires_grad: bool, device: Any) -> Tensor:
    """``made()``, or the window of one weight, or of none."""
    return finish(made() if M > 1 else ops.full((M,), 1, dtype=dtype), requires_grad, device)


@export("signal.windows.general_cosine")
def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: DType | None = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Sum of a_i (-1)^i cos(2 pi i k / span)."""
    dtype = _points("general_cosine", M, dtype, layout)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = list(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")

    def made() -> Tensor:
        k = _line(M, 0, 2 * math.pi / _span(M, sym), dtype)
        total = ops.full((M,), weights[0], dtype=dtype)
        for i, w in enumerate(weights[1:], 1):
            total = ops.add(total, ops.cos(ops.mul(k, i)), alpha=w * (-1) ** i)
        return total

    return _weights(M, dtype, made, requires_grad, device)


COSINES = {"hamming": (0.54, 0.46), "hann": (0.5, 0.5), "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411)}
"""Windows that are nothing but sums of cosines."""


def _cosines(name: str, weights: tuple[float, ...]) -> None:
    def f(M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:  # fmt: skip
        return general_cosine(M, a=weights, sym=sym, dtype=dtype, layout=layout, device=device,
                              requires_grad=requires_grad)  # fmt: skip

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"The sum of cosines with weights {', '.join(map(str, weights))}."
    export(f"signal.windows.{name}")(f)


for _name, _values in COSINES.items():
    _cosines(_name, _values)


@export("signal.windows.general_hamming")
def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DType | None = None, layout: Any = None,
                    device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """alpha less 1 - alpha times a cosine."""
    return general_cosine(M, a=(alpha, 1 - alpha), sym=sym, dtype=dtype, layout=layout, device=device,
                          requires_grad=requires_grad)  # fmt: skip


@export("signal.windows.blackman")
def blackman(M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A raised cosine with half a harmonic, flat at its ends."""
    dtype = _points("blackman", M, dtype, layout)
    return general_cosine(M, a=(0.42, 0.5, 0.08), sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


@export("signal.windows.bartlett")
def bartlett(M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A triangle."""
    dtype = _points("bartlett", M, dtype, layout)

    def made() -> Tensor:
        return ops.rsub(ops.abs(_line(M, -1, 2 / _span(M, sym), dtype)), 1)

    return _weights(M, dtype, made, requires_grad, device)


@export("signal.windows.cosine")
def cosine(M: int, *, sym: bool = True, dtype: DType | None = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Half a period of a sine."""
    dtype = _points("cosine", M, dtype, layout)
    step = math.pi / (M if sym else M + 1) if M else 0.0

    def made() -> Tensor:
        return ops.sin(_line(M, step / 2, step, dtype))

    return _weights(M, dtype, made, requires_grad, device)


@export("signal.windows.exponential")
def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
                dtype: DType | None = None, layout: Any = None, device: Any = None,
                requires_grad: bool = False) -> Tensor:  # fmt: skip
    """exp(-|k - center| / tau), about the middle where there is no center."""
    dtype = _points("exponential", M, dtype, layout)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = _span(M, sym) / 2 if center is None else center

    def made() -> Tensor:
        return ops.exp(ops.neg(ops.abs(_line(M, -middle / tau, 1 / tau, dtype))))

    return _weights(M, dtype, made, requires_grad, device)


@export("signal.windows.gaussian")
def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: DType | None = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """exp(-k^2 / (2 std^2)) about the middle."""
    dtype = _points("gaussian", M, dtype, layout)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    step = 1 / (std * math.sqrt(2))

    def made() -> Tensor:
        return ops.exp(ops.neg(ops.square(_line(M, -_span(M, sym) / 2 * step, step, dtype))))

    return _weights(M, dtype, made, requires_grad, device)


@export("signal.windows.kaiser")
def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: DType | None = None, layout: Any = None,
           device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A Bessel function of a half circle; the larger beta, the narrower."""
    dtype = _points("kaiser", M, dtype, layout)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def made() -> Tensor:
        k = _line(M, -1, 2 / _span(M, sym), dtype)
        height = ops.mul(ops.sqrt(ops.clamp(ops.rsub(ops.square(k), 1), 0)), beta)
        return ops.div(ops.i0(height), ops.i0(ops.full((), beta, dtype=dtype)))

    return _weights(M, dtype, made, requires_grad, device)
