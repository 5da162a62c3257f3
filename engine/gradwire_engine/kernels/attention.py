"""Kernels of embedding, one-hot codes and attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gradwire_engine.backend import add_at
from gradwire_engine.kernels.conv import wide
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


@kernel("bag_numbers")
def bag_numbers(xp: Any, offsets: Any, size: int, include_last_offset: bool) -> Any:
    if offsets.size:
        first, last = int(offsets[0]), int(offsets[-1])
        if first != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {first}"
            )
        if last > size:
            raise RuntimeError(
                f"offsets[-1] can not be greater than input's length {size} but got offsets[-1] of {last}"
            )
    starts = offsets[:-1] if include_last_offset else offsets
    return xp.searchsorted(starts, xp.arange(size), side="right") - 1


BLOCK = 2**20
"""Scores that attention holds at a time (more only where one row of one sample has more)."""


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Pieces of scores ``[batch, ..., rows, columns]``: of the batch and, where one sample is too big, of its rows."""
    *lead, rows, columns = shape
    each = math.prod(lead[1:]) * max(1, columns)
    some = max(1, BLOCK // max(1, each * rows))
    step = max(1, min(rows, BLOCK // max(1, each)))
    for n in range(0, lead[0], some):
        for r in range(0, rows, step):
            yield slice(n, min(lead[0], n + some)), slice(r, min(rows, r + step))


def _whole(xp: Any, a: Any, lead: tuple[int, ...]) -> Any:
    """``a``, half precision as float32, with leading dimensions, at least one, that a block can be cut from."""
    return xp.broadcast_to(wide(a), (*(lead or (1,)), *a.shape[-2:]))


def _scores(xp: Any, query: Any, key: Any, mask: Any, is_causal: bool, scale: float, b: slice, r: slice) -> Any:
    s = xp.matmul(query[b, ..., r, :] * scale, xp.swapaxes(key[b], -1, -2))
    if mask is not None:
        part = mask[b, ..., r, :]
        s = xp.where(part, s, -math.inf) if part.dtype.kind == "b" else xp.add(s, part, out=s)
    if is_causal:
        later = xp.arange(s.shape[-1]) > xp.arange(r.start, r.stop)[:, None]
        xp.copyto(s, -math.inf, where=later)
    return s


@kernel("attention")
def attention(xp: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: float,
              spec: Any) -> tuple[Any, Any]:  # fmt: skip
    lead = spec[0].shape[:-2]
    q, k, v = (_whole(xp, a, lead) for a in (query, key, value))
    shape = (*q.shape[:-1], k.shape[-2])
    mask = None if attn_mask is None else xp.broadcast_to(attn_mask, shape)
    out = xp.zeros((*q.shape[:-1], v.shape[-1]), dtype=q.dtype)
    logs = xp.full(q.shape[:-1], math.inf, dtype=q.dtype)
    for b, r in _blocks(shape) if shape[-1] else ():
        s = _scores(xp, q, k, mask, is_causal, scale, b, r)
        top = s.max(-1, keepdims=True)
        top[top == -math.inf] = 0
        xp.subtract(s, top, out=s)
        xp.exp(s, out=s)
        total = s.sum(-1, keepdims=True)
        # A row in which all is masked attends to nothing: its sum of 0 counts as infinite, now and in the gradient.
        total[total == 0] = math.inf
        xp.divide(s, total, out=s)
        out[b, ..., r, :] = xp.matmul(s, v[b])
        logs[b, ..., r] = (top + xp.log(total))[..., 0]
    return out.reshape(spec[0].shape), logs.reshape(spec[1].shape)


@kernel("attention_backward")
def attention_backward(xp: Any, grad: Any, query: Any, key: Any, value: Any, attn_mask: Any, output: Any,
                       logsumexp: Any, is_causal: bool, scale: float, spec: Any) -> tuple[Any, ...]:  # fmt: skip
    lead = spec[0].shape[:-2]
    q, k, v, g, o = (_whole(xp, a, lead) for a in (query, key, value, grad, output))
    logs = wide(logsumexp).reshape(*q.shape[:-1], 1)
    shape = (*q.shape[:-1], k.shape[-2])
    mask = None if attn_mask is None else xp.broadcast_to(attn_mask, shape)
    made = dq, dk, dv = [xp.zeros(a.shape, dtype=a.dtype) for a in (q, k, v)]
    for b, r in _blocks(shape) if shape[-1] else ():
        p = _scores(xp, q, k, mask, is_causal, scale, b, r)
        xp.subtract(p, logs[b, ..., r, :], out=p)
        xp.exp(p, out=p)
        here = g[b, ..., r, :]
        dv[b] += xp.matmul(xp.swapaxes(p, -1, -2), here)
        ds = xp.matmul(here, xp.swapaxes(v[b], -1, -2))
        ds -= (here * o[b, ..., r, :]).sum(-1, keepdims=True)
        ds *= p
        ds *= scale
        dq[b, ..., r, :] = xp.matmul(ds, k[b])
        dk[b] += xp.matmul(xp.swapaxes(ds, -1, -2), q[b, ..., r, :])
    return tuple(a.reshape(s.shape) for a, s in zip(made, spec, strict=True))
