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


def transposed(x: Any) -> Any:
    return F.transpose(x, -2, -1)


def inner(a: Any, b: Any) -> Any:
    """The inner product of rows, as a column."""
    return F.sum(a * b, (-1,), True)


def is_bool(x: Any) -> bool:
    return bool(x.dtype.name == "bool")


def weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float) -> Any:
    """softmax(scale * query @ key^T + mask), 0 in rows in which all is masked."""
    s = F.matmul(query, transposed(key)) * scale
    if is_causal:
        s = F.where(F.tril(F.new_full(s, s.shape[-2:], 1)) == 0, float("-inf"), s)
    if attn_mask is None:
        return F.softmax(s, -1)
    s = F.where(attn_mask, s, float("-inf")) if is_bool(attn_mask) else s + attn_mask
    dead = F.logical_not(F.any(s != float("-inf"), (-1,), True))
    return F.where(dead, 0, F.softmax(F.where(dead, 0, s), -1))


def attention_grads(gs: Any, query: Any, key: Any, value: Any, attn_mask: Any, output: Any, logsumexp: Any,
                    is_causal: bool, scale: float, needs: Any) -> tuple[Any, ...]:  # fmt: skip
    made = F.attention_backward(gs[0], query, key, value, attn_mask, output, logsumexp, is_causal, scale)
    if not needs[3]:
        return (*made, None)
    p = weights(query, key, attn_mask, is_causal, scale)
    dp = F.matmul(gs[0], transposed(value))
    return (*made, p * (dp - inner(p, dp)))


def attention_second(gs: Any, grad: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool,
                     scale: float) -> tuple[Any, ...]:  # fmt: skip
    """With scores s = scale q k^T, p = softmax(s), dp = g v^T and ds = p (dp - <p, dp>), the gradients are
    dq = scale ds k, dk = scale ds^T q, dv = p^T g. Of <a, dq> + <b, dk> + <c, dv> = <e, ds> + <p, g c^T> with
    e = scale (a k^T + q b^T), first what is linear in dp and ds, then what comes through p.
    """
    a, b, c = gs
    p = weights(query, key, attn_mask, is_causal, scale)
    dp = F.matmul(grad, transposed(value))
    mean = inner(p, dp)
    ds = p * (dp - mean)
    e = (F.matmul(a, transposed(key)) + F.matmul(query, transposed(b))) * scale
    to_dp = p * (e - inner(p, e))
    to_p = e * (dp - mean) - dp * inner(p, e) + F.matmul(grad, transposed(c))
    to_s = p * (to_p - inner(p, to_p))
    return (
        F.matmul(to_dp, value) + F.matmul(p, c),
        (F.matmul(to_s, key) + F.matmul(ds, b)) * scale,
        (F.matmul(transposed(to_s), query) + F.matmul(transposed(ds), a)) * scale,
        F.matmul(transposed(to_dp), grad),
        to_s if attn_mask is not None and not is_bool(attn_mask) else None,
        None,
        None,
    )


vjp("attention", attention_grads)
vjp("attention_backward", attention_second)
