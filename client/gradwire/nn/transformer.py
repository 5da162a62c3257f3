"""Transformers (Vaswani et al. 2017): layers of attention and a small network, stacks of them, and both sides."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import ops
from gradwire.functions.heads import canonical_mask
from gradwire.nn import functional as F
from gradwire.nn import init
from gradwire.nn.activation import DROPOUTS
from gradwire.nn.attention import MultiheadAttention
from gradwire.nn.containers import ModuleList
from gradwire.nn.linear import Linear
from gradwire.nn.module import Module
from gradwire.nn.norm import LayerNorm
from gradwire.tensor import Tensor

Dropout: Any = DROPOUTS["Dropout"]


def _activation(given: str | Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    if given is None:
        given = "relu"
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    made: Callable[[Tensor], Tensor] = getattr(F, given)
    return made


class _Layer(Module):
    """What both kinds of layers have in common; each part's result is added to its input.

    Args:
        d_model: features of input and output.
        nhead: heads of the attention.
        dim_feedforward: features between the two matrices of the small network.
        dropout: probability for each number, while training.
        activation: of the small network: "relu" (or None), "gelu", or a function of a tensor.
        layer_norm_eps: added to variances.
        batch_first: whether inputs are (N, steps, d_model) instead of (steps, N, d_model).
        norm_first: normalize the input of each part instead of its sum with the result.
        bias: whether matrices and norms have a bias.

    Raises:
        RuntimeError: another name for ``activation``.
    """

    attentions: tuple[str, ...] = ("self_attn",)

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        for name in self.attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        parts = range(1, len(self.attentions) + 2)
        for i in parts:
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **made))
        for i in parts:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _parts(self, x: Tensor, *parts: Callable[[Tensor], Tensor]) -> Tensor:
        for i, part in enumerate(parts, 1):
            norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = ops.add(x, dropout(part(norm(x)))) if self.norm_first else norm(ops.add(x, dropout(part(x))))
        return x

    def _feed(self, x: Tensor) -> Tensor:
        made: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return made


class TransformerEncoderLayer(_Layer):
    """Attention of the input to itself, and a small network for each step. Arguments are :class:`_Layer`'s.

    >>> import gradwire as torch
    >>> torch.nn.TransformerEncoderLayer(8, 2, 16)(torch.ones(5, 3, 8)).shape
    torch.Size([5, 3, 8])
    """

    def forward(self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:  # fmt: skip
        """Masks are :class:`MultiheadAttention`'s; ``is_causal`` tells that ``src_mask`` is the causal one."""
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", src_mask, "src_mask", src.dtype)
        mask = canonical_mask(src_mask, "src_mask", None, "", src.dtype)

        def attend(x: Tensor) -> Tensor:
            made: Tensor = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)[0]
            return made

        return self._parts(src, attend, self._feed)


class TransformerDecoderLayer(_Layer):
    """Attention of the input to itself and to ``memory``, and a small network for each step.

    Arguments are :class:`_Layer`'s.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
                tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
                tgt_is_causal: bool = False, memory_is_causal: bool = False) -> Tensor:  # fmt: skip
        """Masks are :class:`MultiheadAttention`'s; ``*_is_causal`` tell that ``*_mask`` is the causal one."""

        def attend(x: Tensor) -> Tensor:
            made: Tensor = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            return made

        def remember(x: Tensor) -> Tensor:
            made: Tensor = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]
            return made

        return self._parts(tgt, attend, remember, self._feed)


class _Stack(Module):
    def __init__(self, layer: Module, num_layers: int, norm: Module | None):
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Copies of a layer, one after the other.

    Args:
        encoder_layer: what to copy.
        num_layers: how many copies.
        norm: applied to the output of the last one; none if None.
        enable_nested_tensor: accepted for torch's sake: padding is computed like all other steps.
        mask_check: likewise.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True):  # fmt: skip
        super().__init__(encoder_layer, num_layers, norm)
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
                is_causal: bool | None = None) -> Tensor:  # fmt: skip
        """Masks are the layers'. None for ``is_causal`` says no: the mask's values aren't read to find out."""
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", mask, "mask", src.dtype)
        mask = canonical_mask(mask, "mask", None, "", src.dtype)
        for layer in self.layers:
            src = layer(src, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=padding)
        return self._normed(src)


class TransformerDecoder(_Stack):
    """Copies of a layer, one after the other.

    Args:
        decoder_layer: what to copy.
        num_layers: how many copies.
        norm: applied to the output of the last one; none if None.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__(decoder_layer, num_layers, norm)

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
                tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Tensor:  # fmt: skip
        """Masks are the layers'. None for ``tgt_is_causal`` says no: the mask's values aren't read to find out."""
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                        bool(tgt_is_causal), memory_is_causal)  # fmt: skip
        return self._normed(tgt)


class Transformer(Module):
    """An encoder, and a decoder of its output.

    Args:
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        custom_encoder: a module instead of the encoder.
        custom_decoder: a module instead of the decoder.

    The others are :class:`_Layer`'s. Matrices are drawn as Glorot and Bengio (2010) have it.

    >>> import gradwire as torch
    >>> model = torch.nn.Transformer(8, 2, 1, 1, 16)
    >>> model(torch.ones(5, 3, 8), torch.ones(4, 3, 8)).shape
    torch.Size([4, 3, 8])
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
                 dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = None,
                 custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__()

        def stack(kind: Any, layer: Any, count: int) -> Any:
            one = layer(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                        bias, device, dtype)  # fmt: skip
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)
            return kind(one, count, norm)

        encoder, decoder = custom_encoder, custom_decoder
        if encoder is None:
            encoder = stack(TransformerEncoder, TransformerEncoderLayer, num_encoder_layers)
        if decoder is None:
            decoder = stack(TransformerDecoder, TransformerDecoderLayer, num_decoder_layers)
        self.encoder, self.decoder = encoder, decoder
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None, tgt_mask: Tensor | None = None,
                memory_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
                tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
                src_is_causal: bool | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Tensor:  # fmt: skip
        """From ``src`` (S, N, d_model) and ``tgt`` (T, N, d_model) to (T, N, d_model); masks are the layers'.

        Raises:
            RuntimeError: sizes that do not fit.
        """
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        made: Tensor = self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip
        return made

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask: minus infinity for steps that are yet to come, else 0."""
        made: Tensor = ops.triu(ops.full((sz, sz), -math.inf, dtype=dtype or default_dtype()), 1)
        return made


__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]
