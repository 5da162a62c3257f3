"""Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

import math
from typing import Any

from gradwire_proto.catalog.declare import Meta, Op, op
from gradwire_proto.catalog.meta import reduced_shape, wrap_dim
from gradwire_proto.catalog.reduction import check_nonempty, reject, torch_name
from gradwire_proto.dtypes import Category, DType, float64, int32, int64
from gradwire_proto.spec import Spec, spec

BOOL, INT, COMPLEX = Category.BOOL, Category.INT, Category.COMPLEX


def _pair(shape: tuple[int, ...], input: Spec) -> tuple[Spec, Spec]:
    """Values and where they came from."""
    return spec(shape, input.dtype), spec(shape, int64)


def _sort(op: Op, input: Spec, dim: int, *_: bool) -> tuple[Spec, Spec]:
    wrap_dim(dim, input.ndim)
    if input.dtype.is_complex:
        raise RuntimeError(" Sort does not support complex dtypes on CPU")
    return _pair(input.shape, input)


def _topk(op: Op, input: Spec, k: int, dim: int, *_: bool) -> tuple[Spec, Spec]:
    dim = wrap_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[dim] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    for category, word in ((COMPLEX, "complex"), (BOOL, "bool")):
        if input.dtype.category is category:
            raise RuntimeError(f"{' ' if category is COMPLEX else ''}topk does not support {word} dtypes on CPU")
    return _pair(tuple(k if i == dim else s for i, s in enumerate(input.shape)), input)


def _kthvalue(op: Op, input: Spec, k: int, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
    dim = wrap_dim(dim, input.ndim)
    check_nonempty(op.name, input, (dim,))
    if not 1 <= k <= (input.shape[dim] if input.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    reject(input, "kthvalue_cpu", BOOL, COMPLEX)
    return _pair(reduced_shape(input.shape, (dim,), keepdim), input)


def _middle_all(op: Op, input: Spec) -> Spec:
    reject(input, "median_cpu", BOOL, COMPLEX)
    return spec((), input.dtype)


def _selection(unsupported: str, *categories: Category) -> Meta:
    """median, nanmedian and mode along a dim."""

    def rule(op: Op, input: Spec, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
        dim = wrap_dim(dim, input.ndim)
        check_nonempty(torch_name(op), input, (dim,))
        reject(input, unsupported, *categories)
        return _pair(reduced_shape(input.shape, (dim,), keepdim), input)

    return rule


def _running(op: Op, input: Spec, dim: int, dtype: DType | None) -> Spec:
    wrap_dim(dim, input.ndim)
    return spec(input.shape, dtype or (int64 if input.dtype.category <= INT else input.dtype))


def _running_extreme(op: Op, input: Spec, dim: int) -> tuple[Spec, Spec]:
    wrap_dim(dim, input.ndim)
    reject(input, f"{op.name}_cpu", COMPLEX)
    return _pair(input.shape, input)


def _logcumsumexp(op: Op, input: Spec, dim: int) -> Spec:
    wrap_dim(dim, input.ndim)
    reject(input, "logcumsumexp_out_cpu", BOOL, INT)
    return spec(input.shape, input.dtype)


def _scan(op: Op, input: Spec, *_: Any) -> Spec:
    return spec(input.shape, input.dtype)


def _searchsorted(op: Op, sorted_sequence: Spec, input: Any, out_int32: bool, right: bool, side: str | None,
                  sorter: Spec | None) -> Spec:  # fmt: skip
    name, edges = "torch.searchsorted()", sorted_sequence
    if side not in (None, "left", "right"):
        raise RuntimeError(f"{name}: side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise RuntimeError(f"{name}: side and right can't be set to opposites, got side of left while right was True")
    shape = input.shape if isinstance(input, Spec) else ()
    if not shape and edges.ndim != 1:
        raise RuntimeError(
            f"{name}: input value can be a scalar only when boundaries tensor dimension is 1, but we got boundaries "
            f"tensor dim({edges.ndim}) and input value's dim(0) numel(1)"
        )
    if not edges.ndim:
        raise RuntimeError(f"{name}: boundaries tensor should have positive dimension, but got 0 dimension")
    if edges.ndim > 1 and shape[:-1] != edges.shape[:-1]:
        raise RuntimeError(
            f"{name}: boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
            f"input value tensor must match, but we got boundaries tensor {list(edges.shape)} and input value tensor "
            f"{list(shape)}"
        )
    if sorter is not None and sorter.shape != edges.shape:
        raise RuntimeError(
            f"{name}: boundary and sorter must have the same size, but got boundary tensor {list(edges.shape)}and got "
            f"sorter tensor {list(sorter.shape)}"
        )
    if sorter is not None and sorter.dtype is not int64:
        raise RuntimeError(f"{name}: sorter must be a tensor of long dtype but got dtype {sorter.dtype.legacy}")
    for s in (edges, input):
        if isinstance(s, Spec):
            reject(s, "searchsorted_out_cpu", COMPLEX)
    return spec(shape, int32 if out_int32 else int64)


def _histc(op: Op, input: Spec, bins: int, min: float, max: float) -> Spec:
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    reject(input, "histogram_cpu", BOOL, INT, COMPLEX)
    if not (math.isfinite(min) and math.isfinite(max)):
        raise RuntimeError(f"torch.histc: range of [{min:g}, {max:g}] is not finite")
    if min > max:
        raise RuntimeError("torch.histc: max must be larger than min")
    return spec((bins,), input.dtype)


def _bincount(op: Op, input: Spec, weights: Spec | None, size: int) -> Spec:
    if weights is None:
        return spec((size,), int64)
    return spec((size,), weights.dtype if weights.dtype.name == "float32" else float64)


op("sort(Tensor input, int dim=-1, bool descending=False, bool stable=False) -> (Tensor values, Tensor indices)",
   meta=_sort, public=False, doc="Elements in order along a dim, nan as the largest, equal ones as they were.")
op("topk(Tensor input, int k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)",
   meta=_topk, public=False, doc="The k largest or smallest elements along a dim.")
op("kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
   meta=_kthvalue, public=False, doc="The k-th smallest element along a dim.")
for _name, _doc in (("median", "the lower of two"), ("nanmedian", "the lower of two, nan left out")):
    _node = f"{_name.capitalize()}Backward"
    op(f"{_name}_all(Tensor input) -> Tensor", meta=_middle_all, public=False, node=f"{_node}0",
       doc=f"Middle element, {_doc}; equal ones share the gradient.")
    op(f"{_name}_dim(Tensor input, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
       meta=_selection("median_out", BOOL, COMPLEX), public=False, node=f"{_node}1",
       doc=f"Middle element along a dim, {_doc}.")
op("mode(Tensor input, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
   meta=_selection("mode_cpu", COMPLEX), public=False, doc="Most frequent element along a dim, the least of several.")

op("cumsum(Tensor input, int dim, *, dtype? dtype=None) -> Tensor", meta=_running, inplace=True,
   doc="Running sum along a dim.")
op("cumprod(Tensor input, int dim, *, dtype? dtype=None) -> Tensor", meta=_running, inplace=True,
   doc="Running product along a dim.")
op("logcumsumexp(Tensor input, int dim) -> Tensor", meta=_logcumsumexp,
   doc="Logarithm of the running sum of exponentials, without overflow.")
for _name, _word in (("cummax", "largest"), ("cummin", "smallest")):
    op(f"{_name}(Tensor input, int dim) -> (Tensor values, Tensor indices)", meta=_running_extreme, public=False,
       doc=f"The {_word} element so far along a dim, and where it was last.")
op("exclusive_cumprod(Tensor input, int dim, bool reverse) -> Tensor", meta=_scan, public=False, method=False,
   doc="For each element the product of those before it along dim, or of those after it.")
op("linear_scan(Tensor a, Tensor b, int dim, bool reverse) -> Tensor", meta=_scan, public=False, method=False,
   doc="y with y[0] = 0 and y[i + 1] = a[i] y[i] + b[i] along dim, or the same from the end.")

op("searchsorted(Tensor sorted_sequence, Tensor|Scalar input, *, bool out_int32=False, bool right=False, "
   "str? side=None, Tensor? sorter=None) -> Tensor", meta=_searchsorted, differentiable=False, method=False,
   doc="Where to insert values so that the rows of a sorted sequence stay sorted.")  # fmt: skip
op("histc(Tensor input, int bins=100, Scalar min=0, Scalar max=0) -> Tensor", meta=_histc, differentiable=False,
   doc="Counts of the elements in bins of equal width; the range is the data's where min equals max.")
op("bincount_sized(Tensor input, Tensor? weights, int size) -> Tensor", meta=_bincount, differentiable=False,
   public=False, method=False, doc="How often each integer below size comes, or the sum of its weights.")
