"""Backward passes: what runs when, what is visited, whose memory gradients are in."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, backward, grad


@pytest.fixture
def engine():
    return Engine()


def leaf(e: Engine, value: Any, requires_grad: bool = True) -> Any:
    return e.wrap(np.array(value, dtype=np.float64), requires_grad)


def run(e: Engine, *roots: Any, grads: Any = None, inputs: Any = None, **options: Any) -> None:
    options = {"retain_graph": False, "create_graph": False, **options}
    backward(e, list(roots), grads or [None] * len(roots), inputs=inputs, **options)


def find(e: Engine, roots: Any, inputs: Any, **options: Any) -> list[Any]:
    options = {"retain_graph": False, "create_graph": False, "allow_unused": False, **options}
    return grad(e, roots, inputs, [None] * len(roots), **options)


def listen(e: Engine, **tensors: Any) -> list[str]:
    """The names of the tensors, as their gradients come to be complete."""
    seen: list[str] = []
    number = count()
    for name, t in tensors.items():
        e.add_hook(t, next(number), lambda g, name=name: seen.append(name))
        if t.is_leaf:
            e.add_post_hook(t, next(number), lambda t, name=name: seen.append(f"{name} added"))
    return seen


def test_latest_first_and_leaves_as_soon_as_complete(engine):
    a, b, c = leaf(engine, 2.0), leaf(engine, 3.0), leaf(engine, 4.0)
    x = a * c
    y = b * 5.0
    z = y * c
    w = x + z
    seen = listen(engine, a=a, b=b, c=c, x=x, y=y, z=z, w=w)
    run(engine, w)
    assert seen == ["w", "z", "y", "b", "b added", "x", "c", "c added", "a", "a added"]


def test_of_leaves_complete_at_once_the_latest_used_is_first(engine):
    a, b = leaf(engine, 2.0), leaf(engine, 3.0)
    held = b * 1.0  # b's node is older than a's
    z = a * b
    del held
    seen = listen(engine, a=a, b=b)
    run(engine, z)
    assert seen == ["a", "a added", "b", "b added"]


def test_leaf_among_the_roots_goes_first_unless_it_waits_for_more(engine):
    a, b = leaf(engine, 2.0), leaf(engine, 3.0)
    y = a * 3.0
    seen = listen(engine, a=a, b=b, y=y)
    run(engine, y, b, a)
    assert seen == ["b", "b added", "y", "a", "a added"]
    assert (a.grad.array, b.grad.array) == (4.0, 1.0)


def test_root_that_another_root_leads_to(engine):
    a = leaf(engine, 2.0)
    y = a * 3.0
    z = y * y
    seen = listen(engine, a=a, y=y, z=z)
    run(engine, y, z, y)
    assert seen == ["z", "y", "a", "a added"]
    assert a.grad.array == 3 * (2 + 2 * 6.0)


def test_rewritten_views_keep_the_order(engine):
    a, b = leaf(engine, [1.0, 2.0]), leaf(engine, 3.0)
    y = a * 2.0
    first = engine.call("select", y, 0, 0)
    before = first * 7.0  # of the view as it was
    engine.call("mul_", engine.call("select", y, 0, 1), b)
    after = first * 5.0  # of the view as it is recorded anew
    seen = listen(engine, a=a, b=b, before=before, after=after)
    run(engine, engine.call("sum", y) + before + after)
    assert seen == ["after", "b", "b added", "before", "a", "a added"]
    assert a.grad.array.tolist() == [2 * (1 + 7 + 5), 2 * 3]
    assert b.grad.array == 4


def test_nodes_that_a_backward_pass_recorded_come_before_those_it_ran(engine):
    x = leaf(engine, [0.5, -2.0])
    y = x * x * x * x * x
    for power, factor in ((4, 5), (3, 20), (2, 60), (1, 120)):
        (y,) = find(engine, [engine.call("sum", y)], [x], create_graph=True, retain_graph=True)
        assert y.array.tolist() == (factor * x.array**power).tolist()


def test_grad_visits_what_leads_to_its_inputs(engine):
    a, b = leaf(engine, 2.0), leaf(engine, 3.0)
    y = a * b
    other = engine.call("tanh", b) * a
    z = y * y + other
    seen = listen(engine, a=a, b=b, y=y, other=other, z=z)
    (g,) = find(engine, [z], [y], retain_graph=True)
    assert g.array == 12 and seen == ["z", "y"]
    seen.clear()
    ga, gy = find(engine, [z], [a, y], retain_graph=True)
    assert seen == ["z", "other", "y", "a"]
    assert (ga.array, gy.array) == (12 * 3 + np.tanh(3), 12) and a.grad is None
    seen.clear()
    run(engine, z, inputs=[b])
    assert seen == ["z", "other", "y", "b", "b added"] and a.grad is None


def test_unused_input(engine):
    a, b = leaf(engine, 2.0), leaf(engine, 3.0)
    assert find(engine, [a * 2.0], [b], allow_unused=True) == [None]
    with pytest.raises(RuntimeError, match="at index 1 appears to not have been used"):
        find(engine, [a * 2.0], [a, b])


def test_sums_are_made_in_no_one_elses_memory(engine):
    a = leaf(engine, [1.0, 2.0])
    y = a + 0.0
    engine.retain_grad(y)
    given = leaf(engine, [10.0, 20.0], False)
    z = y + y + y + (a + a)  # all of these pass the very array on
    run(engine, z, grads=[given])
    assert given.array.tolist() == [10, 20]
    assert y.grad.array.tolist() == [30, 60] and a.grad.array.tolist() == [50, 100]
    kept = [t.grad.array for t in (y, a)]
    assert not any(np.shares_memory(k, given.array) for k in kept) and not np.shares_memory(*kept)


def test_leaf_takes_over_only_a_gradient_that_nobody_else_has(engine):
    a, b, c = (leaf(engine, [1.0, 2.0]) for _ in range(3))
    seen = []
    engine.add_hook(a, 1, lambda g: seen.append(g.array))
    run(engine, a, inputs=[a], grads=[given := leaf(engine, [3.0, 4.0], False)])
    run(engine, engine.call("sum", b + c))
    run(engine, engine.call("sum", engine.call("view", b * 1.0, (1, 2)) * c))
    arrays = [given.array, *seen, *(t.grad.array for t in (a, b, c))]
    assert not any(np.shares_memory(x, y) for i, x in enumerate(arrays) for y in arrays[:i])
    assert b.grad.array.tolist() == [2, 3] and c.grad.array.tolist() == [2, 3]


def test_gradient_that_a_formula_made_is_not_copied(engine):
    made = []

    a, b = leaf(engine, [1.0, 2.0]), leaf(engine, [3.0, 4.0])
    y = a * b
    plan = y.grad_fn.plan
    (f, *first), *others = plan.formulas

    def watch(*args: Any) -> Any:
        g = f(*args)
        made.append(g.__array_interface__["data"][0])
        return g

    y.grad_fn.plan = replace(plan, formulas=((watch, *first), *others))
    run(engine, engine.call("sum", y))
    assert a.grad.array.tolist() == [3, 4] and a.grad.array.__array_interface__["data"][0] == made[0]


def test_captured_gradients_are_memory_of_their_own(engine):
    a, b = leaf(engine, [1.0]), leaf(engine, [2.0])
    ga, gb = find(engine, [engine.call("sum", a + b)], [a, b])
    assert not np.shares_memory(ga.array, gb.array)


def test_node_without_gradient_still_lets_its_leaf_be_complete(engine):
    a = leaf(engine, [1.0, 2.0, 3.0])
    parts = engine.call("split_with_sizes", a, (1, 2), 0)
    seen = listen(engine, a=a)
    run(engine, engine.call("sum", parts[1]))
    assert seen == ["a", "a added"] and a.grad.array.tolist() == [0, 1, 1]


def test_halt_ends_a_pass_before_its_next_node(engine):
    a = leaf(engine, 2.0)
    y = a * 3.0
    z = y * 2.0

    def stop(g: Any) -> None:
        engine.halt = "enough"

    engine.add_hook(z, 1, stop)
    with pytest.raises(RuntimeError, match="enough"):
        run(engine, z)
    assert a.grad is None and engine.phase == "forward"


def test_kernels_are_timed_even_where_the_pass_fails(engine):
    a = leaf(engine, 2.0)
    y = engine.call("tanh", a)
    z = y * 3.0
    engine.call("zero_", y.alias())  # tanh's own result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(engine, z)
    assert len(engine.times["mul", "backward"]) == 1 and ("tanh", "backward") not in engine.times


def test_long_chain_runs_and_is_freed_without_recursion(engine):
    x = leaf(engine, 1.0)
    y = x
    for _ in range(50_000):
        y = engine.call("neg", y)
    run(engine, y)
    assert x.grad.array == 1
    del y
    assert engine.nodes <= 1


@pytest.mark.parametrize("create_graph", [False, True])
def test_nan_is_looked_for_where_that_is_wanted(engine, create_graph):
    x, y = leaf(engine, [4.0, 0.0]), leaf(engine, [1.0, 1.0])
    options = {"create_graph": create_graph, "retain_graph": True}

    def out() -> Any:
        return engine.call("sum", x**0.5 * 0.0 * y)

    (gx,) = find(engine, [out()], [x], **options)
    assert np.isnan(gx.array).tolist() == [False, True]
    with pytest.raises(RuntimeError, match="^Function 'PowBackward0' returned nan values in its 0th out") as caught:
        find(engine, [out()], [x], check_nan=True, **options)
    assert caught.value.node == "PowBackward0"
    (gy,) = find(engine, [out()], [y], check_nan=True, **options)  # NaN is not on the way
    assert gy.array.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="nan values"):
        run(engine, out(), check_nan=True, **options)
    assert x.grad is None


def test_errors_name_the_node_and_its_line(engine):
    x = leaf(engine, 2.0)
    engine.line = 7
    y = engine.call("exp", x)
    engine.line = 8
    z = -y  # which keeps nothing for backward
    engine.line = 9
    run(engine, z)
    with pytest.raises(RuntimeError, match="second time") as caught:
        run(engine, z)
    assert (caught.value.node, engine.line) == ("ExpBackward0", 7)
    with pytest.raises(RuntimeError, match="does not require grad") as caught:
        run(engine, leaf(engine, 1.0, False))
    assert not hasattr(caught.value, "node")
