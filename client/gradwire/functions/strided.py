"""as_strided: windows on a tensor's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.index import check_src, written
from gradwire_proto.catalog.strided import reach

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def memory(input: Tensor) -> Tensor:
    """The dense tensor that has all of a tensor's memory: itself, or what it is a view of.

    Raises:
        RuntimeError: it is not known here.
    """
    input._refresh()
    for t in (input, input._base):
        if t is not None and t.nbytes == t._storage.nbytes and t.is_contiguous() and t.dtype is input.dtype:
            return t
    raise RuntimeError("as_strided: what this tensor is a part of is not known here. Please clone() it first.")


@export("as_strided", "Tensor.as_strided")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A window on the tensor's memory, from where the tensor begins or from an offset into all of the memory."""
    size, stride = tuple(size), tuple(stride)
    if storage_offset is None:
        if input.is_contiguous() and len(size) == len(stride) and reach(size, stride, 0) <= input.numel():
            return ops.as_strided(input, size, stride, 0)
        storage_offset = input.storage_offset()
    return ops.as_strided(memory(input), size, stride, storage_offset)


@export("as_strided_scatter", "Tensor.as_strided_scatter")
def as_strided_scatter(input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int],
                       storage_offset: int | None = None) -> Tensor:  # fmt: skip
    """A copy with ``src`` in a window on its memory."""
    if not input.is_contiguous() or (storage_offset is not None and memory(input) is not input):
        raise RuntimeError("as_strided_scatter: the input is not dense, or part of another tensor: clone() it first.")
    check_src(tuple(size), src)
    return written(input, src, lambda t: ops.as_strided(t, tuple(size), tuple(stride), storage_offset or 0))
