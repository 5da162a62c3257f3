"""Kernels of embedding, one-hot codes and attention."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import add_at
from gradwire_engine.registry import kernel


def check_rows(indices: Any, rows: int) -> None:
    """Raise torch's error for an index out of range; the array libraries would wrap it."""
    if indices.size and not (int(indices.min()) >= 0 and int(indices.max()) < rows):
        raise IndexError("index out of range in self")


def sum_rows(xp: Any, rows: Any, indices: Any, count: int) -> Any:
    """``[count, width]``: the rows summed by index. Flat, since only that is fast in NumPy."""
    width = rows.shape[1]
    out = xp.zeros((count, width), dtype=rows.dtype)
    at = (indices.astype("int64")[:, None] * width + xp.arange(width)).ravel()
    add_at(xp, out.reshape(-1), at, rows.reshape(-1))
    return out


@kernel("embedding")
def embedding(xp: Any, weight: Any, indices: Any, padding_idx: int, scale_grad_by_freq: bool, sparse: bool) -> Any:
    check_rows(indices, weight.shape[0])
    return weight[indices]


@kernel("embedding_dense_backward")
def embedding_dense_backward(xp: Any, grad: Any, indices: Any, num_weights: int, padding_idx: int,
                             scale_grad_by_freq: bool) -> Any:  # fmt: skip
    check_rows(indices, num_weights)
    rows, flat = grad.reshape(-1, grad.shape[-1]), indices.reshape(-1)
    out = sum_rows(xp, rows, flat, num_weights)
    if scale_grad_by_freq:
        out /= xp.maximum(xp.bincount(flat, minlength=num_weights), 1).astype(out.dtype)[:, None]
    if padding_idx >= 0:
        out[padding_idx] = 0
    return out


@kernel("embedding_renorm_")
def embedding_renorm_(xp: Any, input: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    named = xp.unique(indices)
    for i in (named[:1], named[-1:]):
        if i.size and not 0 <= int(i[0]) < input.shape[0]:
            raise IndexError(
                f"select(): index {int(i[0])} out of range for tensor of size {list(input.shape)} at dimension 0"
            )
    rows = input[named]
    norms = xp.linalg.norm(rows, ord=norm_type, axis=1, keepdims=True)
    input[named] = rows * xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1).astype(rows.dtype)


@kernel("one_hot")
def one_hot(xp: Any, input: Any, num_classes: int) -> Any:
    if input.size and int(input.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if input.size and int(input.max()) >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return (input[..., None] == xp.arange(num_classes)).astype("int64")
