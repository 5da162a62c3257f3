"""Embedding, one-hot codes and scaled dot product attention as ``nn.functional`` has them."""

from __future__ import annotations

import math
import warnings

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import check_real, ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


def _renorm(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    with no_grad():
        ops.embedding_renorm_(weight, indices, max_norm, norm_type)


@export("nn.functional.embedding")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:  # fmt: skip
    """The rows of ``weight`` that ``input`` names; the one of ``padding_idx`` gets no gradient."""
    if padding_idx is None:
        padding_idx = -1
    else:
        rows = weight.shape[0]
        assert -rows <= padding_idx < rows, "Padding_idx must be within num_embeddings"
        padding_idx %= rows
    if max_norm is not None:
        _renorm(weight, input, max_norm, norm_type)
    check_real("embedding", weight)
    return ops.embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)


def _check_bag(input: Tensor, weight: Tensor, offsets: Tensor | None, mode: str, scale_grad_by_freq: bool,
               sparse: bool, per_sample_weights: Tensor | None, padding_idx: int | None) -> None:  # fmt: skip
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if input.ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if input.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    if input.ndim == 1 and not isinstance(offsets, Tensor):
        raise ValueError(f"offsets has to be a 1D Tensor but got {offsets}")
    if offsets is not None and offsets.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). Please open a feature request on GitHub."
        )
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    rows = weight.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise RuntimeError(
            f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1}, but got {padding_idx}"
        )


@export("nn.functional.embedding_bag")
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
                  norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:  # fmt: skip
    """Sum, mean or maximum of the rows that each bag of indices names; ``padding_idx`` doesn't count."""
    if weight.dtype is dtypes.int64 and input.is_floating_point():
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        weight, input = input, weight
    _check_bag(input, weight, offsets, mode, scale_grad_by_freq, sparse, per_sample_weights, padding_idx)
    flat = input.reshape(-1)  # type: ignore[attr-defined]
    if offsets is None:
        bags = input.shape[0]
        offsets = ops.arange(0, flat.shape[0], input.shape[1], dtype=dtypes.int64)
        include_last_offset = False  # that is of offsets that were given
    else:
        bags = offsets.shape[0] - include_last_offset
    if max_norm is not None:
        _renorm(weight, flat, max_norm, norm_type)
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    rows = ops.embedding(weight, flat, padding, scale_grad_by_freq)
    number = ops.bag_numbers(offsets, flat.shape[0], include_last_offset)
    skipped = ops.unsqueeze(ops.eq(flat, padding), -1)
    if mode == "max":
        rows = ops.where(skipped, -math.inf, rows)
        empty = ops.new_full(weight, (bags, weight.shape[1]), -math.inf)
        where = ops.expand(ops.unsqueeze(number, -1), tuple(rows.shape))
        most = ops.scatter_reduce(empty, 0, where, rows, "amax")
        return ops.where(ops.eq(most, -math.inf), 0, most)
    if per_sample_weights is not None:
        rows = rows * ops.unsqueeze(per_sample_weights.reshape(-1), -1)  # type: ignore[attr-defined]
    if padding_idx is not None:
        rows = ops.where(skipped, 0, rows)
    total = ops.embedding_dense_backward(rows, number, bags, -1, False)
    if mode == "sum":
        return total
    ones = ops.to_dtype(ops.logical_not(skipped), weight.dtype)
    counts = ops.embedding_dense_backward(ones, number, bags, -1, False)
    made: Tensor = total / ops.clamp(counts, 1)
    return made


@export("nn.functional.one_hot")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the class that each number names; the number of classes is asked of the server where it isn't given."""
    if num_classes == -1 and tensor.numel() and tensor.dtype is dtypes.int64:
        # Of a negative largest number the op says what is wrong.
        num_classes = max(1, int(tensor.max().item()) + 1)  # type: ignore[attr-defined]
    return ops.one_hot(tensor, num_classes)


def _grouped(query: Tensor, heads: Tensor) -> Tensor:
    """Keys or values with each head repeated for the queries that share it."""
    have, want = heads.size(-3), query.size(-3)
    if want % have:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in ")
    lead = tuple(heads.shape[:-3])
    shape = (*lead, have, want // have, *heads.shape[-2:])
    made: Tensor = ops.expand(ops.unsqueeze(heads, -3), shape).reshape((*lead, want, *heads.shape[-2:]))
    return made


@export("nn.functional.scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """Values averaged with weights ``softmax(scale * query @ key^T + mask)``, of which dropout takes some."""
    if attn_mask is not None:
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
        if attn_mask.dtype not in (dtypes.bool_, query.dtype, dtypes.float32):
            names = {"float32": "float", "float64": "double"}
            given, wanted = (names.get(t.dtype.name, t.dtype.name) for t in (attn_mask, query))
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{given} and  query.dtype: {wanted} instead."
            )
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p:g}")
    if enable_gqa:
        key, value = _grouped(query, key), _grouped(query, value)
    if scale is None:
        scale = 1 / math.sqrt(query.size(-1)) if query.size(-1) else 1.0
    if not dropout_p:
        return ops.attention(query, key, value, attn_mask, is_causal, scale)[0]
    scores = ops.matmul(query * scale, ops.transpose(key, -2, -1))  # type: ignore[operator]
    if is_causal:
        ones = ops.new_full(scores, tuple(scores.shape[-2:]), 1)
        scores = ops.where(ops.eq(ops.tril(ones), 0), -math.inf, scores)
    elif attn_mask is not None:
        masked = attn_mask.dtype is dtypes.bool_
        scores = ops.where(attn_mask, scores, -math.inf) if masked else scores + attn_mask
    return ops.matmul(ops.dropout(ops.softmax(scores, -1), dropout_p)[0], value)
