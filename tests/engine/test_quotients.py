"""Remainders and whole quotients of many float32 are those that NumPy finds one by one."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_engine import Engine

SIZE = 100_000


def numbers(seed: int) -> np.ndarray:
    """Of many sizes, among them small whole numbers, whose quotients are whole at times."""
    rng = np.random.default_rng(seed)
    a = (rng.standard_normal(SIZE) * 10.0 ** rng.uniform(-3, 3, SIZE)).astype("f4")
    a[::3] = rng.integers(-9, 9, SIZE)[::3] + 0.5 * (seed > 0)
    return a


@pytest.mark.parametrize("op", ["fmod", "remainder", "floor_divide"])
@pytest.mark.parametrize("other", ["many", "one", "infinite", "zero", "tiny"])
def test_as_numpy_has_it(op: str, other: str) -> None:
    x, y = numbers(0), numbers(1)
    if other == "one":
        y = np.array(-0.7, "f4")
    elif other != "many":
        y[7] = {"infinite": np.inf, "zero": 0, "tiny": 1e-30}[other]
    engine = Engine()
    with np.errstate(all="ignore"):
        made = engine.call(op, engine.wrap(x), engine.wrap(y)).array
        want = getattr(np, op)(x, y)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, want)
    if op != "floor_divide":
        np.testing.assert_array_equal(np.signbit(made), np.signbit(want))
