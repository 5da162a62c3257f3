"""Combining where a place comes several times: what is written for CuPy is run on NumPy, too, and compared with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradwire_engine import scatter
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_proto import dtypes

OTHER: Any = SimpleNamespace(**vars(np))
"""NumPy's functions, but not NumPy: the branches for another library are taken."""
COMBINE = {scatter.add_at: np.add, scatter.maximum_at: np.maximum, scatter.minimum_at: np.minimum}


@pytest.mark.parametrize("combine", COMBINE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_every_type(combine, dtype):
    if dtype.is_complex and combine is not scatter.add_at:
        return
    d = NUMPY_DTYPE[dtype]
    rng = np.random.default_rng(0)
    target, values = ((rng.integers(-9, 9, n) / 4).astype(d) for n in ((3, 4), (5, 4)))
    rows = np.array([2, 0, 2, 2, 0])
    want = target.copy()
    for i, v in zip(rows, values, strict=True):
        want[i] = COMBINE[combine](want[i], v)
    for xp in (np, OTHER):
        made = target.copy()
        combine(xp, made, rows, values)
        np.testing.assert_array_equal(made, want)
        strided = np.zeros((3, 8), d)[:, ::2]
        strided[...] = target
        combine(xp, strided, (rows,), values)
        np.testing.assert_array_equal(strided, want)


@pytest.mark.parametrize("combine", [scatter.maximum_at, scatter.minimum_at], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_infinities_and_doubles_in_full(combine, dtype):
    for xp in (np, OTHER):
        made = np.array([np.nan, 0, -np.inf, 1 / 3, -1 / 3], dtype)
        combine(xp, made, np.array([0, 1, 2, 3, 4]), np.array([1, -np.nan, np.inf, 1 / 3, -1 / 3], dtype))
        most = np.inf if combine is scatter.maximum_at else -np.inf
        np.testing.assert_array_equal(made, np.array([np.nan, np.nan, most, 1 / 3, -1 / 3], dtype))


@pytest.mark.parametrize("xp", [np, OTHER], ids=["numpy", "other"])
def test_products(xp):
    made = np.array([[1.0, 2], [3, 4]])
    scatter.multiply_at(xp, made, (np.array([[0, 1], [0, 1], [1, 0]]), np.array([[0, 1]])), np.full((3, 2), 2.0), 0)
    assert made.tolist() == [[4, 4], [6, 16]]
    line = np.array([3.0, 5])
    scatter.multiply_at(xp, line, (np.array([1, 1, 0]),), np.array(2.0), 0)
    assert line.tolist() == [6, 20]
