"""torch.utils.checkpoint: gradients without what was computed on the way, which is computed again."""

import contextlib

import pytest

import gradwire as torch
from gradwire import nn
from gradwire.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential, set_checkpoint_early_stop
from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve

F = nn.functional
both = pytest.mark.parametrize("reentrant", [True, False])


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def x():
    return leaf(0.5, -1.0)


@pytest.fixture
def w():
    return leaf(2.0, 3.0)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-12)


class Counted:
    """tanh(wt), and how often it was asked for."""

    def __init__(self, w):
        self.w, self.calls = w, 0

    def __call__(self, t):
        self.calls += 1
        return torch.tanh(t * self.w)


@both
def test_arguments_and_what_else_is_used_get_their_gradients(x, w, reentrant):
    f, h = Counted(w), x.sin()
    y = checkpoint(lambda t: f(t) * h, x, use_reentrant=reentrant)
    assert (f.calls, y.requires_grad, y.is_leaf) == (1, True, False)
    y.sum().backward()
    assert f.calls == 2
    th = (x * w).tanh()
    assert close(x.grad, (1 - th**2) * w * x.sin() + th * x.cos())
    assert close(w.grad, (1 - th**2) * x * x.sin())


@both
def test_one_within_another(x, w, reentrant):
    inner, outer = Counted(w), Counted(w)

    def f(t):
        return checkpoint(outer, checkpoint(inner, t, use_reentrant=reentrant), use_reentrant=reentrant)

    checkpoint(f, x, use_reentrant=reentrant).sum().backward()
    got = x.grad, w.grad
    assert (inner.calls, outer.calls) == (3, 3)
    x.grad = w.grad = None
    outer(inner(x)).sum().backward()
    assert all(close(a, b) for a, b in zip(got, (x.grad, w.grad), strict=True))


def test_a_chain(x, w):
    y = x
    for _ in range(20):
        y = checkpoint(Counted(w), y, use_reentrant=False)
    y.sum().backward()
    got, x.grad = x.grad, None
    y = x
    for _ in range(20):
        y = Counted(w)(y)
    y.sum().backward()
    assert close(got, x.grad)


def test_every_order(x, w):
    def grads(y):
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (h,) = torch.autograd.grad((g * g).sum(), x, create_graph=True)
        return g, h, *torch.autograd.grad(h.sum(), [x, w])

    f = Counted(w)

    def nested(t):
        return checkpoint(f, t.sin(), use_reentrant=False) * t

    got = grads(checkpoint(nested, x, use_reentrant=False))
    assert all(close(a, b) for a, b in zip(got, grads(f(x.sin()) * x), strict=True))


@both
def test_twice_and_once_too_often(x, w, reentrant):
    f = Counted(w)
    y = checkpoint(f, x, use_reentrant=reentrant).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    assert f.calls == 3
    assert close(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()


@both
def test_random_numbers_repeat_and_those_after_do_not_notice(reentrant):
    p = torch.ones(100, requires_grad=True)
    torch.manual_seed(1)
    y = checkpoint(lambda t: F.dropout(t * 1), p, use_reentrant=reentrant)
    y.sum().backward()
    assert torch.equal(p.grad, y.detach())
    after = torch.rand(1)
    torch.manual_seed(1)
    F.dropout(p)
    assert torch.equal(torch.rand(1), after)
    p.grad = None
    y = checkpoint(lambda t: F.dropout(t * 1), p, use_reentrant=reentrant, preserve_rng_state=False)
    y.sum().backward()
    assert not torch.equal(p.grad, y.detach())


def test_what_it_returns_keeps_its_shape(x, w):
    def f(t, *, k):
        return {"a": [t * w * k, 3], "b": (t, t.detach(), t > 0), "c": t.exp()}

    made = checkpoint(f, x, k=2.0, use_reentrant=False)
    (a, three), (b, detached, positive), c = made.values()
    assert (three, b is x, detached.requires_grad, positive.tolist()) == (3, True, False, [True, False])
    a.sum().backward(retain_graph=True)
    assert close(x.grad, 2 * w)
    x.grad = None
    (a * c).sum().backward()
    assert close(x.grad, (2 * w + 2 * x * w) * x.exp())


def test_results_may_be_written_to_and_be_views(x, w):
    def f(t):
        k = t * 1
        k[0] = w[1] * t[1]
        return k.mul_(2).view(2, 1)

    y = checkpoint(f, x, use_reentrant=False)
    y.mul_(3)
    y[1] = 0
    y.sum().backward()
    assert x.grad.tolist() == [0, 6 * 3]
    assert w.grad.tolist() == [0, 6 * -1]


def test_hooks_see_each_gradient_once(x, w):
    seen = []
    h = x * 2
    h.register_hook(lambda g: seen.append("h"))

    def f(t):
        k = t * w
        k.register_hook(lambda g: seen.append("k"))
        return k + h

    with w.register_hook(lambda g: seen.append("w")):
        checkpoint(f, h, use_reentrant=False).sum().backward()
    assert sorted(seen) == ["h", "k", "w"]
    assert close(x.grad, 2 * (w + 1))


def test_modules_with_their_parameters():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 1))
    z = torch.ones(4, 2, requires_grad=True)

    def grads(run):
        torch.manual_seed(2)
        net.zero_grad()
        z.grad = None
        run().sum().backward()
        return z.grad, *[p.grad for p in net.parameters()]

    plain = grads(lambda: net(z))
    for made in (
        grads(lambda: checkpoint(net, z, use_reentrant=False)),
        grads(lambda: checkpoint(net, z.detach().requires_grad_(), use_reentrant=True))[1:],
        grads(lambda: checkpoint_sequential(net, 2, z, use_reentrant=False)),
        grads(lambda: checkpoint_sequential(list(net), 5, z, use_reentrant=True, preserve_rng_state=True)),
    ):
        want = plain[1:] if len(made) < len(plain) else plain
        assert all(torch.allclose(a, b) for a, b in zip(made, want, strict=True))
    # no input requires grad: only the other variant cares
    y = checkpoint(net, z.detach(), use_reentrant=False)
    assert y.requires_grad
    with pytest.warns(UserWarning, match="^None of the inputs have requires_grad=True. Gradients will be None$"):
        assert not checkpoint(net, z.detach(), use_reentrant=True).requires_grad


def test_contexts(x, w):
    log = []

    @contextlib.contextmanager
    def note(what):
        log.append(what)
        yield

    y = checkpoint(Counted(w), x, use_reentrant=False, context_fn=lambda: (note("first"), note("again")))
    assert log == ["first"]
    with set_checkpoint_early_stop(False):
        y.sum().backward()
    assert log == ["first", "again"]


def test_arguments_that_do_not_go_together(x, w):
    f = Counted(w)
    with pytest.raises(ValueError, match="^Unexpected keyword arguments: k$"):
        checkpoint(f, x, use_reentrant=True, k=1)
    with pytest.raises(ValueError, match="^Passing `context_fn` or `debug` is only supported when use_reentrant=Fal"):
        checkpoint(f, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match=r"^determinism_check should be one of \['default', 'none'\], but got often$"):
        checkpoint(f, x, use_reentrant=False, determinism_check="often")
    with pytest.raises(ValueError, match="^Unexpected keyword arguments: k$"):
        checkpoint_sequential([f], 1, x, use_reentrant=False, k=1)
    with pytest.warns(UserWarning, match="^torch.utils.checkpoint: the use_reentrant parameter should be passed exp"):
        checkpoint(f, x)
    with pytest.warns(UserWarning, match="^torch.utils.checkpoint.checkpoint_sequential: the use_reentrant param"):
        checkpoint_sequential([f], 1, x)


def test_a_function_that_does_something_else_is_refused(x, w):
    def other(first, then):
        runs = iter((first, then))
        return lambda t: next(runs)(t)

    y = checkpoint(other(lambda t: t * w, lambda t: (t * w).sin()), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match=r"(?s)A different number of .* forward: 1\n.*recomputation: 2$"):
        y.sum().backward()
    y = checkpoint(other(lambda t: t * w, lambda t: (t * w).sin()), x, use_reentrant=False, determinism_check="none")
    y.sum().backward()
    assert close(x.grad, w * (x * w).cos())
    y = checkpoint(other(lambda t: t.sin(), lambda t: w.new_ones(3, requires_grad=True).sin()), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match=r"(?s)at position 0:\nsaved metadata: .*\[2\].*recomputed .*\[3\]"):
        y.sum().backward()
    h = w.exp()
    y = checkpoint(other(lambda t: t.sin(), lambda t: h.sin()), x, use_reentrant=False)
    with pytest.raises(RuntimeError, match="CheckpointFunctionBackward: run again, the function goes back to"):
        y.sum().backward()


def test_what_the_function_raises_comes_out(x):
    def f(t):
        raise ZeroDivisionError("at once")

    with pytest.raises(ZeroDivisionError, match="at once"):
        checkpoint(f, x, use_reentrant=False)
    runs = iter((lambda t: t.exp(), f))
    y = checkpoint(lambda t: next(runs)(t), x, use_reentrant=False)
    with pytest.raises(ZeroDivisionError, match="at once"):
        y.sum().backward()
    assert x.grad is None


@both
def test_where_nothing_is_recorded_it_is_called_as_it_is(x, w, reentrant):
    f = Counted(w)
    with torch.no_grad():
        y = checkpoint(f, x, use_reentrant=reentrant)
    assert not y.requires_grad
    assert close(y, f(x))
    rows = torch.vmap(lambda t: checkpoint(f, t, use_reentrant=False))(torch.stack([x, x]))
    assert close(rows[1], y)


@both
def test_captured_it_is_called_as_it_is(x, w, reentrant):
    f = Counted(w)

    @torch.compile
    def step(t):
        return torch.autograd.grad(checkpoint(f, t, use_reentrant=reentrant).sum(), [t, w])

    want = torch.autograd.grad(f(x).sum(), [x, w])
    for _ in range(3):
        assert all(close(a, b) for a, b in zip(step(x), want, strict=True))
    assert f.calls == 2


def test_in_function_transforms(x, w):
    f = Counted(w)
    made = torch.func.grad(lambda t: checkpoint(f, t, use_reentrant=False).sum())(x)
    assert close(made, (1 - f(x) ** 2) * w)
    made = torch.func.hessian(lambda t: checkpoint(f, t, use_reentrant=False).sum())(x)
    assert close(made, torch.func.hessian(lambda t: f(t).sum())(x))


def test_anomaly_mode_sees_what_is_run_again():
    x = leaf(0.0)
    y = checkpoint(lambda t: t.sqrt() * 0, x, use_reentrant=False)
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match=r"(?s)^Error detected in SqrtBackward0. Traceback .*checkpoint\(lambda t: t"),
        pytest.raises(RuntimeError, match="^Function 'SqrtBackward0' returned nan values in its 0th output"),
    ):
        y.backward()


def test_nothing_is_kept_on_the_server(tmp_path):
    service = Service("cpu", Limits(), 8, Metrics())
    server, address = serve(service, f"unix:{tmp_path}/s")
    with torch.connect(address) as session:
        meter = service.sessions[session.id].engine.meter

        def used():
            with session.wire.lock:
                session.tell_dead(now=True)
            session.synchronize()
            return meter.used

        def block(t):
            for _ in range(8):
                t = torch.tanh(t) * 1.1
            return t

        size = 400_000
        x = torch.ones(size // 4, requires_grad=True)
        empty = used()
        y = x
        for _ in range(4):
            y = checkpoint(block, y, use_reentrant=False)
        assert used() - empty < 4.1 * size  # each block's result
        y.sum().backward()
        del y
        assert used() - empty < 1.1 * size  # the gradient
        assert not session.functions
        with pytest.raises(ZeroDivisionError):
            checkpoint(lambda t: block(t) / (1 // 0), x, use_reentrant=False)
        assert used() - empty < 1.1 * size
        assert not service.sessions[session.id].begun_functions
    server.stop(0).wait()
    service.stop()


def test_the_module_is_found_by_its_name():
    assert torch.utils.checkpoint.checkpoint is checkpoint
    with pytest.raises(AttributeError, match="^module 'gradwire.utils' has no attribute 'nothing'$"):
        torch.utils.nothing  # noqa: B018
