"""Kernels of embedding, one-hot codes and attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import handed, matmul, room, use_threads
from gradwire_engine.kernels.conv import wide
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at


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


BLOCK = 2**17
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


def _turned(xp: Any, a: Any) -> Any:
    """Transposed matrices, copied: BLAS takes twice as long for many small ones that are not."""
    return xp.ascontiguousarray(xp.swapaxes(a, -1, -2))


def _ceiling(xp: Any, mask: Any, is_causal: bool, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """What to add to scores, and what they may be at most: transposed as they are, None where there is nothing."""
    low, high = dtype.type(-math.inf), dtype.type(math.inf)
    whole = (*shape[:-2], shape[-1], shape[-2])
    add = most = None
    if mask is not None:
        mask = _turned(xp, mask.reshape((1,) * (2 - mask.ndim) + mask.shape))
        if mask.dtype.kind == "b":
            most = xp.broadcast_to(xp.where(mask, high, low), whole)
        else:
            add = xp.broadcast_to(mask, whole)
    if is_causal:
        later = xp.where(xp.arange(shape[-1])[:, None] > xp.arange(shape[-2]), low, high)
        most = xp.broadcast_to(later, whole) if most is None else xp.minimum(most, later)
    return add, most


def _scores(xp: Any, query: Any, key: Any, limits: tuple[Any, Any], b: slice, r: slice) -> Any:
    """Scores of a block, keys in rows and queries in columns: NumPy is three times as fast with a maximum over rows."""
    s = matmul(xp, key, _turned(xp, query))
    for combine, a in zip((xp.add, xp.minimum), limits, strict=True):
        if a is not None:
            s = combine(s, a[b, ..., r], out=s)
    return s


SCORES = 2**15
"""Scores that a core holds at a time in loops (more only where one row has more)."""


def _masks(xp: Any, mask: Any, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Masks to be added to scores of this shape, ``[masks, rows or 1, keys]``, and which of them each sample has."""
    if mask is None:
        return xp.empty((0, 1, 1), dtype), xp.empty(0, "int64")
    *lead, _, keys = shape
    mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
    if mask.dtype.kind == "b":
        mask = xp.where(mask, dtype.type(0), dtype.type(-math.inf))
    table = xp.broadcast_to(mask, (*mask.shape[:-1], keys)).astype(dtype)
    table = table.reshape(-1, *table.shape[-2:])
    numbers = xp.arange(len(table)).reshape(mask.shape[:-2])
    return table, xp.ascontiguousarray(xp.broadcast_to(numbers, lead)).reshape(-1)


def _samples(xp: Any, *arrays: Any) -> list[Any]:
    return [xp.ascontiguousarray(a).reshape(-1, *a.shape[-2:]) for a in arrays]


def _attend(xp: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, made: Any, logs: Any) -> None:
    """Attention by a loop over the samples."""
    from gradwire_engine.loops import lines

    shape = (*q.shape[:-1], k.shape[-2])
    given = (*_samples(xp, q, k, v), *_masks(xp, mask, shape, q.dtype), causal, q.dtype.type(scale))
    use_threads(False)
    loops.over(lines.attend, math.prod(shape[:-2]), math.prod(shape[-2:]), *given, _step(*shape[-2:]),
               *_samples(xp, made), logs.reshape(-1, shape[-2]))  # fmt: skip


def _attend_back(xp: Any, g: Any, q: Any, k: Any, v: Any, o: Any, logs: Any, mask: Any, causal: bool, scale: float,
                 made: Any) -> None:  # fmt: skip
    from gradwire_engine.loops import lines

    shape = (*q.shape[:-1], k.shape[-2])
    low = xp.ascontiguousarray(logs).reshape(-1, shape[-2])
    given = (*_samples(xp, g, q, k, v, o), low, *_masks(xp, mask, shape, q.dtype), causal, q.dtype.type(scale))
    use_threads(False)
    loops.over(lines.attend_back, math.prod(shape[:-2]), 2 * math.prod(shape[-2:]), *given, _step(*shape[-2:]),
               *_samples(xp, *made))  # fmt: skip


def _step(rows: int, keys: int) -> int:
    return max(1, min(rows, SCORES // keys))


@kernel("attention")
def attention(xp: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: float, spec: Any,
              out: Any = (None, None)) -> tuple[Any, Any]:  # fmt: skip
    lead = spec[0].shape[:-2]
    q, k, v = (_whole(xp, a, lead) for a in (query, key, value))
    shape = (*q.shape[:-1], k.shape[-2])
    made = room(xp, out[0], (*q.shape[:-1], v.shape[-1]), q.dtype)
    logs = room(xp, out[1], q.shape[:-1], q.dtype)
    if not shape[-1]:
        made[...], logs[...] = 0, math.inf
    if math.prod(shape) and loops.fit(xp, q, k, v, single=True):
        _attend(xp, q, k, v, attn_mask, is_causal, scale, made, logs)
        return handed(out[0], made, spec[0].shape), handed(out[1], logs, spec[1].shape)
    limits = _ceiling(xp, attn_mask, is_causal, shape, q.dtype)
    ones = xp.ones((1, shape[-1]), q.dtype)
    for b, r in _blocks(shape) if shape[-1] else ():
        s = _scores(xp, q[b, ..., r, :] * scale, k[b], limits, b, r)
        top = s.max(-2, keepdims=True)
        top[top == -math.inf] = 0
        xp.subtract(s, top, out=s)
        xp.exp(s, out=s)
        total = matmul(xp, ones, s)  # the sums over keys, sooner than by what is made for that
        # A row in which all is masked attends to nothing: its sum of 0 counts as infinite, now and in the gradient.
        total[total == 0] = math.inf
        mixed = matmul(xp, xp.swapaxes(s, -1, -2), v[b])
        xp.divide(mixed, xp.swapaxes(total, -1, -2), out=made[b, ..., r, :])
        logs[b, ..., r] = (top + xp.log(total))[..., 0, :]
    return handed(out[0], made, spec[0].shape), handed(out[1], logs, spec[1].shape)


@kernel("attention_backward")
def attention_backward(xp: Any, grad: Any, query: Any, key: Any, value: Any, attn_mask: Any, output: Any,
                       logsumexp: Any, is_causal: bool, scale: float, spec: Any,
                       out: Any = (None, None, None)) -> tuple[Any, ...]:  # fmt: skip
    lead = spec[0].shape[:-2]
    q, k, v, g, o = (_whole(xp, a, lead) for a in (query, key, value, grad, output))
    logs = wide(logsumexp).reshape(q.shape[:-1])
    shape = (*q.shape[:-1], k.shape[-2])
    made = dq, dk, dv = [room(xp, x, a.shape, a.dtype) for x, a in zip(out, (q, k, v), strict=True)]
    if not math.prod(shape):
        for a in made:
            a[...] = 0
    if math.prod(shape) and loops.fit(xp, q, k, v, g, o, logs, single=True):
        _attend_back(xp, g, q, k, v, o, logs, attn_mask, is_causal, scale, made)
        return tuple(handed(x, a, s.shape) for x, a, s in zip(out, made, spec, strict=True))
    limits = _ceiling(xp, attn_mask, is_causal, shape, q.dtype)
    for b, r in _blocks(shape) if math.prod(shape) else ():
        scaled, here = q[b, ..., r, :] * scale, g[b, ..., r, :]
        p = _scores(xp, scaled, k[b], limits, b, r)
        xp.subtract(p, logs[b, ..., None, r], out=p)
        xp.exp(p, out=p)
        ds = matmul(xp, v[b], _turned(xp, here))
        ds -= xp.einsum("...i,...i->...", here, o[b, ..., r, :])[..., None, :]
        ds *= p
        for total, rows, columns in ((dv, p, here), (dk, ds, scaled)):
            if r.start:
                total[b] += matmul(xp, rows, columns)
            else:
                matmul(xp, rows, columns, out=total[b])
        xp.multiply(matmul(xp, xp.swapaxes(ds, -1, -2), k[b]), scale, out=dq[b, ..., r, :])
    return tuple(handed(x, a, s.shape) for x, a, s in zip(out, made, spec, strict=True))
