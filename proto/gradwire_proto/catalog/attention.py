"""Embedding, one-hot codes and scaled dot product attention."""

from __future__ import annotations

from gradwire_proto import dtypes
from gradwire_proto.catalog.declare import Op, op
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
