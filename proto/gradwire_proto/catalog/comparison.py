"""Comparisons, logic and bits."""

from __future__ import annotations

from gradwire_proto.catalog.declare import op
from gradwire_proto.catalog.meta import pointwise
from gradwire_proto.dtypes import Category, bool_

for _name, _alias, _sign in (("eq", (), "=="), ("ne", ("not_equal",), "!="), ("lt", ("less",), "<"),
                             ("le", ("less_equal",), "<="), ("gt", ("greater",), ">"),
                             ("ge", ("greater_equal",), ">=")):  # fmt: skip
    op(f"{_name}(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(bool_), differentiable=False,
       inplace=True, alias=_alias, doc=f"input {_sign} other, element by element.")

_INTEGRAL = pointwise(reject=[Category.FLOAT, Category.COMPLEX])

for _name, _sign in (("and", "&"), ("or", "|"), ("xor", "^")):
    op(f"bitwise_{_name}(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_INTEGRAL, differentiable=False,
       inplace=True, doc=f"input {_sign} other, bit by bit.")
op("bitwise_not(Tensor input) -> Tensor", meta=_INTEGRAL, differentiable=False, inplace=True, doc="~input, bit by bit.")
