"""Derivatives of rearrangements: the rearrangement undone."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.arrange import cat_skips
from gradwire_proto.spec import Spec


def cat_tensors(g: Any, tensors_spec: tuple[Spec, ...], dim: int) -> list[Any]:
    grads: list[Any] = []
    at = 0
    for s in tensors_spec:
        if cat_skips(s.shape):
            grads.append(F.new_full(g, s.shape, 0))
            continue
        size = s.shape[dim]
        grads.append(F.slice(g, dim, at, at + size))
        at += size
    return grads


def repeat_input(g: Any, input_spec: Spec, repeats: tuple[int, ...]) -> Any:
    shape = (1,) * (len(repeats) - input_spec.ndim) + input_spec.shape
    apart = F.reshape(g, tuple(n for pair in zip(repeats, shape, strict=True) for n in pair))
    return F.reshape(F.sum(apart, tuple(range(0, 2 * len(repeats), 2))), input_spec.shape) if repeats else g


vjp("cat", tensors=cat_tensors)
vjp("stack", tensors=lambda g, tensors_spec, dim: [F.select(g, dim, i) for i in range(len(tensors_spec))])
vjp("flip", input=lambda g, dims: F.flip(g, dims))
vjp("roll", input=lambda g, shifts, dims: F.roll(g, tuple(-s for s in shifts), dims))
vjp("repeat", input=repeat_input)
vjp("tril", input=lambda g, diagonal: F.tril(g, diagonal))
vjp("triu", input=lambda g, diagonal: F.triu(g, diagonal))
vjp("constant_pad_nd", input=lambda g, pad: F.constant_pad_nd(g, tuple(-p for p in pad), 0))
vjp("pad_edges", input=lambda g, input, pad, mode: F.pad_edges_backward(g, input, pad, mode))
vjp("pad_edges_backward",
    grad=lambda g, pad, mode: F.pad_edges(g, pad, mode),
    input=lambda g, input_spec: F.new_full(g, input_spec.shape, 0))  # fmt: skip
