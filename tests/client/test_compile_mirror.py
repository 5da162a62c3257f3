"""gradwire.compile: what a replay leaves behind: gradients, views, versions, graphs. Many steps, and the plan."""

import gc
import os
import sys
import threading

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.capture import steps as capture_steps

F = torch.nn.functional


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a.detach()), np.asarray(b.detach()))


def both(f, make, turns=4):
    """The same turns of a function, captured and streamed: whatever they return is equal, and so is what they leave in
    the tensors that ``make`` makes."""
    mine, theirs = make(), make()
    g = torch.compile(f)
    for _ in range(turns):
        a, b = g(*mine), f(*theirs)
        for x, y in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,), strict=True):
            check(x, y)
        for x, y in zip(mine, theirs, strict=True):
            check(x, y)
    return g, mine


def check(x, y):
    same(x, y)
    assert (x.requires_grad, x.is_leaf, x._version, x._is_view()) == (
        y.requires_grad, y.is_leaf, y._version, y._is_view())  # fmt: skip
    assert x.stride() == y.stride()
    if x.is_leaf:
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None:
            same(x.grad, y.grad)


# ---- gradients ----


def test_gradients_add_up():
    def f(x):
        loss = (x * x).sum()
        loss.backward()
        return loss

    _, (x,) = both(f, lambda: [torch.tensor([1.0, 2.0], requires_grad=True)])
    assert x.grad.tolist() == [8, 16]


def test_gradients_that_are_looked_at():
    def f(x):
        (x * x).sum().backward()
        seen = x.grad * 2
        if x.grad is not None:
            x.grad.zero_()
        return seen

    both(f, lambda: [torch.tensor([1.0, 2.0], requires_grad=True)])

    def clip(x):
        if x.grad is not None:
            x.grad = None
        (x * x).sum().backward()
        x.grad.mul_(0.5)

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    g = torch.compile(clip)
    for _ in range(4):
        g(x)
        assert x.grad.tolist() == [1, 2]


def test_a_gradient_that_was_known_before():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    kept = x.grad

    def f():
        return x.grad * 2

    g = torch.compile(f)
    assert [g().tolist() for _ in range(2)] == [[6, 6]] * 2
    x.grad = torch.tensor([5.0, 5.0])
    assert [g().tolist() for _ in range(2)] == [[10, 10]] * 2
    x.grad = None
    (x * 7).sum().backward()
    assert g().tolist() == [14, 14]
    assert kept.tolist() == [3, 3]
    x.grad = None
    with pytest.raises(TypeError):
        g()


def test_gradients_that_are_assigned():
    def f(x, t):
        x.grad = t * 2
        return x.grad + 1

    x = torch.zeros(2, requires_grad=True)
    g = torch.compile(f)
    for i in range(4):
        assert g(x, torch.tensor([1.0, i])).tolist() == [3, 2 * i + 1]
        assert x.grad.tolist() == [2, 2 * i]
    (x * 1).sum().backward()
    assert x.grad.tolist() == [3, 7]


def test_arguments_that_require_grad():
    def f(x):
        y = x.exp().sum()
        y.backward()
        return y

    g = torch.compile(f)
    for i in range(3):
        x = torch.tensor([0.0, float(i)], requires_grad=True)
        assert x.grad is None
        g(x)
        same(x.grad, x.exp())


def test_some_inputs_alone():
    def f(x, y):
        (x * y).sum().backward(inputs=[x])

    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    g = torch.compile(f)
    for _ in range(3):
        g(x, y)
    assert x.grad.tolist() == [3, 3]
    assert y.grad is None


def test_gradients_that_reach_nothing():
    def f(x, y):
        return torch.autograd.grad((x * x).sum(), (x, y), allow_unused=True)

    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    g = torch.compile(f)
    for _ in range(3):
        a, b = g(x, y)
        assert a.tolist() == [2, 2]
        assert b is None


def test_results_with_history():
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    f = torch.compile(lambda x: ((w * x).exp().sum(), (w + x) * 2))
    for i in range(3):
        x = torch.tensor([0.5, i / 4], requires_grad=True)
        a, b = f(x)
        assert a.requires_grad
        assert not a.is_leaf
        w.grad = None
        a.backward()
        same(w.grad, x * (w * x).exp())
        same(x.grad, w * (w * x).exp())
        with pytest.raises(RuntimeError, match="second time"):
            a.backward()
        b.sum().backward()
        same(w.grad, x * (w * x).exp() + 2)
    with pytest.raises(RuntimeError, match="does not require grad|appears to not have been used"):
        torch.autograd.grad(f(x)[0], torch.ones(1, requires_grad=True))


def test_a_result_whose_graph_was_used_up():
    def f(x):
        loss = (x * x).sum()
        loss.backward()
        return loss

    g = torch.compile(f)
    x = torch.ones(2, requires_grad=True)
    for _ in range(3):
        loss = g(x)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_results_that_lead_to_some():
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    f = torch.compile(lambda: (a * 2, b * 3, (a * b).detach(), torch.zeros(1, requires_grad=True)))
    for _ in range(3):
        a.grad = None
        x, y, z, leaf = f()
        x.backward()
        assert a.grad.item() == 2
        assert b.grad is None
        assert not z.requires_grad
        assert leaf.is_leaf
        (leaf * y.detach()).backward()
        assert leaf.grad.item() == 3


def test_backward_through_what_was_made_outside():
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def f(loss):
        loss.backward()
        return loss * 1

    g = torch.compile(f)
    for i in range(3):
        loss = (w * w).sum()
        g(loss)
        assert w.grad.tolist() == [2 * (i + 1), 4 * (i + 1)]
        with pytest.raises(RuntimeError, match="second time"):
            g(loss)
    y = w * w
    h = torch.compile(lambda: y.sum().backward(retain_graph=True))
    w.grad = None
    for i in range(3):
        h()
        assert w.grad.tolist() == [2 * (i + 1), 4 * (i + 1)]


def test_gradient_penalty():
    def make():
        torch.manual_seed(1)
        return [torch.randn(3, requires_grad=True), torch.randn(3)]

    def f(w, x):
        x = x.detach().requires_grad_()
        out = (w * x).tanh().sum()
        (g,) = torch.autograd.grad(out, x, create_graph=True)
        w.grad = None
        penalty = ((g * g).sum() - 1) ** 2 + out
        penalty.backward()
        with torch.no_grad():
            w.sub_(w.grad * 0.1)
        return penalty, g.detach()

    both(f, make, 5)


# ---- memory ----


def test_writes_to_arguments_and_results_that_are_views():
    def f(x, y):
        x.add_(y)
        x[0] = 5
        return x, x[1:], y.view(2, 2), x.sum()

    g, (x, y) = both(f, lambda: [torch.arange(4.0), torch.arange(4.0)])
    out, part, square, _ = g(x, y)
    assert out is x
    assert part._base is x
    assert square._base is y
    part.zero_()
    assert x.tolist() == [5, 0, 0, 0]
    square.fill_(3)
    assert y.tolist() == [3, 3, 3, 3]
    assert y._version == 1


def test_views_of_what_was_made_inside():
    f = torch.compile(lambda x: ((x * 2).view(2, 2), (x * 3)[:2]))
    x = torch.arange(4.0)
    for _ in range(3):
        a, b = f(x)
        assert a._is_view()
        a.add_(1)
        assert a.tolist() == [[1, 3], [5, 7]]
        assert b.tolist() == [0, 3]


def test_tensors_from_outside_come_back():
    w = torch.ones(2)

    def f(x):
        w.mul_(x)
        return w, x

    g = torch.compile(f)
    x = torch.tensor(2.0)
    for i in range(3):
        a, b = g(x)
        assert a is w
        assert b is x
        assert w.tolist() == [2.0 ** (i + 1)] * 2
        assert w._version == i + 1


def test_writes_that_are_recorded():
    def make():
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        return [x * 1]

    f = torch.compile(lambda y: y.mul_(y.detach().clone()).sum())
    for _ in range(3):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x * 3
        s = f(y)
        assert y.tolist() == [9, 36]
        assert not y.is_leaf
        s.backward()
        assert x.grad.tolist() == [9, 18]
    for _ in range(3):
        y = torch.zeros(2)
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        torch.compile(lambda y, x: y.add_(x * 2))(y, x)
        y.sum().backward()
        assert x.grad.tolist() == [2, 2]
    both(lambda y: (y.mul_(2), y.sum())[1], make)


def test_a_saved_tensor_that_a_replay_writes_to():
    w = torch.ones(2, requires_grad=True)

    def f():
        with torch.no_grad():
            w.mul_(2)

    g = torch.compile(f)
    g()
    y = (w * w).sum()
    g()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_flags_that_change_inside():
    def f(x):
        x.requires_grad_()
        y = (x * 2).sum()
        y.backward()
        return y.detach()

    g = torch.compile(f)
    for _ in range(3):
        x = torch.ones(2)
        g(x)
        assert x.requires_grad
        assert x.grad.tolist() == [2, 2]

    h = torch.compile(lambda y: y.detach_())
    for _ in range(3):
        y = torch.ones(2, requires_grad=True) * 2
        h(y)
        assert y.is_leaf
        assert not y.requires_grad


# ---- random numbers ----


def test_random_numbers_are_those_of_streaming():
    x = torch.ones(1000)

    def f(x):
        return F.dropout(x, 0.5) + torch.rand(1000), torch.randn(3)

    g = torch.compile(f)
    torch.manual_seed(7)
    mine = [g(x) for _ in range(4)]
    torch.manual_seed(7)
    theirs = [f(x) for _ in range(4)]
    for (a, b), (c, d) in zip(mine, theirs, strict=True):
        same(a, c)
        same(b, d)
    assert mine[1][1].tolist() != mine[2][1].tolist()


def test_a_seed_inside():
    def f():
        torch.manual_seed(3)
        return torch.randn(3)

    g = torch.compile(f)
    assert [g().tolist() for _ in range(3)] == [f().tolist()] * 3


# ---- many steps ----


def test_steps_stack_what_calls_return(monkeypatch):
    monkeypatch.setattr(capture_steps, "ROWS", 4)

    def make():
        w = torch.tensor([1.0, -1.0], requires_grad=True)
        o = optim.Adam([w], lr=0.1)

        def step(x, y):
            loss = ((w * x - y) ** 2).sum()
            o.zero_grad()
            loss.backward()
            o.step()
            return {"loss": loss, "w": w, "grad": w.grad}

        return step, w

    batches = [(torch.tensor([1.0, i / 3]), torch.tensor(float(i))) for i in range(11)]
    f, w = make()
    made = torch.compile(f).steps(batches)
    g, v = make()
    kept = [{k: t.detach().clone() for k, t in g(*b).items()} for b in batches]
    for name, stacked in made.items():
        same(stacked, torch.stack([k[name] for k in kept]))
        assert not stacked.requires_grad
    same(w, v)
    same(w.grad, v.grad)


def test_steps_of_bare_tensors_and_of_other_shapes():
    f = torch.compile(lambda x: x.sum() * 2)
    assert f.steps(torch.ones(n) for n in (1, 2, 2, 3, 3)).tolist() == [2, 4, 4, 6, 6]
    assert f.steps([torch.ones(1)]).tolist() == [2]
    with pytest.raises(ValueError, match="at least one batch"):
        f.steps([])
    with pytest.raises(TypeError, match="returned int"):
        torch.compile(lambda x: 3).steps([torch.ones(1)])


def test_a_thousand_steps_hold_little():
    w = torch.zeros(1000)

    def f(x):
        w.add_(x)
        return w * 2

    g = torch.compile(f)
    made = g.steps(torch.tensor(1.0) for _ in range(1000))
    assert made.shape == (1000, 1000)
    assert made[:, 0].tolist() == [2.0 * (i + 1) for i in range(1000)]


# ---- what there is ----


def test_the_plan_is_a_table():
    def step(x):
        return (x * 2).exp().sum()

    f = torch.compile(step)
    assert str(f.plan()) == "no programs"
    f(torch.ones(2, 3))
    f(torch.ones(2, 3))
    f(torch.ones(4))
    plan = f.plan()
    assert len(plan) == 2
    assert {p.runs for p in plan.programs} == {0, 1}
    assert "step(float32[2, 3])" in str(plan)
    assert "3 instructions, run 1 times" in repr(plan)
    assert str(plan) in str(torch.programs()) or len(torch.programs()) >= 2


def test_a_table_of_kernels():
    from gradwire.capture.plan import Plan
    from gradwire_proto.v1 import gradwire_pb2 as pb

    info = pb.ProgramInfo(id=5000, instructions=3, runs=7, replays=6, bytes=2048, unshared_bytes=3 * 2**20, kernels=[
        pb.KernelInfo(op="mul", results=[pb.TensorSpec(dtype=pb.DTYPE_FLOAT32, shape=[2, 3])], group=1, buffer=2,
                      bytes=72, predicted_seconds=1.5e-6, measured_seconds=2e-6,
                      location=pb.Location(file="a.py", line=3)),
        pb.KernelInfo(op="sum", bytes=28),
    ])  # fmt: skip
    assert str(Plan([("step(float32[2, 3])", info)])) == """\
program 5000: step(float32[2, 3])
3 instructions, run 7 times, 6 of them from its plan
buffers take 2.0 KiB, and would take 3.0 MiB if none were shared
#  op   result         group  buffer  bytes  predicted  measured  line
1  mul  float32[2, 3]      1       2   72 B     1.5 µs    2.0 µs  a.py:3
2  sum                                 28 B"""
    info.unplanned = "it calls back"
    assert "run instruction by instruction: it calls back" in str(Plan([("", info)]))


# ---- beside others ----


def test_other_threads_are_not_captured():
    go, done = threading.Event(), threading.Event()
    made = []

    def other():
        go.wait(20)
        made.append((torch.ones(2) * 3).tolist())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def f(x):
        y = x * 2
        go.set()
        assert done.wait(20)
        return y + 1

    g = torch.compile(f)
    assert [g(torch.ones(1)).item() for _ in range(3)] == [3, 3, 3]
    thread.join()
    assert made == [[3, 3]]
    assert "2 instructions" in str(g.plan())


def test_threads_that_call_the_same():
    f = torch.compile(lambda x: (x * 2).sum())
    wrong = []

    def run(k):
        for i in range(200):
            if i % 50 == 0 and f(torch.tensor([float(k), i])).item() != 2 * (k + i):
                wrong.append((k, i))
            f(torch.ones(2))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_captures_for_itself():
    f = torch.compile(lambda x: x + 1)
    x = torch.ones(1)
    f(x), f(x)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            y = torch.ones(1)
            os.write(write, b"%d" % (f(y).item() + f(y).item()))
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"4"
    os.waitpid(pid, 0)
    assert f(x).item() == 2


def test_nothing_is_kept_alive():
    class Model:
        def __init__(self):
            self.w = torch.ones(3, requires_grad=True)

        def step(self, x):
            loss = (self.w * x).sum()
            loss.backward()
            return loss

    import weakref

    m = Model()
    f = torch.compile(m.step)
    x = torch.ones(3)
    for _ in range(3):
        f(x)
    refs = [weakref.ref(x), weakref.ref(m)]
    del x, m, f
    gc.collect()
    assert [r() for r in refs] == [None, None]
    assert len(torch.programs()) == 0 or all(p.instructions != 4 for p in torch.programs().programs)
