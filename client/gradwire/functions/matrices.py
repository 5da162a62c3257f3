"""Norms of matrices, what tolerances decide, and powers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire import return_types
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.linalg import column, empty, identity, inv
from gradwire.functions.products import matmul
from gradwire.functions.shape import viewed
from gradwire_proto import dtypes
from gradwire_proto.catalog.linalg import check_matrix
from gradwire_proto.catalog.meta import wrap_dim

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


# ---- norms


def extreme(x: Tensor, largest: bool, dim: int, keepdim: bool) -> Tensor:
    made: Tensor = (ops.amax if largest else ops.amin)(x, dim, keepdim)
    return made


@export("linalg.matrix_norm", out=True)
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
    rows, columns = (wrap_dim(d, A.ndim) for d in dim)
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


@export("linalg.norm", out=True)
def norm(input: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
         dtype: dtypes.DType | None = None) -> Tensor:  # fmt: skip
    """The norm of a vector, or of a matrix where two dims or a name are given."""
    if dim is not None:
        dim = (dim,) if isinstance(dim, int) else tuple(dim)
        if len(dim) not in (1, 2) and ord is not None:
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    elif ord is not None and input.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
        )
    matrices = ord is not None and (len(dim) == 2 if dim is not None else input.ndim == 2)
    if matrices:
        return matrix_norm(input, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return ops.linalg_vector_norm(input, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@export("linalg.cond", out=True)
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
    inverse, failed = ops.linalg_inv_ex(A)
    return ops.where(ops.gt(failed, 0), math.inf, ops.mul(matrix_norm(A, p), matrix_norm(inverse, p)))


@export("linalg.matrix_rank", out=True)
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


# ---- pseudoinverses


@export("linalg.lstsq", out=True)
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X with the least sum of squares of A @ X - B."""
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    if not B.ndim:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    right = column(B) if vector else B
    X = matmul(ops.linalg_pinv(A, rtol=rcond), right)
    m, n = A.shape[-2:]
    over = ops.sub(matmul(A, X), right)
    residuals = ops.sum(ops.square(ops.abs(over)), -2) if m > n else empty(A)
    return return_types.linalg_lstsq(ops.squeeze(X, -1) if vector else X, residuals,
                                     matrix_rank(A, rtol=rcond), empty(A))  # fmt: skip


@export("linalg.pinv", out=True)
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse."""
    return ops.linalg_pinv(A, atol=atol, rtol=rcond if rtol is None else rtol, hermitian=hermitian)


@export("pinverse", "Tensor.pinverse")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse."""
    return ops.linalg_pinv(input, rtol=rcond)


# ---- powers


@export("linalg.matrix_exp")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential series of a square matrix."""
    return ops.matrix_exp(A)


@export("linalg.matrix_power", out=True)
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


@export("matrix_power", "Tensor.matrix_power", out=True)
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
