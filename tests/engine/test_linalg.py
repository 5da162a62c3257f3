"""Linear algebra: values against NumPy and SciPy, derivatives to second order, failures by type and text."""

import numpy as np
import pytest
import scipy.linalg

from gradwire_engine import Engine, grad
from gradwire_proto.dtypes import float64
from gradwire_proto.errors import LinAlgError
from tests.engine.harness import case, check, crand, rand


def well(make, *shape, seed=0):
    """Matrices far from singular."""
    n = shape[-1]
    return make(*shape, seed=seed) + 4 * np.eye(*shape[-2:])[..., :n]


def mh(engine, a):
    return engine.call("conj_physical", engine.call("transpose", a, -1, -2))


def symmetric(engine, a):
    return (a + mh(engine, a),)


def positive(engine, a):
    return (engine.call("matmul", a, mh(engine, a)),)


def np_symmetric(a):
    return a + np.conj(a.swapaxes(-1, -2))


def np_positive(a):
    return a @ np.conj(a.swapaxes(-1, -2))


def values_and_sizes(engine, values, vectors):
    """Eigenvectors are unique but for a factor of size 1."""
    return values, engine.call("abs", vectors)


def last_lower(engine, *args, upper=False):
    """The last argument as a triangle."""
    return (*args[:-1], engine.call("triu" if upper else "tril", args[-1]))


def last_upper(engine, *args):
    return last_lower(engine, *args, upper=True)


def inverted(a, upper):
    a = np.conj(np.triu(a).swapaxes(-1, -2)) if upper else np.tril(a)
    return np.linalg.inv(np_positive(a))


def solved(b, a, upper):
    return inverted(a, upper) @ b


def info(f):
    """The reference of an op that tells failures: none."""
    return lambda a, *b, **k: (f(a, *b, **k), np.zeros(a.shape[:-2], np.int32))


def eigh(a, **_):
    values, vectors = np.linalg.eigh(np_symmetric(a))
    return values, abs(vectors)


def eig(a):
    values, vectors = np.linalg.eig(a)
    return values, abs(vectors)


def svd(a, full_matrices=True):
    u, s, vh = np.linalg.svd(a, full_matrices=full_matrices)
    return abs(u), s, abs(vh)


def sizes(engine, u, s, vh):
    return engine.call("abs", u), s, engine.call("abs", vh)


def thin_sizes(engine, u, s, vh):
    """What of full singular vectors is differentiable."""
    k = s.shape[-1]
    return sizes(engine, engine.call("slice", u, -1, 0, k, 1), s, engine.call("slice", vh, -2, 0, k, 1))


def thin_svd(a, **_):
    return svd(a, False)


def unpacked(engine, lu, pivots, info):
    return (lu,)


def lu(a):
    out = np.empty_like(a)
    for i in np.ndindex(a.shape[:-2]):
        out[i] = scipy.linalg.lu_factor(a[i])[0]
    return out


def logdet(a, **_):
    sign, size = np.linalg.slogdet(a)
    return sign, size


def triangular(a, b, upper, left=True, unitriangular=False):
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        a = a - a * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    return np.linalg.solve(a, b) if left else (np.linalg.solve(a.swapaxes(-1, -2), b.swapaxes(-1, -2))).swapaxes(-1, -2)


def ldl(a, hermitian=False):
    kind = "hetrf" if hermitian else "sytrf"
    (trf,) = scipy.linalg.get_lapack_funcs([kind], (a,))
    made, pivots, failed = trf(a, lower=1)
    return np.tril(made), pivots, failed


def raw(a):
    h, tau = np.linalg.qr(a, mode="raw")
    return h.swapaxes(-1, -2), tau


def cofactors(a):
    out = np.empty_like(a)
    for i in range(a.shape[0]):
        for j in range(a.shape[0]):
            out[i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1))
    return out


RANK_2 = rand(3, 2) @ rand(2, 3, seed=1)
RANK_1 = rand(3, 1) @ rand(1, 3, seed=1)

CASES = [
    *[
        c
        for make in (rand, crand)
        for c in (
            case("linalg_inv_ex", well(make, 2, 3, 3), ref=info(np.linalg.inv), label=make.__name__),
            case("linalg_solve_ex", well(make, 2, 3, 3), make(2, 3, 2), ref=info(np.linalg.solve), label=make.__name__),
            case("linalg_cholesky_ex", well(make, 2, 3, 3), before=positive, label=make.__name__,
                 ref=info(lambda a: np.linalg.cholesky(np_positive(a)))),
            case("linalg_cholesky_ex", well(make, 3, 3), before=positive, label="upper" + make.__name__, upper=True,
                 ref=info(lambda a, upper: np.conj(np.linalg.cholesky(np_positive(a)).T))),
            *[case(f"cholesky_{what}", *b, well(make, 2, 3, 3), before=last_upper if upper else last_lower, upper=upper,
                   ref=ref, label=f"{upper}{make.__name__}")
              for upper in (False, True)
              for what, b, ref in (("solve", (make(2, 3, 2),), solved), ("inverse", (), inverted))],
            case("det", well(make, 2, 3, 3), ref=np.linalg.det, label=make.__name__),
            case("linalg_cofactor", well(make, 3, 3), ref=cofactors, label=make.__name__),
            case("linalg_slogdet", well(make, 2, 3, 3), ref=logdet, label=make.__name__),
            *[case("linalg_qr", make(2, m, n), ref=np.linalg.qr, label=f"{m}x{n}{make.__name__}")
              for m, n in ((3, 3), (4, 2), (2, 4))],
            case("linalg_eigh", make(2, 3, 3), before=symmetric, after=values_and_sizes, ref=eigh, label=make.__name__),
            case("linalg_eigvalsh", make(2, 3, 3), before=symmetric, label=make.__name__,
                 ref=lambda a: np.linalg.eigvalsh(np_symmetric(a))),
            case("linalg_eig", make(3, 3), after=values_and_sizes, ref=eig, label=make.__name__),
            case("linalg_eigvals", make(2, 3, 3), ref=np.linalg.eigvals, label=make.__name__),
            *[case("linalg_svd", make(2, m, n), after=sizes, ref=svd, full_matrices=False, label=f"{m}x{n}" +
                   make.__name__) for m, n in ((3, 3), (4, 2), (2, 4))],
            case("linalg_svdvals", make(2, 3, 4), ref=lambda a: np.linalg.svd(a)[1], label=make.__name__),
            *[case("linalg_lu_factor_ex", make(2, m, n), after=unpacked, ref=lu, label=f"{m}x{n}{make.__name__}")
              for m, n in ((3, 3), (4, 2), (2, 4))],
            *[case("linalg_solve_triangular", well(make, 3, 3), make(*b), ref=triangular, upper=upper, left=left,
                   unitriangular=unit, label=f"{b}{upper}{left}{unit}{make.__name__}")
              for upper, left, unit, b in ((True, True, False, (3, 2)), (False, True, True, (2, 3, 2)),
                                           (True, False, True, (2, 3)), (False, False, False, (2, 2, 3)))],
            case("matrix_exp", make(2, 3, 3), ref=scipy.linalg.expm, label=make.__name__),
            *[case("linalg_pinv", make(2, m, n), ref=np.linalg.pinv, label=f"{m}x{n}{make.__name__}")
              for m, n in ((3, 3), (4, 2), (2, 4))],
            case("trace", make(2, 3), ref=np.trace, label=make.__name__),
        )
    ],
    case("linalg_inv_ex", rand(0, 0), ref=info(np.linalg.inv), label="empty"),
    case("linalg_solve_ex", well(rand, 3, 3), rand(2, 3, 2), ref=info(np.linalg.solve), label="one matrix"),
    case("linalg_solve_ex", well(rand, 2, 3, 3), rand(3, 2), ref=info(np.linalg.solve), label="one right side"),
    case("det", RANK_2, ref=np.linalg.det, label="rank 2"),
    case("det", RANK_1, ref=np.linalg.det, label="rank 1"),
    case("det", rand(1, 1), ref=np.linalg.det, label="1x1"),
    case("linalg_cofactor", RANK_2, ref=cofactors, label="rank 2"),
    case("linalg_cofactor", crand(3, 2) @ crand(2, 3), ref=cofactors, order=1, label="complex rank 2"),
    case("linalg_qr", rand(4, 2), ref=lambda a, mode: np.linalg.qr(a, mode="complete"), mode="complete", order=0),
    case("linalg_qr", rand(4, 2), ref=lambda a, mode: (np.empty(0), np.linalg.qr(a, mode="r")), mode="r", order=0),
    case("linalg_eigh", rand(3, 3), before=symmetric, after=values_and_sizes, ref=eigh, UPLO="U", label="upper"),
    case("linalg_svd", rand(4, 2), after=thin_sizes, ref=thin_svd, label="full"),
    case("linalg_svd", rand(2, 4), after=thin_sizes, ref=thin_svd, label="full wide"),
    case("linalg_pinv", rand(3, 3), before=symmetric, ref=lambda a, hermitian: np.linalg.pinv(np_symmetric(a)),
         hermitian=True, label="hermitian"),
    case("linalg_permutation", np.array([[2, 3], [1, 2]], np.int32), 3, dtype=float64, order=0,
         ref=lambda p, n, dtype: np.array([[[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.eye(3)])),
    case("linalg_ldl_factor_ex", np_symmetric(rand(3, 3)), ref=ldl, order=0),
    case("linalg_ldl_factor_ex", np_symmetric(crand(3, 3)), ref=ldl, hermitian=True, order=0, label="hermitian"),
    case("linalg_ldl_solve", ldl(np_symmetric(rand(3, 3)))[0], ldl(np_symmetric(rand(3, 3)))[1], rand(2, 3, 2), order=0,
         ref=lambda ld, p, b: np.linalg.solve(np_symmetric(rand(3, 3)), b)),
    case("linalg_ldl_solve", ldl(np_symmetric(crand(3, 3)), True)[0], ldl(np_symmetric(crand(3, 3)), True)[1],
         crand(3, 2), ref=lambda ld, p, b, hermitian: np.linalg.solve(np_symmetric(crand(3, 3)), b), hermitian=True,
         order=0, label="hermitian"),
    case("linalg_geqrf", rand(2, 4, 3), ref=raw, order=0),
    case("matrix_exp", rand(0, 0), ref=np.copy, label="empty"),
    case("trace", np.arange(6).reshape(2, 3), ref=np.trace, label="ints"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
BATCH = np.stack([np.eye(2), SINGULAR])
NEGATIVE = np.diag([1.0, -1.0, 1.0])
NAN = np.full((3, 3), np.nan)
ZERO_DIAGONAL = (
    "The diagonal element {} is zero, the inversion could not be completed because the input matrix is singular."
)
MINOR = (
    "The factorization could not be completed because the input is not positive-definite (the leading minor of order "
    "2 is not positive-definite)."
)


def failing(name, *args):
    engine = Engine()
    return engine.call(name, *[engine.wrap(a.copy()) if isinstance(a, np.ndarray) else a for a in args])


@pytest.mark.parametrize(("name", "args", "kind", "text"), [
    ("linalg_inv_ex", (SINGULAR, "linalg.inv"), LinAlgError, "linalg.inv: " + ZERO_DIAGONAL.format(2)),
    ("linalg_inv_ex", (np.zeros((2, 2)), "linalg.inv"), LinAlgError, "linalg.inv: " + ZERO_DIAGONAL.format(1)),
    ("linalg_inv_ex", (BATCH, "linalg.inv"), LinAlgError,
     "linalg.inv: (Batch element 1): " + ZERO_DIAGONAL.format(2)),
    ("linalg_solve_ex", (BATCH, np.ones((2, 2, 1)), "torch.linalg.solve"), LinAlgError,
     "torch.linalg.solve: (Batch element 1): The solver failed because the input matrix is singular."),
    ("linalg_cholesky_ex", (NEGATIVE, False, "linalg.cholesky"), LinAlgError, "linalg.cholesky: " + MINOR),
    ("linalg_cholesky_ex", (np.stack([np.eye(3), NEGATIVE]), True, "cholesky"), LinAlgError,
     "cholesky: (Batch element 1): " + MINOR),
    ("cholesky_inverse", (np.zeros((2, 2)),), LinAlgError, "cholesky_inverse: " + ZERO_DIAGONAL.format(1)),
    ("linalg_lu_factor_ex", (SINGULAR, "torch.linalg.lu_factor"), RuntimeError,
     "torch.linalg.lu_factor: U[2,2] is zero and using it on lu_solve would result in a division by zero. If you still "
     "want to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"),
    ("linalg_svd", (NAN,), LinAlgError, "linalg.svd: The algorithm failed to converge because the input matrix "
                                        "contained non-finite values."),
    ("linalg_eigh", (NAN,), LinAlgError, "linalg.eigh: The algorithm failed to converge because the input matrix is "
                                         "ill-conditioned or has too many repeated eigenvalues (error code: 2)."),
    ("linalg_eig", (NAN,), RuntimeError, "torch.linalg.eig: input tensor should not contain infs or NaNs."),
    ("linalg_inv_ex", (rand(3),), RuntimeError, "linalg.inv: The input tensor A must have at least 2 dimensions."),
    ("det", (rand(2, 3),), RuntimeError,
     "linalg.det: A must be batches of square matrices, but they are 2 by 3 matrices"),
    ("linalg_inv_ex", (np.ones((2, 2), int),), RuntimeError,
     "linalg.inv: Expected a floating point or complex tensor as input. Got Long"),
    ("linalg_inv_ex", (np.ones((2, 2), np.float16),), RuntimeError,
     "linalg.inv: Low precision dtypes not supported. Got Half"),
    ("linalg_svd", (np.ones((2, 2), np.float16),), NotImplementedError,
     "\"linalg_svd_cpu\" not implemented for 'Half'"),
    ("linalg_eigh", (rand(2, 2), "X"), RuntimeError, "Expected UPLO argument to be 'L' or 'U', but got X"),
    ("linalg_qr", (rand(2, 2), "foo"), RuntimeError,
     "qr received unrecognized mode 'foo' but expected one of 'reduced' (default), 'r', or 'complete'"),
    ("linalg_solve_ex", (rand(2, 2), rand(3, 2)), RuntimeError,
     "linalg.solve: Incompatible shapes of A and B for the equation AX = B (2x2 and 3x2)"),
    ("linalg_solve_ex", (rand(2, 2), rand(2, 2).astype("f")), RuntimeError,
     "linalg.solve: Expected A and B to have the same dtype, but found A of type Double and B of type Float instead"),
    ("linalg_solve_triangular", (rand(2, 2), rand(2, 3), True, False), RuntimeError,
     "linalg.solve_triangular: Incompatible shapes of A and B for the equation XA = B (2x2 and 2x3)"),
    ("cholesky_solve", (rand(3, 2), rand(2, 2)), RuntimeError,
     "Incompatible matrix sizes for cholesky_solve: each A matrix is 2 by 2 but each b matrix is 3 by 2"),
    ("trace", (rand(3),), RuntimeError, "trace: expected a matrix, but got tensor with dim 1"),
])  # fmt: skip
def test_failures(name, args, kind, text):
    with pytest.raises(RuntimeError) as e:
        failing(name, *args)
    assert type(e.value) is kind
    assert str(e.value) == text


def test_without_a_name_to_raise_for_only_the_failed_tell():
    made, info = failing("linalg_inv_ex", BATCH)
    np.testing.assert_array_equal(info.array, [0, 2])
    np.testing.assert_array_equal(made.array[0], np.eye(2))
    assert np.isinf(made.array[1]).all()
    made, info = failing("linalg_solve_ex", BATCH, np.ones((2, 2, 1)))
    np.testing.assert_array_equal(info.array, [0, 2])
    np.testing.assert_array_equal(made.array[0], 1)
    assert failing("linalg_cholesky_ex", NEGATIVE)[1].array == 2
    assert failing("linalg_lu_factor_ex", SINGULAR)[2].array == 2


def test_a_zero_on_a_triangle_is_a_division_by_zero():
    made = failing("linalg_solve_triangular", np.zeros((2, 2)), np.ones((2, 1)), True)
    assert not np.isfinite(made.array).any()


@pytest.mark.parametrize(("mode", "text"), [
    ("r", "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, "
          "mode='reduced') if you are going to differentiate through linalg.qr."),
    ("complete", "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."),
])  # fmt: skip
def test_qr_without_a_derivative(mode, text):
    engine = Engine()
    a = engine.wrap(rand(3, 2), True)
    r = engine.call("linalg_qr", a, mode)[1]
    with pytest.raises(RuntimeError) as e:
        grad(engine, [engine.call("sum", r)], [a], [None], retain_graph=False, create_graph=False, allow_unused=False)
    assert str(e.value) == text


def test_a_derivative_that_is_missing_refuses_when_asked_for():
    engine = Engine()
    a = engine.wrap(np.eye(3), True)
    ld = engine.call("linalg_ldl_factor_ex", a)[0]
    with pytest.raises(RuntimeError, match="^derivative for aten::linalg_ldl_factor_ex is not implemented"):
        grad(engine, [ld], [a], [engine.wrap(np.eye(3))], retain_graph=False, create_graph=False, allow_unused=False)


def test_repeated_eigenvalues_are_differentiable_where_their_vectors_are_not_asked_for():
    engine = Engine()
    a = engine.wrap(np.eye(3), True)
    for values in (engine.call("linalg_eigvalsh", a), engine.call("linalg_eigh", a)[0], engine.call("linalg_svd", a)[1],
                   engine.call("linalg_svdvals", a)):  # fmt: skip
        (g,) = grad(engine, [engine.call("sum", values)], [a], [None], retain_graph=False, create_graph=False,
                    allow_unused=False)  # fmt: skip
        np.testing.assert_allclose(g.array, np.eye(3), atol=1e-12)
