"""Arithmetic with operators of its own: + - * / ** and their kin."""

from __future__ import annotations

from gradwire_proto.catalog.declare import op
from gradwire_proto.catalog.meta import pointwise
from gradwire_proto.dtypes import Category

op("add(Tensor input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=pointwise(), inplace=True,
   doc="input + alpha * other.")
op("sub(Tensor input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=pointwise(reject=[Category.BOOL]),
   inplace=True, alias=("subtract",), doc="input - alpha * other.")
op("rsub(Tensor input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=pointwise(reject=[Category.BOOL]),
   node="RsubBackward1", doc="other - alpha * input.")
op("mul(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(), inplace=True, alias=("multiply",),
   doc="input * other.")
op("div(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(floats=True), inplace=True,
   alias=("divide", "true_divide"), public=False,
   doc="input / other; integers give floats.")
op("neg(Tensor input) -> Tensor", meta=pointwise(reject=[Category.BOOL]), inplace=True, alias=("negative",),
   doc="-input.")
op("reciprocal(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="1 / input.")
op("pow(Tensor|Scalar input, Tensor|Scalar exponent) -> Tensor", meta=pointwise(), inplace=True,
   doc="input ** exponent.")
