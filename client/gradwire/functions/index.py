"""Reading and writing by index: scatter's forms, masks, parts written out of place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.indexing import _expand, nonzero, nonzero_columns
from gradwire.functions.shape import viewed
from gradwire.tensor import Tensor
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog.index import check_accumulated
from gradwire_proto.catalog.meta import broadcast_shapes, wrap_dim


@export("where")
def where(condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; the indices of what holds where neither is given."""
    if out is not None:
        return ops.where(condition, input, other, out=out)
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if isinstance(condition, Tensor) and condition.dtype is dtypes.uint8:
        warnings.warn(
            "where received a uint8 condition tensor. This behavior is deprecated and will be removed in a future "
            "version of PyTorch. Use a boolean condition instead.",
            stacklevel=2,
        )
    return ops.where(condition, input, other)


@export("Tensor.where")
def where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """This tensor where the condition holds, ``other`` elsewhere."""
    return ops.where(condition, self, other)


def _index_put(f: Any, input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool) -> Tensor:
    return f(input, tuple(_expand(input, tuple(indices))), values, accumulate)


@export("index_put", "Tensor.index_put")
def index_put(input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    """``input`` with ``values`` written, or added, at indices."""
    return _index_put(ops.index_put, input, indices, values, accumulate)


@export("index_put_", "Tensor.index_put_")
def index_put_(input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    """Write, or add, ``values`` at indices."""
    return _index_put(ops.index_put_, input, indices, values, accumulate)


def _scatter(f: Any, combine: Any, input: Tensor, dim: int, index: Tensor, src: Any, reduce: str | None,
             value: Any) -> Tensor:  # fmt: skip
    src = value if src is None else src
    if reduce is None:
        return f(input, dim, index, src)
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if not isinstance(src, (bool, int, float, complex)):
        warnings.warn(
            "The reduce argument of torch.scatter with Tensor src is deprecated and will be removed in a future "
            "PyTorch release. Use torch.scatter_reduce instead for more reduction options.",
            stacklevel=3,
        )
    else:
        src = ops.new_full(input, tuple(index.shape), src)
    return combine(input, dim, index, src, {"add": "sum", "multiply": "prod"}[reduce])


@export("scatter", "Tensor.scatter", out=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, reduce: str | None = None,
            value: Any = None) -> Tensor:  # fmt: skip
    """``input`` with ``src`` written where gather would read."""
    return _scatter(ops.scatter, ops.scatter_reduce, input, dim, index, src, reduce, value)


@export("Tensor.scatter_")
def scatter_(self: Tensor, dim: int, index: Tensor, src: Any = None, *, reduce: str | None = None,
             value: Any = None) -> Tensor:  # fmt: skip
    """Write ``src`` where gather would read."""
    return _scatter(ops.scatter_, ops.scatter_reduce_, self, dim, index, src, reduce, value)


def _index_reduce(f: Any, input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str,
                  include_self: bool) -> Tensor:  # fmt: skip
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    for name, v, position in (("index", index, 3), ("source", source, 4)):
        if not isinstance(v, Tensor):
            raise TypeError(
                f"index_reduce(): argument '{name}' (position {position}) must be Tensor, not {type(v).__name__}"
            )
    check_accumulated("index_reduce_", input._spec, dim, index._spec, source._spec)
    if not source.ndim:
        return f(input, 0, viewed(index, ()), source, reduce, include_self=include_self)
    dim = wrap_dim(dim, source.ndim)
    shape = [1] * source.ndim
    shape[dim] = index.numel()
    return f(input, dim, ops.expand(viewed(index, tuple(shape)), tuple(source.shape)), source, reduce,
             include_self=include_self)  # fmt: skip


@export("index_reduce", "Tensor.index_reduce", out=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True) -> Tensor:  # fmt: skip
    """``input`` combined with ``source`` in the parts at some indices of a dimension."""
    return _index_reduce(ops.scatter_reduce, input, dim, index, source, reduce, include_self)


@export("Tensor.index_reduce_")
def index_reduce_(self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                  include_self: bool = True) -> Tensor:  # fmt: skip
    """Combine with ``source`` in the parts at some indices of a dimension."""
    return _index_reduce(ops.scatter_reduce_, self, dim, index, source, reduce, include_self)


@export("masked_select", "Tensor.masked_select", out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension; asks the server how many there are."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(tuple(mask.shape), tuple(input.shape)) or (1,)
    return ops.index(ops.expand(input, shape), nonzero_columns(ops.expand(mask, shape), refusals.BATCHED_SELECT))


@export("take_along_dim", "Tensor.take_along_dim", out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """The elements at the indices along one dimension, the other dimensions broadcast."""
    if indices.dtype is not dtypes.int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.legacy}")
    if dim is None:
        return ops.gather(viewed(input, (input.numel(),)), 0, viewed(indices, (indices.numel(),)))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = wrap_dim(dim, input.ndim)
    indices = ops.where(ops.lt(indices, 0), ops.add(indices, input.shape[dim] if input.ndim else 1), indices)
    mine, theirs = list(input.shape), list(indices.shape)
    mine[dim], theirs[dim] = indices.shape[dim], input.shape[dim]
    return ops.gather(
        ops.expand(input, broadcast_shapes(tuple(input.shape), tuple(theirs))),
        dim,
        ops.expand(indices, broadcast_shapes(tuple(indices.shape), tuple(mine))),
    )


def written(input: Tensor, src: Tensor, view: Any) -> Tensor:
    if src._is_batched:
        from gradwire.func.batched import own

        input = own(input, src)
    made = ops.clone(input)
    ops.copy_(view(made), src)
    return made


def check_src(part: Sequence[int], src: Tensor) -> None:
    if tuple(part) != tuple(src.shape):
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. "
            f"src size = {list(src.shape)}, slice size = {list(part)}"
        )


@export("select_scatter", "Tensor.select_scatter")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with ``src`` at one index of a dimension."""
    check_src(ops.select(input.detach(), dim, index).shape, src)  # type: ignore[attr-defined]
    return written(input, src, lambda t: ops.select(t, dim, index))


@export("slice_scatter", "Tensor.slice_scatter", out=True)
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Tensor:  # fmt: skip
    """A copy with ``src`` as a slice of a dimension."""
    check_src(ops.slice(input.detach(), dim, start, end, step).shape, src)  # type: ignore[attr-defined]
    return written(input, src, lambda t: ops.slice(t, dim, start, end, step))


@export("diagonal_scatter", "Tensor.diagonal_scatter")
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with ``src`` on a diagonal."""
    check_src(ops.diagonal(input.detach(), offset, dim1, dim2).shape, src)  # type: ignore[attr-defined]
    return written(input, src, lambda t: ops.diagonal(t, offset, dim1, dim2))


@export("Tensor.fill_diagonal_")
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a number to the diagonal.

    Args:
        wrap: of a matrix with more rows than columns, begin anew one row below where it ends.

    Raises:
        RuntimeError: there are fewer than 2 dimensions, or more of unequal sizes.
    """
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if wrap and self.ndim == 2 and self.shape[0] > self.shape[1] + 1:
        period = self.shape[1] + 1
        rows = [r for r in range(self.shape[0]) if r % period < self.shape[1]]
        self[rows, [r % period for r in rows]] = fill_value  # type: ignore[index]
        return self
    line = self
    while line.ndim > 1:
        line = ops.diagonal(line, 0, 0, -1)
    ops.fill_(line, fill_value)
    return self
