"""torch.linalg and its older relatives in torch: inverses, solvers, determinants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire import return_types
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.shape import viewed
from gradwire_proto.catalog.meta import wrap_dim

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


@export("linalg.inv", out=True)
def inv(A: Tensor) -> Tensor:
    """The inverse of a square matrix."""
    return ops.linalg_inv_ex(A, "linalg.inv")[0]


@export("inverse", "Tensor.inverse", out=True)
def inverse(input: Tensor) -> Tensor:
    """The inverse of a square matrix."""
    return inv(input)


@export("linalg.inv_ex", out=True)
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


@export("linalg.solve", out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X of A @ X = B, or of X @ A = B."""
    return solved(A, B, left, "torch.linalg.solve")[0]


@export("linalg.solve_ex", out=True)
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """The X of A @ X = B, or of X @ A = B, and where it failed."""
    return return_types.linalg_solve_ex(*solved(A, B, left, "torch.linalg.solve_ex" if check_errors else None))


@export("triangular_solve", "Tensor.triangular_solve", out=True)
def triangular_solve(input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:  # fmt: skip
    """The X of A @ X = input for a triangular A, and A."""
    if A.dtype is not input.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {input.dtype.legacy} and A of type "
            f"{A.dtype.legacy} instead."
        )
    used, up = (mt(A), not upper) if transpose else (A, upper)
    return return_types.triangular_solve(
        ops.linalg_solve_triangular(used, input, upper=up, unitriangular=unitriangular), ops.clone(A)
    )


@export("linalg.tensorinv", out=True)
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


@export("linalg.tensorsolve", out=True)
def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """The X of tensordot(A, X) = B."""
    if dims:
        last = [wrap_dim(d, A.ndim) for d in dims]
        A = ops.permute(A, (*(d for d in range(A.ndim) if d not in last), *last))
    shape = tuple(A.shape[B.ndim :])
    n, m = math.prod(shape), math.prod(A.shape[: B.ndim])
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {n} != {m}"
        )
    return viewed(solve(viewed(A, (n, n)), viewed(B, (n,))), shape)


# ---- determinants


@export("linalg.det", out=True)
def det(A: Tensor) -> Tensor:
    """The determinant."""
    return ops.det(A)


@export("linalg.slogdet", out=True)
def linalg_slogdet(A: Tensor) -> Any:
    """Sign, and logarithm of the absolute value, of the determinant."""
    return return_types.linalg_slogdet(*ops.linalg_slogdet(A))


@export("slogdet", "Tensor.slogdet", out=True)
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
