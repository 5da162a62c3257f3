"""Ops that make tensors from nothing but sizes and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.dtypes import Category, DType, bool_, int32, int64
from gradwire_proto.spec import Spec, spec

Number = bool | int | float | complex
_C_NAMES = {
    "bool": "bool", "uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "float16": "at::Half", "bfloat16": "at::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip
_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}


def check_number(value: Number, dtype: DType) -> None:
    """Raises:
    RuntimeError: torch's, where the type can't hold the number.
    """
    if dtype.is_complex or dtype is bool_:
        return
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    if isinstance(value, complex):
        fits = False
    elif dtype.category is Category.INT:
        bits = 8 * dtype.itemsize
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if dtype.is_signed else (-(2**bits), 2**bits)
        fits = math.isfinite(value) and low <= math.trunc(value) < high
    else:
        largest = _LARGEST.get(dtype.name)
        fits = largest is None or not math.isfinite(value) or abs(value) <= largest
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {_C_NAMES[dtype.name]} without overflow")


def _full(op: Op, size: Sequence[int], fill_value: Number, dtype: DType) -> Spec:
    check_number(fill_value, dtype)
    return spec(tuple(size), dtype)


def _new_full(op: Op, input: Spec, size: Sequence[int], fill_value: Number, dtype: DType | None) -> Spec:
    return _full(op, size, fill_value, dtype or input.dtype)


def _arange(op: Op, start: float, end: float, step: float, dtype: DType) -> Spec:
    if dtype is bool_ or dtype.is_complex:
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{dtype.legacy}'")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (step > 0 and start > end) or (step < 0 and start < end):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is int64:  # in the other integer types, torch counts first and cuts the fractions off then
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError("step must be nonzero")
        return spec((-((start - end) // step),), dtype)
    return spec((math.ceil((end - start) / step),), dtype)


def _linspace(op: Op, start: Number, end: Number, steps: int, dtype: DType) -> Spec:
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return spec((steps,), dtype)


def _logspace(op: Op, start: Number, end: Number, steps: int, base: float, dtype: DType) -> Spec:
    return _linspace(op, start, end, steps, dtype)


def _eye(op: Op, n: int, m: int, dtype: DType) -> Spec:
    for name, size in (("n", n), ("m", m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return spec((n, m), dtype)


def triangle_size(rows: int, columns: int, offset: int) -> int:
    """How many elements of a matrix lie on or below its diagonal ``offset``."""
    first = min(max(-offset, 0), rows)  # the rows before have none
    last = min(max(columns - offset - 1, first), rows)  # the rows from here on have all
    return (first + last + 2 * offset + 1) * (last - first) // 2 + (rows - last) * columns


def _triangle_indices(op: Op, row: int, col: int, offset: int, dtype: DType) -> Spec:
    if dtype not in (int32, int64):
        raise NotImplementedError(f"\"{op.name}\" not implemented for '{dtype.legacy}'")
    for name, size in (("row", row), ("col", col)):
        if size < 0:
            raise RuntimeError(f"{name} must be non-negative, got{size}")
    below = triangle_size(row, col, offset if op.name == "tril_indices" else offset - 1)
    return spec((2, below if op.name == "tril_indices" else row * col - below), dtype)


op("full(int[] size, Scalar fill_value, *, dtype dtype) -> Tensor", meta=_full, differentiable=False, method=False,
   public=False, doc="A tensor filled with a number.")
op("new_full(Tensor input, int[] size, Scalar fill_value, *, dtype? dtype=None) -> Tensor", meta=_new_full,
   differentiable=False, public=False, doc="A tensor of input's type, if no other, filled with a number.")
op("arange(Scalar start, Scalar end, Scalar step, *, dtype dtype) -> Tensor", meta=_arange, differentiable=False,
   method=False, public=False, doc="Numbers from start, step apart, short of end.")
op("linspace(Scalar start, Scalar end, int steps, *, dtype dtype) -> Tensor", meta=_linspace, differentiable=False,
   method=False, public=False, doc="Numbers evenly spaced from start to end.")
op("logspace(Scalar start, Scalar end, int steps, float base=10.0, *, dtype dtype) -> Tensor", meta=_logspace,
   differentiable=False, method=False, public=False, doc="Powers of base, their exponents evenly spaced.")
op("eye(int n, int m, *, dtype dtype) -> Tensor", meta=_eye, differentiable=False, method=False, public=False,
   doc="Ones on the diagonal.")
op("tril_indices(int row, int col, int offset=0, *, dtype dtype=torch.int64) -> Tensor", meta=_triangle_indices,
   differentiable=False, method=False, public=False, doc="Rows and columns of a lower triangle's elements.")
op("triu_indices(int row, int col, int offset=0, *, dtype dtype=torch.int64) -> Tensor", meta=_triangle_indices,
   differentiable=False, method=False, public=False, doc="Rows and columns of an upper triangle's elements.")
