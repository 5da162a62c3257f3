"""Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import Category, DType, int64
from gradwire_proto.spec import Spec, spec


def _running(op: Op, input: Spec, dim: int, dtype: DType | None) -> Spec:
    wrap_dim(dim, input.ndim)
    return spec(input.shape, dtype or (int64 if input.dtype.category <= Category.INT else input.dtype))


def _scan(op: Op, input: Spec, *_: Any) -> Spec:
    return spec(input.shape, input.dtype)


op("cumsum(Tensor input, int dim, *, dtype? dtype=None) -> Tensor", meta=_running, inplace=True,
   doc="Running sum along a dim.")
op("cumprod(Tensor input, int dim, *, dtype? dtype=None) -> Tensor", meta=_running, inplace=True,
   doc="Running product along a dim.")
op("exclusive_cumprod(Tensor input, int dim, bool reverse) -> Tensor", meta=_scan, public=False, method=False,
   doc="For each element the product of those before it along dim, or of those after it.")
op("linear_scan(Tensor a, Tensor b, int dim, bool reverse) -> Tensor", meta=_scan, public=False, method=False,
   doc="y with y[0] = 0 and y[i + 1] = a[i] y[i] + b[i] along dim, or the same from the end.")
