"""Views: the same memory under another shape, order or window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradwire_proto.catalog.declare import Inferred, Op, op
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import DType
from gradwire_proto.spec import Spec, row_major, spec


def infer_size(size: Sequence[int], numel: int) -> tuple[int, ...]:
    """A shape in which one -1 stands for what is left.

    Raises:
        RuntimeError: torch's, where the sizes don't multiply to ``numel``.
    """
    known = math.prod(s for s in size if s != -1)
    if sum(s == -1 for s in size) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for i, s in enumerate(size):
        if s < -1:
            raise RuntimeError(f"invalid shape dimension {s} at index {i} of shape {list(size)}")
    if -1 in size:
        if known == 0 and numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(size)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if known and numel % known == 0:
            return tuple(numel // known if s == -1 else s for s in size)
    elif known == numel:
        return tuple(size)
    raise RuntimeError(f"shape '{list(size)}' is invalid for input of size {numel}")


def view_strides(input: Spec, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides under which the memory of ``input`` reads as ``shape``, or None where only a copy would do."""
    if input.numel == 0:
        return row_major(shape)
    runs: list[list[int]] = []  # [elements, innermost stride] of each stretch that is dense in itself
    for size, step in zip(reversed(input.shape), reversed(input.strides), strict=True):
        if size == 1:
            continue
        if runs and step == runs[-1][0] * runs[-1][1]:
            runs[-1][0] *= size
        else:
            runs.append([size, step])
    strides: list[int] = []
    left, step = (runs[0][0], runs[0][1]) if runs else (1, 1)
    at = 0
    for size in reversed(shape):
        while left == 1 and size != 1 and at + 1 < len(runs):
            at += 1
            left, step = runs[at]
        strides.append(step)
        if left % size:
            return None
        left //= size
        step *= size
    return tuple(reversed(strides))


def _view(op: Op, input: Spec, size: Sequence[int]) -> Spec:
    shape = infer_size(size, input.numel)
    strides = view_strides(input, shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return spec(shape, input.dtype, strides)


def _view_dtype(op: Op, input: Spec, dtype: DType) -> Spec:
    have, want = input.dtype.itemsize, dtype.itemsize
    if have == want:
        return spec(input.shape, dtype, input.strides)
    if not input.ndim:
        raise RuntimeError(
            f"self.dim() cannot be 0 to view {input.dtype.legacy} as {dtype.legacy} (different element sizes)"
        )
    if input.strides[-1] != 1:
        raise RuntimeError(
            f"self.stride(-1) must be 1 to view {input.dtype.legacy} as {dtype.legacy} (different element sizes), but "
            f"got {input.strides[-1]}"
        )
    if want < have:
        n = have // want
        return spec((*input.shape[:-1], input.shape[-1] * n), dtype, (*(s * n for s in input.strides[:-1]), 1))
    n = want // have
    if input.shape[-1] % n or any(s % n for s in input.strides[:-1]):
        raise RuntimeError(
            f"self.size(-1) must be divisible by {n} to view {input.dtype.legacy} as {dtype.legacy} (different element "
            f"sizes), but got {input.shape[-1]}"
        )
    return spec((*input.shape[:-1], input.shape[-1] // n), dtype, (*(s // n for s in input.strides[:-1]), 1))


def _expand(op: Op, input: Spec, size: Sequence[int]) -> Spec:
    lead = len(size) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{input.dtype.legacy}Tensor{{{list(input.shape)}}}, size={list(size)}): the number of sizes "
            f"provided ({len(size)}) must be greater or equal to the number of dimensions in the tensor ({input.ndim})"
        )
    shape: list[int] = []
    strides: list[int] = []
    for i, want in reversed(list(enumerate(size))):  # torch names the last dimension that does not fit
        have = input.shape[i - lead] if i >= lead else 1
        step = input.strides[i - lead] if i >= lead else shape[-1] * strides[-1] if shape else 1
        if want == -1 and i < lead:
            raise RuntimeError(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
            )
        if want in (-1, have):
            shape.append(have)
            strides.append(step)
        elif have == 1:
            shape.append(want)
            strides.append(0)
        else:
            raise RuntimeError(
                f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(size)}.  Tensor sizes: {list(input.shape)}"
            )
    return spec(tuple(reversed(shape)), input.dtype, tuple(reversed(strides)))


def _permute(op: Op, input: Spec, dims: Sequence[int]) -> Spec:
    if len(dims) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(dims)}"
        )
    order = [wrap_dim(d, input.ndim) for d in dims]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _reordered(input, order)


def _reordered(input: Spec, order: Sequence[int]) -> Spec:
    return spec(tuple(input.shape[d] for d in order), input.dtype, tuple(input.strides[d] for d in order))


def _transpose(op: Op, input: Spec, dim0: int, dim1: int) -> Spec:
    a, b = wrap_dim(dim0, input.ndim), wrap_dim(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return _reordered(input, order)


def _t(op: Op, input: Spec) -> Spec:
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return _reordered(input, range(input.ndim)[::-1])


def _unsqueeze(op: Op, input: Spec, dim: int) -> Spec:
    at = wrap_dim(dim, input.ndim + 1)
    step = input.shape[at] * input.strides[at] if at < input.ndim else 1
    shape, strides = list(input.shape), list(input.strides)
    shape.insert(at, 1)
    strides.insert(at, step)
    return spec(tuple(shape), input.dtype, tuple(strides))


def squeezed_dims(shape: tuple[int, ...], dim: Sequence[int] | None) -> tuple[int, ...]:
    """The dims of size 1 among ``dim``, or among all."""
    dims = range(len(shape)) if dim is None else [wrap_dim(d, len(shape)) for d in dim]
    if len(set(dims)) != len(dims):
        twice = next(d for d in dims if list(dims).count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return tuple(d for d in dims if d < len(shape) and shape[d] == 1)


def _squeeze(op: Op, input: Spec, dim: Sequence[int] | None) -> Spec:
    gone = squeezed_dims(input.shape, dim)
    return _reordered(input, [d for d in range(input.ndim) if d not in gone])


def _select(op: Op, input: Spec, dim: int, index: int) -> Spec:
    if not input.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    if not -input.shape[dim] <= index < input.shape[dim]:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return _reordered(input, [d for d in range(input.ndim) if d != dim])


def slice_range(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    """A slice's bounds as Python clamps them, for a positive step."""
    low = 0 if start is None else min(max(start + size if start < 0 else start, 0), size)
    high = size if end is None else min(max(end + size if end < 0 else end, low), size)
    return low, max(low, high)


def _slice(op: Op, input: Spec, dim: int, start: int | None, end: int | None, step: int) -> Spec:
    if not input.ndim:
        raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    low, high = slice_range(input.shape[dim], start, end)
    shape, strides = list(input.shape), list(input.strides)
    shape[dim] = -(-(high - low) // step)
    strides[dim] *= step
    return spec(tuple(shape), input.dtype, tuple(strides))


def _diagonal(op: Op, input: Spec, offset: int, dim1: int, dim2: int) -> Spec:
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = input.shape[a], input.shape[b]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    rest = [d for d in range(input.ndim) if d not in (a, b)]
    return spec(
        (*(input.shape[d] for d in rest), length),
        input.dtype,
        (*(input.strides[d] for d in rest), input.strides[a] + input.strides[b]),
    )


def _unfold(op: Op, input: Spec, dimension: int, size: int, step: int) -> Spec:
    dim = wrap_dim(dimension, input.ndim)
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    have, stride = (input.shape[dim], input.strides[dim]) if input.ndim else (1, 1)
    if size > have:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {have} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    shape, strides = [*input.shape, size], [*input.strides, stride]
    if input.ndim:
        shape[dim] = (have - size) // step + 1
        strides[dim] *= step
    return spec(tuple(shape), input.dtype, tuple(strides))


def _unbind(op: Op, input: Spec, dim: int) -> Inferred:
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, input.ndim)
    one = _reordered(input, [d for d in range(input.ndim) if d != dim])
    return Inferred((one,) * input.shape[dim])


def split_sizes(size: int, split_size: int) -> tuple[int, ...]:
    """Lengths of the pieces that ``split`` cuts a dimension into."""
    if split_size == 0:
        return (0,)
    return tuple(min(split_size, size - at) for at in range(0, size, split_size)) or (0,)


def _pieces(input: Spec, dim: int, sizes: Sequence[int]) -> Inferred:
    shape = input.shape
    return Inferred(tuple(spec((*shape[:dim], s, *shape[dim + 1 :]), input.dtype, input.strides) for s in sizes))


def _split(op: Op, input: Spec, split_size: int, dim: int) -> Inferred:
    if not input.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if split_size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={split_size}")
    dim = wrap_dim(dim, input.ndim)
    if split_size == 0 and input.shape[dim]:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {input.shape[dim]}"
        )
    return _pieces(input, dim, split_sizes(input.shape[dim], split_size))


def _split_with_sizes(op: Op, input: Spec, split_sizes: Sequence[int], dim: int) -> Inferred:
    if not input.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, input.ndim)
    if any(s < 0 for s in split_sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes="
            f"{list(split_sizes)}"
        )
    if sum(split_sizes) != input.shape[dim]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {input.shape[dim]} (input tensor's size at "
            f"dimension {dim}), but got split_sizes={list(split_sizes)}"
        )
    return _pieces(input, dim, split_sizes)


def _embedded(op: Op, grad: Spec, input_size: Sequence[int], *_: Any) -> Spec:
    return spec(tuple(input_size), grad.dtype)


op("view(Tensor(a) input, int[] size) -> Tensor(a)", meta=_view, public=False,
   doc="The same memory read as another shape.")
op("view_dtype(Tensor(a) input, dtype dtype) -> Tensor(a)", meta=_view_dtype, differentiable=False, method=False,
   public=False, doc="The same memory read as another type.")
op("alias(Tensor(a) input) -> Tensor(a)", meta=lambda op, input: input, method=False, public=False,
   doc="The same memory as another tensor.")
op("expand(Tensor(a) input, int[] size) -> Tensor(a)", meta=_expand, public=False,
   doc="Dimensions of size 1 repeated without copying.")
op("permute(Tensor(a) input, int[] dims) -> Tensor(a)", meta=_permute, doc="Dimensions in another order.")
op("transpose(Tensor(a) input, int dim0, int dim1) -> Tensor(a)", meta=_transpose, alias=("swapdims",),
   doc="Two dimensions exchanged.")
op("t(Tensor(a) input) -> Tensor(a)", meta=_t, doc="The transpose of a matrix; vectors and scalars as they are.")
op("unsqueeze(Tensor(a) input, int dim) -> Tensor(a)", meta=_unsqueeze, doc="A dimension of size 1 put in.")
op("squeeze(Tensor(a) input, int[]? dim=None) -> Tensor(a)", meta=_squeeze, node="SqueezeBackward1",
   doc="Dimensions of size 1 left out: those named, or all.")
op("select(Tensor(a) input, int dim, int index) -> Tensor(a)", meta=_select,
   doc="The part at one index of a dimension.")
op("slice(Tensor(a) input, int dim=0, int? start=None, int? end=None, int step=1) -> Tensor(a)", meta=_slice,
   method=False, public=False, doc="Every step-th part of a dimension between two bounds.")
op("diagonal(Tensor(a) input, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)", meta=_diagonal,
   doc="A diagonal of two dimensions, as the last one.")
op("unfold(Tensor(a) input, int dimension, int size, int step) -> Tensor(a)", meta=_unfold, public=False,
   doc="Windows that slide over a dimension, along a new last one.")
op("unbind(Tensor(a) input, int dim=0) -> Tensor(a)[]", meta=_unbind, doc="The parts at each index of a dimension.")
op("split(Tensor(a) input, int split_size, int dim=0) -> Tensor(a)[]", meta=_split, public=False,
   doc="Pieces of one length, the last perhaps shorter.")
op("split_with_sizes(Tensor(a) input, int[] split_sizes, int dim=0) -> Tensor(a)[]", meta=_split_with_sizes,
   doc="Pieces of the given lengths.")

op("select_backward(Tensor grad, int[] input_size, int dim, int index) -> Tensor", meta=_embedded, method=False,
   public=False, doc="grad at one index of a dimension of zeros.")
op("slice_backward(Tensor grad, int[] input_size, int dim, int? start, int? end, int step) -> Tensor", meta=_embedded,
   method=False, public=False, doc="grad as a slice of zeros.")
op("diagonal_backward(Tensor grad, int[] input_size, int offset, int dim1, int dim2) -> Tensor", meta=_embedded,
   method=False, public=False, doc="grad as a diagonal of zeros.")
op("unfold_backward(Tensor grad, int[] input_size, int dim, int size, int step) -> Tensor", meta=_embedded,
   method=False, public=False, doc="Sums what sliding windows have in common.")
