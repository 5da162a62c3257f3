"""as_strided: any window on a dense tensor's memory, and what carries its gradient back."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.spec import Spec, spec


def reach(size: Sequence[int], stride: Sequence[int], offset: int) -> int:
    """How many elements of memory a window needs."""
    return 0 if 0 in size else offset + 1 + sum((s - 1) * step for s, step in zip(size, stride, strict=True))


def overlapping(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether elements of a window may be the same: a step is not past all that smaller steps reach."""
    reached = 0
    for step, s in sorted(zip(stride, size, strict=True)):
        if s > 1:
            if step <= reached:
                return True
            reached += (s - 1) * step
    return False


def _check_window(size: Sequence[int], stride: Sequence[int], offset: int, room: int, itemsize: int) -> None:
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in stride):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}"
        )
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if any(s < 0 for s in size):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(size)} and strides={list(stride)}")
    needed = reach(size, stride, offset)
    if needed > room:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{itemsize} requiring a storage size of {needed * itemsize} are out of bounds for storage of size "
            f"{room * itemsize}"
        )


def _as_strided(op: Op, input: Spec, size: Sequence[int], stride: Sequence[int], storage_offset: int) -> Spec:
    if not input.contiguous:
        raise RuntimeError("as_strided: the input is not dense. Please give its base and a storage_offset instead.")
    _check_window(size, stride, storage_offset, input.numel, input.dtype.itemsize)
    return spec(tuple(size), input.dtype, tuple(stride))


def _as_strided_backward(op: Op, grad: Spec, room: int, stride: Sequence[int], storage_offset: int) -> Spec:
    _check_window(grad.shape, stride, storage_offset, room, grad.dtype.itemsize)
    return spec((room,), grad.dtype)


op("as_strided(Tensor(a) input, int[] size, int[] stride, int storage_offset=0) -> Tensor(a)", meta=_as_strided,
   public=False, method=False, doc="A window on a dense tensor's memory.")
op("as_strided_backward(Tensor grad, int room, int[] stride, int storage_offset) -> Tensor", meta=_as_strided_backward,
   public=False, method=False, doc="grad added to a memory of zeros, through a window on it.")
