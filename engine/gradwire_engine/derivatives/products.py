"""Derivatives of products of matrices and vectors. Transposes are views: BLAS reads them as they are."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp
from gradwire_engine.tensor import Tensor


def mt(x: Any) -> Any:
    return F.transpose(x, -2, -1) if isinstance(x, Tensor) else x.swapaxes(-2, -1)


def mh(x: Any) -> Any:
    """The conjugate transpose of a matrix or of each of a batch."""
    return mt(conj(x))


def column(v: Any) -> Any:
    return F.reshape(v, (*v.shape, 1))


def rows(a: Any) -> Any:
    """A batch of matrices as one tall matrix; a vector as one row."""
    return a if a.ndim == 2 else F.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))


def times(g: Any, alpha: Any) -> Any:
    return g if alpha == 1 else g * conj(alpha)


vjp("mm", input=lambda g, mat2: F.mm(g, mh(mat2)), mat2=lambda g, input: F.mm(mh(input), g))


def over(g: Any, vec: Any) -> Any:
    """The product of matrix and vector, of whatever types."""
    return F.mv(g, vec) if g.dtype == vec.dtype else F.sum(g * vec, -1)


vjp("mv", input=lambda g, vec: F.outer(g, conj(vec)), vec=lambda g, input: F.mv(mh(input), g))
vjp("bmm", input=lambda g, mat2: F.bmm(g, mh(mat2)), mat2=lambda g, input: F.bmm(mh(input), g))
vjp("dot", input=lambda g, tensor: g * conj(tensor), tensor=lambda g, input: g * conj(input))
vjp("vdot", input=lambda g, other: conj(g) * other, other=lambda g, input: g * input)
vjp("outer", input=lambda g, vec2: over(g, conj(vec2)), vec2=lambda g, input: over(mt(g), conj(input)))


def matmul_input(g: Any, input_spec: Any, other: Any) -> Any:
    if other.ndim == 1:
        return column(g) * conj(other)
    if input_spec.ndim == 1:
        made = F.matmul(conj(other), column(g))
        return F.reshape(made, made.shape[:-1])
    return F.matmul(g, mh(other))


def matmul_other(g: Any, input: Any, other_spec: Any) -> Any:
    if input.ndim == other_spec.ndim == 1:
        return g * conj(input)
    if input.ndim == 1:
        return conj(column(input)) * F.reshape(g, (*g.shape[:-1], 1, *g.shape[-1:]))
    if other_spec.ndim == 1:
        return F.mv(mh(rows(input)), F.reshape(g, (math.prod(g.shape),)))
    if other_spec.ndim == 2:
        return F.mm(mh(rows(input)), rows(g))
    return F.matmul(mh(input), g)


vjp("matmul", input=matmul_input, other=matmul_other)


def linear_input(g: Any, weight: Any, input_spec: Any) -> Any:
    if weight.ndim == 1:
        return column(g) * conj(weight)
    return F.reshape(F.mm(rows(g), conj(weight)), input_spec.shape)


def linear_weight(g: Any, input: Any, weight_spec: Any) -> Any:
    if weight_spec.ndim == 1:
        return matmul_other(g, input, weight_spec)
    return F.mm(mt(rows(g)), conj(rows(input)))


vjp("linear", input=linear_input, weight=linear_weight, bias=lambda g: g)

vjp(
    "addmm",
    input=lambda g, beta: times(g, beta),
    mat1=lambda g, mat2, alpha: times(F.mm(g, mh(mat2)), alpha),
    mat2=lambda g, mat1, alpha: times(F.mm(mh(mat1), g), alpha),
)
vjp(
    "addmv",
    input=lambda g, beta: times(g, beta),
    mat=lambda g, vec, alpha: times(F.outer(g, conj(vec)), alpha),
    vec=lambda g, mat, alpha: times(F.mv(mh(mat), g), alpha),
)
vjp(
    "addr",
    input=lambda g, beta: times(g, beta),
    vec1=lambda g, vec2, alpha: times(F.mv(g, conj(vec2)), alpha),
    vec2=lambda g, vec1, alpha: times(F.mv(mt(g), conj(vec1)), alpha),
)
vjp(
    "addbmm",
    input=lambda g, beta: times(g, beta),
    batch1=lambda g, batch2, alpha: times(F.matmul(g, mh(batch2)), alpha),
    batch2=lambda g, batch1, alpha: times(F.matmul(mh(batch1), g), alpha),
)
vjp(
    "baddbmm",
    input=lambda g, beta: times(g, beta),
    batch1=lambda g, batch2, alpha: times(F.bmm(g, mh(batch2)), alpha),
    batch2=lambda g, batch1, alpha: times(F.bmm(mh(batch1), g), alpha),
)
vjp(
    "linalg_cross",
    input=lambda g, other, dim: F.linalg_cross(conj(other), g, dim=dim),
    other=lambda g, input, dim: F.linalg_cross(g, conj(input), dim=dim),
)
