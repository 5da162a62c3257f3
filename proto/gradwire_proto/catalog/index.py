"""Indexing: where, gather, scatter, index, masks."""

from __future__ import annotations

from gradwire_proto.catalog.declare import Inferred, Op, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype
from gradwire_proto.dtypes import bool_, uint8
from gradwire_proto.spec import Spec, spec


def _where(op: Op, condition: Spec, input: object, other: object) -> Inferred:
    if condition.dtype not in (bool_, uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.legacy}"
        )
    shape = broadcast_shapes(*[a.shape for a in (condition, input, other) if isinstance(a, Spec)])
    return Inferred((spec(shape, common_dtype((input, other))),))


op("where(Tensor condition, Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_where, public=False,
   doc="input where condition holds, other elsewhere.")
