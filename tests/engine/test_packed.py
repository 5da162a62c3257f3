"""Saved tensors that somebody else keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, backward, grad
from gradwire_engine.packed import hand_over


@pytest.fixture
def engine() -> Engine:
    return Engine()


def leaf(e: Engine, *values: float) -> Any:
    return e.wrap(np.array(values), True)


def test_a_node_forgets_what_it_hands_over(engine):
    x, y = leaf(engine, 1.0, 2.0), leaf(engine, 3.0, 4.0)
    z = x * y
    given = hand_over(z.grad_fn, 7, False)
    assert [(g.kind, g.place) for g in given] == [("input", 1), ("input", 0)]
    asked = []

    def unpack(number: int) -> Any:
        asked.append(number)
        return [y, x]

    engine.unpack = unpack
    out = engine.call("sum", z)
    backward(engine, [out], [None], retain_graph=True, create_graph=False)
    assert asked == [7]
    assert (x.grad.array.tolist(), y.grad.array.tolist()) == ([3, 4], [1, 2])
    backward(engine, [out], [None], retain_graph=True, create_graph=False)
    assert asked == [7, 7]
    assert (x.grad.array.tolist(), y.grad.array.tolist()) == ([6, 8], [2, 4])


def test_memory_is_free_and_who_keeps_it_is_told(engine):
    dropped: list[int] = []
    engine.dropped = dropped.append
    x = engine.call("mul", leaf(engine, *range(1000)), 1.0)
    before = engine.meter.used
    y = engine.call("exp", x)
    hand_over(y.grad_fn, 7, False)
    engine.unpack = lambda number: [engine.wrap(np.ones(1000))]
    z = engine.call("sum", y)
    del y
    assert engine.meter.used <= before + 100
    backward(engine, [z], [None], retain_graph=False, create_graph=False)
    assert dropped == [7]


def test_higher_derivatives_go_to_where_it_came_from(engine):
    x = leaf(engine, 2.0)
    square = x * x
    y = engine.call("pow", square, 3)
    hand_over(y.grad_fn, 7, False)
    engine.unpack = lambda number: [engine.wrap(np.array([4.0]))]
    (g,) = grad(engine, [y], [x], [None], retain_graph=True, create_graph=True, allow_unused=False)
    assert g.array.tolist() == [6 * 2**5]
    (g,) = grad(engine, [g], [x], [None], retain_graph=True, create_graph=False, allow_unused=False)
    assert g.array.tolist() == [30 * 2**4]


def test_lists_are_handed_over_one_by_one(engine):
    x = leaf(engine, 1.0, 2.0, 3.0)
    i = engine.wrap(np.array([2, 0]))
    y = engine.call("index", x, (i,))
    assert [(g.kind, g.place) for g in hand_over(y.grad_fn, 7, False)] == [("input", 1)]
    engine.unpack = lambda number: [i]
    backward(engine, [engine.call("sum", y)], [None], retain_graph=False, create_graph=False)
    assert x.grad.array.tolist() == [1, 0, 1]


def test_what_comes_back_must_fit(engine):
    x = leaf(engine, 1.0, 2.0)
    y = engine.call("sin", x)
    hand_over(y.grad_fn, 7, False)
    engine.unpack = lambda number: [engine.wrap(np.array([1.0]))]
    with pytest.raises(RuntimeError, match=r"unpack_hook returned a tensor of shape \[1\] in place of a saved one"):
        backward(engine, [engine.call("sum", y)], [None], retain_graph=False, create_graph=False)


def test_all_must_come_back(engine):
    x, y = leaf(engine, 1.0), leaf(engine, 3.0)
    z = x * y
    hand_over(z.grad_fn, 7, False)
    engine.unpack = lambda number: [y]
    with pytest.raises(RuntimeError, match="the client gave back 1 of the saved tensors, and not all"):
        backward(engine, [z], [None], retain_graph=True, create_graph=False)
    engine.unpack = lambda number: [y, x]
    backward(engine, [z], [None], retain_graph=True, create_graph=False)
    assert (x.grad.array.tolist(), y.grad.array.tolist()) == ([3], [1])
