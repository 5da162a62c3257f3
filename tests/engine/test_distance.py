"""Distances between rows: values, derivatives, errors."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from gradwire_engine import Engine
from tests.engine.harness import case, check, rand


def every(p):
    return lambda a, b, *_: np.linalg.norm(a[..., :, None, :] - b[..., None, :, :], ord=p, axis=-1)


CASES = [
    case("cdist_forward", rand(3, 4), rand(2, 4, seed=1), 2.0, False, ref=lambda a, b, *_: cdist(a, b)),
    case("cdist_forward", rand(3, 4), rand(2, 4, seed=1), 2.0, True, label="products",
         ref=lambda a, b, *_: cdist(a, b)),
    *[case("cdist_forward", rand(2, 3, 4), rand(2, 2, 4, seed=1), p, False, ref=every(p), label=f"p{p}")
      for p in (0.0, 1.0, 1.5, 3.0, np.inf)],
    case("cdist_forward", rand(1, 3, 4), rand(2, 2, 4, seed=1), 2.0, False, ref=every(2), label="broadcast"),
    case("cdist_forward", rand(300, 2), rand(400, 2), 1.0, False, ref=every(1), order=0, label="blocks"),
    *[case("pdist", rand(4, 3), p, ref=lambda a, p: pdist(a, "minkowski", p=p), order=1, label=f"p{p}")
      for p in (1.0, 1.5, 2.0)],
    case("pdist", rand(4, 3), np.inf, ref=lambda a, p: pdist(a, "chebyshev"), order=1, label="inf"),
    case("pdist", rand(4, 3), 0.0, ref=lambda a, p: np.full(6, 3.0), order=0, label="p0"),
    case("pdist_backward", rand(1), np.array([[1.0, 2.0], [1.0, 0.0]]), 2.0, np.array([2.0]), order=0,
         constant=(0, 1, 3),
         ref=lambda g, x, p, d: np.array([[0, 1], [0, -1]]) * g),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_no_distance_has_no_slope(p):
    from gradwire_engine import grad

    engine = Engine()
    x = engine.wrap(np.ones((2, 3)), True)
    for d in (engine.call("cdist_forward", x, x, p, False), engine.call("pdist", x, p)):
        (g,) = grad(engine, [engine.call("sum", d)], [x], [None], retain_graph=False, create_graph=False,
                    allow_unused=False)  # fmt: skip
        np.testing.assert_array_equal(g.array, 0)


@pytest.mark.parametrize(("name", "args", "text"), [
    ("cdist_forward", (rand(2), rand(2, 3), 2.0, False), "cdist only supports at least 2D tensors, X1 got: 1D"),
    ("cdist_forward", (rand(2, 4), rand(2, 3), 2.0, False),
     "X1 and X2 must have the same number of columns. X1: 4 X2: 3"),
    ("cdist_forward", (rand(2, 3), rand(2, 3), -1.0, False), "cdist only supports non-negative p values"),
    ("cdist_forward", (np.ones((2, 3), int), np.ones((2, 3), int), 2.0, False),
     "cdist only supports floating-point dtypes, X1 got: Long"),
    ("pdist", (rand(2),), "pdist only supports 2D tensors, got: 1D"),
    ("pdist", (rand(2, 3), -1.0), "pdist only supports non-negative p values"),
])  # fmt: skip
def test_errors(name, args, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call(name, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text
