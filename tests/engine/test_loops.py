"""Compiled loops make what the array functions do that they stand for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, columns, grad, loops, spread
from gradwire_engine.loops import lines, norms, places, updates, windows
from gradwire_engine.loops.compiling import loop
from gradwire_engine.registry import KERNELS
from tests.engine import test_activation, test_attention, test_conv, test_loss, test_norm, test_pool
from tests.engine.harness import Case, case, rand, run

F4 = np.float32
MODULES = (test_activation, test_attention, test_conv, test_loss, test_norm, test_pool)
MORE = [
    case("layer_norm", rand(700, 33), (33,), rand(33), rand(33, seed=1), 1e-5, results=(0,)),
    case("layer_norm", rand(3, 2500), (2500,), None, None, 1e-5, results=(0,)),
    case("group_norm", rand(5, 6, 40), 3, rand(6), rand(6, seed=1), 1e-5, results=(0,)),
    case("batch_norm", rand(5, 6, 40), rand(6), rand(6, seed=1), 1e-5, results=(0,)),
    case("rms_norm", rand(50, 33), (33,), rand(33), 1e-5, results=(0,)),
    case("gelu", rand(5000, low=-16, high=16), approximate="none"),
    case("gelu", rand(5000, low=-16, high=16), approximate="tanh"),
    case("relu", rand(5000)),
    case("gather", rand(6, 50, 4), 1, rand(6, 70, 4, low=0, high=50).astype(int)),
    case("gather", rand(50, 4), 0, rand(70, 4, low=0, high=50).astype(int)),
    case("scatter", rand(6, 50, 4), 1, rand(6, 70, 4, low=0, high=50).astype(int), rand(6, 70, 4)),
    case("scatter_add", rand(6, 50), -1, rand(6, 70, low=0, high=50).astype(int), rand(6, 70)),
    *[case(op, rand(5000, low=-8, high=8)) for op in ("sigmoid", "silu", "erf", "hardswish")],
    case("huber_loss", rand(500), rand(500, seed=1), "none", 0.7),
    case("smooth_l1_loss", rand(500), rand(500, seed=1), "mean", 0.7),
    case("cross_entropy", rand(500, 7), np.arange(500) % 7, rand(7, low=0.5), "mean", 3, results=(0,), constant=(2,)),
    case("cross_entropy", rand(500, 7), np.arange(500) % 7, None, "none", -100, results=(0,)),
    case("softmax", rand(300, 37, low=-50, high=50), -1),
    case("log_softmax", rand(300, 37, low=-50, high=50), -1),
    case("mse_loss", rand(5000), rand(5000, seed=1), "mean"),
    case("attention", rand(2, 3, 70, 5), rand(2, 3, 40, 5, seed=1), rand(2, 3, 40, 7, seed=2), None, True, 0.4,
         results=(0,)),
    case("attention", rand(6, 70, 5), rand(6, 40, 5, seed=1), rand(6, 40, 7, seed=2), rand(70, 40, seed=3), False, 0.4,
         results=(0,), constant=(3,)),
    case("convolution", rand(5, 6, 9, 8), rand(4, 3, 3, 2, seed=1), None, (2, 1), (1, 2), (1, 2), False, (0, 0), 2),
    case("convolution", rand(5, 4, 9, 8), rand(4, 3, 3, 2, seed=1), None, (2, 3), (1, 0), (1, 1), True, (1, 0), 2),
    case("convolution", rand(3, 2, 4, 5, 6), rand(4, 2, 2, 3, 2, seed=1), None, (1, 2, 1), (1, 1, 0), (2, 1, 1), False,
         (0, 0, 0), 1),
    case("max_pool2d_with_indices", rand(3, 5, 11, 9), (3, 2), (2, 1), (1, 1), (2, 1), True, results=(0,)),
    case("max_pool3d_with_indices", rand(3, 5, 6, 7), (2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 2, 1), False, results=(0,)),
]  # fmt: skip
FITTING = {
    "gather", "scatter", "scatter_add",
    "sigmoid", "silu", "erf", "hardswish", "huber_loss", "smooth_l1_loss", "gelu", "relu", "softmax", "log_softmax",
    "mse_loss", "cross_entropy", "attention", "convolution", "layer_norm", "group_norm", "batch_norm", "rms_norm",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "scatter_planes", "gather_planes",
}  # fmt: skip
CASES = [c for m in MODULES for c in m.CASES if c.op in FITTING] + MORE


def typed(value: Any, floats: str) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(floats) if value.dtype == np.float64 else value
    return tuple(typed(v, floats) for v in value) if isinstance(value, tuple) else value


def everything(c: Case, floats: str) -> list[np.ndarray]:
    """Results of a case, and the gradients of its leaves."""
    c = replace(c, args=typed(c.args, floats), kwargs={k: typed(v, floats) for k, v in c.kwargs.items()})
    results, leaves, engine = run(c)
    results = results if c.results is None else [results[i] for i in c.results]
    results = [r for r in results if r.requires_grad]
    made = [r.array for r in results]
    if leaves and results:
        grads = [engine.wrap(rand(*r.array.shape, seed=9).astype(r.array.dtype)) for r in results]
        gradients = grad(engine, results, leaves, grads, retain_graph=False, create_graph=False, allow_unused=True)
        made += [g.array for g in gradients if g is not None]
    return made


@pytest.mark.parametrize("floats", ["float64", "float32"])
@pytest.mark.parametrize("c", CASES, ids=str)
def test_loops_make_what_array_functions_do(c: Case, floats: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "STEP", 8)
    monkeypatch.setattr(loops, "LEAST", 1)
    monkeypatch.setattr(spread, "WAKING", 0)
    monkeypatch.setattr(spread, "SOLO", 1)
    looped = everything(c, floats)
    monkeypatch.setattr(loops, "fit", lambda *a, **k: False)
    tolerance = 1e-10 if floats == "float64" else 3e-5
    for a, b in zip(looped, everything(c, floats), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max(initial=0)))


def test_each_loop_is_in_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that kernels call, but for the ones that only other loops do."""
    monkeypatch.setattr(loops, "LEAST", 1)
    inner = {"exp", "largest", "reach", "lay", "take", "put", "total", "squares", "dots"}
    called = set()

    def spy(loop: Callable[..., None], rows: int, width: int, *args: Any) -> None:
        called.add(loop.__name__)
        over(loop, rows, width, *args)

    over = loops.over
    monkeypatch.setattr(loops, "over", spy)
    for c in CASES:
        everything(c, "float32")
        everything(c, "float64")
    public = {
        name
        for module in (lines, norms, places, updates, windows)
        for name, f in vars(module).items()
        if hasattr(f, "py_func") and f.py_func.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - inner - {"adam"} <= called


@pytest.fixture
def exponential() -> Callable[[np.ndarray], np.ndarray]:
    @loop
    def each(x: Any, out: Any) -> None:
        for i in range(len(x)):
            out[i] = lines.exp(x[i])

    def made(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        each.py_func.__globals__["lines"] = lines
        each(x, out)
        return out

    return made


def test_exponentials_are_right_to_about_an_ulp(exponential: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.r_[np.linspace(-86.6, 88.7, 1_000_003), np.linspace(-1, 1, 300_001)].astype(F4)
    right = np.exp(x.astype("f8"))
    assert np.max(np.abs(exponential(x) - right) / np.spacing(right.astype(F4))) <= 1.1


def test_exponentials_at_the_ends(exponential: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.array([-np.inf, -1e30, -104, -87, 0, 88.7, 88.8, 1e30, np.inf, np.nan], F4)
    np.testing.assert_allclose(exponential(x), [0, 0, 0, 0, 1, np.exp(88.7), *[np.inf] * 3, np.nan], rtol=1e-5)


@pytest.mark.parametrize("op", ["sigmoid", "silu", "erf", "hardswish"])
def test_functions_of_elements_at_the_ends(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.array([-np.inf, -1e30, -90, -4, -1, -0.0, 0, 1e-30, 1, 4, 90, 1e30, np.inf, np.nan] * 20, F4)
    with np.errstate(all="ignore"):
        made = KERNELS[op].run(np, x)
        np.testing.assert_allclose(made, KERNELS[op].run(np, x.astype("f8")), rtol=1e-6, atol=1e-37)
        again = x.copy()
        if KERNELS[op].out:
            assert KERNELS[op].run(np, again, out=again) is again
            np.testing.assert_array_equal(again, made)


def test_erf_is_right_to_a_few_ulp() -> None:
    x = np.linspace(-5, 5, 1_000_001).astype(F4)
    right = KERNELS["erf"].run(np, x.astype("f8"))
    assert np.max(np.abs(KERNELS["erf"].run(np, x) - right) / np.spacing(np.abs(right).astype(F4))) < 2.5


def test_what_is_not_finite_goes_where_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LEAST", 1)
    engine = Engine()
    x = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3], F4)
    with np.errstate(all="ignore"):
        made = engine.call("softmax", engine.wrap(x), 1).array
        logs = engine.call("log_softmax", engine.wrap(x), 1).array
    assert np.isnan(made[[0, 1, 3]]).all()
    np.testing.assert_allclose(made[2], [0, 1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
    assert np.isnan(logs[[0, 3]]).all()
    values, places = engine.call("max_pool1d_with_indices", engine.wrap(x[:3, None]), (3,), (), (0,), (1,), False)
    np.testing.assert_array_equal(values.array[:, 0, 0], [np.nan, np.inf, 2])
    np.testing.assert_array_equal(places.array[:, 0, 0], [0, 0, 2])


def test_the_last_nan_and_the_first_of_equals_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LEAST", 1)
    engine = Engine()
    x = np.array([[1, np.nan, 3, np.nan, 2], [3, 5, 5, 1, 5], [-np.inf] * 5], F4)[:, None]
    _, places = engine.call("max_pool1d_with_indices", engine.wrap(x), (5,), (), (2,), (1,), False)
    np.testing.assert_array_equal(places.array[:, 0], [[1], [1], [0]])


@pytest.mark.parametrize("op", ["scatter_planes", "gather_planes"])
@pytest.mark.parametrize("place", [-1, 12])
def test_a_place_out_of_bounds_is_refused(op: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LEAST", 1)
    x, at = np.ones((2, 3, 3, 4)), np.full((2, 3, 2, 2), place)
    args = (x, at, 2) if op == "gather_planes" else (np.ones(at.shape), at, (3, 4), False, Engine().wrap(x).spec)
    with pytest.raises(IndexError, match="index out of bounds for a dimension with size 12"):
        KERNELS[op].run(np, *args)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("floats", ["float64", "float32"])
def test_adam_goes_as_array_functions_do(floats: str, amsgrad: bool, decoupled: bool,
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    made = []
    for looped in (True, False):
        state = [rand(3000, seed=s).astype(floats) for s in range(4)]
        p, g, mean, square, most = *state, abs(rand(3000, seed=4)).astype(floats)
        np.abs(square, out=square)
        g[5] = np.nan
        if not looped:
            monkeypatch.setattr(loops, "fit", lambda *a, **k: False)
        steps = np.array([2])
        KERNELS["adam_"].run(np, [p], [mean], [square], [most] if amsgrad else [], steps, 0.01, 0.8, 0.9, 1e-8, 0.1,
                             decoupled, False, [g])  # fmt: skip
        made.append((p, mean, square, most))
    for a, b in zip(*made, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12 if floats == "float64" else 1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [-1, 7, 2**40])
def test_a_target_that_is_no_class_is_refused(target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LEAST", 1)
    x, logs, t = np.ones((3, 7), F4), np.ones((3, 1), F4), np.array([1, target, -100])
    with pytest.raises(IndexError, match=f"Target {target} is out of bounds"):
        KERNELS["cross_entropy_backward"].run(np, F4(1).reshape(()), x, t, None, logs, "mean", -100)


@pytest.mark.parametrize("scale", [1, 1000])
def test_a_result_may_be_where_an_argument_is(scale: float) -> None:
    x, g = (rand(5000, seed=s).astype(F4) * F4(scale) for s in (0, 1))
    y = KERNELS["gelu"].run(np, x, "none")
    slopes = KERNELS["gelu_backward"].run(np, g, x, y, "none")
    for i in range(3):
        given = [g.copy(), x.copy(), y.copy()]
        made = KERNELS["gelu_backward"].run(np, *given, "none", out=given[i])
        assert made is given[i]
        np.testing.assert_array_equal(made, slopes)


def test_blocks_of_windows_are_laid_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case("convolution", rand(3, 2, 4, 5, 6), rand(4, 2, 2, 3, 2, seed=1), None, (1, 1, 1), (1, 1, 1), (1, 1, 1),
             False, (0, 0, 0), 1)  # fmt: skip
    monkeypatch.setattr(loops, "LEAST", 1)
    whole = everything(c, "float64")
    for size in (1, 200, 1000):
        monkeypatch.setattr(columns, "BLOCK", size)
        monkeypatch.setattr(columns, "ROOM", size)
        for a, b in zip(everything(c, "float64"), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_each_range_of_a_loop_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "WAKING", 0)
    seen = np.zeros(1001, int)
    starts = []

    def loop(a: int, b: int) -> None:
        seen[a:b] += 1
        starts.append(a)

    for _ in range(3):
        spread.share_loop(loop, (), 1001, 10)
    assert (seen == 3).all()
    assert len(starts) > 6
    assert all(a % 10 == 0 for a in starts)  # rows that are summed in one place have one thread


def test_what_threads_do_not_speed_up_is_left_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "WAKING", 0)
    ranges: list[tuple[int, int]] = []

    def loop(a: int, b: int) -> None:
        ranges.append((a, b))

    monkeypatch.setitem(spread._sooner, loop, (1.0, 0))
    spread.share_loop(loop, (), 1000, 10)
    assert ranges == [(0, 10), (10, 1000)]
    monkeypatch.setitem(spread._sooner, loop, (1.0, spread.AGAIN))
    del ranges[:]
    spread.share_loop(loop, (), 1000, 10)
    assert len(ranges) > 2
    assert spread._sooner[loop][1] == 0


def test_helpers_keep_off_the_core_of_the_one_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    mine, gone = threading.get_native_id(), 2**22 + 1
    monkeypatch.setattr(spread, "_core", lambda: 3)
    monkeypatch.setattr(spread, "cores", lambda: {2, 3})
    monkeypatch.setattr(spread, "_helpers", [mine, gone])
    monkeypatch.setattr(spread, "_left", -1)
    monkeypatch.setattr(os, "sched_setaffinity", lambda t, to: asked.append((t, to)), raising=False)
    spread.keep_apart()
    spread.keep_apart()
    assert asked == ([(mine, {2})] if os.path.exists("/proc/self/task") else [])
