"""Attention of several heads over projections of its inputs, as ``nn.functional`` has it."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.arrange import pad
from gradwire.functions.attention import scaled_dot_product_attention
from gradwire.functions.shape import reshape
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


def canonical_mask(mask: Tensor | None, mask_name: str, other: Tensor | None, other_name: str,
                   target_type: Any) -> Tensor | None:  # fmt: skip
    """A mask as numbers to add to scores: minus infinity where a boolean one is True.

    Raises:
        AssertionError: neither boolean nor floating.
    """
    if mask is None:
        return None
    if mask.dtype is not dtypes.bool_ and not mask.dtype.is_floating_point:
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if other is not None and mask.dtype is not other.dtype:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.dtype is not dtypes.bool_:
        return mask
    made: Tensor = ops.masked_fill(ops.full(tuple(mask.shape), 0, dtype=target_type), mask, -math.inf)
    return made


def _check_dims(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None,
                num_heads: int) -> bool:  # fmt: skip
    """Whether there is a batch dimension."""
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor"
        )
    n = query.ndim
    given = f"For {'batched' if n == 3 else 'unbatched'} ({n}-D) `query`, expected"
    if key.ndim != n or value.ndim != n:
        raise AssertionError(
            f"{given} `key` and `value` to be {n}-D but found {key.ndim}-D and {value.ndim}-D tensors respectively"
        )
    if padding is not None and padding.ndim != n - 1:
        raise AssertionError(
            f"{given} `key_padding_mask` to be `None` or {n - 1}-D but found {padding.ndim}-D tensor instead"
        )
    if mask is not None and mask.ndim not in (2, 3):
        raise AssertionError(f"{given} `attn_mask` to be `None`, 2-D or 3-D but found {mask.ndim}-D tensor instead")
    if n == 2 and mask is not None and mask.ndim == 3:
        wanted = (num_heads, query.shape[0], key.shape[0])
        if tuple(mask.shape) != wanted:
            raise AssertionError(f"Expected `attn_mask` shape to be {wanted} but got {mask.shape}")
    return n == 3


def _project(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Queries, keys and values by one matrix: one product for those whose input is the same."""
    E = query.shape[-1]
    if query is key and key is value:
        return list(ops.split(ops.linear(query, weight, bias), E, -1))
    if key is value:
        w_q, w_kv = ops.split_with_sizes(weight, [E, 2 * E], 0)
        b_q, b_kv = (None, None) if bias is None else ops.split_with_sizes(bias, [E, 2 * E], 0)
        return [ops.linear(query, w_q, b_q), *ops.split(ops.linear(key, w_kv, b_kv), E, -1)]
    return [ops.linear(x, w, b) for x, w, b in zip((query, key, value), ops.split(weight, E, 0), _thirds(bias, E),
                                                   strict=True)]  # fmt: skip


def _thirds(bias: Tensor | None, E: int) -> Any:
    return (None,) * 3 if bias is None else ops.split(bias, E, 0)


def _project_each(inputs: tuple[Tensor, ...], weights: tuple[Any, ...], bias: Tensor | None) -> list[Tensor]:
    """Queries, keys and values by a matrix each."""
    E = inputs[0].shape[-1]
    for name, x, w in zip(("query", "key", "value"), inputs, weights, strict=True):
        wanted = (E, x.shape[-1])
        if tuple(w.shape) != wanted:
            raise AssertionError(f"expecting {name} weights shape of {wanted}, but got {w.shape}")
    return [ops.linear(x, w, b) for x, w, b in zip(inputs, weights, _thirds(bias, E), strict=True)]


@export("nn.functional.multi_head_attention_forward")
def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Project queries, keys and values, attend with each head's share of the features, and project what comes of it.

    Args:
        query: (L, N, E), or (L, E).
        key: (S, N, features), or (S, features).
        value: likewise.
        embed_dim_to_check: E.
        num_heads: divides E.
        in_proj_weight: (3 E, E): for queries, keys and values.
        in_proj_bias: (3 E).
        bias_k: (1, 1, E): one more key, with ``bias_v`` as its value.
        bias_v: see ``bias_k``.
        add_zero_attn: add one more key and value, of zeros.
        dropout_p: probability for each weight, while ``training``.
        out_proj_weight: (E, E).
        out_proj_bias: (E).
        training: see ``dropout_p``.
        key_padding_mask: (N, S), or (S): True for keys to leave out, or numbers to add to their scores.
        need_weights: give the weights, too.
        attn_mask: (L, S) or (N * heads, L, S): True for pairs to leave out, or numbers to add to their scores.
        use_separate_proj_weight: take ``q_proj_weight`` (E, E), ``k_proj_weight`` and ``v_proj_weight`` (E, features)
            instead of ``in_proj_weight``.
        q_proj_weight: see above.
        k_proj_weight: see above.
        v_proj_weight: see above.
        static_k: (N * heads, S, E / heads): keys instead of projected ones.
        static_v: likewise.
        average_attn_weights: give the mean of the heads' weights.
        is_causal: ``attn_mask`` is the causal one, which needn't be looked at then.

    Returns:
        Output (L, N, E), and None or weights (N, L, S), or (N, heads, L, S) of each head.

    Raises:
        AssertionError, RuntimeError: shapes that do not fit.
    """
    batched = _check_dims(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        one = ops.unsqueeze(query, 1)
        same_key, same_value = key is query, value is key
        key = one if same_key else ops.unsqueeze(key, 1)
        query, value = one, key if same_value else ops.unsqueeze(value, 1)
        key_padding_mask = None if key_padding_mask is None else ops.unsqueeze(key_padding_mask, 0)
    L, N, E = query.shape
    S = key.shape[0]
    padding = canonical_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    is_causal = is_causal and padding is None and not need_weights
    mask = None if is_causal else canonical_mask(attn_mask, "attn_mask", None, "", query.dtype)
    if embed_dim_to_check != E:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {E}")
    D = E // num_heads
    if D * num_heads != E:
        raise AssertionError(f"embed_dim {E} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        for name, w in zip("qkv", weights, strict=True):
            if w is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        q, k, v = _project_each((query, key, value), weights, in_proj_bias)
    else:
        if key.shape != value.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    if mask is not None:
        wanted = (L, S) if mask.ndim == 2 else (N * num_heads, L, S)
        if tuple(mask.shape) != wanted:
            raise RuntimeError(
                f"The shape of the {mask.ndim}D attn_mask is {mask.shape}, but should be {wanted}."
            )
        mask = reshape(mask, (1, 1, L, S) if mask.ndim == 2 else (N, num_heads, L, S))
    more = 0
    if (bias_k is None) != (bias_v is None):
        has, lacks = ("bias_v", "bias_k") if bias_k is None else ("bias_k", "bias_v")
        raise AssertionError(f"{has} is set but {lacks} is None")
    if bias_k is not None:
        for name, t in (("key", static_k), ("value", static_v)):
            if t is not None:
                raise AssertionError(f"bias cannot be added to static {name}.")
        k = ops.cat([k, ops.expand(bias_k, (1, N, E))], 0)
        v = ops.cat([v, ops.expand(bias_v, (1, N, E))], 0)
        more += 1

    def heads(t: Tensor) -> Tensor:
        """From (steps, N, E) to (N, heads, steps, D)."""
        made: Tensor = ops.permute(reshape(t, (t.shape[0], N, num_heads, D)), (1, 2, 0, 3))
        return made

    q = heads(q)
    k = heads(k) if static_k is None else _static("static_k", static_k, N, num_heads, D)
    v = heads(v) if static_v is None else _static("static_v", static_v, N, num_heads, D)
    if add_zero_attn:
        zeros = ops.full((N, num_heads, 1, D), 0, dtype=k.dtype)
        k, v = ops.cat([k, zeros], 2), ops.cat([v, zeros], 2)
        more += 1
    if more:
        mask, padding = (None if m is None else pad(m, (0, more)) for m in (mask, padding))
    if padding is not None:
        for dim, wanted in ((0, N), (1, k.shape[2])):
            if padding.shape[dim] != wanted:
                raise AssertionError(
                    f"Expected key_padded_mask.shape[{dim}] to be {wanted}, but got {padding.shape[dim]}"
                )
        padding = reshape(padding, (N, 1, 1, padding.shape[1]))
        mask = padding if mask is None else ops.add(mask, padding)
    dropout_p = dropout_p if training else 0.0
    shares = None
    if need_weights:
        scores = ops.matmul(ops.mul(q, math.sqrt(1 / D)), ops.transpose(k, -2, -1))
        shares = ops.softmax(scores if mask is None else ops.add(scores, mask), -1)
        if dropout_p:
            shares = ops.dropout(shares, dropout_p)[0]
        made = ops.matmul(shares, v)
        if average_attn_weights:
            shares = ops.mean(shares, 1)
        if not batched:
            shares = ops.squeeze(shares, 0)
    else:
        made = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    made = ops.linear(reshape(ops.permute(made, (2, 0, 1, 3)), (L, N, E)), out_proj_weight, out_proj_bias)
    return made if batched else ops.squeeze(made, 1), shares


def _static(name: str, t: Tensor, N: int, num_heads: int, D: int) -> Tensor:
    for dim, wanted in ((0, N * num_heads), (2, D)):
        if t.shape[dim] != wanted:
            raise AssertionError(f"expecting {name}.size({dim}) of {wanted}, but got {t.shape[dim]}")
    return reshape(t, (N, num_heads, t.shape[1], D))
