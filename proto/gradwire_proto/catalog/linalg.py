"""Linear algebra: inverses, solvers, factorizations. All of it batched over the leading dimensions.

``raise_as`` names the function of torch that a failure is raised for; without it a failure shows in ``info`` alone, as
in torch's ``_ex`` functions, which the SDK makes of these together with the plain ones.
"""

from __future__ import annotations

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype
from gradwire_proto.dtypes import Category, DType, bool_, int32, int64
from gradwire_proto.spec import Spec, spec


def check_matrix(name: str, a: Spec, label: str = "A", *, square: bool = True) -> None:
    """Raise torch's error where ``a`` is not a matrix or a batch of them."""
    if a.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {label} must have at least 2 dimensions.")
    if square and a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"{name}: {label} must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices"
        )


def check_type(name: str, a: Spec, kernel: str = "") -> DType:
    """The type of ``a``, after torch's refusals: integers, and 16-bit floats, which LAPACK does not know."""
    d = a.dtype
    if d.category < Category.FLOAT:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {d.legacy}")
    if d.itemsize < 4:
        if kernel:
            raise NotImplementedError(f"\"{kernel}\" not implemented for '{d.legacy}'")
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {d.legacy}")
    return d


def _unsupported(a: Spec, kernel: str) -> DType:
    if a.dtype.category < Category.FLOAT or a.dtype.itemsize < 4:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{a.dtype.legacy}'")
    return a.dtype


def _inv(op: Op, a: Spec, raise_as: str | None) -> tuple[Spec, Spec]:
    check_matrix("linalg.inv", a)
    return spec(a.shape, check_type("linalg.inv", a)), spec(a.shape[:-2], int32)


def _solve(op: Op, a: Spec, b: Spec, raise_as: str | None) -> tuple[Spec, Spec]:
    d = _system("linalg.solve", a, b, "AX = B")
    batch = broadcast_shapes(b.shape[:-2], a.shape[:-2])
    return spec((*batch, *b.shape[-2:]), d), spec(a.shape[:-2], int32)


def _system(name: str, a: Spec, b: Spec, equation: str) -> DType:
    check_matrix(name, a)
    check_matrix(name, b, "B", square=False)
    if a.shape[-1] != b.shape[-2 if equation == "AX = B" else -1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {equation} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    check_type(name, a)
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {a.dtype.legacy} and B of type "
            f"{b.dtype.legacy} instead"
        )
    return a.dtype


def _solve_triangular(op: Op, a: Spec, b: Spec, upper: bool, left: bool, unitriangular: bool) -> Spec:
    d = common_dtype((a, b))
    name = "linalg.solve_triangular"
    _system(name, spec(a.shape, d), spec(b.shape, d), "AX = B" if left else "XA = B")
    return spec((*broadcast_shapes(b.shape[:-2], a.shape[:-2]), *b.shape[-2:]), d)


def _cholesky(op: Op, a: Spec, upper: bool, raise_as: str | None) -> tuple[Spec, Spec]:
    name = (raise_as or "linalg.cholesky").removesuffix("_ex")
    check_matrix(name, a)
    return spec(a.shape, check_type(name, a, "cholesky_cpu")), spec(a.shape[:-2], int32)


def _cholesky_solve(op: Op, b: Spec, factor: Spec, upper: bool) -> Spec:
    for name, x in (("b", b), ("u", factor)):
        if x.ndim < 2:
            raise RuntimeError(f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead")
    n, m = factor.shape[-1], b.shape[-2]
    if n != m:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {n} by {n} but each b matrix is {m} by "
            f"{b.shape[-1]}"
        )
    d = _unsupported(b, "cholesky_solve_cpu")
    return spec((*broadcast_shapes(b.shape[:-2], factor.shape[:-2]), *b.shape[-2:]), d)


def _cholesky_inverse(op: Op, factor: Spec, upper: bool) -> Spec:
    check_matrix("cholesky_inverse", factor)
    return spec(factor.shape, _unsupported(factor, "cholesky_inverse_out_cpu"))


def _det(op: Op, a: Spec) -> Spec:
    check_matrix("linalg.det", a)
    return spec(a.shape[:-2], check_type("linalg.det", a, "lu_cpu"))


def _cofactor(op: Op, a: Spec) -> Spec:
    check_matrix("linalg.det", a)
    return spec(a.shape, a.dtype)


def _slogdet(op: Op, a: Spec, name: str) -> tuple[Spec, Spec]:
    check_matrix(name, a)
    d = check_type(name, a)
    return spec(a.shape[:-2], d), spec(a.shape[:-2], d.to_real())


def _qr(op: Op, a: Spec, mode: str) -> tuple[Spec, Spec]:
    check_matrix("linalg.qr", a, square=False)
    d = check_type("linalg.qr", a, "geqrf_cpu")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    *batch, m, n = a.shape
    k = m if mode == "complete" else min(m, n)
    q = spec((0,), d) if mode == "r" else spec((*batch, m, k), d)
    return q, spec((*batch, k, n), d)


def _eigh(op: Op, a: Spec, uplo: str) -> tuple[Spec, ...]:
    check_matrix("linalg.eigh", a)
    d = _unsupported(a, "linalg_eigh_cpu")
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    return (spec(a.shape[:-1], d.to_real()), spec(a.shape, d))[: len(op.results)]


def _eig(op: Op, a: Spec) -> tuple[Spec, ...]:
    check_matrix("linalg.eig" if len(op.results) == 2 else "linalg.eigvals", a)
    if a.dtype.category < Category.FLOAT:
        raise RuntimeError(f"Unknown Complex ScalarType for {a.dtype.legacy}")
    d = _unsupported(a, "linalg_eig_out_cpu").to_complex()
    return (spec(a.shape[:-1], d), spec(a.shape, d))[: len(op.results)]


def _svd(op: Op, a: Spec, full_matrices: bool) -> tuple[Spec, ...]:
    check_matrix("linalg.svd", a, square=False)
    d = check_type("linalg.svd", a, "linalg_svd_cpu")
    *batch, m, n = a.shape
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    return spec((*batch, m, rows), d), spec((*batch, k), d.to_real()), spec((*batch, columns, n), d)


def _svdvals(op: Op, a: Spec) -> Spec:
    return _svd(op, a, False)[1]


def _lu(op: Op, a: Spec, raise_as: str | None) -> tuple[Spec, ...]:
    if a.ndim < 2:
        name = "linalg.lu" if raise_as == "linalg.lu" else "torch.lu_factor"
        raise RuntimeError(f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(a.shape)} instead")
    d = _unsupported(a, "lu_cpu")
    return spec(a.shape, d), spec((*a.shape[:-2], min(a.shape[-2:])), int32), spec(a.shape[:-2], int32)


def _ldl(op: Op, a: Spec, hermitian: bool) -> tuple[Spec, ...]:
    name = "torch.linalg.ldl_factor_ex"
    check_matrix(name, a)
    d = check_type(name, a, "ldl_factor_kernel_cpu")
    return spec(a.shape, d), spec(a.shape[:-1], int32), spec(a.shape[:-2], int32)


def _ldl_solve(op: Op, ld: Spec, pivots: Spec, b: Spec, hermitian: bool) -> Spec:
    _system("torch.linalg.ldl_solve", ld, b, "AX = B")
    if pivots.dtype.category is not Category.INT:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype.legacy}"
        )
    return spec((*broadcast_shapes(b.shape[:-2], ld.shape[:-2]), *b.shape[-2:]), ld.dtype)


def _geqrf(op: Op, a: Spec) -> tuple[Spec, Spec]:
    check_matrix("torch.geqrf", a, "input", square=False)
    d = _unsupported(a, "geqrf_cpu")
    return spec(a.shape, d), spec((*a.shape[:-2], min(a.shape[-2:])), d)


def _permutation(op: Op, pivots: Spec, size: int, dtype: DType) -> Spec:
    return spec((*pivots.shape[:-1], size, size), dtype)


def _matrix_exp(op: Op, a: Spec) -> Spec:
    name = "linalg.matrix_exp"
    check_matrix(name, a)
    if a.dtype.category < Category.FLOAT:
        check_type(name, a)
    return spec(a.shape, a.dtype)


def _pinv(op: Op, a: Spec, atol: object, rtol: object, hermitian: bool) -> Spec:
    if a.ndim < 2 or a.dtype.category < Category.FLOAT or a.dtype.itemsize < 4:
        raise RuntimeError(
            f"linalg.pinv({a.dtype.legacy}{{{list(a.shape)}}}): expected a tensor with 2 or more dimensions of float, "
            "double, cfloat or cdouble types"
        )
    if hermitian:
        check_matrix("linalg.pinv", a)
    return spec((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)


def _trace(op: Op, a: Spec) -> Spec:
    if a.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {a.ndim}")
    if a.dtype is bool_:
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return spec((), int64 if a.dtype.category <= Category.INT else a.dtype)


op("linalg_inv_ex(Tensor A, str? raise_as=None) -> (Tensor inverse, Tensor info)", meta=_inv, public=False,
   method=False, doc="Inverse; info is the first zero of the diagonal of its LU, or 0.")
op("linalg_solve_ex(Tensor A, Tensor B, str? raise_as=None) -> (Tensor result, Tensor info)", meta=_solve,
   public=False, method=False, doc="The X of A @ X = B.")
op("linalg_solve_triangular(Tensor A, Tensor B, *, bool upper, bool left=True, bool unitriangular=False) -> Tensor",
   meta=_solve_triangular, public=False, method=False, alias=("linalg.solve_triangular",),
   doc="The X of A @ X = B, or of X @ A = B, for a triangular A, of which the rest is not read.")
op("linalg_cholesky_ex(Tensor A, bool upper=False, str? raise_as=None) -> (Tensor L, Tensor info)", meta=_cholesky,
   public=False, method=False, doc="The triangular L of A = L @ L.mH; info is the first minor that is not positive.")
op("cholesky_solve(Tensor B, Tensor L, bool upper=False) -> Tensor", meta=_cholesky_solve,
   doc="The X of L @ L.mH @ X = B; of L.mH @ L @ X = B where upper.")
op("cholesky_inverse(Tensor L, bool upper=False) -> Tensor", meta=_cholesky_inverse,
   doc="The inverse of L @ L.mH, or of L.mH @ L where upper.")
op("det(Tensor input) -> Tensor", meta=_det, node="LinalgDetBackward0", doc="Determinant.")
op("linalg_cofactor(Tensor A) -> Tensor", meta=_cofactor, public=False, method=False,
   doc="The derivative of det by each element, of a singular matrix too.")
op("linalg_slogdet(Tensor A, str name='linalg.slogdet') -> (Tensor sign, Tensor logabsdet)", meta=_slogdet,
   public=False, method=False, doc="Sign, and logarithm of the absolute value, of the determinant.")
op("linalg_qr(Tensor A, str mode='reduced') -> (Tensor Q, Tensor R)", meta=_qr, public=False, method=False,
   doc="A = Q @ R, orthonormal and triangular.")
op("linalg_eigh(Tensor A, str UPLO='L') -> (Tensor eigenvalues, Tensor eigenvectors)", meta=_eigh, public=False,
   method=False, doc="Eigenvalues, ascending, and eigenvectors of a symmetric matrix, of which one triangle is read.")
op("linalg_eigvalsh(Tensor A, str UPLO='L') -> Tensor", meta=_eigh, public=False, method=False,
   node="LinalgEighBackward0", alias=("linalg.eigvalsh",), doc="Eigenvalues, ascending, of a symmetric matrix.")
op("linalg_eig(Tensor A) -> (Tensor eigenvalues, Tensor eigenvectors)", meta=_eig, public=False, method=False,
   doc="Eigenvalues and eigenvectors of any square matrix.")
op("linalg_eigvals(Tensor A) -> Tensor", meta=_eig, public=False, method=False, node="LinalgEigBackward0",
   doc="Eigenvalues of any square matrix.")
op("linalg_svd(Tensor A, bool full_matrices=True) -> (Tensor U, Tensor S, Tensor Vh)", meta=_svd, public=False,
   method=False, doc="A = U @ diag(S) @ Vh, singular values descending.")
op("linalg_svdvals(Tensor A) -> Tensor", meta=_svdvals, public=False, method=False, node="LinalgSvdBackward0",
   doc="Singular values, descending.")
op("linalg_lu_factor_ex(Tensor A, str? raise_as=None) -> (Tensor LU, Tensor pivots, Tensor info)", meta=_lu,
   public=False, method=False, doc="P @ L @ U = A in one matrix, with the row that each step swapped, from 1.")
op("linalg_ldl_factor_ex(Tensor A, bool hermitian=False) -> (Tensor LD, Tensor pivots, Tensor info)", meta=_ldl,
   public=False, method=False, doc="L and D of L @ D @ L.mT = A for a symmetric A, of L @ D @ L.mH where hermitian.")
op("linalg_ldl_solve(Tensor LD, Tensor pivots, Tensor B, *, bool hermitian=False) -> Tensor", meta=_ldl_solve,
   public=False, method=False, alias=("linalg.ldl_solve",), doc="The X of A @ X = B, where ldl_factor made LD of A.")
op("linalg_geqrf(Tensor input) -> (Tensor a, Tensor tau)", meta=_geqrf, public=False, method=False,
   node="GeqrfBackward0", doc="R, and below it the Householder reflections that Q is the product of.")
op("linalg_permutation(Tensor pivots, int size, dtype dtype) -> Tensor", meta=_permutation, public=False,
   method=False, differentiable=False, doc="The matrix P of the row swaps of an LU factorization.")
op("matrix_exp(Tensor input) -> Tensor", meta=_matrix_exp, node="LinalgMatrixExpBackward0",
   doc="The exponential series of a square matrix.")
op("linalg_pinv(Tensor A, *, Tensor|Scalar? atol=None, Tensor|Scalar? rtol=None, bool hermitian=False) -> Tensor",
   meta=_pinv, public=False, method=False, doc="The Moore-Penrose inverse; singular values up to the tolerance are 0.")
op("trace(Tensor input) -> Tensor", meta=_trace, doc="Sum of the diagonal of a matrix.")
