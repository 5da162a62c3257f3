"""torch.linalg and its older relatives in torch: inverses, solvers, factorizations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire import return_types
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.products import matmul
from gradwire.functions.shape import viewed
from gradwire_proto import dtypes
from gradwire_proto.catalog.linalg import check_matrix

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def mt(x: Tensor) -> Tensor:
    return ops.transpose(x, -2, -1)


def mh(x: Tensor) -> Tensor:
    """The conjugate transpose."""
    return mt(ops.conj_physical(x) if x.is_complex() else x)


def identity(like: Tensor, n: int) -> Tensor:
    """The identity matrix where ``like`` lives, of its type."""
    return ops.tril(ops.triu(ops.new_full(like, (n, n), 1)))


def empty(like: Tensor) -> Tensor:
    return ops.new_full(like, (0,), 0)


def column(x: Tensor) -> Tensor:
    return ops.unsqueeze(x, -1)


# ---- inverses and solvers


@export("linalg.inv")
def inv(A: Tensor) -> Tensor:
    """The inverse of a square matrix."""
    return ops.linalg_inv_ex(A, "linalg.inv")[0]


@export("inverse", "Tensor.inverse")
def inverse(input: Tensor) -> Tensor:
    """The inverse of a square matrix."""
    return inv(input)


@export("linalg.inv_ex")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse of a square matrix, and where it failed."""
    return return_types.linalg_inv_ex(*ops.linalg_inv_ex(A, "linalg.inv_ex" if check_errors else None))


def solved(A: Tensor, B: Tensor, left: bool, raise_as: str | None) -> tuple[Tensor, Tensor]:
    """X of A @ X = B or X @ A = B and where it failed; B may be a vector, or a batch of them."""
    vector = A.ndim >= 2 and (B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1])))
    if vector:
        B = column(B)
    if left:
        X, info = ops.linalg_solve_ex(A, B, raise_as)
    else:
        if B.shape[-1] != A.shape[-2]:
            raise RuntimeError(
                "linalg.solve: Incompatible shapes of A and B for the equation XA = B "
                f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
            )
        X, info = ops.linalg_solve_ex(mt(A), mt(B), raise_as)
        X = mt(X)
    return (ops.squeeze(X, -1) if vector else X), info


@export("linalg.solve")
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X of A @ X = B, or of X @ A = B."""
    return solved(A, B, left, "torch.linalg.solve")[0]


@export("linalg.solve_ex")
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """The X of A @ X = B, or of X @ A = B, and where it failed."""
    return return_types.linalg_solve_ex(*solved(A, B, left, "torch.linalg.solve_ex" if check_errors else None))


@export("triangular_solve", "Tensor.triangular_solve")
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:  # fmt: skip
    """The X of A @ X = b for a triangular A, and A."""
    used, up = (mt(A), not upper) if transpose else (A, upper)
    return return_types.triangular_solve(
        ops.linalg_solve_triangular(used, b, upper=up, unitriangular=unitriangular), ops.clone(A)
    )


@export("linalg.lstsq")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X with the least sum of squares of A @ X - B."""
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    right = column(B) if vector else B
    X = matmul(ops.linalg_pinv(A, rtol=rcond), right)
    m, n = A.shape[-2:]
    over = ops.sub(matmul(A, X), right)
    residuals = ops.sum(ops.square(ops.abs(over)), -2) if m > n else empty(A)
    return return_types.linalg_lstsq(ops.squeeze(X, -1) if vector else X, residuals,
                                     matrix_rank(A, rtol=rcond), empty(A))  # fmt: skip


@export("linalg.pinv")
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse."""
    return ops.linalg_pinv(A, atol=atol, rtol=rcond if rtol is None else rtol, hermitian=hermitian)


@export("pinverse", "Tensor.pinverse")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse."""
    return ops.linalg_pinv(input, rtol=rcond)


@export("linalg.tensorinv")
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse under tensordot over ``ind`` dimensions."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    n, m = math.prod(rows), math.prod(columns)
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{m} != {n}"
        )
    return viewed(inv(viewed(A, (n, n))), (*columns, *rows))


@export("linalg.tensorsolve")
def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """The X of tensordot(A, X) = B."""
    if dims:
        last = [d % A.ndim for d in dims]
        A = ops.permute(A, (*(d for d in range(A.ndim) if d not in last), *last))
    shape = tuple(A.shape[B.ndim :])
    n, m = math.prod(shape), math.prod(A.shape[: B.ndim])
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {n} != {m}"
        )
    return viewed(solve(viewed(A, (n, n)), viewed(B, (n,))), shape)


# ---- Cholesky


@export("linalg.cholesky")
def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The triangular L of A = L @ L.mH."""
    return ops.linalg_cholesky_ex(A, upper, "linalg.cholesky")[0]


@export("linalg.cholesky_ex")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The triangular L of A = L @ L.mH, and where it failed."""
    made = ops.linalg_cholesky_ex(A, upper, "linalg.cholesky_ex" if check_errors else None)
    return return_types.linalg_cholesky_ex(*made)


@export("cholesky", "Tensor.cholesky")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The triangular L of input = L @ L.mH."""
    return ops.linalg_cholesky_ex(input, upper, "cholesky")[0]


# ---- determinants


@export("linalg.slogdet")
def linalg_slogdet(A: Tensor) -> Any:
    """Sign, and logarithm of the absolute value, of the determinant."""
    return return_types.linalg_slogdet(*ops.linalg_slogdet(A))


@export("slogdet", "Tensor.slogdet")
def slogdet(input: Tensor) -> Any:
    """Sign, and logarithm of the absolute value, of the determinant."""
    return return_types.slogdet(*ops.linalg_slogdet(input))


@export("logdet", "Tensor.logdet")
def logdet(input: Tensor) -> Tensor:
    """Logarithm of the determinant; nan where it is negative."""
    sign, size = ops.linalg_slogdet(input, "logdet")
    if input.is_complex():
        return ops.add(ops.log(sign), size)
    return ops.where(ops.eq(sign, -1), math.nan, size)


# ---- orthogonal factors


@export("linalg.qr")
def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """A = Q @ R, orthonormal and triangular."""
    return return_types.linalg_qr(*ops.linalg_qr(A, mode))


@export("qr", "Tensor.qr")
def qr(input: Tensor, some: bool = True) -> Any:
    """input = Q @ R, orthonormal and triangular."""
    return return_types.qr(*ops.linalg_qr(input, "reduced" if some else "complete"))


@export("linalg.eigh")
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    return return_types.linalg_eigh(*ops.linalg_eigh(A, UPLO))


@export("linalg.eig")
def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors of any square matrix."""
    return return_types.linalg_eig(*ops.linalg_eig(A))


@export("linalg.eigvals")
def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues of any square matrix."""
    return ops.linalg_eigvals(A)


@export("linalg.svd")
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """A = U @ diag(S) @ Vh, singular values descending."""
    return return_types.linalg_svd(*ops.linalg_svd(A, full_matrices))


@export("linalg.svdvals")
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values, descending."""
    return ops.linalg_svdvals(A)


@export("svd", "Tensor.svd")
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


@export("linalg.householder_product")
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder reflections."""
    name = "torch.linalg.householder_product"
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if n < tau.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    v, t = reflectors(A, tau)
    top = ops.slice(mh(v), -1, 0, n)
    return ops.sub(ops.slice(identity(A, m), -1, 0, n), matmul(v, matmul(t, top)))


@export("orgqr", "Tensor.orgqr")
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder reflections."""
    return householder_product(input, tau)


@export("ormqr", "Tensor.ormqr")
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """The product of Householder reflections times ``other``, on the left or on the right."""
    v, t = reflectors(input, tau)
    if transpose:
        t = mh(t)
    if left:
        return ops.sub(other, matmul(v, matmul(t, matmul(mh(v), other))))
    return ops.sub(other, matmul(matmul(matmul(other, v), t), mh(v)))


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


@export("linalg.lu_factor")
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U of P @ L @ U = A in one matrix, and the rows swapped."""
    return return_types.linalg_lu_factor(*factored(A, pivot, "torch.linalg.lu_factor")[:2])


@export("linalg.lu_factor_ex")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U of P @ L @ U = A in one matrix, the rows swapped, and where a division by it would fail."""
    made = factored(A, pivot, "torch.linalg.lu_factor_ex" if check_errors else None)
    return return_types.linalg_lu_factor_ex(*made)


@export("linalg.lu")
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


@export("lu_unpack")
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U of what lu_factor made."""
    lower, upper = unpacked(LU_data) if unpack_data else (empty(LU_data), empty(LU_data))
    if not unpack_pivots:
        return return_types.lu_unpack(empty(LU_data), lower, upper)
    check_pivots(LU_pivots, "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
                 "Note: this function is intended to be used with the output produced by "
                 "torch.linalg.lu_factor")  # fmt: skip
    return return_types.lu_unpack(ops.linalg_permutation(LU_pivots, LU_data.shape[-2], LU_data.dtype), lower, upper)


@export("linalg.lu_solve")
def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The X of A @ X = B, where lu_factor made LU and pivots of A."""
    check_matrix("torch.linalg.lu_solve", LU._spec)
    check_pivots(pivots, "linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
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


@export("lu_solve", "Tensor.lu_solve")
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The X of A @ X = b, where lu made LU_data and LU_pivots of A."""
    return linalg_lu_solve(LU_data, LU_pivots, b)


# ---- norms


def extreme(x: Tensor, largest: bool, dim: int, keepdim: bool) -> Tensor:
    made: Tensor = (ops.amax if largest else ops.amin)(x, dim, keepdim)
    return made


@export("linalg.matrix_norm")
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *,
                dtype: dtypes.DType | None = None) -> Tensor:  # fmt: skip
    """A norm of matrices: of their elements, their singular values, or the sums of their rows or columns."""
    name = "linalg.matrix_norm"
    check_matrix(name, A._spec, square=False)
    if len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    if dtype is not None and dtype is not A.dtype:
        A = ops.to_dtype(A, dtype)
    if A.dtype.category < dtypes.Category.FLOAT:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {A.dtype.legacy}")
    rows, columns = (d % A.ndim for d in dim)
    if rows == columns:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return ops.linalg_vector_norm(A, 2, (rows, columns), keepdim)
    if ord not in ("nuc", 2, -2, 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"{name}: Order {ord} not supported.")
    if ord in ("nuc", 2, -2):
        rest = [d for d in range(A.ndim) if d not in (rows, columns)]
        s = ops.linalg_svdvals(ops.permute(A, (*rest, rows, columns)))
        made = ops.sum(s, -1) if ord == "nuc" else extreme(s, ord > 0, -1, False)
        if keepdim:
            for d in sorted((rows, columns)):
                made = ops.unsqueeze(made, d)
        return made
    first, second = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = ops.linalg_vector_norm(A, 1, first, keepdim)
    return extreme(sums, ord > 0, second - (first < second and not keepdim), keepdim)


@export("linalg.norm")
def norm(input: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
         dtype: dtypes.DType | None = None) -> Tensor:  # fmt: skip
    """The norm of a vector, or of a matrix where two dims or a name are given."""
    if dim is not None:
        dim = (dim,) if isinstance(dim, int) else tuple(dim)
        if len(dim) not in (1, 2) and ord is not None:
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    elif ord is not None and input.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{input.ndim}D."
        )
    matrices = ord is not None and (len(dim) == 2 if dim is not None else input.ndim == 2)
    if matrices:
        return matrix_norm(input, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return ops.linalg_vector_norm(input, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@export("linalg.cond")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The norm of a matrix times that of its inverse; inf where it is singular."""
    if A.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p is None or p in (2, -2):
        s = ops.linalg_svdvals(A)
        ends = ops.select(s, -1, 0), ops.select(s, -1, -1)
        return ops.div(*(reversed(ends) if p == -2 else ends))
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_matrix(f"linalg.cond(ord={p})", A._spec)
    return ops.mul(matrix_norm(A, p), matrix_norm(ops.linalg_inv_ex(A)[0], p))


@export("linalg.matrix_rank")
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values above a tolerance."""
    check_matrix("torch.linalg.matrix_rank", A._spec, "input", square=False)
    if tol is not None:
        atol, rtol = tol, 0.0
    A = ops.detach(A)
    s = ops.abs(ops.linalg_eigvalsh(A)) if hermitian else ops.linalg_svdvals(A)
    if not s.shape[-1]:
        return ops.sum(ops.gt(s, 0), -1)
    if rtol is None:
        eps = 2.0**-23 if s.dtype is dtypes.float32 else 2.0**-52
        rtol = max(A.shape[-2:]) * eps
        if atol is not None:
            given = rtol if not hasattr(atol, "ndim") else None
            rtol = (0.0 if atol > 0 else rtol) if given is not None else ops.where(ops.gt(atol, 0), 0.0, rtol)
    relative, absolute = (t if not hasattr(t, "ndim") or not t.ndim else column(t) for t in (rtol, atol))
    limit = ops.mul(ops.amax(s, -1, True), relative)
    if absolute is not None:
        limit = ops.maximum(limit, absolute) if hasattr(absolute, "ndim") else ops.clamp(limit, absolute)
    return ops.sum(ops.gt(s, limit), -1)


# ---- powers


@export("linalg.matrix_power")
def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """A times itself n times; of the inverse where n is negative."""
    check_matrix("linalg.matrix_power", A._spec)
    if n == 0:
        return ops.copy_(ops.clone(A), identity(A, A.shape[-1]))
    if n < 0:
        A, n = inv(A), -n
    made: Tensor | None = None
    while True:
        if n & 1:
            made = A if made is None else matmul(made, A)
        n >>= 1
        if not n:
            assert made is not None
            return ops.clone(made) if made is A else made
        A = matmul(A, A)


@export("matrix_power", "Tensor.matrix_power")
def matrix_power(input: Tensor, n: int) -> Tensor:
    """input times itself n times; of the inverse where n is negative."""
    return linalg_matrix_power(input, n)


@export("linalg.vander")
def linalg_vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers of each element, from 0, along a new last dimension."""
    if not x.ndim:
        x = viewed(x, (1,))
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    x = x if x.dtype.category is not dtypes.Category.BOOL else ops.to_dtype(x, dtypes.int64)
    ones = ops.new_full(x, (*x.shape, 1), 1)
    return ops.cat([ones, ops.cumprod(ops.expand(column(x), (*x.shape, n - 1)), -1)], -1)


@export("vander")
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of each element as the rows of a matrix."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    if n < 2:
        return ops.new_full(x, (x.shape[0], n), 1)
    made = linalg_vander(x, n)
    return made if increasing else ops.flip(made, (-1,))


@export("linalg.diagonal")
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of a matrix as a view."""
    return ops.diagonal(A, offset, dim1, dim2)
