"""Embedding, one-hot codes and scaled dot product attention."""

from __future__ import annotations

from gradwire_proto import dtypes
from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import broadcast_shapes
from gradwire_proto.spec import Spec, spec


def _check_indices(op: Op, indices: Spec, position: int = 1) -> None:
    if indices.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            f"Expected tensor for argument #{position} 'indices' to have one of the following scalar types: Long, "
            f"Int; but got torch.{indices.dtype.legacy}Tensor instead (while checking arguments for {op.name})"
        )


def _embedding(op: Op, weight: Spec, indices: Spec, *_: object) -> Spec:
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    _check_indices(op, indices)
    return spec((*indices.shape, weight.shape[1]), weight.dtype)


def _embedding_backward(op: Op, grad: Spec, indices: Spec, num_weights: int, *_: object) -> Spec:
    _check_indices(op, indices)
    return spec((num_weights, grad.shape[-1]), grad.dtype)


def _renorm(op: Op, input: Spec, indices: Spec, *_: object) -> Spec:
    if input.ndim != 2:
        raise RuntimeError(
            f"Expected 2-dimensional tensor, but got {input.ndim}-dimensional tensor for argument #1 'self' (while "
            "checking arguments for embedding_renorm_)"
        )
    _check_indices(op, indices, 2)
    return input


op("embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) "
   "-> Tensor", meta=_embedding, method=False, doc="The rows of weight that indices name.")
op("embedding_dense_backward(Tensor grad, Tensor indices, int num_weights, int padding_idx, "
   "bool scale_grad_by_freq) -> Tensor", meta=_embedding_backward, public=False, method=False,
   doc="Rows of grad summed by index, none for padding_idx; each divided by how often its index came where asked.")
op("embedding_renorm_(Tensor(a!) input, Tensor indices, float max_norm, float norm_type) -> Tensor(a!)",
   meta=_renorm, differentiable=False, method=False,
   doc="Scales the rows of input that indices name down to max_norm.")


def _one_hot(op: Op, input: Spec, num_classes: int) -> Spec:
    if input.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes <= 0:
        if not input.numel:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        raise RuntimeError("Class values must be smaller than num_classes.")
    return spec((*input.shape, num_classes), dtypes.int64)


op("one_hot(Tensor input, int num_classes) -> Tensor", meta=_one_hot, differentiable=False, public=False,
   method=False, doc="1 at the class that each number names, 0 at the others.")


def _bag_numbers(op: Op, offsets: Spec, size: int, include_last_offset: bool) -> Spec:
    _check_indices(op, offsets)
    return spec((size,), dtypes.int64)


op("bag_numbers(Tensor offsets, int size, bool include_last_offset) -> Tensor", meta=_bag_numbers,
   differentiable=False, public=False, method=False, doc="The bag that each of size indices is in.")


def _attention(op: Op, query: Spec, key: Spec, value: Spec, attn_mask: Spec | None, *_: object) -> tuple[Spec, Spec]:
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{query.ndim} key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if not query.dtype is key.dtype is value.dtype:
        names = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}
        q, k, v = (names.get(t.dtype.name, t.dtype.name) for t in (query, key, value))
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {q} key.dtype: {k} and "
            f"value.dtype: {v} instead."
        )
    if not query.dtype.is_floating_point:
        raise NotImplementedError(f"\"softmax_lastdim_kernel_impl\" not implemented for '{query.dtype.legacy}'")
    lead = broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    (rows, width), (columns, other) = query.shape[-2:], key.shape[-2:]
    if width != other:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{width} and {other}x{columns})")
    if columns != value.shape[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{columns} and {value.shape[-2]}x{value.shape[-1]})"
        )
    if attn_mask is not None:
        scores = (*lead, rows, columns)
        whole = broadcast_shapes(scores, attn_mask.shape)
        if whole != scores:
            raise RuntimeError(
                f"output with shape {list(scores)} doesn't match the broadcast shape {list(whole)}"
            )
    return spec((*lead, rows, value.shape[-1]), query.dtype), spec((*lead, rows), query.dtype)


def _attention_backward(op: Op, grad: Spec, query: Spec, key: Spec, value: Spec, *_: object) -> tuple[Spec, ...]:
    lead = grad.shape[:-2]
    return tuple(spec((*lead, *t.shape[-2:]), t.dtype) for t in (query, key, value))


_QKV = "Tensor query, Tensor key, Tensor value, Tensor? attn_mask"
op(f"attention({_QKV}, bool is_causal, float scale) -> (Tensor output, Tensor logsumexp)", meta=_attention,
   public=False, method=False, node="ScaledDotProductFlashAttentionForCpuBackward0",
   doc="Values averaged with weights softmax(scale * query @ key^T + mask), and the logarithm of what divided them.")
op(f"attention_backward(Tensor grad, {_QKV}, Tensor output, Tensor logsumexp, bool is_causal, float scale) "
   "-> (Tensor grad_query, Tensor grad_key, Tensor grad_value)", meta=_attention_backward, public=False, method=False,
   node="ScaledDotProductFlashAttentionForCpuBackwardBackward0", doc="Gradients of attention.")
