"""Reductions: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest
import scipy.special

from tests.engine.harness import case, check, crand, rand

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
