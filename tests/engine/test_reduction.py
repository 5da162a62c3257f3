"""Reductions: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest
import scipy.special

from gradwire_engine import Engine, grad
from gradwire_proto import dtypes
from tests.engine.harness import case, check, crand, host, rand, run

inf, nan = np.inf, np.nan
ties = np.array([[1.0, 3.0, 3.0], [-2.0, 0.0, -2.0]])
gap = rand(2, 3)
gap[0, 1] = nan


def axis(f, **fixed):
    """NumPy's spelling of a reduction called torch's way."""
    def ref(a, dim=None, keepdim=False, **kw):
        return f(a, axis=tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim, **kw, **fixed)
    return ref


def spread(f, mean=False):
    def ref(a, dim=None, correction=1, keepdim=False):
        v = f(a, axis=dim, ddof=correction, keepdims=keepdim)
        return (v, np.mean(a, axis=dim, keepdims=keepdim)) if mean else v
    return ref


def vector_norm(a, ord=2, dim=None, keepdim=False):
    a = np.abs(a)
    if ord == inf:
        return np.max(a, axis=dim, keepdims=keepdim)
    if ord == -inf:
        return np.min(a, axis=dim, keepdims=keepdim)
    if ord == 0:
        return np.sum(a != 0, axis=dim, keepdims=keepdim)
    return np.sum(a**ord, axis=dim, keepdims=keepdim) ** (1 / ord)


def along(find, arg):
    def ref(a, dim, keepdim=False):
        return find(a, axis=dim, keepdims=keepdim), arg(a, axis=dim, keepdims=keepdim)
    return ref


CASES = [
    case("sum", rand(2, 3), ref=axis(np.sum)),
    case("sum", crand(2, 3, 2), (0, -1), True, ref=axis(np.sum), label="dims"),
    case("sum", np.array([[True, False]]), 1, ref=axis(np.sum), label="bools"),
    case("nansum", gap, 1, ref=axis(np.nansum), order=0),
    case("nansum", rand(2, 3), 1, ref=axis(np.nansum)),
    case("mean", rand(2, 3), ref=axis(np.mean)),
    case("mean", crand(2, 3), 1, ref=axis(np.mean), label="dim"),
    case("prod", rand(2, 3), ref=axis(np.prod)),
    case("prod", crand(2, 4), 1, True, ref=axis(np.prod), label="dim"),
    case("prod", np.array([2.0, 0.0, 3.0]), ref=axis(np.prod), label="zero"),
    case("prod", np.array([2.0, 0.0, 3.0, 0.0]), ref=axis(np.prod), label="zeros"),
    case("prod", np.array(2.0), ref=axis(np.prod), label="0d"),
    case("var", rand(2, 3), ref=spread(np.var)),
    case("var", crand(2, 4), (1,), correction=2, keepdim=True, ref=spread(np.var), label="dim"),
    case("std", rand(2, 3), (0,), correction=0, ref=spread(np.std)),
    case("std", crand(2, 3), ref=spread(np.std), label="complex"),
    case("var_mean", rand(2, 3), (1,), ref=spread(np.var, True)),
    case("std_mean", rand(2, 3), (1,), keepdim=True, ref=spread(np.std, True)),
    case("amax", rand(2, 3), (1,), ref=axis(np.max)),
    case("amax", rand(2, 3), ref=axis(np.max), label="all"),
    case("amin", rand(2, 3), (0,), True, ref=axis(np.min)),
    case("max_all", rand(2, 3), ref=np.max),
    case("min_all", rand(2, 3), ref=np.min),
    case("aminmax", rand(2, 3), dim=1, ref=lambda a, dim: (a.min(dim), a.max(dim))),
    case("max_dim", rand(2, 3), 1, ref=along(np.max, np.argmax)),
    case("max_dim", np.array(2.0), 0, True, ref=lambda a, *_: (a, 0), label="0d"),
    case("min_dim", rand(2, 3), -2, True, ref=along(np.min, np.argmin)),
    case("argmax", rand(2, 3), ref=axis(np.argmax), order=0),
    case("argmax", ties, 1, True, ref=axis(np.argmax), order=0, label="dim"),
    case("argmin", ties, 1, ref=axis(np.argmin), order=0),
    case("argmin", rand(2, 3), keepdim=True, ref=axis(np.argmin), order=0, label="keepdim"),
    case("any", ties, (1,), ref=axis(np.any), order=0),
    case("any", ties, (), ref=lambda a, dim: a != 0, order=0, label="no dims"),
    case("all", ties, ref=axis(np.all), order=0),
    case("count_nonzero", ties, 1, ref=axis(np.count_nonzero), order=0),
    case("logsumexp", rand(2, 3), (1,), ref=axis(scipy.special.logsumexp)),
    case("logsumexp", crand(2, 3), (0, 1), True, ref=axis(scipy.special.logsumexp), label="complex"),
    case("logsumexp", np.array([1000.0, 1000.0]), (0,), ref=axis(scipy.special.logsumexp), label="large"),
    case("logsumexp", np.array([-inf, -inf]), (0,), ref=lambda a, dim: -inf, order=0, label="empty"),
    *[case("linalg_vector_norm", rand(2, 3), p, (1,), ref=vector_norm, label=str(p))
      for p in (2, 1, 3, 2.5, 1.5, 0.5, -1, inf, -inf)],
    case("linalg_vector_norm", ties, 0, ref=vector_norm, order=0, label="0"),
    case("linalg_vector_norm", crand(2, 3), 2, (0,), True, ref=vector_norm, label="complex"),
    case("linalg_vector_norm", crand(2, 3), 3, ref=vector_norm, label="complex-3"),
    case("linalg_vector_norm", crand(2, 3), inf, ref=vector_norm, label="complex-inf"),
    case("scatter_along", rand(2, 1), np.array([[2], [0]]), 1, (2, 3), True,
         ref=lambda g, *_: np.array([[0, 0, g[0, 0]], [g[1, 0], 0, 0]])),
    case("scatter_along", rand(2, 2), np.array([[1, 1], [0, 2]]), 1, (2, 3), False,
         ref=lambda g, *_: np.array([[0, g[0, 0] + g[0, 1], 0], [g[1, 0], 0, g[1, 1]]]), label="added"),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


EMPTY, BOTH = np.zeros((2, 0)), np.zeros(0)
COMPLEX, INT, BOOL = np.zeros(2, complex), np.zeros(2, int), np.zeros(2, bool)
ERRORS = [
    ("max_all", [BOTH], RuntimeError, "max(): Expected reduction dim to be specified for input.numel() == 0. Specify "
     "the reduction dim with the 'dim' argument."),
    ("amin", [BOTH], RuntimeError, "amin(): Expected reduction dim to be specified for input.numel() == 0. Specify "
     "the reduction dim with the 'dim' argument."),
    ("amax", [EMPTY, 1], IndexError, "amax(): Expected reduction dim 1 to have non-zero size."),
    ("min_dim", [EMPTY, 1], IndexError, "min(): Expected reduction dim 1 to have non-zero size."),
    ("argmax", [BOTH], IndexError, "argmax(): Expected reduction dim to be specified for input.numel() == 0."),
    ("argmin", [EMPTY, -1], IndexError, "argmin(): Expected reduction dim 1 to have non-zero size."),
    ("aminmax", [BOTH], RuntimeError, "aminmax(): cannot compute aminmax over an empty dimension as the operation has "
     "no identity."),
    ("sum", [EMPTY, 2], IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    ("sum", [EMPTY, (0, 0)], RuntimeError, "dim 0 appears multiple times in the list of dims"),
    ("max_all", [COMPLEX], NotImplementedError, "\"max_all\" not implemented for 'ComplexDouble'"),
    ("amin", [COMPLEX], NotImplementedError, "\"min_values_cpu\" not implemented for 'ComplexDouble'"),
    ("max_dim", [COMPLEX, 0], RuntimeError, "max(): does not support complex input"),
    ("argmax", [BOOL], RuntimeError, "argmax(): does not support bool input"),
    ("mean", [INT], RuntimeError, "mean(): could not infer output dtype. Input dtype must be either a floating point "
     "or complex dtype. Got: Long"),
    ("std", [INT], RuntimeError, "std and var only support floating point and complex dtypes"),
    ("var_mean", [BOOL], RuntimeError, "var_mean only support floating point and complex dtypes"),
    ("linalg_vector_norm", [INT], RuntimeError, "linalg.vector_norm: Expected a floating point or complex tensor as "
     "input. Got Long"),
    ("linalg_vector_norm", [BOTH, inf], RuntimeError, "linalg.vector_norm cannot compute the inf norm on an empty "
     "tensor because the operation does not have an identity"),
    ("linalg_vector_norm", [EMPTY, -1, 1], RuntimeError, "linalg.vector_norm cannot compute the -1 norm on the "
     "dimension 1because this dimension is empty and the operation does not have an identity"),
]


@pytest.mark.parametrize(("op", "args", "error", "text"), ERRORS)
def test_refusals(op, args, error, text):
    with pytest.raises(error) as e:
        run(case(op, *args))
    assert str(e.value) == text


def test_a_norm_does_not_narrow():
    for given, wanted, text in (
        (np.zeros(2), dtypes.float32, "the dtype of the input (Double) should be convertible without narrowing to the "
         "specified dtype (Float)"),
        (COMPLEX, dtypes.float64, "dtype should be complex for complex inputs, but got Double"),
        (np.zeros(2), dtypes.complex128, "dtype should be real for real inputs, but got ComplexDouble"),
        (np.zeros(2), dtypes.int64, "dtype should be floating point or complex, but got Long"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError) as e:
            run(case("linalg_vector_norm", given, dtype=wanted))
        assert str(e.value) == f"linalg.vector_norm: {text}"


def gradient(op, x, *args, **kwargs):
    results, (leaf,), engine = run(case(op, np.asarray(x), *args, **kwargs))
    with np.errstate(all="ignore"):
        (g,) = grad(engine, results[:1], [leaf], [engine.wrap(np.ones(results[0].shape))],
                    retain_graph=False, create_graph=False, allow_unused=False)  # fmt: skip
    return host(g)


@pytest.mark.parametrize(("op", "args", "x", "want"), [
    ("amax", [], [2.0, 2.0, 1.0], [0.5, 0.5, 0]),
    ("max_all", [], [2.0, nan, nan], [0, 0.5, 0.5]),
    ("max_dim", [0], [2.0, 2.0, 1.0], [1, 0, 0]),
    ("aminmax", [], [1.0, 1.0, 2.0], [0.5, 0.5, 0]),
    ("std", [], [2.0, 2.0], [0, 0]),
    ("linalg_vector_norm", [2], [0.0, 0.0], [0, 0]),
    ("linalg_vector_norm", [3], [0.0, 0.0], [0, 0]),
    ("linalg_vector_norm", [0.5], [0.0, 4.0], [0, 1]),
    ("linalg_vector_norm", [inf], [2.0, -2.0, 1.0], [0.5, -0.5, 0]),
    ("prod", [], [0.0, 2.0, 3.0], [6, 0, 0]),
    ("logsumexp", [0], [-inf, 0.0], [0, 1]),
    ("nansum", [], [nan, 1.0], [0, 1]),
], ids=str)  # fmt: skip
def test_subgradients(op, args, x, want):
    np.testing.assert_allclose(gradient(op, x, *args), want)


def test_what_counts_has_no_gradient():
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        gradient("linalg_vector_norm", [0.0, 4.0], 0)


def test_half_floats_are_summed_in_single_precision():
    x = np.full(4096, 0.1, np.float16)
    (total,), _, _ = run(case("sum", x))
    assert total.array == np.float16(x.astype(np.float64).sum())
    (mean,), _, _ = run(case("mean", x))
    assert mean.array == np.float16(x[0])


@pytest.mark.parametrize("shape", [(3, 1001), (7, 512), (3001, 1), (4096,)])
def test_many(shape: tuple[int, ...]):
    """Products by halves, norms by inner products, and sums where there is no nan to leave out."""
    a = 1 + rand(*shape) / 1000
    a[..., -1] *= -1
    engine = Engine()
    t = engine.wrap(a)
    for keep in (False, True):
        for dim in (None, -1, 0):
            made = engine.call("prod", t, dim, keep).array
            np.testing.assert_allclose(made, a.prod(axis=dim, keepdims=keep), rtol=1e-12)
            assert made.shape == a.prod(axis=dim, keepdims=keep).shape
        made = engine.call("linalg_vector_norm", t, 2, (-1,), keep).array
        np.testing.assert_allclose(made, np.linalg.norm(a, axis=-1, keepdims=keep), rtol=1e-12)
        np.testing.assert_allclose(engine.call("nansum", t, (0,), keep).array, a.sum(axis=0, keepdims=keep), rtol=1e-12)
    a[0] = np.nan
    np.testing.assert_allclose(engine.call("nansum", engine.wrap(a)).array, np.nansum(a), rtol=1e-12)
