"""Plans: what is replayed is what the engine would have done, in values and in all that it leaves behind."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, Tensor, backward, grad
from gradwire_engine.blocks import BLOCK, Block
from gradwire_engine.estimate import rows
from gradwire_engine.plan import Interrupted, Plan
from gradwire_engine.scalars import Scalars
from gradwire_engine.spread import cores
from gradwire_engine.trace import Trace, Unplanned
from tests.devices import DEVICE
from tests.engine.harness import host
from tests.engine.replay import Program, no_grad


def leaf(e: Engine, *shape: int, requires_grad: bool = True, seed: int = 0) -> Tensor:
    return e.wrap(np.random.default_rng(seed).standard_normal(shape), requires_grad)


def descend(e: Engine, *roots: Tensor) -> None:
    backward(e, list(roots), [None] * len(roots), retain_graph=False, create_graph=False)


def find(e: Engine, root: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> list[Any]:
    return grad(e, [root], list(inputs), [None], retain_graph=create_graph, create_graph=create_graph,
                allow_unused=False)  # fmt: skip


def ops(plan: Plan) -> list[str]:
    return [row.step.case.op.name for row in rows(plan)]


def same(a: Tensor | None, b: Tensor | None) -> None:
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert a.spec is b.spec
        assert a.requires_grad is b.requires_grad
        assert (a.grad_fn is None) == (b.grad_fn is None)
        assert a.storage.version == b.storage.version
        np.testing.assert_allclose(host(b), host(a), rtol=1e-12)


def compare(f: Callable[..., Sequence[Tensor]], make: Callable[[Engine], Sequence[Tensor]], runs: int = 4,
            changed: Callable[[Engine, Sequence[Tensor]], Any] = lambda e, ts: None) -> Plan:  # fmt: skip
    """Run ``f(engine, *kept)`` a few times, streamed and planned, and compare what there is after each."""
    streams, plans = Engine(DEVICE, seed=1), Engine(DEVICE, seed=1)
    a, b = make(streams), make(plans)
    program = Program(plans, lambda e: f(e, *b), kept=b)
    for _ in range(runs):
        wants, gots = f(streams, *a), program()
        for want, got in zip(wants, gots, strict=True):
            same(want, got)
        for want, got in zip(a, b, strict=True):
            same(want, got)
            same(want.grad, got.grad)
        changed(streams, a)
        changed(plans, b)
    assert program.plan is not None and program.plan.replays
    return program.plan


def test_step_of_descent():
    def step(e, w, x):
        w.grad = None
        loss = e.call("sum", e.call("square", x @ w), (0, 1), False, None)
        descend(e, loss)
        no_grad(e, lambda: e.call("sub_", w, w.grad * 0.01))
        return [loss]

    plan = compare(step, lambda e: (leaf(e, 3, 2), leaf(e, 4, 3, requires_grad=False, seed=1)))
    assert plan.unshared >= plan.nbytes


def test_gradients_accumulate():
    def step(e, w):
        descend(e, e.call("sum", w * w, (0,), False, None))
        return []

    compare(step, lambda e: [leaf(e, 3)], runs=5)


def test_gradient_that_somebody_has_stays_as_it_was():
    def step(e, w, x):
        w.grad = None
        descend(e, e.call("sum", w * x, (0,), False, None))
        return []

    e = Engine()
    w, x = leaf(e, 3000), leaf(e, 3000, requires_grad=False, seed=1)
    program = Program(e, lambda e: step(e, w, x), kept=[w, x])
    program()
    program()
    held = w.grad
    before = held.array.copy()
    no_grad(e, lambda: e.call("mul_", x, 2.0))
    program()
    np.testing.assert_array_equal(held.array, before)
    np.testing.assert_array_equal(w.grad.array, 2 * before)


def test_view_of_a_gradient_that_is_replaced():
    def f(e, w, x):
        g = e.call("detach", w.grad)
        w.grad = e.call("clone", x)
        return [g]

    def make(e):
        w, x = leaf(e, 3), leaf(e, 3, requires_grad=False, seed=1)
        w.grad = e.wrap(np.ones(3))
        return w, x

    compare(f, make)


@pytest.mark.parametrize("n", [3, 3000])
def test_result_that_somebody_has_stays_as_it_was(n):
    e = Engine()
    x = leaf(e, n, requires_grad=False)
    program = Program(e, lambda e, x: [x * 2.0])
    held = [program(x)[0] for _ in range(3)]
    views = [e.call("view", t, (1, n)) for t in held]
    del held
    program(e.wrap(np.zeros(n)))
    for v in views:
        np.testing.assert_array_equal(v.array[0], 2 * x.array)


def test_results_may_be_arguments_and_views_of_them():
    def f(e, x):
        with_two = no_grad(e, lambda: e.call("add_", x, 1.0))
        return [x, with_two, e.call("transpose", x, 0, 1), e.call("select", e.call("exp", x), 0, 0)]

    def of(e: Engine) -> list[Tensor]:
        return [leaf(e, 2, 3, requires_grad=False)]

    compare(f, of)
    e = Engine()
    x = of(e)[0]
    program = Program(e, f)
    program(x)
    again = program(x)
    assert again[0] is x and again[1] is x
    assert again[2].base is x and again[2].storage is x.storage
    assert again[3].base is not None and again[3].storage is not x.storage


def test_constants_are_folded_and_equals_merged_and_the_dead_dropped():
    def f(e, x):
        two = e.call("full", (3,), 2.0, x.dtype)
        four = two * two
        e.call("exp", x)
        return [e.call("sin", x) * four + e.call("sin", x)]

    plan = compare(f, lambda e: [leaf(e, 3, requires_grad=False)])
    assert sorted(ops(plan)) == ["add", "mul", "sin"]


def test_constant_that_is_written_to_begins_anew():
    def f(e, x):
        total = e.wrap(np.zeros(3))
        for _ in range(3):
            e.call("add_", total, x)
        return [total, e.wrap(np.ones(2))]

    compare(f, lambda e: [leaf(e, 3, requires_grad=False)], changed=lambda e, ts: e.call("mul_", ts[0], 2.0))


def test_constant_that_is_handed_out_is_a_new_one_each_time():
    e = Engine()
    program = Program(e, lambda e: [e.wrap(np.ones(2))])
    for _ in range(3):
        (t,) = program()
        np.testing.assert_array_equal(t.array, 1)
        e.call("zero_", t)


def test_random_numbers_are_fresh_and_those_of_the_session():
    def f(e, x):
        return [e.call("dropout", x, 0.5)[0], e.call("bernoulli", e.call("abs", e.call("tanh", x)))]

    compare(f, lambda e: [leaf(e, 50, requires_grad=False)])
    e = Engine(seed=2)
    x = leaf(e, 50, requires_grad=False)
    program = Program(e, f)
    assert len({program(x)[0].array.tobytes() for _ in range(4)}) == 4


def test_second_order():
    def f(e, w, x):
        w.grad = None
        y = e.call("sum", e.call("tanh", x @ w), (0, 1), False, None)
        (g,) = find(e, y, [w], create_graph=True)
        descend(e, e.call("sum", g * g, (0, 1), False, None))
        return []

    compare(f, lambda e: (leaf(e, 3, 2), leaf(e, 4, 3, requires_grad=False, seed=1)))


def test_in_place_ops_and_views_with_history():
    def f(e, w):
        w.grad = None
        y = e.call("clone", w)
        row = e.call("select", y, 0, 1)
        e.call("mul_", row, 3.0)
        e.call("exp_", y)
        loss = e.call("sum", y, (0, 1), False, None)
        descend(e, loss)
        return [loss]

    compare(f, lambda e: [leaf(e, 3, 2)])


def test_history_that_is_spent_refuses_as_torch_does():
    def f(e, w):
        loss = e.call("sum", w * w, (0,), False, None)
        find(e, loss, [w])
        return [loss]

    e = Engine()
    w = leaf(e, 3)
    program = Program(e, lambda e: f(e, w), kept=[w])
    for _ in range(3):
        (loss,) = program()
        assert loss.requires_grad and loss.grad_fn.name == "SumBackward1"
        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            descend(e, loss)


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda e, w, v: [w * 2.0], "can still be differentiated"),
        (lambda e, w, v: [e.set_requires_grad(w, False) or v], "changes the history"),
        (lambda e, w, v: descend(e, e.call("sum", v, (0,), False, None)) or [], "backward goes on beyond it"),
    ],
)
def test_what_has_no_plan(f, why):
    e = Engine()
    w = leaf(e, 3)
    v = w * 3.0
    with pytest.raises(Unplanned, match=why):
        Program(e, lambda e: f(e, w, v), kept=[w, v])()
    assert e.trace is None


def test_another_state_does_not_fit():
    def f(e, w):
        descend(e, e.call("sum", w * w, (0,), False, None))
        return []

    e = Engine()
    w, other = leaf(e, 3), leaf(e, 4)
    trace = Trace(e, [w])
    f(e, w)
    plan = Plan(e, trace, [])
    assert not plan.fits([w])  # it has a gradient now
    w.grad = None
    assert plan.fits([w])
    assert not plan.fits([other])
    w.requires_grad = False
    assert not plan.fits([w])


def test_same_memory_twice_is_another_case():
    def f(e, x, y):
        e.call("add_", x, 1.0)
        return [y * 2.0]

    e = Engine()
    x, y = leaf(e, 3, requires_grad=False), leaf(e, 3, requires_grad=False, seed=1)
    program = Program(e, f)
    program(x, y)
    assert program.plan.fits([x, y]) and not program.plan.fits([x, x])
    (twice,) = program(x, x)
    np.testing.assert_array_equal(twice.array, 2 * x.array)


def chain(e: Engine, a: Tensor, b: Tensor) -> list[Tensor]:
    def update() -> None:
        e.call("sub_", a, find_in[0] * 0.01)

    loss = e.call("sum", e.call("tanh", a * b + 1.5) * b, tuple(range(a.ndim)), False, None)
    find_in = find(e, loss, [a])
    no_grad(e, update)
    return [loss]


@pytest.mark.parametrize("shape", [(5 * BLOCK + 7,), (3, BLOCK), (2 * BLOCK + 1, 3)])
def test_large_chains_run_in_blocks(shape):
    plan = compare(chain, lambda e: (leaf(e, *shape), leaf(e, *shape, requires_grad=False, seed=1)))
    if DEVICE != "cpu":
        return
    assert any(isinstance(w, Block) and len(w.steps) > 2 for w in plan.work)
    assert plan.nbytes <= plan.given[0].spec.nbytes + 8 * BLOCK * 4 * len(cores())


def test_blocks_of_rows_with_what_is_the_same_for_each():
    def f(e, x, bias, scale):
        y = e.call("tanh", x * scale + bias)
        return [e.call("sum", y, (0,), False, None), e.call("add_", y, bias)]

    compare(f, lambda e: (leaf(e, BLOCK, 5, requires_grad=False), leaf(e, 5, requires_grad=False),
                          leaf(e, 1, 1, requires_grad=False)))  # fmt: skip


@pytest.mark.parametrize("shape", [(), (3 * BLOCK,)])
def test_views_of_what_is_made_on_the_way(shape):
    def f(e, a):
        half = a / 2.0
        seen = e.call("expand", half, shape) if not shape else e.call("view", half, (-1,))
        return [seen / 3.0 + half * seen]

    compare(f, lambda e: [leaf(e, *shape, requires_grad=False)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_of_single_numbers(dtype):
    def f(e, a, b, x):
        a.grad = None
        loss = (a - 1.0) ** 2.0 + (b + 1.0) * 3.0 - (a - b) / (b + 2.0) + -a
        descend(e, loss)
        no_grad(e, lambda: e.call("sub_", a, a.grad * 0.1))
        no_grad(e, lambda: e.call("add_", b, a))
        no_grad(e, lambda: e.call("mul_", e.call("select", x, 0, 1), b))
        again = no_grad(e, lambda: e.call("select", x, 0, 1) * a)
        return [loss, no_grad(e, lambda: e.call("tanh", a) * b + again), e.call("div", b, 0.0)]

    def make(e):
        return [e.wrap(np.array(0.5, dtype), True), e.wrap(np.array(-0.5, dtype)), e.wrap(np.array([1.5, 2.5], dtype))]

    with np.errstate(all="ignore"):
        plan = compare(f, make, runs=6)
    assert DEVICE != "cpu" or any(isinstance(w, Scalars) and len(w.steps) > 5 for w in plan.work)


def test_no_block_sees_what_another_one_has_written():
    def f(e, x):
        n = x.shape[0] - 1
        first, second = e.call("slice", x, 0, 0, n), e.call("slice", x, 0, 1, n + 1)
        e.call("add_", first, second)
        e.call("mul_", second, 0.5)
        return []

    compare(f, lambda e: [leaf(e, 4 * BLOCK + 1, requires_grad=False)])


def test_failure_in_the_middle():
    def f(e, x, i):
        e.call("add_", x, 1.0)
        return [e.call("index_select", x, 0, i)]

    e = Engine()
    x, i = leaf(e, 3, requires_grad=False), e.wrap(np.array([0, 2]))
    program = Program(e, f)
    program(x, i)
    with pytest.raises(Interrupted) as caught:
        program(x, e.wrap(np.array([0, 7])))
    assert caught.value.step.case.op.name == "index_select"
    assert isinstance(caught.value.__cause__, IndexError)
    program(x, i)


def test_stops_between_two_kernels():
    e = Engine()
    x = leaf(e, 3, requires_grad=False)
    program = Program(e, lambda e, x: [x * 2.0])
    program(x)
    e.halt = "cancelled"
    with pytest.raises(Interrupted) as caught:
        program(x)
    assert str(caught.value.__cause__) == "cancelled"


def test_results_are_held_to_the_limit():
    e = Engine(max_bytes=140_000)  # the argument, a result, and the plan's own
    x = leaf(e, 5000, requires_grad=False)
    program = Program(e, lambda e, x: [x * 2.0])
    kept = program(x)
    used = e.meter.used
    with pytest.raises(MemoryError):
        program(x)
    assert e.meter.used == used
    kept.clear()
    program(x)


def test_buffers_are_given_back():
    e = Engine()
    x = leaf(e, 5000, requires_grad=False)
    used = e.meter.used
    program: Program | None = Program(e, lambda e, x: [e.call("sum", e.call("exp", x @ x), (), False, None)])
    program(x)
    del program
    assert e.meter.used == used


# ---- random programs ----

POINTWISE = ["tanh", "sin", "exp", "relu", "neg", "sigmoid", "square", "abs"]


class Maker:
    """A random function of two parameters and an argument, the same each time it is called."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, e: Engine, w: Tensor, v: Tensor, x: Tensor) -> list[Tensor]:
        rng = random.Random(self.seed)
        pool = [w, v, x]
        for _ in range(rng.randint(3, 14)):
            t, u = rng.choice(pool), rng.choice(pool)
            kind = rng.randrange(11)
            if kind <= 2:
                made = e.call(rng.choice(POINTWISE), e.call("clamp", t, -2.0, 2.0))
            elif kind == 3:
                made = t + u
            elif kind == 4:
                made = t * u
            elif kind == 5:
                made = e.call("transpose", e.call("transpose", t, 0, 1) * 0.5, 0, 1)
            elif kind == 6:
                made = e.call("softmax", t, 1, None)
            elif kind == 7:
                made = e.call("clone", t)
                e.call(rng.choice(["mul_", "add_"]), made, rng.choice([0.5, u]))
            elif kind == 8:
                made = e.call("clone", t)
                e.call("copy_", e.call("select", made, 0, rng.randrange(3)), e.call("select", u, 0, 0))
            elif kind == 9:
                made = e.call("dropout", t, 0.5)[0]
            else:
                made = e.call("cat", (e.call("slice", t, 0, 0, 1), e.call("slice", u, 0, 1, 3)), 0)
            pool.append(made)
        if rng.random() < 0.7:
            w.grad = v.grad = None
        loss = e.call("sum", sum(pool[1:], pool[0]), (0, 1), False, None)
        results = [no_grad(e, lambda: e.call("clone", loss))]
        if rng.random() < 0.5:
            descend(e, loss)
        else:
            results += find(e, loss, [w, v], create_graph=False)
        if rng.random() < 0.7:
            for p in (w, v):
                g = p.grad if p.grad is not None else x
                no_grad(e, lambda p=p, g=g: e.call("sub_", p, g * 0.01))
        if rng.random() < 0.3:
            no_grad(e, lambda: e.call("mul_", x, 0.9))
        return results


@pytest.mark.parametrize("seed", range(150))
def test_random_programs(seed):
    maker = Maker(seed)
    with np.errstate(all="ignore"):
        streams, plans = Engine(DEVICE, seed=1), Engine(DEVICE, seed=1)
        a = [leaf(streams, 3, 3, seed=i, requires_grad=i < 2) for i in range(3)]
        b = [leaf(plans, 3, 3, seed=i, requires_grad=i < 2) for i in range(3)]
        program = Program(plans, lambda e: maker(e, *b), kept=b)
        for _ in range(5):
            wants, gots = maker(streams, *a), program()
            for want, got in zip([*wants, *a, *(t.grad for t in a)], [*gots, *b, *(t.grad for t in b)], strict=True):
                same(want, got)
