"""Kernels of copies and conversions."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, filled
from gradwire_engine.registry import kernel

kernel("clone", lambda xp, input, out=None: input.copy(order="C") if out is None else filled(out, input))
kernel("detach", lambda xp, input: input)


@kernel("to_dtype")
def to_dtype(xp: Any, input: Any, dtype: Any, out: Any = None) -> Any:
    if input.dtype.kind == "c" and not dtype.is_complex:
        input = input.real
    if out is None:
        return input.astype(NUMPY_DTYPE[dtype], order="C")
    xp.copyto(out, input, casting="unsafe")
    return out


@kernel("require")
def require(xp: Any, input: Any, condition: Any, text: str) -> Any:
    if not condition.all():
        raise RuntimeError(text)
    return input.copy(order="C")


@kernel("copy_")
def copy_(xp: Any, input: Any, src: Any) -> None:
    input[...] = src.real if src.dtype.kind == "c" and input.dtype.kind != "c" else src


@kernel("zero_")
def zero_(xp: Any, input: Any) -> None:
    input[...] = 0


@kernel("fill")
def fill(xp: Any, input: Any, value: Any, out: Any = None) -> Any:
    out = xp.empty(input.shape, input.dtype) if out is None else out
    real = isinstance(value, complex) or getattr(value, "dtype", input.dtype).kind == "c"
    out[...] = value != 0 if out.dtype.kind == "b" else value.real if real and out.dtype.kind != "c" else value
    return out
