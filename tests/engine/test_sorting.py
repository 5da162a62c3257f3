"""The stable order of numbers, found by keys, is that of NumPy's own search."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_engine import Engine
from gradwire_engine.sorting import ranked


def numbers(dtype: str, *shape: int) -> np.ndarray:
    """With many equals and, where there are, zeros of both signs, infinities and nan."""
    a = np.random.default_rng(0).integers(-30, 30, shape).astype(dtype)
    if dtype == "f4":
        a[a == 7] = np.nan
        a[a == 5] = -np.nan
        a[a == 3] = np.inf
        a[a == 2] = -np.inf
        a[::2][a[::2] == 0] = -0.0
    return a


def stable(a: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Searched for row by row, in Python."""
    def row(r: np.ndarray) -> list[int]:
        key = [float("inf") if x != x else x if abs(x) != np.inf else 1e30 * np.sign(x) for x in r.tolist()]
        return sorted(range(len(r)), key=lambda i: -key[i] if descending else key[i])

    return np.apply_along_axis(row, dim, a)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["f4", "i8", "i4", "u1"])
def test_order(dtype: str, dim: int, descending: bool) -> None:
    a = numbers(dtype, 60, 40)
    want = stable(a, dim, descending)
    n = a.shape[dim]
    np.testing.assert_array_equal(ranked(a, dim, descending, 0, n), want)
    np.testing.assert_array_equal(ranked(a, dim, descending, 0, 3), np.take(want, range(3), dim))
    np.testing.assert_array_equal(ranked(a, dim, descending, 9, 10), np.take(want, [9], dim))


def test_where_keys_tell_nothing() -> None:
    assert ranked(np.zeros(1000), 0, False, 0, 1000) is None
    assert ranked(np.array([0, 2**40] * 500), 0, False, 0, 1000) is None


@pytest.mark.parametrize("nan", [False, True])
def test_selections_of_many(nan: bool) -> None:
    a = np.random.default_rng(1).standard_normal((3, 700)).astype("f4")
    if nan:
        a[1, 30:40] = np.nan
    engine = Engine()
    t = engine.wrap(a)
    order = np.argsort(a, axis=1, kind="stable")
    largest = engine.call("topk", t, 5, 1, True, True)
    np.testing.assert_array_equal(largest[1].array, stable(a, 1, True)[:, :5])
    np.testing.assert_array_equal(largest[0].array, np.take_along_axis(a, largest[1].array, 1))
    np.testing.assert_array_equal(engine.call("kthvalue", t, 9, 1)[1].array, order[:, 8])
    middle = engine.call("median_dim", t, 1)[1].array
    assert list(middle) == [order[0, 349], 30 if nan else order[1, 349], order[2, 349]]
