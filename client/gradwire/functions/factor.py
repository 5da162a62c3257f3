"""Factorizations: Cholesky, QR, LU, eigenvalues and singular values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire import return_types
from gradwire.dispatch import check_real, ops
from gradwire.export import export
from gradwire.functions.linalg import column, empty, identity, mh, mt
from gradwire.functions.products import matmul
from gradwire_proto import dtypes
from gradwire_proto.catalog.linalg import check_matrix

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


# ---- Cholesky


@export("linalg.cholesky", out=True)
def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The triangular L of A = L @ L.mH."""
    return ops.linalg_cholesky_ex(A, upper, "linalg.cholesky")[0]


@export("linalg.cholesky_ex", out=True)
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The triangular L of A = L @ L.mH, and where it failed."""
    made = ops.linalg_cholesky_ex(A, upper, "linalg.cholesky_ex" if check_errors else None)
    return return_types.linalg_cholesky_ex(*made)


@export("cholesky", "Tensor.cholesky", out=True)
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The triangular L of input = L @ L.mH."""
    return ops.linalg_cholesky_ex(input, upper, "cholesky")[0]


# ---- orthogonal factors


@export("linalg.qr", out=True)
def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """A = Q @ R, orthonormal and triangular."""
    return return_types.linalg_qr(*ops.linalg_qr(A, mode))


@export("qr", "Tensor.qr", out=True)
def qr(input: Tensor, some: bool = True) -> Any:
    """input = Q @ R, orthonormal and triangular."""
    return return_types.qr(*ops.linalg_qr(input, "reduced" if some else "complete"))


@export("linalg.eigh", out=True)
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    return return_types.linalg_eigh(*ops.linalg_eigh(A, UPLO))


@export("linalg.eig", out=True)
def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors of any square matrix."""
    return return_types.linalg_eig(*ops.linalg_eig(A))


@export("linalg.eigvals", out=True)
def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues of any square matrix."""
    return ops.linalg_eigvals(A)


@export("linalg.svd", out=True)
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """A = U @ diag(S) @ Vh, singular values descending."""
    return return_types.linalg_svd(*ops.linalg_svd(A, full_matrices))


@export("linalg.svdvals", out=True)
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values, descending."""
    return ops.linalg_svdvals(A)


@export("svd", "Tensor.svd", out=True)
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """input = U @ diag(S) @ V.mH; without ``compute_uv`` U and V are zeros."""
    if input.ndim < 2:
        raise RuntimeError(f"linalg.svd: input should have at least 2 dimensions, but has {input.ndim} dimensions "
                           "instead")  # fmt: skip
    if compute_uv:
        u, s, vh = ops.linalg_svd(input, not some)
        return return_types.svd(u, s, mh(vh))
    *batch, m, n = input.shape
    return return_types.svd(ops.new_full(input, (*batch, m, m), 0), ops.linalg_svdvals(input),
                            ops.new_full(input, (*batch, n, n), 0))  # fmt: skip


def reflectors(A: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """V and T with H1 @ H2 @ ... = I - V @ T @ V.mH for the reflections that the columns of A and tau tell.

    The compact WY form of Schreiber and Van Loan: T = inv(I + diag(tau) @ triu(V.mH @ V, 1)) @ diag(tau).
    """
    k = tau.shape[-1]
    v = ops.tril(ops.slice(A, -1, 0, k), -1)
    v = ops.add(v, ops.slice(identity(A, A.shape[-2]), -1, 0, k))
    overlaps = ops.mul(column(tau), ops.triu(matmul(mh(v), v), 1))
    scales = ops.mul(column(tau), identity(A, k))
    return v, ops.linalg_solve_triangular(overlaps, scales, upper=True, unitriangular=True)


@export("linalg.householder_product", out=True)
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder reflections."""
    name = "torch.linalg.householder_product"
    if A.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if n < tau.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    v, t = reflectors(A, tau)
    top = ops.slice(mh(v), -1, 0, n)
    return ops.sub(ops.slice(identity(A, m), -1, 0, n), matmul(v, matmul(t, top)))


@export("orgqr", "Tensor.orgqr", out=True)
def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """The first columns of the product of Householder reflections."""
    return householder_product(input, input2)


@export("ormqr", "Tensor.ormqr", out=True)
def ormqr(input: Tensor, input2: Tensor, input3: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """The product of Householder reflections, of ``input`` with scales ``input2``, times ``input3``, on the left or on
    the right."""
    tau, other = input2, input3
    for what, x in (("input", input), ("other", other)):
        if x.ndim < 2:
            raise RuntimeError(f"torch.ormqr: {what} must have at least 2 dimensions.")
    rows = -2 if left else -1
    if tau.shape[-1:] > (other.shape[rows],) or tau.shape[-1] > input.shape[-1]:
        raise RuntimeError(
            f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{rows}], input.shape[-1])"
            if tau.shape[-1] > input.shape[-1] else
            f"torch.ormqr: tau.shape[-1] must be less than or equal to other.shape[{rows}]"
        )
    v, t = reflectors(input, tau)
    if transpose:
        t = mh(t)
    if left:
        return ops.sub(other, matmul(v, matmul(t, matmul(mh(v), other))))
    return ops.sub(other, matmul(matmul(matmul(other, v), t), mh(v)))


@export("geqrf", "Tensor.geqrf", out=True)
def geqrf(input: Tensor) -> Any:
    """R, and below it the Householder reflections that Q is the product of."""
    check_real("geqrf", input)
    return return_types.geqrf(*ops.linalg_geqrf(input))


# ---- LDL


@export("linalg.ldl_factor_ex", out=True)
def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """L and D of L @ D @ L.mT = A for a symmetric A, and where D has a zero."""
    return return_types.linalg_ldl_factor_ex(*ops.linalg_ldl_factor_ex(A, hermitian))


@export("linalg.ldl_factor", out=True)
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """L and D of L @ D @ L.mT = A for a symmetric A."""
    return return_types.linalg_ldl_factor(*ops.linalg_ldl_factor_ex(A, hermitian)[:2])


# ---- LU


def factored(A: Tensor, pivot: bool, raise_as: str | None) -> tuple[Tensor, Tensor, Tensor]:
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    made: tuple[Tensor, Tensor, Tensor] = ops.linalg_lu_factor_ex(A, raise_as)
    return made


def unpacked(lu: Tensor) -> tuple[Tensor, Tensor]:
    """L and U."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = ops.tril(lu if n == k else ops.slice(lu, -1, 0, k), -1)
    return (ops.add(lower, ops.slice(identity(lu, m), -1, 0, k)),
            ops.triu(lu if m == k else ops.slice(lu, -2, 0, k)))  # fmt: skip


@export("linalg.lu_factor", out=True)
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U of P @ L @ U = A in one matrix, and the rows swapped."""
    return return_types.linalg_lu_factor(*factored(A, pivot, "torch.linalg.lu_factor")[:2])


@export("linalg.lu_factor_ex", out=True)
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U of P @ L @ U = A in one matrix, the rows swapped, and where a division by it would fail."""
    made = factored(A, pivot, "torch.linalg.lu_factor_ex" if check_errors else None)
    return return_types.linalg_lu_factor_ex(*made)


@export("linalg.lu", out=True)
def linalg_lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L and U of P @ L @ U = A."""
    if A.ndim < 2:
        raise RuntimeError(f"linalg.lu: Expected tensor with 2 or more dimensions. Got size: {list(A.shape)} instead")
    lu, pivots, _ = factored(A, pivot, None)
    return return_types.linalg_lu(ops.linalg_permutation(pivots, A.shape[-2], A.dtype), *unpacked(lu))


@export("lu", "Tensor.lu")
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """L and U of P @ L @ U = A in one matrix, the rows swapped, and on request where it failed."""
    made = factored(A, pivot, None)
    return made if get_infos else made[:2]


def check_pivots(pivots: Tensor, text: str) -> None:
    if pivots.dtype is not dtypes.int32:
        raise RuntimeError(text)


@export("lu_unpack", out=True)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U of what lu_factor made."""
    if LU_data.ndim < 2:
        raise RuntimeError(
            f"torch.lu_unpack: Expected tensor with 2 or more dimensions. Got size: {list(LU_data.shape)} instead"
        )
    lower, upper = unpacked(LU_data) if unpack_data else (empty(LU_data), empty(LU_data))
    if not unpack_pivots:
        return return_types.lu_unpack(empty(LU_data), lower, upper)
    check_pivots(LU_pivots, "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
                 "Note: this function is intended to be used with the output produced by "
                 "torch.linalg.lu_factor")  # fmt: skip
    return return_types.lu_unpack(ops.linalg_permutation(LU_pivots, LU_data.shape[-2], LU_data.dtype), lower, upper)


@export("linalg.lu_solve", out=True)
def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The X of A @ X = B, where lu_factor made LU and pivots of A."""
    check_matrix("torch.linalg.lu_solve", LU._spec)
    check_pivots(pivots, "linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if LU.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type {LU.dtype.legacy} and B "
            f"of type {B.dtype.legacy} instead"
        )
    if B.ndim < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    if not pivots.ndim or pivots.shape[-1] != LU.shape[-1]:
        raise RuntimeError("linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix")
    if pivots.shape != LU.shape[:-1]:
        raise RuntimeError(
            "linalg.lu_solve: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with shape "
            f"{list(pivots.shape)} instead"
        )
    if B.shape[-2 if left else -1] != LU.shape[-1]:
        raise RuntimeError(
            f"linalg.lu_solve: Incompatible shapes of A and B for the equation {'AX' if left else 'XA'} = B "
            f"({LU.shape[-2]}x{LU.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    if not left:
        return mh(linalg_lu_solve(LU, pivots, mh(B), adjoint=not adjoint))
    p = ops.linalg_permutation(pivots, LU.shape[-2], LU.dtype)
    if adjoint:
        inner = ops.linalg_solve_triangular(mh(LU), B, upper=False)
        return matmul(p, ops.linalg_solve_triangular(mh(LU), inner, upper=True, unitriangular=True))
    inner = ops.linalg_solve_triangular(LU, matmul(mt(p), B), upper=False, unitriangular=True)
    return ops.linalg_solve_triangular(LU, inner, upper=True)


@export("lu_solve", "Tensor.lu_solve", out=True)
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The X of A @ X = b, where lu made LU_data and LU_pivots of A."""
    return linalg_lu_solve(LU_data, LU_pivots, b)
