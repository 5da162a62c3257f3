"""Kernels. Views and rearrangements: view, expand, permute, cat, pad."""

from __future__ import annotations

from gradwire_engine.registry import kernel

kernel("view", lambda xp, input, size: input.reshape(size))
kernel("expand", lambda xp, input, size: xp.broadcast_to(input, _expanded(input.shape, size)))


def _expanded(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(size) - len(shape)
    return tuple(shape[i - lead] if s == -1 else s for i, s in enumerate(size))
