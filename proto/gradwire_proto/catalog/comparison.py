"""Comparisons, logic and bits. None of them has a derivative, but what a comparison is written over has."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Op, elementwise, op
from gradwire_proto.catalog.meta import Refusal, pointwise, unmade
from gradwire_proto.dtypes import Category, bool_
from gradwire_proto.spec import Spec

BOOL, FLOAT, COMPLEX = Category.BOOL, Category.FLOAT, Category.COMPLEX

for _name, _alias, _sign in (("eq", (), "=="), ("ne", ("not_equal",), "!="), ("lt", ("less",), "<"),
                             ("le", ("less_equal",), "<="), ("gt", ("greater",), ">"),
                             ("ge", ("greater_equal",), ">=")):  # fmt: skip
    op(f"{_name}(Tensor input, Tensor|Scalar other) -> Tensor", differentiable=False, inplace=True, cuts=True,
       alias=_alias, meta=pointwise(bool_, reject=() if _name in ("eq", "ne") else [COMPLEX]),
       doc=f"input {_sign} other, element by element.")

for _name, _doc in (("isnan", "Whether not a number."), ("isinf", "Whether infinite."),
                    ("isfinite", "Whether neither infinite nor nan."),
                    ("isreal", "Whether the imaginary part is 0.")):  # fmt: skip
    op(f"{_name}(Tensor input) -> Tensor", meta=pointwise(bool_), differentiable=False, doc=_doc)

for _name, _doc in (("isposinf", "Whether infinite and positive."), ("isneginf", "Whether infinite and negative.")):
    op(f"{_name}(Tensor input) -> Tensor", differentiable=False, doc=_doc,
       meta=pointwise(bool_, reject={COMPLEX: Refusal(RuntimeError, f"{_name} does not support complex inputs.")}))

op("signbit(Tensor input) -> Tensor", differentiable=False, doc="Whether negative, -0.0 included.",
   meta=pointwise(bool_, reject={COMPLEX: Refusal(NotImplementedError,
                                                  "signbit is not implemented for complex tensors.")}))  # fmt: skip


@elementwise
def _isclose(op: Op, input: Spec, other: Spec, rtol: float, atol: float, equal_nan: bool) -> Any:
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.legacy} did not match {other.dtype.legacy}")
    for name, v in (("rtol", rtol), ("atol", atol)):
        if v < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {v:g}")
    return pointwise(bool_)(op, input, other, rtol, atol, equal_nan)


op("isclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
   meta=_isclose, differentiable=False, doc="Whether abs(input - other) <= atol + rtol * abs(other).")

for _name in ("and", "or", "xor"):
    op(f"logical_{_name}(Tensor input, Tensor other) -> Tensor", meta=pointwise(bool_), differentiable=False,
       inplace=True, doc=f"input {_name} other, where 0 is false.")
op("logical_not(Tensor input) -> Tensor", meta=pointwise(bool_), differentiable=False, inplace=True,
   doc="Whether input is 0.")

for _name, _sign in (("and", "&"), ("or", "|"), ("xor", "^")):
    op(f"bitwise_{_name}(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=pointwise(reject=[FLOAT, COMPLEX]),
       differentiable=False, inplace=True, doc=f"input {_sign} other, bit by bit.")
op("bitwise_not(Tensor input) -> Tensor", meta=pointwise(reject=[FLOAT, COMPLEX]), differentiable=False, inplace=True,
   doc="~input, bit by bit.")
for _name, _kernel, _sign in (("left", "lshift_cpu", "<<"), ("right", "rshift_cpu", ">>")):
    op(f"bitwise_{_name}_shift(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", differentiable=False, inplace=True,
       meta=pointwise(reject=unmade(_kernel, BOOL, FLOAT, COMPLEX)), doc=f"input {_sign} other, bit by bit.")

op("gcd(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, FLOAT, COMPLEX]), differentiable=False,
   inplace=True, doc="Greatest common divisor.")
op("lcm(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, FLOAT, COMPLEX]), differentiable=False,
   inplace=True, doc="Least common multiple.")
