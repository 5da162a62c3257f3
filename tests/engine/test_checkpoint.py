"""Functions that are run again in backward: what is kept, where their history ends, what is wrong with another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, checkpoint
from tests.engine.test_backward import find, leaf, listen, run


@pytest.fixture
def engine():
    return Engine()


def again(e: Engine, f: Callable[[], Any], then: Callable[[], Any] | None = None) -> Any:
    """What ``f`` makes, to be run again in backward; ``then`` is what is run in its place."""
    since = e.recorded
    made = f()
    (result,) = checkpoint.record(e, "AgainBackward", 1, [made], since)

    def call(node: Any, grads: Any, create_graph: bool) -> list[Any]:
        before, e.grad_enabled = e.grad_enabled, True
        out = [(then or f)()]
        e.grad_enabled = before
        return out

    e.call_function = call
    return result


def test_gradients_are_those_of_the_function(engine):
    x, w = leaf(engine, [1.0, 2.0]), leaf(engine, [3.0, 4.0])
    h = engine.call("sin", x)

    def f() -> Any:
        return engine.call("exp", x * w * 0.1) * h

    direct = engine.call("sum", f())
    wanted = find(engine, [direct], [x, w, h], retain_graph=True)
    made = engine.call("sum", again(engine, f))
    assert made.array == direct.array
    for g, want in zip(find(engine, [made], [x, w, h], retain_graph=True), wanted, strict=True):
        assert g.array == pytest.approx(want.array)
    run(engine, made)
    assert x.grad.array == pytest.approx(wanted[0].array)
    assert h.grad is None


def test_every_order(engine):
    x = leaf(engine, 2.0)
    y = again(engine, lambda: engine.call("exp", x * x))
    want = np.exp(4.0)
    (g,) = find(engine, [y], [x], create_graph=True, retain_graph=True)
    (gg,) = find(engine, [g], [x], create_graph=True, retain_graph=True)
    (ggg,) = find(engine, [gg], [x])
    assert [float(t.array) for t in (g, gg, ggg)] == pytest.approx([4 * want, 18 * want, 88 * want])


def test_nothing_of_it_is_kept(engine):
    x = leaf(engine, np.ones(1000))

    def f() -> Any:
        y = x
        for _ in range(10):
            y = engine.call("exp", y * 0.1)
        return y

    before = engine.meter.used, engine.nodes
    y = again(engine, f)
    assert engine.meter.used - before[0] == 8000  # the result
    assert engine.nodes - before[1] == 2  # its node, and the leaf's
    run(engine, engine.call("sum", y))
    assert x.grad is not None
    assert engine.meter.used - before[0] == 16000  # and the gradient


def test_hooks_see_whole_gradients_once(engine):
    x = leaf(engine, 2.0)
    h = x * 3.0
    y = again(engine, lambda: engine.call("exp", h * 0.1) * x)
    z = y + h
    seen = listen(engine, x=x, h=h, y=y)
    whole: list[Any] = []
    engine.add_hook(h, 9, lambda g: whole.append(float(g.array)))
    run(engine, z)
    assert seen == ["y", "h", "x", "x added"]
    assert whole == pytest.approx([1 + 0.2 * np.exp(0.6)])


def test_a_function_that_does_something_else(engine):
    x, y = leaf(engine, [1.0, 2.0]), leaf(engine, [1.0, 2.0])
    other = engine.call("exp", y)

    def use(then: Callable[[], Any]) -> None:
        run(engine, engine.call("sum", again(engine, lambda: engine.call("sin", x), then)))

    with pytest.raises(RuntimeError, match=r"^AgainBackward: run again, the function made float64\[\] of output 0"):
        use(lambda: engine.call("sum", x))
    with pytest.raises(RuntimeError, match="^AgainBackward: run again, the function gives output 0 no history$"):
        use(lambda: engine.wrap(np.ones(2)))
    with pytest.raises(RuntimeError, match="^AgainBackward: run again, the function gives output 0 no history$"):
        use(lambda: other)
    with pytest.raises(RuntimeError, match="^AgainBackward: run again, the function goes back to another tensor"):
        use(lambda: x * other)
    assert y.grad is None


def test_what_it_kept_from_the_first_run(engine):
    x = leaf(engine, 2.0)
    kept = []

    def f() -> Any:
        if not kept:
            kept.append(engine.call("exp", x))
        return kept[0] * kept[0]

    y = again(engine, f)
    (g,) = find(engine, [y], [x])
    assert float(g.array) == pytest.approx(2 * np.exp(4.0))


def test_an_output_of_somebody_elses(engine):
    x = leaf(engine, 2.0)
    y = engine.call("exp", x)
    with pytest.raises(ValueError, match="^output 0 has a history that the function did not give it$"):
        again(engine, lambda: y)
    plain = again(engine, lambda: engine.wrap(np.ones(2)))
    assert not plain.requires_grad


def test_nan_is_looked_for_within(engine):
    x = leaf(engine, 0.0)
    y = again(engine, lambda: engine.call("sqrt", x) * 0.0)
    with pytest.raises(RuntimeError, match="^Function 'SqrtBackward0' returned nan values in its 0th output") as caught:
        run(engine, y, check_nan=True)
    assert caught.value.node == "SqrtBackward0"
