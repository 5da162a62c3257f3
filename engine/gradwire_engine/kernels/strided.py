"""Kernels of as_strided."""

from __future__ import annotations

from typing import Any

from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at
from gradwire_proto.catalog.strided import overlapping


def window(xp: Any, memory: Any, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Any:
    """Its bounds are the meta rule's business."""
    steps = [step * memory.itemsize for step in stride]
    return xp.lib.stride_tricks.as_strided(memory.reshape(-1)[offset:], size, steps)


@kernel("as_strided")
def as_strided(xp: Any, input: Any, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int) -> Any:
    return window(xp, input, size, stride, storage_offset)


@kernel("as_strided_backward")
def as_strided_backward(xp: Any, grad: Any, room: int, stride: tuple[int, ...], storage_offset: int) -> Any:
    memory = xp.zeros(room, grad.dtype)
    if not overlapping(grad.shape, stride):
        window(xp, memory, grad.shape, stride, storage_offset)[...] = grad
        return memory
    at = xp.full(grad.shape, storage_offset, xp.int64)
    for d, (size, step) in enumerate(zip(grad.shape, stride, strict=True)):
        at += (step * xp.arange(size)).reshape((size,) + (1,) * (grad.ndim - d - 1))
    add_at(xp, memory, at.reshape(-1), grad.reshape(-1))
    return memory
