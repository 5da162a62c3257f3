"""Derivatives of linear algebra. A complex input's gradient is the conjugate Wirtinger one, as torch has it.

Where a factorization reads one triangle of a symmetric matrix, the gradient is that of a function of symmetric
matrices, as in torch.
"""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.derivatives.arithmetic import unknown
from gradwire_engine.derivatives.products import column, mh, mt
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.functional import is_complex
from gradwire_engine.registry import vjp


def row(v: Any) -> Any:
    return F.reshape(v, (*v.shape[:-1], 1, v.shape[-1]))


def matrix(v: Any) -> Any:
    """A number, or each of a batch, as what scales a matrix."""
    return F.reshape(v, (*v.shape, 1, 1))


def off_diagonal(a: Any) -> Any:
    return F.tril(a, -1) + F.triu(a, 1)


def diagonal(a: Any) -> Any:
    return F.diagonal(a, 0, -2, -1)


def identity(like: Any) -> Any:
    ones = F.new_full(like, like.shape[-2:], 1)
    return ones - off_diagonal(ones)


def columns(a: Any, start: int, end: int) -> Any:
    return F.slice(a, -1, start, end)


def upper_rows(a: Any, end: int) -> Any:
    return F.slice(a, -2, 0, end)


def total(*terms: Any) -> Any:
    """The sum of the terms that are there."""
    made = None
    for t in terms:
        made = t if made is None else made if t is None else made + t
    return made


# inverses and solvers


def inv_input(given: Any, inverse: Any) -> Any:
    return None if given[0] is None else -(mh(inverse) @ given[0] @ mh(inverse))


def solve_a(given: Any, A: Any, result: Any) -> Any:
    return None if given[0] is None else -(F.linalg_solve_ex(mh(A), given[0])[0] @ mh(result))


vjp("linalg_inv_ex", A=inv_input)
vjp("linalg_solve_ex", A=solve_a,
    B=lambda given, A: None if given[0] is None else F.linalg_solve_ex(mh(A), given[0])[0])  # fmt: skip


def triangular_b(g: Any, A: Any, upper: bool, left: bool, unitriangular: bool) -> Any:
    return F.linalg_solve_triangular(mh(A), g, not upper, left, unitriangular)


def triangular_a(g: Any, A: Any, result: Any, upper: bool, left: bool, unitriangular: bool) -> Any:
    g = triangular_b(g, A, upper, left, unitriangular)
    made = -(g @ mh(result) if left else mh(result) @ g)
    return F.triu(made, int(unitriangular)) if upper else F.tril(made, -int(unitriangular))


vjp("linalg_solve_triangular", A=triangular_a, B=triangular_b)


# As in torch the gradient of a Cholesky factor fills both triangles: that of a factor made here is cut by its own rule.


def factor_input(common: Any, factor: Any, upper: bool) -> Any:
    common = common + mh(common)
    return -(factor @ common) if upper else -(common @ factor)


def cholesky_solve_l(g: Any, L: Any, result: Any, upper: bool) -> Any:
    return factor_input(F.cholesky_solve(g, L, upper) @ mh(result), L, upper)


vjp("cholesky_solve", B=lambda g, L, upper: F.cholesky_solve(g, L, upper), L=cholesky_solve_l)
vjp("cholesky_inverse", L=lambda g, L, result, upper: factor_input(result @ g @ result, L, upper))


def pinv_input(g: Any, A: Any, result: Any) -> Any:
    left, right = mh(g) @ result @ mh(result), mh(result) @ result @ mh(g)
    return -(mh(result) @ g @ mh(result)) + (left - A @ (result @ left)) + (right - (right @ result) @ A)


vjp("linalg_pinv", A=pinv_input)


# determinants


def cofactor_input(g: Any, A: Any) -> Any:
    """The second derivative of det along conj(g): through the singular values, where det is a product."""
    n = A.shape[-1]
    if n < 2:
        return None
    u, s, vh = F.linalg_svd(A, False)
    along = mh(u) @ conj(g) @ mh(vh)
    values = F.expand(row(s), (*s.shape, n))
    unit = identity(values)
    others = off_diagonal(values) + unit
    pairs = off_diagonal(F.exclusive_cumprod(others, -1, False) * F.exclusive_cumprod(others, -1, True))
    moved = unit * F.sum(pairs * row(diagonal(along)), -1, True) - pairs * mt(along)
    sign = F.det(u) * F.det(vh)
    return conj(matrix(sign) * (conj(u) @ moved @ conj(vh)))


def slogdet_input(given: Any, A: Any, sign: Any) -> Any:
    g = given[1]
    if given[0] is not None and is_complex(A):
        turn = F.imag(conj(given[0]) * sign) * -1j
        g = turn if g is None else g + turn
    return None if g is None else matrix(g) * mh(F.linalg_inv_ex(A)[0])


vjp("det", input=lambda g, input: matrix(g) * conj(F.linalg_cofactor(input)))
vjp("linalg_cofactor", A=cofactor_input)
vjp("linalg_slogdet", A=slogdet_input)


# factorizations


def cholesky_input(given: Any, L: Any, upper: bool) -> Any:
    if given[0] is None:
        return None
    g, lower = (mh(given[0]), mh(L)) if upper else (given[0], L)
    inner = F.tril(mh(lower) @ g)
    inner = inner + mh(F.tril(inner, -1))
    left = F.linalg_solve_triangular(mh(lower), inner, True)
    made = F.linalg_solve_triangular(lower, left, False, False)
    return 0.5 * made


def real_diagonal(lower: Any) -> Any:
    """The Hermitian matrix that a lower triangle begins: its diagonal real."""
    below = F.tril(lower, -1)
    return below + mh(below) + identity(lower) * F.real(lower)


def qr_input(given: Any, Q: Any, R: Any, mode: str) -> Any:
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
            "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
        )
    g_q, g_r = given
    m, n = Q.shape[-2], R.shape[-1]
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    if m >= n:
        return _qr_tall(g_q, g_r, Q, R)
    # the right part of R is Q.mH times the right part of A
    square = columns(R, 0, m)
    if g_r is None:
        left, right = _qr_tall(g_q, None, Q, square), F.new_full(R, (*R.shape[:-1], n - m), 0)
    else:
        g_right = columns(g_r, m, n)
        a_right = Q @ columns(R, m, n)
        left = _qr_tall(total(g_q, a_right @ mh(g_right)), columns(g_r, 0, m), Q, square)
        right = Q @ g_right
    return F.cat([left, right], -1)


def _qr_tall(g_q: Any, g_r: Any, q: Any, r: Any) -> Any:
    inner = total(None if g_r is None else r @ mh(g_r), None if g_q is None else -(mh(g_q) @ q))
    inner = real_diagonal(F.tril(inner)) if is_complex(inner) else F.tril(inner) + mt(F.tril(inner, -1))
    return F.linalg_solve_triangular(mh(r), total(g_q, q @ inner), False, False)


def eigh_input(given: Any, eigenvalues: Any, eigenvectors: Any) -> Any:
    g_l, g_v = given
    v = eigenvectors
    if g_v is None:
        return None if g_l is None else (v * row(g_l)) @ mh(v)
    gaps = row(eigenvalues) - column(eigenvalues)
    along = mh(v) @ g_v
    inner = 0.5 * off_diagonal(along - mh(along)) / (gaps + identity(gaps))
    if g_l is not None:
        inner = inner + identity(gaps) * row(g_l)
    return v @ inner @ mh(v)


def eigvalsh_input(g: Any, A: Any, UPLO: str) -> Any:
    v = F.linalg_eigh(A, UPLO)[1]
    return (v * row(g)) @ mh(v)


def eig_input(given: Any, eigenvalues: Any, eigenvectors: Any) -> Any:
    g_l, g_v = given
    v = eigenvectors
    if g_v is None:
        return None if g_l is None else F.linalg_solve_ex(mh(v), column(g_l) * mh(v))[0]
    along = mh(v) @ g_v
    gaps = conj(row(eigenvalues) - column(eigenvalues))
    unit = identity(gaps)
    inner = off_diagonal(along - mh(v) @ (v * row(F.real(diagonal(along))))) / (gaps + unit)
    if g_l is not None:
        inner = inner + unit * row(g_l)
    return F.linalg_solve_ex(mh(v), inner @ mh(v))[0]


def eigvals_input(g: Any, A: Any) -> Any:
    v = F.linalg_eig(A)[1]
    return F.linalg_solve_ex(mh(v), column(g) * mh(v))[0]


def svd_input(given: Any, U: Any, S: Any, Vh: Any) -> Any:
    g_u, g_s, g_vh = given
    m, n, k = U.shape[-2], Vh.shape[-1], S.shape[-1]
    u, vh = columns(U, 0, k), upper_rows(Vh, k)
    if g_u is None and g_vh is None:
        return None if g_s is None else (u * row(g_s)) @ vh
    gaps = (row(S) - column(S)) * (row(S) + column(S))
    unit = identity(gaps)
    made = None if g_s is None else unit * row(g_s)
    rest = None
    if g_u is not None:
        g_u = columns(g_u, 0, k)
        along = mh(u) @ g_u
        made = total(made, off_diagonal(along - mh(along)) / (gaps + unit) * row(S))
        if is_complex(along):
            made = made + unit * (1j * F.imag(along) / row(S))
        if m > k:
            scaled = g_u / row(S)
            rest = (scaled - u @ (mh(u) @ scaled)) @ vh
    if g_vh is not None:
        g_vh = upper_rows(g_vh, k)
        along = vh @ mh(g_vh)
        made = total(made, column(S) * (off_diagonal(along - mh(along)) / (gaps + unit)))
        if n > k:
            scaled = g_vh / column(S)
            rest = total(rest, u @ (scaled - (scaled @ mh(vh)) @ vh))
    return total(u @ made @ vh, rest)


def svdvals_input(g: Any, A: Any) -> Any:
    u, _, vh = F.linalg_svd(A, False)
    return (u * row(g)) @ vh


def lu_input(given: Any, LU: Any, LU_spec: Any, pivots: Any) -> Any:
    g = given[0]
    if g is None:
        return None
    m, n = LU.shape[-2:]
    k = min(m, n)
    square, g_square = columns(upper_rows(LU, k), 0, k), columns(upper_rows(g, k), 0, k)
    lower = F.tril(square, -1) + identity(square)
    upper = F.triu(square)
    left, right = mh(lower) @ F.tril(g_square, -1), F.triu(g_square) @ mh(upper)
    if n > k:
        left = left - columns(g, k, n) @ mh(columns(LU, k, n))
    if m > k:
        right = right - mh(F.slice(LU, -2, k, m)) @ F.slice(g, -2, k, m)
    inner = F.tril(left, -1) + F.triu(right)
    if n > k:
        inner = F.cat([F.linalg_solve_triangular(mh(upper), inner, False, False), columns(g, k, n)], -1)
        made = F.linalg_solve_triangular(mh(lower), inner, True, True, True)
    else:
        made = F.linalg_solve_triangular(mh(lower), inner, True, True, True)
        if m > k:
            made = F.cat([made, F.slice(g, -2, k, m)], -2)
        made = F.linalg_solve_triangular(mh(upper), made, False, False)
    return F.linalg_permutation(pivots, m, LU_spec.dtype) @ made


vjp("linalg_ldl_factor_ex", A=unknown("linalg_ldl_factor_ex", listed=False))
vjp("linalg_ldl_solve", LD=unknown("linalg_ldl_solve", listed=False), B=unknown("linalg_ldl_solve", listed=False))
vjp("linalg_geqrf", input=unknown("geqrf"))
vjp("linalg_cholesky_ex", A=cholesky_input)
vjp("linalg_qr", A=qr_input)
vjp("linalg_eigh", A=eigh_input)
vjp("linalg_eigvalsh", A=eigvalsh_input)
vjp("linalg_eig", A=eig_input)
vjp("linalg_eigvals", A=eigvals_input)
vjp("linalg_svd", A=svd_input)
vjp("linalg_svdvals", A=svdvals_input)
vjp("linalg_lu_factor_ex", A=lu_input)


# functions of matrices


def matrix_exp_input(g: Any, input: Any) -> Any:
    """The exponential's derivative along g is the corner of the exponential of [[A.mH, g], [0, A.mH]]."""
    n = input.shape[-1]
    a = mh(input)
    above = F.cat([a, g], -1)
    below = F.cat([F.new_full(a, a.shape, 0), a], -1)
    return columns(upper_rows(F.matrix_exp(F.cat([above, below], -2)), n), n, 2 * n)


vjp("matrix_exp", input=matrix_exp_input)
vjp("trace", input=lambda g, input_spec: F.diagonal_backward(F.expand(g, (min(input_spec.shape),)), input_spec.shape,
                                                             0, 0, 1))  # fmt: skip
