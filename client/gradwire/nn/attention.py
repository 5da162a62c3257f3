"""``MultiheadAttention``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from gradwire.dispatch import ops
from gradwire.functions.creation import empty
from gradwire.functions.heads import canonical_mask, multi_head_attention_forward
from gradwire.nn import init
from gradwire.nn.linear import Linear
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor


class SDPBackend(Enum):
    """The ways in which torch computes attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[None]:
    """Changes nothing: the server has one way to compute attention.

    Raises:
        AssertionError: a backend is none.
    """
    several = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(several, list) or not all(isinstance(b, SDPBackend) for b in several):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    yield


class NonDynamicallyQuantizableLinear(Linear):
    """A ``Linear`` by the name that torch gives the last one of an attention."""


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani 2017): softmax(Q K^T / sqrt(head_dim)) V for each head, of projections.

    Args:
        embed_dim: features of the queries and the output; ``num_heads`` divides it.
        num_heads: how many heads share them.
        dropout: probability for each weight, while training.
        bias: whether the projections have a bias.
        add_bias_kv: have one more key and value, which are parameters.
        add_zero_attn: have one more key and value, of zeros.
        kdim: features of the keys; ``embed_dim`` by default.
        vdim: features of the values; ``embed_dim`` by default.
        batch_first: whether inputs are (N, steps, features) instead of (steps, N, features).

    Raises:
        ValueError, AssertionError: sizes that are not positive, or that do not divide.

    >>> import gradwire as torch
    >>> x = torch.ones(2, 5, 8)
    >>> output, weights = torch.nn.MultiheadAttention(8, 2, batch_first=True)(x, x, x)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 5]))
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = (embed_dim if n is None else n for n in (kdim, vdim))
        self._qkv_same_embed_dim = self.kdim == embed_dim == self.vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")

        def have(name: str, shape: tuple[int, ...], given: bool) -> None:
            made = Parameter(empty(shape, device=device, dtype=dtype)) if given else None
            self.register_parameter(name, made)

        same = self._qkv_same_embed_dim
        have("q_proj_weight", (embed_dim, embed_dim), not same)
        have("k_proj_weight", (embed_dim, self.kdim), not same)
        have("v_proj_weight", (embed_dim, self.vdim), not same)
        have("in_proj_weight", (3 * embed_dim, embed_dim), same)
        have("in_proj_bias", (3 * embed_dim,), bias)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            if add_bias_kv:
                have(name, (1, 1, embed_dim), True)
            else:
                setattr(self, name, None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
                need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """See :func:`gradwire.nn.functional.multi_head_attention_forward`."""
        padding = canonical_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query.dtype)
        mask = canonical_mask(attn_mask, "attn_mask", None, "", query.dtype)
        swap = self.batch_first and query.ndim == 3
        if swap:
            key_is_query, value_is_key = key is query, value is key
            query = ops.transpose(query, 0, 1)
            key = query if key_is_query else ops.transpose(key, 0, 1)
            value = key if value_is_key else ops.transpose(value, 0, 1)
        output, weights = multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            padding, need_weights, mask, not self._qkv_same_embed_dim, self.q_proj_weight, self.k_proj_weight,
            self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return ops.transpose(output, 0, 1) if swap else output, weights


__all__ = ["MultiheadAttention", "NonDynamicallyQuantizableLinear"]
