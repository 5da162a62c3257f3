"""Kernels of linear algebra. What fails for some matrices of a batch is done again with the identity in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import scipy.linalg

from gradwire_engine.backend import NUMPY_DTYPE, checked, linalg, lu_factor, solve_triangular, to_host
from gradwire_engine.registry import kernel
from gradwire_proto.errors import LinAlgError

NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the leading minor of order "
    "{} is not positive-definite)."
)
NOT_INVERTIBLE = (
    "The diagonal element {} is zero, the inversion could not be completed because the input matrix is singular."
)
NOT_SOLVABLE = "The solver failed because the input matrix is singular."
ZERO_PIVOT = (
    "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the "
    "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
)


def _fail(info: Any, name: str | None, text: str, kind: type[Exception] = LinAlgError) -> None:
    """Raise for the first matrix of a batch whose ``info`` is not 0, if a function's name to raise for is given."""
    if name is None:
        return
    info = to_host(info)
    for i, order in enumerate(info.ravel()):
        if order:
            where = f"(Batch element {i}): " if info.ndim else ""
            raise kind(f"{name}: {where}{text.format(order)}")


def first_zero(xp: Any, diagonal: Any) -> Any:
    """The position, from 1, of the first zero of each diagonal; 0 where there is none."""
    zero = diagonal == 0
    if not diagonal.shape[-1]:
        return xp.zeros(diagonal.shape[:-1], xp.int32)
    return xp.where(zero.any(axis=-1), zero.argmax(axis=-1) + 1, 0).astype(xp.int32)


def _singular(xp: Any, a: Any) -> Any:
    return first_zero(xp, xp.diagonal(lu_factor(xp, a)[0], 0, -2, -1))


def _not_positive(xp: Any, a: Any) -> Any:
    host = to_host(a)
    (potrf,) = cast(Any, scipy.linalg.get_lapack_funcs(["potrf"], (host,)))
    info = np.zeros(host.shape[:-2], np.int32)
    for i in np.ndindex(host.shape[:-2]):
        info[i] = potrf(host[i], lower=True)[1]
    return xp.asarray(info)


def _attempt(xp: Any, run: Callable[[Any], Any], a: Any, diagnose: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """``run(a)`` and each matrix's failure, 0 for none; where one failed its result is inf."""
    try:
        with checked(xp):
            return run(a), xp.zeros(a.shape[:-2], xp.int32)
    except np.linalg.LinAlgError:
        info = diagnose(xp, a)
        bad = (info != 0)[..., None, None]
        made = run(xp.where(bad, xp.eye(a.shape[-1], dtype=a.dtype), a))
        made[xp.broadcast_to(bad, made.shape)] = xp.inf
        return made, info


def _folded(b: Any) -> Any:
    """A batch of right sides for one matrix, as the columns of one."""
    return b.reshape(-1, *b.shape[-2:]).swapaxes(0, 1).reshape(b.shape[-2], -1)


def _unfolded(x: Any, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape[-2], -1, shape[-1]).swapaxes(0, 1).reshape(shape)


def _batched(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return xp.broadcast_to(a, batch + a.shape[-2:]), xp.broadcast_to(b, batch + b.shape[-2:])


@kernel("linalg_inv_ex")
def inv(xp: Any, A: Any, raise_as: str | None = None) -> tuple[Any, Any]:
    made, info = _attempt(xp, xp.linalg.inv, A, _singular)
    _fail(info, raise_as, NOT_INVERTIBLE)
    return made, info


@kernel("linalg_solve_ex")
def solve(xp: Any, A: Any, B: Any, raise_as: str | None = None) -> tuple[Any, Any]:
    def run(a: Any) -> Any:
        if a.ndim == 2 < B.ndim and B.size:
            return _unfolded(xp.linalg.solve(a, _folded(B)), B.shape)
        return xp.linalg.solve(*_batched(xp, a, B))

    made, info = _attempt(xp, run, A, _singular)
    _fail(info, raise_as, NOT_SOLVABLE)
    return made, info


@kernel("linalg_solve_triangular")
def triangular(xp: Any, A: Any, B: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    d = xp.promote_types(A.dtype, B.dtype)
    a, b = A.astype(d, copy=False), B.astype(d, copy=False)
    if not left:
        a, b, upper = a.swapaxes(-1, -2), b.swapaxes(-1, -2), not upper
    if a.ndim == 2 < b.ndim and b.size:
        made = _unfolded(solve_triangular(xp, a, _folded(b), lower=not upper, unit=unitriangular), b.shape)
    else:
        made = solve_triangular(xp, *_batched(xp, a, b), lower=not upper, unit=unitriangular)
    return made if left else made.swapaxes(-1, -2)


@kernel("linalg_cholesky_ex")
def cholesky(xp: Any, A: Any, upper: bool = False, raise_as: str | None = None) -> tuple[Any, Any]:
    a = xp.conj(A.swapaxes(-1, -2)) if upper else A
    made, info = _attempt(xp, xp.linalg.cholesky, a, _not_positive)
    _fail(info, raise_as, NOT_POSITIVE)
    return (xp.conj(made.swapaxes(-1, -2)) if upper else made), info


@kernel("cholesky_solve")
def cholesky_solve(xp: Any, B: Any, L: Any, upper: bool = False) -> Any:
    adjoint = xp.conj(L.swapaxes(-1, -2))
    first, second = (adjoint, L) if upper else (L, adjoint)
    return triangular(xp, second, triangular(xp, first, B, False), True)


@kernel("cholesky_inverse")
def cholesky_inverse(xp: Any, L: Any, upper: bool = False) -> Any:
    _fail(first_zero(xp, xp.diagonal(L, 0, -2, -1)), "cholesky_inverse", NOT_INVERTIBLE)
    return cholesky_solve(xp, xp.broadcast_to(xp.eye(L.shape[-1], dtype=L.dtype), L.shape), L, upper)


kernel("det", lambda xp, input: xp.linalg.det(input))
kernel("linalg_slogdet", lambda xp, A, name="": tuple(xp.linalg.slogdet(A)))


@kernel("linalg_cofactor")
def cofactor(xp: Any, A: Any) -> Any:
    """det(A) times the inverse's transpose where that can be had, else by the singular values."""
    n = A.shape[-1]
    if not A.size:
        return xp.zeros_like(A)
    inverse, info = inv(xp, A)
    size = abs(A).sum(-1).max(-1) * abs(inverse).sum(-1).max(-1)
    if bool(((info == 0) & (size < 1e-3 / np.finfo(A.dtype).eps)).all()):
        return xp.linalg.det(A)[..., None, None] * inverse.swapaxes(-1, -2)
    u, s, vh = xp.linalg.svd(A)
    others = xp.where(xp.eye(n, dtype=bool), 1, s[..., None, :]).prod(axis=-1)
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    return sign[..., None, None] * xp.matmul(xp.conj(u) * others[..., None, :], xp.conj(vh))


@kernel("linalg_qr")
def qr(xp: Any, A: Any, mode: str = "reduced") -> tuple[Any, Any]:
    if mode == "r":
        return xp.empty((0,), A.dtype), xp.linalg.qr(A, mode="r")
    q, r = xp.linalg.qr(A, mode=mode)
    return q, r


def _finite(xp: Any, a: Any, error: Exception) -> None:
    if not bool(xp.isfinite(a).all()):
        raise error


@kernel("linalg_eigh")
def eigh(xp: Any, A: Any, UPLO: str = "L") -> tuple[Any, Any]:
    _finite(xp, A, _no_eigenvalues(A))
    try:
        with checked(xp):
            values, vectors = xp.linalg.eigh(A, UPLO=UPLO.upper())
            return values, vectors
    except np.linalg.LinAlgError:
        raise _no_eigenvalues(A) from None


@kernel("linalg_eigvalsh")
def eigvalsh(xp: Any, A: Any, UPLO: str = "L") -> Any:
    _finite(xp, A, _no_eigenvalues(A))
    try:
        with checked(xp):
            return xp.linalg.eigvalsh(A, UPLO=UPLO.upper())
    except np.linalg.LinAlgError:
        raise _no_eigenvalues(A) from None


def _no_eigenvalues(a: Any) -> LinAlgError:
    where = "(Batch element 0): " if a.ndim > 2 else ""
    return LinAlgError(
        f"linalg.eigh: {where}The algorithm failed to converge because the input matrix is ill-conditioned or has too "
        f"many repeated eigenvalues (error code: {a.shape[-1] - 1})."
    )


@kernel("linalg_eig")
def eig(xp: Any, A: Any) -> tuple[Any, Any]:
    _finite(xp, A, RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs."))
    values, vectors = xp.linalg.eig(A)
    return values, vectors


@kernel("linalg_eigvals")
def eigvals(xp: Any, A: Any) -> Any:
    _finite(xp, A, RuntimeError("torch.linalg.eigvals: input tensor should not contain infs or NaNs."))
    return xp.linalg.eigvals(A)


def _svd(xp: Any, a: Any, **how: Any) -> Any:
    where = "(Batch element 0): " if a.ndim > 2 else ""
    error = LinAlgError(
        f"linalg.svd: {where}The algorithm failed to converge because the input matrix contained non-finite values."
    )
    _finite(xp, a, error)
    try:
        with checked(xp):
            return xp.linalg.svd(a, **how)
    except np.linalg.LinAlgError:
        raise error from None


kernel("linalg_svd", lambda xp, A, full_matrices=True: tuple(_svd(xp, A, full_matrices=full_matrices)))
kernel("linalg_svdvals", lambda xp, A: _svd(xp, A, compute_uv=False))


@kernel("linalg_lu_factor_ex")
def lu(xp: Any, A: Any, raise_as: str | None = None) -> tuple[Any, Any, Any]:
    made, pivots = lu_factor(xp, A)
    info = first_zero(xp, xp.diagonal(made, 0, -2, -1))
    _fail(info, raise_as, ZERO_PIVOT, RuntimeError)
    return made, pivots + 1, info


@kernel("linalg_permutation")
def permutation(xp: Any, pivots: Any, size: int, dtype: Any) -> Any:
    host = to_host(pivots)
    if host.size and not 1 <= host.min() <= host.max() <= size:
        raise RuntimeError(
            "pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive.Did you properly pass the result "
            "of lu_factor?"
        )
    order = np.broadcast_to(np.arange(size), (*host.shape[:-1], size)).copy()
    for i in np.ndindex(host.shape[:-1]):
        for step, other in enumerate(host[i] - 1):
            order[i][[step, other]] = order[i][[other, step]]
    made = np.zeros((*host.shape[:-1], size, size), NUMPY_DTYPE[dtype])
    np.put_along_axis(made, order[..., None, :], 1, -2)
    return xp.asarray(made)


@kernel("matrix_exp")
def matrix_exp(xp: Any, input: Any) -> Any:
    if not input.size:
        return xp.zeros_like(input)
    a = input.astype(xp.result_type(input.dtype, xp.float64), copy=False)  # each squaring loses digits
    if xp is np or a.ndim == 2:
        made = linalg(xp).expm(a)
    else:
        made = xp.stack([linalg(xp).expm(m) for m in a.reshape(-1, *a.shape[-2:])]).reshape(a.shape)
    return made.astype(input.dtype, copy=False)


@kernel("linalg_pinv")
def pinv(xp: Any, A: Any, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    if not A.size:
        return xp.zeros((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)
    if hermitian:
        s, u = eigh(xp, A)
        vh = xp.conj(u.swapaxes(-1, -2))
    else:
        u, s, vh = _svd(xp, A, full_matrices=False)
    size = abs(s)
    if rtol is None:
        given = atol is not None and bool(xp.asarray(atol > 0).any())
        rtol = 0.0 if given else max(A.shape[-2:]) * float(np.finfo(s.dtype).eps)
    limit = _across(xp, rtol) * size.max(axis=-1, keepdims=True)
    limit = limit if atol is None else xp.maximum(_across(xp, atol), limit)
    inverse = xp.where(size > limit, 1 / xp.where(size > limit, s, 1), 0).astype(s.dtype)
    return xp.matmul(xp.conj(vh.swapaxes(-1, -2)) * inverse[..., None, :], xp.conj(u.swapaxes(-1, -2)))


def _across(xp: Any, tolerance: Any) -> Any:
    return xp.asarray(tolerance)[..., None]


kernel("trace", lambda xp, input: xp.trace(input))
