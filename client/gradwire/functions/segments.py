"""Reductions of stretches of a dimension, and indices of elements in tensors of a size told beforehand."""

from __future__ import annotations

import math
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.calculus import diff
from gradwire.functions.creation import arange, full
from gradwire.functions.queries import unravel_index
from gradwire.functions.shape import narrow
from gradwire.tensor import Tensor
from gradwire_proto import dtypes
from gradwire_proto.catalog.meta import wrap_dim

REDUCTIONS = {
    "sum": ("sum", 0.0), "mean": ("sum", 0.0), "prod": ("prod", 1.0), "max": ("amax", -math.inf),
    "amax": ("amax", -math.inf), "min": ("amin", math.inf), "amin": ("amin", math.inf),
}  # fmt: skip
"""How ``scatter_reduce`` calls each, and what nothing at all is reduced to."""


@export("segment_reduce")
def segment_reduce(data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
                   offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False,
                   initial: float | None = None) -> Tensor:  # fmt: skip
    """Sum, mean, product, largest or smallest of each stretch along ``axis``.

    Args:
        data: of real floating-point numbers.
        lengths: of the stretches, one behind another: integers, ``data``'s dimensions before ``axis`` in front.
        offsets: in place of these, where each begins, and at last where the last ends.
        unsafe: whether ``lengths`` need not be looked at: the server is asked whether they fit.
        initial: what each reduction begins with.

    >>> import gradwire as torch
    >>> torch.segment_reduce(torch.tensor([1.0, 2.0, 3.0]), "sum", lengths=torch.tensor([2, 1]))
    tensor([3., 3.])

    Raises:
        RuntimeError: there is no such reduction, or the lengths do not fit.
    """
    axis = wrap_dim(axis, data.ndim)
    if reduce not in REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    if not data.is_floating_point():
        raise NotImplementedError(f"\"_segment_reduce_cpu\" not implemented for '{data.dtype.legacy}'")
    if lengths is None:
        lengths = diff(offsets)  # type: ignore[arg-type]
    elif not unsafe:
        _check(lengths, data.shape[axis])
    lead, n, segments = lengths.shape[:-1], data.shape[axis], lengths.shape[-1]
    ends = ops.cumsum(lengths, -1)
    steps = arange(n, dtype=ends.dtype).expand((*lead, n)).contiguous()
    at = ops.searchsorted(ends.contiguous(), steps, right=True)
    rest = data.shape[axis + 1 :]
    at = at.reshape((*at.shape, *(1 for _ in rest))).expand((*lead, n, *rest))
    how, nothing = REDUCTIONS[reduce]
    start = full((*lead, segments + 1, *rest), nothing if initial is None else initial, dtype=data.dtype)
    made = narrow(start.scatter_reduce(axis, at, data, how), axis, 0, segments)  # type: ignore[attr-defined]
    if reduce != "mean":
        return made  # type: ignore[no-any-return]
    counts = lengths.reshape((*lengths.shape, *(1 for _ in rest)))  # type: ignore[attr-defined]
    return made / counts if initial is None else ops.where(counts == 0, made, made / counts)  # type: ignore[no-any-return]


def _check(lengths: Tensor, size: int) -> None:
    told = lengths.numpy()
    if (told < 0).any():
        raise RuntimeError("lengths contains negative value!")
    if (told.sum(-1) != size).any():
        raise RuntimeError(
            "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when "
            "!unsafe."
        )


@export("nonzero_static", "Tensor.nonzero_static", out=True)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The indices of the first elements that are not zero, one a row.

    Args:
        size: of how many: there are no more rows, and none fewer.
        fill_value: what is in rows that are left over.

    >>> import gradwire as torch
    >>> torch.nonzero_static(torch.tensor([0, 3, 5]), size=3)
    tensor([[ 1],
            [ 2],
            [-1]])

    Raises:
        RuntimeError: ``size`` is negative.
    """
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    if not input.ndim:
        return full((size, 0), 0, dtype=dtypes.int64)
    there = ops.ne(ops.detach(input).reshape(-1), 0)
    rank = ops.cumsum(there, 0)
    to = ops.where(there & (rank <= size), rank - 1, size)
    flat: Any = full((size + 1,), -1, dtype=dtypes.int64).scatter(0, to, arange(there.numel()))  # type: ignore[attr-defined]
    flat = flat[:size]
    columns = [ops.where(flat < 0, fill_value, c) for c in unravel_index(flat, input.shape)]
    return ops.stack(columns, 1)  # type: ignore[no-any-return]
