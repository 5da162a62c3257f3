"""Element-wise ops on large arrays run in pieces that threads share, with the results of one piece."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_engine import Engine, grad, pieces, spread
from gradwire_engine.backend import log_add_exp
from gradwire_engine.masks import select
from tests.engine.harness import rand


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of few elements, and threads for all of them."""
    monkeypatch.setattr(pieces, "PIECE", 16)
    monkeypatch.setattr(pieces, "LEAST", 32)
    monkeypatch.setattr(spread, "WAKING", 0)


def made(op: str, *args: object) -> list[np.ndarray]:
    """The result of an op, and its gradients."""
    engine = Engine()
    values = [engine.wrap(a.copy(), a.dtype.kind == "f") if isinstance(a, np.ndarray) else a for a in args]
    result = engine.call(op, *values)
    leaves = [v for v in values if getattr(v, "requires_grad", False)]
    g = engine.wrap(rand(*result.shape, seed=9).astype(result.array.dtype))
    return [t.array for t in (result, *grad(engine, [result], leaves, [g], retain_graph=False, create_graph=False,
                                            allow_unused=True)) if t is not None]  # fmt: skip


CASES = [
    ("silu", rand(7, 31)),
    ("clamp", rand(500), -1.0, 1.0),
    ("mul", rand(70, 5), rand(5, seed=1)),
    ("hypot", rand(70, 5), rand(70, 1, seed=1)),
    ("div", rand(70, 5), rand(1, 1, seed=1) + 3, None),
    ("atan2", rand(70, 5), rand(1, 5, seed=1)),
    ("where", rand(300) > 0, rand(300), rand(300, seed=1)),
    ("masked_fill", rand(300), rand(300) > 0, 2.0),
    ("complex", rand(300), rand(300, seed=1)),
    ("add", rand(300), rand(300, seed=1), 1),
]


@pytest.mark.parametrize("c", CASES, ids=lambda c: c[0])
def test_pieces_make_what_the_whole_does(c: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(*c)
    monkeypatch.setattr(pieces, "PIECE", 16)
    monkeypatch.setattr(pieces, "LEAST", 32)
    monkeypatch.setattr(spread, "WAKING", 0)
    for a, b in zip(made(*c), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
        assert a.dtype == b.dtype


@pytest.mark.usefixtures("small")
def test_in_place_of_what_it_overlaps() -> None:
    engine = Engine()
    a = engine.wrap(np.arange(101.0))
    left, right = engine.call("slice", a, 0, 0, 100, 1), engine.call("slice", a, 0, 1, 101, 1)
    engine.call("mul_", right, left)
    np.testing.assert_array_equal(a.array[1:], np.arange(1.0, 101) * np.arange(100.0))


@pytest.mark.usefixtures("small")
def test_what_divides_integers_is_whole() -> None:
    engine = Engine()
    a, b = engine.wrap(np.full(100, 6)), engine.wrap(np.r_[np.full(99, 2), 0])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        engine.call("floor_divide_", a, b)
    assert (a.array == 6).all()


def test_each_range_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "WAKING", 0)
    seen: list[tuple[int, int]] = []
    spread.share(lambda a, b: seen.append((a, b)), 1001, 10)
    assert sorted(seen) == [(a, min(a + 10, 1001)) for a in range(0, 1001, 10)]


def test_a_failure_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "WAKING", 0)

    def run(a: int, b: int) -> None:
        if a >= 20:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        spread.share(run, 1000, 10)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_many_are_chosen_by_their_bits(dtype: str) -> None:
    a, b = rand(5000).astype(dtype), rand(5000, seed=1).astype(dtype)
    a[:9] = b[5:14] = np.nan
    mask = rand(5000, seed=2) > 0
    for x, y in ((a, b), (0, b), (a, 0), (1.5, b), (a, np.inf), (-0.0, b), (a, 2)):
        np.testing.assert_array_equal(select(np, mask, x, y), np.where(mask, x, y))
        assert select(np, mask, x, y).dtype == dtype


def test_log_add_exp_of_many() -> None:
    x, y = rand(20_000, low=-50, high=50), rand(20_000, seed=1, low=-50, high=50)
    x[:4], y[:4] = [np.inf, -np.inf, np.inf, np.nan], [np.inf, -np.inf, -np.inf, 1]
    np.testing.assert_allclose(log_add_exp(np, x, y), np.logaddexp(x, y), rtol=1e-14)
    np.testing.assert_allclose(log_add_exp(np, x, y, base=2), np.logaddexp2(x, y), rtol=1e-14)


def test_nothing_to_replace_is_a_copy() -> None:
    a = rand(5000)
    engine = Engine()
    t = engine.wrap(a)
    made = engine.call("nan_to_num", t, None, None, None)
    np.testing.assert_array_equal(made.array, a)
    assert made.array is not t.array


def test_hypot_of_many() -> None:
    engine = Engine()
    x, y = (rand(5000, seed=i).astype("f4") * np.float32(1e30) for i in (0, 1))
    for hidden in (1.0, np.nan):
        x[0], y[0] = hidden, np.inf
        made = engine.call("hypot", engine.wrap(x), engine.wrap(y)).array
        np.testing.assert_allclose(made, np.hypot(x.astype("f8"), y.astype("f8")), rtol=1e-7)
        assert made.dtype == np.float32
