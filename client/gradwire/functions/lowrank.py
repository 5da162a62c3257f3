"""Approximate decompositions of matrices that are nearly of low rank, by products with random matrices."""

from __future__ import annotations

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.factor import linalg_qr, linalg_svd
from gradwire.functions.random import randn
from gradwire.tensor import Tensor


def _basis(A: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that nearly span what ``A`` maps to: Halko, Martinsson and Tropp (2011), algorithm 4.4."""
    start = randn(A.shape[-1], q, dtype=A.dtype)
    found: Tensor = linalg_qr(ops.matmul(A, start)).Q
    for _ in range(niter):
        found = linalg_qr(ops.matmul(A.mH, found)).Q  # type: ignore[attr-defined]
        found = linalg_qr(ops.matmul(A, found)).Q
    return found


@export("svd_lowrank")
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2,
                M: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The largest singular values of matrices, nearly, and their vectors: U, S, V with A ≈ U diag(S) Vᴴ.

    Args:
        A: (..., m, n).
        q: how many, a little more than the rank that is looked for.
        niter: steps of subspace iteration: more are more precise.
        M: is subtracted from ``A``; broadcast to its shape.
    """
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    m, n = A.shape[-2:]
    if M is not None:
        A = A - M  # type: ignore[operator]
    if m < n:
        v, s, u = _decomposed(A.mH, q, niter)  # type: ignore[attr-defined]
        return u, s, v
    return _decomposed(A, q, niter)


def _decomposed(A: Tensor, q: int, niter: int) -> tuple[Tensor, Tensor, Tensor]:
    basis = _basis(A, q, niter)
    u, s, vh = linalg_svd(ops.matmul(basis.mH, A), full_matrices=False)  # type: ignore[attr-defined]
    return ops.matmul(basis, u), s, vh.mH


@export("pca_lowrank")
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True,
                niter: int = 2) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Principal components of rows, nearly: U, S, V, of which V's columns are the directions.

    Args:
        A: (..., m, n): m samples of n features.
        q: how many; min(6, m, n) by default.
        center: whether the mean of the samples is subtracted.
        niter: steps of subspace iteration.

    Raises:
        ValueError: ``q`` or ``niter`` is negative, or ``q`` larger than m or n.
    """
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A, q, niter, A.mean(-2, keepdim=True) if center else None)  # type: ignore[attr-defined]
