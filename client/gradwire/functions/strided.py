"""as_strided: windows on a tensor's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.index import check_src, written

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def _memory(input: Tensor, storage_offset: int | None) -> Tensor:
    """The tensor from whose beginning an offset counts: a part's place in its whole is known to the server alone."""
    if storage_offset is None:
        return input
    for t in (input, input._base):
        if t is not None and t.nbytes == t._storage.nbytes and t.is_contiguous() and t.dtype is input.dtype:
            return t
    raise RuntimeError("as_strided: what this tensor is a part of is not known here. Please leave out storage_offset.")


@export("as_strided", "Tensor.as_strided")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A window on the tensor's memory, from where the tensor begins or from an offset into all of the memory."""
    return ops.as_strided(_memory(input, storage_offset), tuple(size), tuple(stride), storage_offset or 0)


@export("as_strided_scatter", "Tensor.as_strided_scatter")
def as_strided_scatter(input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int],
                       storage_offset: int | None = None) -> Tensor:  # fmt: skip
    """A copy with ``src`` in a window on its memory."""
    if _memory(input, storage_offset) is not input or not input.is_contiguous():
        raise RuntimeError("as_strided_scatter: the input is not dense, or part of another tensor: clone() it first.")
    check_src(tuple(size), src)
    return written(input, src, lambda t: ops.as_strided(t, tuple(size), tuple(stride), storage_offset or 0))
