"""Derivatives of embedding and attention."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp


def embedding_dense_grad(g: Any, grad: Any, indices: Any, num_weights: int, padding_idx: int,
                         scale_grad_by_freq: bool) -> Any:  # fmt: skip
    """Sums by index go back by index; what was left out, or divided, is so again."""
    made = F.embedding(g, indices)
    if scale_grad_by_freq:
        ones = F.new_full(indices, (*indices.shape, 1), 1)
        made = made / F.embedding(F.embedding_dense_backward(ones, indices, num_weights, -1, False), indices)
    if padding_idx >= 0:
        made = F.where(F.reshape(indices == padding_idx, (*indices.shape, 1)), 0, made)
    return made


vjp("embedding",
    weight=lambda g, indices, weight_spec, padding_idx, scale_grad_by_freq: F.embedding_dense_backward(
        g, indices, weight_spec.shape[0], padding_idx, scale_grad_by_freq))  # fmt: skip
vjp("embedding_dense_backward", grad=embedding_dense_grad)
