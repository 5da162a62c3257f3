"""Ops that copy or convert and compute nothing: clone, copy_, detach, conversions of type."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.creation import check_number
from gradwire_proto.catalog.declare import Op, check_writable, op
from gradwire_proto.catalog.meta import broadcast_shapes, same
from gradwire_proto.dtypes import bool_
from gradwire_proto.spec import Spec, spec


def _alias(op: Op, input: Spec, *_: Any) -> Spec:
    return input


def _copy(op: Op, input: Spec, src: Spec) -> Spec:
    check_writable(input)
    if broadcast_shapes(input.shape, src.shape) != input.shape:
        raise RuntimeError(
            f"output with shape {list(input.shape)} doesn't match the broadcast shape "
            f"{list(broadcast_shapes(input.shape, src.shape))}"
        )
    return input


def _fill(op: Op, input: Spec, value: Any) -> Spec:
    if isinstance(value, Spec):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
    else:
        check_number(value, input.dtype)
    return spec(input.shape, input.dtype)


def _require(op: Op, input: Spec, condition: Spec, text: str) -> Spec:
    if condition.dtype is not bool_:
        raise RuntimeError(f"require(): expected a condition of bools, got {condition.dtype.legacy}")
    return spec(input.shape, input.dtype)


op("clone(Tensor input) -> Tensor", meta=same, doc="A dense copy.")
op("detach(Tensor(a) input) -> Tensor(a)", meta=_alias, differentiable=False,
   doc="The same memory without the history.")
op("copy_(Tensor(a!) input, Tensor src) -> Tensor(a!)", meta=_copy, node="CopyBackwards",
   doc="Overwrites input with src, broadcast to its shape and converted to its type.")
op("zero_(Tensor(a!) input) -> Tensor(a!)", meta=_alias, doc="Overwrites input with zeros.")
op("fill(Tensor input, Tensor|Scalar value) -> Tensor", meta=_fill, inplace=True,
   doc="Every element one value.")
op("to_dtype(Tensor input, dtype dtype) -> Tensor", meta=lambda op, input, dtype: spec(input.shape, dtype),
   public=False, method=False, node="ToCopyBackward0", doc="A dense copy of another element type.")
op("require(Tensor input, Tensor condition, str text) -> Tensor", meta=_require, public=False, method=False,
   doc="A dense copy, provided that the condition holds everywhere; else an error with this text.")
