"""Indexing: where, index and index_put, gather and scatter, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_proto.catalog.creation import check_number
from gradwire_proto.catalog.declare import Inferred, Op, elementwise, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype, wrap_dim
from gradwire_proto.dtypes import DType, bool_, int8, int16, int32, int64, uint8
from gradwire_proto.spec import Spec, spec


@elementwise
def _where(op: Op, condition: Spec, input: object, other: object) -> Inferred:
    if condition.dtype not in (bool_, uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.legacy}"
        )
    shape = broadcast_shapes(*[a.shape for a in (condition, input, other) if isinstance(a, Spec)])
    return Inferred((spec(shape, common_dtype((input, other))),))


def index_layout(shape: tuple[int, ...], indices: Sequence[Spec | None]) -> tuple[int, ...]:
    """The shape of ``x[indices]``: the indices' common shape in place of the first of adjacent ones, else in front.

    Raises:
        IndexError: torch's, for too many indices, wrong types, shapes that don't broadcast.
    """
    if len(indices) > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {len(indices)})")
    used = [i for i, t in enumerate(indices) if t is not None]
    given = [t for t in indices if t is not None]
    for t in given:
        if t.dtype in (bool_, uint8):
            raise IndexError("a mask's number of elements is unknown here: give the indices that nonzero() finds in it")
        if t.dtype not in (int64, int32):
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if not used:
        return shape
    try:
        common = broadcast_shapes(*[t.shape for t in given])
    except RuntimeError:
        shapes = ", ".join(str(list(t.shape)) for t in given)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    if 0 not in common and any(shape[i] == 0 for i in used):
        raise IndexError("index is out of bounds for dimension with size 0")
    rest = [s for i, s in enumerate(shape) if i not in used]
    first = used[0] if used[-1] - used[0] == len(used) - 1 else 0
    return (*rest[:first], *common, *rest[first:])


def _index(op: Op, input: Spec, indices: Sequence[Spec | None]) -> Spec:
    return spec(index_layout(input.shape, indices), input.dtype)


def _index_backward(op: Op, grad: Spec, input_size: Sequence[int], indices: Sequence[Spec | None]) -> Spec:
    if index_layout(tuple(input_size), indices) != grad.shape:
        raise RuntimeError(f"index_backward: a gradient of shape {list(grad.shape)} does not fit the indices")
    return spec(tuple(input_size), grad.dtype)


def _index_put(op: Op, input: Spec, indices: Sequence[Spec | None], values: Spec, accumulate: bool) -> Spec:
    if input.dtype is not values.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype.legacy} for the destination "
            f"and {values.dtype.legacy} for the source."
        )
    layout = index_layout(input.shape, indices)
    try:
        fits = broadcast_shapes(values.shape, layout) == layout
    except RuntimeError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to indexing result of "
            f"shape {list(layout)}"
        )
    return spec(input.shape, input.dtype)


def _full_dim(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape or (1,)


def _check_gather(name: str, input: Spec, dim: int, index: Spec, whose: str) -> int:
    """The checks that gather and the scatters share; ``dim`` from the front."""
    dim = wrap_dim(dim, input.ndim)
    if index.numel and index.dtype not in (int64, int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if index.numel and len(_full_dim(index.shape)) != len(_full_dim(input.shape)):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {whose} tensor")
    return dim


def _gather(op: Op, input: Spec, dim: int, index: Spec, sparse_grad: bool) -> Spec:
    dim = _check_gather("gather", input, dim, index, "input")
    for d, (i, s) in enumerate(zip(_full_dim(index.shape), _full_dim(input.shape), strict=False)):
        if index.numel and d != dim and i > s:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {dim}"
            )
    return spec(index.shape, input.dtype)


REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _scatter(op: Op, input: Spec, dim: int, index: Spec, src: Any, reduce: str = "sum", *_: Any) -> Spec:
    dim = _check_gather("scatter", input, dim, index, "self")
    if reduce not in REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if not isinstance(src, Spec):
        check_number(src, input.dtype)
    elif src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not index.numel:
        return spec(input.shape, input.dtype)
    at, have = _full_dim(index.shape), _full_dim(input.shape)
    given = _full_dim(src.shape) if isinstance(src, Spec) else at
    if len(given) != len(at):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if any((d != dim and i > s) or i > g for d, (i, s, g) in enumerate(zip(at, have, given, strict=True))):
        of_src = f" and to be no larger size than src {list(src.shape)}" if isinstance(src, Spec) else ""
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(input.shape)} apart from dimension "
            f"{dim}{of_src}"
        )
    return spec(input.shape, input.dtype)


def _vector(name: str, index: Spec, error: type[Exception] = RuntimeError, types: Sequence[DType] = (int64, int32),
            expected: str = "Expected dtype int32 or int64 for index") -> int:  # fmt: skip
    """The number of indices in a vector or 0-d tensor of them."""
    if index.dtype not in types:
        raise error(f"{name}(): {expected}")
    return index.numel


def _index_select(op: Op, input: Spec, dim: int, index: Spec) -> Spec:
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    n = _vector("index_select", index)
    dim = wrap_dim(dim, input.ndim)
    if not input.ndim:
        if n != 1:
            raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {n} value(s)")
        return spec((), input.dtype)
    return spec((*input.shape[:dim], n, *input.shape[dim + 1 :]), input.dtype)


def _check_source(name: str, input: Spec, dim: int, n: int, source: Spec, error: type[Exception], text: str) -> None:
    size = source.shape[dim] if source.ndim else 1
    if n != size:
        raise error(text.format(n=n, size=size, dim=dim))


def check_accumulated(name: str, input: Spec, dim: int, index: Spec, source: Spec) -> None:
    """Raise torch's error where a source can't be put together with the parts of a tensor at some indices."""
    dim = wrap_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim} with type: "
            f"{index.dtype.legacy} and size: {list(index.shape)}"
        )
    n = _vector(name, index, expected=f"Expected dtype int32/int64 for index but got: {index.dtype.legacy}")
    if input.dtype is not source.dtype:
        raise RuntimeError(
            f"{name}(): self ({input.dtype.legacy}) and source ({source.dtype.legacy}) "
            "must have the same scalar type"
        )
    _check_source(name, input, dim, n, source, RuntimeError,
                  name + "(): Number of indices ({n}) should be equal to source.size(dim): ({size}), "
                  "for dim: {dim}")  # fmt: skip
    if input.ndim != source.ndim or _without(input.shape, dim) != _without(source.shape, dim):
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
            f"{list(input.shape)} source.shape = {list(source.shape)}"
        )


def _index_add(op: Op, input: Spec, dim: int, index: Spec, source: Spec, alpha: Any) -> Spec:
    check_accumulated("index_add_", input, dim, index, source)
    return spec(input.shape, input.dtype)


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], *shape[dim + 1 :])


def _index_copy(op: Op, input: Spec, dim: int, index: Spec, source: Spec) -> Spec:
    dim = wrap_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {index.ndim})")
    n = _vector("index_copy_", index, types=(int64,),
                expected=f"Expected a long tensor for index, but got {index.dtype.legacy}")  # fmt: skip
    if input.dtype is not source.dtype:
        raise RuntimeError(
            f"index_copy_(): self and source expected to have the same dtype, but got (self) {input.dtype.legacy} and "
            f"(source) {source.dtype.legacy}"
        )
    _check_source("index_copy_", input, dim, n, source, IndexError,
                  "index_copy_(): Number of indices ({n}) should be equal to source.size(dim) ({size})")  # fmt: skip
    mine, theirs = _without(input.shape, dim), _without(source.shape, dim)
    if mine != theirs:
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: "
            f"{' '.join(map(str, mine))} at dimension {dim} and source slice shape: {' '.join(map(str, theirs))} at "
            f"dimension 0."
        )
    return spec(input.shape, input.dtype)


def _index_fill(op: Op, input: Spec, dim: int, index: Spec, value: Any) -> Spec:
    _vector("index_fill_", index, IndexError, (int64,), "Expected dtype int64 for index.")
    if index.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if isinstance(value, complex) and not input.dtype.is_complex:
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    _check_value("index_fill_", input, value)
    wrap_dim(dim, input.ndim)
    return spec(input.shape, input.dtype)


def _check_value(name: str, input: Spec, value: Any) -> None:
    if not isinstance(value, Spec):
        check_number(value, input.dtype)
    elif value.ndim:
        raise RuntimeError(
            f"{name} only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    elif value.dtype.is_complex and not input.dtype.is_complex:
        check_number(1j, input.dtype)


_CPP_TYPES = {
    uint8: "unsigned char", int8: "signed char", int16: "short int", int32: "int", int64: "long int",
}  # fmt: skip


@elementwise
def _masked_fill(op: Op, input: Spec, mask: Spec, value: Any) -> Spec:
    if mask.dtype is not bool_:
        name = _CPP_TYPES.get(mask.dtype, mask.dtype.legacy.lower())
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {name}")
    _check_value("masked_fill_", input, value)
    return spec(broadcast_shapes(mask.shape, input.shape), input.dtype)


def _masked_scatter(op: Op, input: Spec, mask: Spec, source: Spec) -> Spec:
    if input.dtype is not source.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got{input.dtype.legacy} and "
            f"{source.dtype.legacy}"
        )
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype.legacy}")
    return spec(broadcast_shapes(mask.shape, input.shape), input.dtype)


def _masked_scatter_backward(op: Op, grad: Spec, mask: Spec, sizes: Sequence[int]) -> Spec:
    return spec(tuple(sizes), grad.dtype)


def _take(op: Op, input: Spec, index: Spec) -> Spec:
    if index.dtype is not int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype.legacy}")
    if index.numel and not input.numel:
        raise IndexError("take(): tried to take from an empty tensor")
    return spec(index.shape, input.dtype)


def _put(op: Op, input: Spec, index: Spec, source: Spec, accumulate: bool) -> Spec:
    if index.dtype is not int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.legacy}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype.legacy} and "
            f"source.dtype = {source.dtype.legacy}"
        )
    if index.numel != source.numel:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.numel}, index.numel() = {index.numel}"
        )
    if index.numel and not input.numel:
        raise IndexError("put_(): Tried to put elements into an empty tensor")
    return spec(input.shape, input.dtype)


def _nonzero(op: Op, input: Spec, count: int) -> Spec:
    return spec((count, input.ndim), int64)


def _repeat_index(op: Op, repeats: Spec, size: int) -> Spec:
    return spec((size,), repeats.dtype)


op("where(Tensor condition, Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_where, public=False,
   doc="input where condition holds, other elsewhere.")
op("index(Tensor input, Tensor?[] indices) -> Tensor", meta=_index, method=False, public=False,
   doc="The elements at integer indices, one tensor of them for each dimension or None for all of it.")
op("index_backward(Tensor grad, int[] input_size, Tensor?[] indices) -> Tensor", meta=_index_backward, method=False,
   public=False, doc="Adds grad to zeros at integer indices.")
op("index_put(Tensor input, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor", meta=_index_put,
   inplace=True, public=False, doc="input with values written, or added, at integer indices.")
op("gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor", meta=_gather,
   doc="The elements at the indices along one dimension, other indices running with the result's.")
op("scatter(Tensor input, int dim, Tensor index, Tensor|Scalar src) -> Tensor", meta=_scatter, inplace=True,
   public=False, doc="input with src written where gather would read.")
op("scatter_add(Tensor input, int dim, Tensor index, Tensor src) -> Tensor", meta=_scatter, inplace=True,
   doc="input with src added where gather would read.")
op("scatter_reduce(Tensor input, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True) -> Tensor",
   meta=_scatter, inplace=True, doc="input combined with src where gather would read: sum, prod, mean, amax or amin.")
op("index_select(Tensor input, int dim, Tensor index) -> Tensor", meta=_index_select,
   doc="The parts at some indices of a dimension.")
op("index_add(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor", meta=_index_add,
   inplace=True, doc="input with alpha * source added to the parts at some indices of a dimension.")
op("index_copy(Tensor input, int dim, Tensor index, Tensor source) -> Tensor", meta=_index_copy, inplace=True,
   doc="input with source written to the parts at some indices of a dimension.")
op("index_fill(Tensor input, int dim, Tensor index, Tensor|Scalar value) -> Tensor", meta=_index_fill, inplace=True,
   doc="input with one value in the parts at some indices of a dimension.")
op("masked_fill(Tensor input, Tensor mask, Tensor|Scalar value) -> Tensor", meta=_masked_fill, inplace=True,
   doc="input with one value where the mask holds.")
op("masked_scatter(Tensor input, Tensor mask, Tensor source) -> Tensor", meta=_masked_scatter, inplace=True,
   doc="input with the elements of source, in their order, where the mask holds.")
op("masked_scatter_backward(Tensor grad, Tensor mask, int[] sizes) -> Tensor", meta=_masked_scatter_backward,
   method=False, public=False, doc="The elements of grad where the mask holds, then zeros, in a shape.")
op("take(Tensor input, Tensor index) -> Tensor", meta=_take, doc="The elements at indices of the flattened input.")
op("put(Tensor input, Tensor index, Tensor source, bool accumulate=False) -> Tensor", meta=_put, inplace=True,
   doc="input with source written, or added, at indices of it flattened.")
op("nonzero(Tensor input, int count) -> Tensor", meta=_nonzero, differentiable=False, public=False,
   doc="The indices of the elements that are not zero, of which there must be count, one a row.")
op("repeat_index(Tensor repeats, int size) -> Tensor", meta=_repeat_index, differentiable=False, method=False,
   public=False, doc="Each index as often as repeats says, of which the sum must be size.")
