"""Distances between rows."""

from __future__ import annotations

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import broadcast_shapes, same
from gradwire_proto.dtypes import Category
from gradwire_proto.spec import Spec, spec


def _check(name: str, x: Spec, label: str) -> None:
    if x.dtype.category is not Category.FLOAT:
        raise RuntimeError(f"{name} only supports floating-point dtypes, {label}got: {x.dtype.legacy}")


def _cdist(op: Op, x1: Spec, x2: Spec, p: float, products: bool) -> Spec:
    for label, x in (("X1 ", x1), ("X2 ", x2)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {label}got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    _check("cdist", x1, "X1 ")
    _check("cdist", x2, "X2 ")
    if x1.dtype is not x2.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {x1.dtype.name} != {x2.dtype.name}")
    if not p >= 0:
        raise RuntimeError("cdist only supports non-negative p values")
    return spec((*broadcast_shapes(x1.shape[:-2], x2.shape[:-2]), x1.shape[-2], x2.shape[-2]), x1.dtype)


def _pdist(op: Op, input: Spec, p: float) -> Spec:
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    _check("pdist", input, "")
    if not p >= 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.shape[0]
    return spec((n * (n - 1) // 2 if n else 0,), input.dtype)


op("cdist_forward(Tensor x1, Tensor x2, float p, bool products) -> Tensor", meta=_cdist, public=False, method=False,
   node="CdistBackward0",
   doc="The p-norm between each row of one matrix and each of another; by a matrix product where p is 2 and products.")
op("pdist(Tensor input, float p=2.0) -> Tensor", meta=_pdist, method=False, alias=("nn.functional.pdist",),
   doc="The p-norm between each pair of rows.")
op("pdist_backward(Tensor grad, Tensor input, float p, Tensor pdist) -> Tensor",
   meta=lambda op, grad, input, p, pdist: same(op, input), public=False, method=False, doc="The gradient of pdist.")
