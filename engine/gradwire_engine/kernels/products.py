"""Kernels of products of matrices and vectors."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import matmul
from gradwire_engine.registry import kernel

kernel("mm", lambda xp, input, mat2, out=None: matmul(xp, input, mat2, out))
kernel("mv", lambda xp, input, vec, out=None: matmul(xp, input, vec, out))
kernel("bmm", lambda xp, input, mat2, out=None: matmul(xp, input, mat2, out))
kernel("dot", lambda xp, input, tensor: matmul(xp, input, tensor))
kernel("vdot", lambda xp, input, other: matmul(xp, xp.conj(input), other))
kernel("outer", lambda xp, input, vec2, out=None: xp.multiply(input[:, None], vec2, out=out))


def _rows(a: Any) -> Any:
    """A batch of matrices as one tall matrix, so that a product with one other matrix is one call of BLAS."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


@kernel("matmul")
def general_matmul(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    if input.ndim > 2 and other.ndim <= 2:
        rows = _rows(input)
        flat = None if out is None else out.reshape(rows.shape[:1] + other.shape[1:])
        made = matmul(xp, rows, other, flat)
        return made.reshape(input.shape[:-1] + other.shape[1:]) if out is None else out
    return matmul(xp, input, other, out)


@kernel("linear")
def linear(xp: Any, input: Any, weight: Any, bias: Any, out: Any = None) -> Any:
    if input.ndim == 2:
        made = matmul(xp, input, weight.T, out)
    else:
        flat = None if out is None else _rows(out) if weight.ndim == 2 else out.reshape(out.size)
        made = matmul(xp, _rows(input), weight.T, flat).reshape(input.shape[:-1] + weight.shape[:-1])
    if bias is not None:
        made += bias
    return made if out is None else out


def _plus(xp: Any, product: Any, input: Any, beta: Any, alpha: Any, out: Any) -> Any:
    """``beta * input + alpha * product``; ``out`` may be ``input``, and beta 0 hides what input holds, even nan."""
    if product.dtype.kind in "iu":
        beta, alpha = int(beta), int(alpha)
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        if out is None:
            return product
        out[...] = product
        return out
    return xp.add(product, input if beta == 1 else input * beta, out=out)


@kernel("addmm")
def addmm(xp: Any, input: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    return _plus(xp, matmul(xp, mat1, mat2), input, beta, alpha, out)


@kernel("addmv")
def addmv(xp: Any, input: Any, mat: Any, vec: Any, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    return _plus(xp, matmul(xp, mat, vec), input, beta, alpha, out)


@kernel("addr")
def addr(xp: Any, input: Any, vec1: Any, vec2: Any, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    return _plus(xp, vec1[:, None] * vec2, input, beta, alpha, out)


@kernel("addbmm")
def addbmm(xp: Any, input: Any, batch1: Any, batch2: Any, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    # the sum over the batch is one product with batch and inner dimension as one
    wide = xp.swapaxes(batch1, 0, 1).reshape(batch1.shape[1], batch1.shape[0] * batch1.shape[2])
    tall = batch2.reshape(batch2.shape[0] * batch2.shape[1], batch2.shape[2])
    return _plus(xp, matmul(xp, wide, tall), input, beta, alpha, out)


@kernel("baddbmm")
def baddbmm(xp: Any, input: Any, batch1: Any, batch2: Any, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    return _plus(xp, matmul(xp, batch1, batch2), input, beta, alpha, out)


@kernel("linalg_cross")
def cross(xp: Any, input: Any, other: Any, dim: int = -1) -> Any:
    input, other = xp.broadcast_arrays(input, other)
    return xp.cross(input, other, axis=dim)
