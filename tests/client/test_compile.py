"""gradwire.compile: what is captured, when it is captured anew, and that a replay does what streaming would do."""

import gc
import math
import warnings

import numpy as np
import pytest

import gradwire as torch


def runs(f):
    """How often the server ran each program of a compiled function."""
    return sorted(p.runs for p in f.plan().programs)


def counted(f):
    """A function, and a list that grows whenever its Python runs."""
    calls = []

    def run(*args, **kwargs):
        calls.append(1)
        return f(*args, **kwargs)

    return run, calls


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a.detach()), np.asarray(b.detach()))


# ---- what is one program ----


def test_python_runs_once_and_values_are_fresh():
    f, calls = counted(lambda x, y: x * y + 1)
    f = torch.compile(f)
    for i in range(4):
        assert f(torch.tensor([float(i), 2.0]), torch.tensor(3.0)).tolist() == [3 * i + 1, 7]
    assert len(calls) == 1
    assert runs(f) == [3]


@pytest.mark.parametrize("other", [
    lambda x: (x.double(), 1), lambda x: (x[:1], 1), lambda x: (x.clone().requires_grad_(), 1), lambda x: (x, 2),
    lambda x: (x, 1.0), lambda x: (x, True), lambda x: (x, None), lambda x: (x, "1"), lambda x: (x, x),
    lambda x: (x, [1]), lambda x: (x, (1,)), lambda x: (x, {"a": 1}), lambda x: (x, np.ones(1)), lambda x: (x, 0.0),
    lambda x: (x, -0.0), lambda x: (x, math.nan),
])  # fmt: skip
def test_other_arguments_are_another_program(other):
    f, calls = counted(lambda x, n: x + 1)
    f = torch.compile(f)
    x = torch.ones(2)
    f(x, 1)
    f(x, 1)
    assert len(calls) == 1
    assert f(*other(x)).tolist() == [2.0] * len(other(x)[0])
    assert len(calls) == 2
    f(*other(x))
    f(x, 1)
    assert len(calls) == 2


def test_equal_values_that_differ():
    f = torch.compile(lambda x, n: x / n)
    x = torch.ones(1)
    assert [f(x, n).item() for n in (0.0, -0.0, 0.0, -0.0)] == [math.inf, -math.inf, math.inf, -math.inf]


def test_strides_memory_and_order_of_arguments():
    def f(x, y):
        x.add_(1)
        return y * 2

    g, calls = counted(f)
    g = torch.compile(g)
    a, b = torch.zeros(2, 2), torch.zeros(2, 2)
    for _ in range(2):
        assert g(a, b).sum().item() == 0
    for _ in range(2):
        before = a.sum().item()
        assert g(a, a).sum().item() == 2 * (before + 4)
    for _ in range(2):
        before = a.sum().item()
        assert g(a, a.t()).sum().item() == 2 * (before + 4)
    assert len(calls) == 3


def test_modes_and_the_default_type_are_part_of_it():
    f, calls = counted(lambda: (torch.zeros(1, requires_grad=True) * 2, torch.tensor(1.5)))
    f = torch.compile(f)
    assert [f()[0].requires_grad for _ in range(2)] == [True, True]
    with torch.no_grad():
        assert [f()[0].requires_grad for _ in range(2)] == [False, False]
    torch.set_default_dtype(torch.float64)
    try:
        assert [f()[1].dtype for _ in range(2)] == [torch.float64] * 2
    finally:
        torch.set_default_dtype(torch.float32)
    assert f()[1].dtype is torch.float32
    assert len(calls) == 3


def test_containers_and_keywords_and_results():
    def f(pair, *, scale, names):
        a, b = pair
        made = {"sum": (a + b) * scale, "max": torch.max(a, 0), "list": [a * 2, (b, names)], "n": 3}
        return made

    g = torch.compile(f)
    for i in range(3):
        a, b = torch.tensor([float(i), 1.0]), torch.tensor([1.0, 1.0])
        made = g((a, b), scale=2, names=["x", "y"])
        assert made["sum"].tolist() == [2 * (i + 1), 4]
        assert made["max"].values.item() == max(i, 1)
        assert made["list"][0].tolist() == [2 * i, 2]
        assert made["list"][1][0] is b
        assert made["list"][1][1] == ["x", "y"]
        assert made["n"] == 3


def test_methods_and_decorators():
    class Model:
        def __init__(self, scale):
            self.w = torch.tensor(scale)

        @torch.compile
        def forward(self, x):
            """Doc."""
            return self.w * x

        @torch.compile(fullgraph=False, dynamic=True, mode="reduce-overhead")
        def other(self, x):
            return x - self.w

    a, b = Model(2.0), Model(3.0)
    x = torch.tensor(5.0)
    for _ in range(2):
        assert (a.forward(x).item(), b.forward(x).item(), a.other(x).item()) == (10, 15, 3)
    assert Model.forward.__name__ == "forward"
    assert Model.forward.__doc__ == "Doc."
    assert a.forward.steps([x, x]).tolist() == [10, 10]
    a.w = torch.tensor(7.0)
    assert a.forward(x).item() == 35


def test_options_are_torchs():
    assert torch.compile(abs, disable=True) is abs
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(abs, mode="fast")
    with pytest.raises(RuntimeError, match="Invalid backend: 'x'"):
        torch.compile(abs, backend="x")
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(abs, mode="default", options={})
    with pytest.raises(TypeError, match="takes a function"):
        torch.compile(3)
    with pytest.raises(TypeError, match="generator"):
        torch.compile(lambda: (yield))


def test_inside_another_it_is_part_of_that():
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x) + 1)
    assert [outer(torch.tensor(3.0)).item() for _ in range(2)] == [7, 7]
    assert len(inner.plan()) == 0


def test_programs_are_few_and_freed():
    f = torch.compile(lambda x, n: x + n)
    x = torch.zeros(1)
    for n in range(12):
        assert f(x, n).item() == n
    assert len(f.plan()) == 8
    torch.ones(1).item()
    with torch.connect() as session:
        y = torch.zeros(1)
        made = [torch.compile(lambda x, k=k: x + k) for k in range(session.limits.max_programs + 3)]
        for k, g in enumerate(made):
            assert [g(y).item(), g(y).item()] == [k, k]
        assert len(torch.programs()) == session.limits.max_programs
        assert [g(y).item() for g in made] == list(range(len(made)))  # the first were evicted, and are back
        assert len(torch.programs()) == session.limits.max_programs
        del made, g
        gc.collect()
        y.add(1).item()
        assert len(torch.programs()) == 0


def test_sessions_have_their_own_and_closed_ones_say_so():
    f, calls = counted(lambda x: x + 1)
    f = torch.compile(f)
    assert [f(torch.ones(1)).item() for _ in range(2)] == [2, 2]
    with torch.connect():
        x = torch.ones(1)
        assert [f(x).item() for _ in range(2)] == [2, 2]
        f(x)
    assert len(calls) == 2
    with pytest.raises(RuntimeError, match="closed"):
        f(x)
    assert f(torch.ones(1)).item() == 2
    assert len(calls) == 2


def test_a_session_that_waits_raises_at_the_call():
    with torch.connect(sync=True):
        f = torch.compile(lambda x: torch.linalg.inv(x))
        f(torch.eye(2))
        f(torch.eye(2))
        with pytest.raises(RuntimeError, match="singular"):
            f(torch.zeros(2, 2))
        same(f(torch.eye(2)), torch.eye(2))


def test_an_error_inside_passes_through_and_nothing_is_kept():
    fail = [True]

    def f(x):
        if fail[0]:
            raise KeyError("mine")
        return x + 1

    f = torch.compile(f)
    with pytest.raises(KeyError, match="mine"):
        f(torch.ones(1))
    assert len(f.plan()) == 0
    fail[0] = False
    assert f(torch.ones(1)).item() == 2
    with pytest.raises(RuntimeError, match="must match the size"):
        torch.compile(lambda x, y: x + y)(torch.ones(2), torch.ones(3))


# ---- what is found by name ----


def test_a_name_that_means_another_tensor():
    w = torch.tensor(1.0)
    f = torch.compile(lambda x: x * w)
    x = torch.tensor(3.0)
    assert [f(x).item(), f(x).item()] == [3, 3]
    old = w
    w = torch.tensor(2.0)
    assert [f(x).item(), f(x).item()] == [6, 6]
    del old
    w = torch.tensor(5.0)
    assert [f(x).item(), f(x).item()] == [15, 15]
    w.fill_(7)
    assert f(x).item() == 21


def test_a_name_that_means_another_number():
    rate, turns = 0.5, 0

    def f(x):
        nonlocal turns
        turns += 1
        return x * rate

    f = torch.compile(f)
    x = torch.tensor(2.0)
    assert [f(x).item(), f(x).item()] == [1, 1]
    assert turns == 1
    rate = 3.0
    assert [f(x).item(), f(x).item()] == [6, 6]
    rate = 0.5
    assert f(x).item() == 1
    assert turns == 2


def test_what_lists_and_attributes_hold():
    class Config:
        pass

    c = Config()
    c.scale, c.layers = 2.0, [{"w": torch.tensor(1.0)}, {"w": torch.tensor(10.0)}]

    def f(x):
        for layer in c.layers:
            x = x * layer["w"]
        return x * c.scale

    f = torch.compile(f)
    x = torch.tensor(1.0)
    assert [f(x).item(), f(x).item()] == [20, 20]
    kept = c.layers[0]["w"]
    c.layers[0]["w"] = torch.tensor(3.0)
    assert [f(x).item(), f(x).item()] == [60, 60]
    c.scale = 1.0
    assert f(x).item() == 30
    kept_list, c.layers = c.layers, [{"w": torch.tensor(4.0)}]
    assert f(x).item() == 4
    assert kept.item() == 1
    assert len(kept_list) == 2


def test_an_argument_that_is_also_found_by_name():
    w = torch.tensor(2.0)
    f = torch.compile(lambda x: x * w)
    assert [f(w).item(), f(w).item()] == [4, 4]
    assert [f(torch.tensor(3.0)).item() for _ in range(2)] == [6, 6]
    assert f(w).item() == 4


def test_a_dead_tensor_from_outside():
    held = {"w": torch.tensor(2.0)}

    def take():
        return held["w"]

    def f(x):
        return x * take()

    f = torch.compile(f)
    x = torch.tensor(3.0)
    assert [f(x).item(), f(x).item()] == [6, 6]
    held["w"] = torch.tensor(4.0)
    gc.collect()
    assert [f(x).item(), f(x).item()] == [12, 12]
    assert len(f.plan()) == 1


def test_a_tensor_from_outside_that_now_requires_grad():
    w = torch.tensor(2.0)
    f = torch.compile(lambda x: x * w)
    x = torch.tensor(3.0)
    assert [f(x).requires_grad, f(x).requires_grad] == [False, False]
    w.requires_grad_()
    assert [f(x).requires_grad, f(x).requires_grad] == [True, True]
    w.requires_grad_(False)
    assert f(x).requires_grad is False


def test_big_and_small_constants():
    big = np.arange(100_000, dtype=np.float32)
    f = torch.compile(lambda x: (torch.tensor(big).add_(x), torch.tensor([1.0, 2.0]).mul_(x)))
    for i in range(3):
        a, b = f(torch.tensor(float(i)))
        assert a[:2].tolist() == [i, i + 1]
        assert b.tolist() == [i, 2 * i]
    g = torch.compile(lambda: torch.tensor(big, requires_grad=True).sum())
    for _ in range(3):
        assert g().requires_grad


# ---- what can't be captured ----


def refused(f, *args):
    with pytest.raises(RuntimeError) as e:
        torch.compile(f)(*args)
    return str(e.value)


def test_reading_a_value_names_the_line():
    def step(x):
        return x * 2 if x.sum() > 0 else x

    text = refused(step, torch.ones(2))
    line = step.__code__.co_firstlineno + 1
    assert text == (
        f"gradwire.compile: step() reads the value of a tensor at {__file__}:{line}, which can't be part of a captured "
        "program; return it and read it outside, or compile with fullgraph=False"
    )
    for read in (lambda x: x.sum().item(), lambda x: x.tolist(), repr, lambda x: x.numpy(), lambda x: x[x > 0]):
        assert "reads the value of a tensor" in refused(read, torch.ones(2))
    assert "waits for the server" in refused(lambda x: torch.current().synchronize(), torch.ones(2))
    assert torch.compile(lambda x: x + 1)(torch.ones(1)).item() == 2  # capturing is over


def test_python_in_backward_is_refused():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = torch.ones(2, requires_grad=True)
    assert "records the custom function Double" in refused(lambda x: Double.apply(x), x)
    assert "registers a hook" in refused(lambda x: (x * 2).register_hook(print), x)
    assert "retain its gradient" in refused(lambda x: (x * 2).retain_grad(), x)
    assert "looks at the graph" in refused(lambda x: (x * 2).grad_fn, x)
    assert "generator of its own" in refused(lambda: torch.rand(2, generator=torch.Generator()))
    with x.register_hook(lambda g: g * 2):
        assert "where hooks or custom functions are" in refused(lambda x: x.sum().backward(), x)
    y = Double.apply(x)
    assert "where hooks or custom functions are" in refused(lambda: y.sum().backward())


def test_hooks_that_come_later():
    def f(x):
        (x * 2).sum().backward()
        return x * 1

    x = torch.ones(2, requires_grad=True)
    strict, loose = torch.compile(f), torch.compile(f, fullgraph=False)
    for g in (strict, loose):
        g(x), g(x)
    x.grad = None
    with x.register_hook(lambda g: g * 5):
        with pytest.raises(RuntimeError, match="hooks are registered"):
            strict(x)
        with pytest.warns(UserWarning, match="hooks are registered"):
            loose(x)
        loose(x)
    assert x.grad.tolist() == [20, 20]
    strict(x)
    assert x.grad.tolist() == [22, 22]


def test_hooks_elsewhere_do_not_matter():
    x, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    handle = other.register_hook(lambda g: g * 5)
    f, calls = counted(lambda x: (x * 2).sum().backward())
    f = torch.compile(f)
    for _ in range(3):
        f(x)
    assert x.grad.tolist() == [6, 6]
    assert len(calls) == 1
    handle.remove()


def test_otherwise_it_is_streamed_and_says_so_once():
    f, calls = counted(lambda x: x * 2 if x.sum() > 0 else x)
    f = torch.compile(f, fullgraph=False)
    with pytest.warns(UserWarning, match="reads the value of a tensor at") as caught:
        assert f(torch.ones(1)).item() == 2
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f(torch.ones(1)).item() == 2
        assert f(-torch.ones(1)).item() == -1
        assert f(-torch.ones(2)).tolist() == [-1, -1]
    assert len(calls) == 4
    assert len(f.plan()) == 0


def test_what_is_kept_outside_is_an_error():
    kept = []

    def step(x):
        kept.append(x * 2)
        return x

    line = step.__code__.co_firstlineno + 1
    assert refused(step, torch.ones(2)) == (
        f"gradwire.compile: a tensor made at {__file__}:{line} inside step() is kept outside of it, where the next "
        "call would not renew it: float32[2]; return it, or update one in place"
    )
    loose = torch.compile(step, fullgraph=False)
    with pytest.warns(UserWarning, match="kept outside"):
        loose(torch.ones(2))
    loose(torch.zeros(2))
    assert kept[-1].tolist() == [0, 0]

    def cycle(x):
        ring = [x * 2]
        ring.append(ring)
        return x + 1

    f = torch.compile(cycle)
    assert [f(torch.ones(1)).item() for _ in range(2)] == [2, 2]


def test_programs_have_a_size():
    def f(x):
        for _ in range(3000):
            x = x + 1
        return x

    with torch.connect() as session:
        x = torch.tensor(0.0)
        g = torch.compile(f)
        assert [made.item() for made in [g(x) for _ in range(50)]] == [3000] * 50  # more than a frame holds
        session.limits.max_instructions_per_frame = 2999
        with pytest.raises(RuntimeError, match="sends 3000 instructions, a program holds at most 2999"):
            torch.compile(f)(x)
        h = torch.compile(f, fullgraph=False)
        with pytest.warns(UserWarning, match="sends 3000 instructions"):
            h(x)
        assert h(x).item() == 3000
