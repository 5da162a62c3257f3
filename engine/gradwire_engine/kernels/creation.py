"""Kernels of ops that make tensors from nothing but sizes and numbers."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import DTYPE, NUMPY_DTYPE
from gradwire_engine.registry import kernel
from gradwire_proto.dtypes import Category


def number(value: Any, dtype: Any) -> Any:
    """A Python number in the form in which an array of the type takes it."""
    if isinstance(value, complex) and not dtype.is_complex:
        value = value.real if dtype.category is not Category.BOOL else bool(value)
    if dtype.category is Category.INT:
        value = int(value)
        return value + 2 ** (8 * dtype.itemsize) if value < 0 and not dtype.is_signed else value
    return value


@kernel("full")
def full(xp: Any, size: tuple[int, ...], fill_value: Any, dtype: Any) -> Any:
    return xp.full(size, number(fill_value, dtype), NUMPY_DTYPE[dtype])



@kernel("new_full")
def new_full(xp: Any, input: Any, size: tuple[int, ...], fill_value: Any, dtype: Any) -> Any:
    return full(xp, size, fill_value, dtype or DTYPE[input.dtype])



@kernel("arange")
def arange(xp: Any, start: Any, end: Any, step: Any, dtype: Any, spec: Any) -> Any:
    n = spec.numel
    if dtype.category is Category.INT:
        return (xp.arange(n) * int(step) + int(start)).astype(NUMPY_DTYPE[dtype])
    out = xp.arange(n, dtype="float64")
    out *= step
    out += start
    return out


@kernel("linspace")
def linspace(xp: Any, start: Any, end: Any, steps: int, dtype: Any) -> Any:
    if not dtype.is_complex:
        return xp.linspace(start, end, steps, dtype="float64")
    made = xp.empty(steps, "complex128")
    for part in ("real", "imag"):  # CuPy's has no complex form
        getattr(made, part)[...] = xp.linspace(getattr(start, part), getattr(end, part), steps)
    return made


@kernel("logspace")
def logspace(xp: Any, start: Any, end: Any, steps: int, base: float, dtype: Any) -> Any:
    return xp.power(base, linspace(xp, start, end, steps, dtype))


kernel("eye", lambda xp, n, m, dtype: xp.eye(n, m, dtype=NUMPY_DTYPE[dtype]))


def _triangle(xp: Any, rows: int, columns: int, offset: int, lower: bool, spec: Any) -> Any:
    # Lengths of the rows, then which row each index falls in: no mask of the whole matrix is made.
    dtype, n = NUMPY_DTYPE[spec.dtype], spec.shape[1]
    if not n:
        return xp.zeros(spec.shape, dtype)
    ends = xp.clip(xp.arange(rows) + (offset + 1 if lower else offset), 0, columns)
    lengths = ends if lower else columns - ends
    stops = xp.cumsum(lengths)
    at = xp.arange(n)
    row = xp.searchsorted(stops, at, side="right")
    column = at - (stops - lengths)[row] + (0 if lower else ends[row])
    return xp.stack([row, column]).astype(dtype)


kernel("tril_indices", lambda xp, row, col, offset, dtype, spec: _triangle(xp, row, col, offset, True, spec))
kernel("triu_indices", lambda xp, row, col, offset, dtype, spec: _triangle(xp, row, col, offset, False, spec))
