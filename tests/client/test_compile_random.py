"""Random functions, captured and streamed: the same results, and the same in every tensor that they leave behind."""

import warnings

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import gradwire as torch

PLACES = st.integers(0, 30)
UNARY = [torch.sin, torch.tanh, torch.exp, lambda t: t * 0.5, lambda t: t.view(6).view(2, 3), lambda t: t.flip(0),
         lambda t: t.t().t(), lambda t: t.detach(), lambda t: t.clone()]  # fmt: skip


def unary(have, i, j, k):
    have.append(UNARY[j % len(UNARY)](have[i % len(have)]))


def binary(have, i, j, k):
    a, b = have[i % len(have)], have[j % len(have)]
    have.append([a + b, a * b, torch.where(a > b, a, b * 2)][k % 3])


def write(have, i, j, k):
    """In place: to what takes no part in a graph without a history, else with one."""
    target, source = have[i % len(have)], have[j % len(have)]
    if target.is_leaf and target.requires_grad:
        with torch.no_grad():
            target.sub_(source.detach() * 0.1)
    elif k % 2:
        target.mul_(source.detach().clone() * 0.5)
    else:
        target[0].add_(source.detach().clone()[1])


def draw(have, i, j, k):
    have.append([lambda: torch.rand(2, 3), lambda: torch.dropout(have[i % len(have)], 0.5, True)][k % 2]())


def backward(have, i, j, k):
    t = have[i % len(have)]
    if t.requires_grad:
        t.sum().backward(retain_graph=k % 2 == 0)


def clear(have, i, j, k):
    have[i % 3].grad = None


def look(have, i, j, k):
    g = have[i % 3].grad
    if g is not None:
        have.append(g * 2 if k % 2 else g.detach())


def assign(have, i, j, k):
    have[i % 3].grad = have[j % len(have)].detach().clone()


def grad(have, i, j, k):
    t, p = have[i % len(have)], have[j % 3]
    if t.requires_grad and p.requires_grad:
        (g,) = torch.autograd.grad((t * t).sum(), p, create_graph=k % 2 == 0, retain_graph=True, allow_unused=True)
        if g is not None:
            have.append(g)


STEPS = [unary, binary, write, draw, backward, clear, look, assign, grad]
PROGRAM = st.lists(st.tuples(st.sampled_from(STEPS), PLACES, PLACES, PLACES), min_size=1, max_size=12)


def outcome(steps, picks, turns, captured):
    """What all turns returned, and what is there at the end."""
    start = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    w = torch.tensor(start, requires_grad=True)
    buffer = torch.tensor(start[::-1].copy())
    torch.manual_seed(5)

    def f(x, y):
        have = [x, w, y, buffer]
        for step, i, j, k in steps:
            step(have, i, j, k)
        return [have[p % len(have)] for p in picks]

    g = torch.compile(f) if captured else f
    seen = []
    for turn in range(turns):
        x = torch.tensor(start * (turn + 1), requires_grad=True)
        y = torch.tensor(start + turn)
        kept = [*g(x, y), x, y, w, buffer]
        seen += [t.detach().clone() for t in kept]
        seen += [(t.requires_grad, t.is_leaf) for t in kept]
        seen += [t._version for t in kept[len(picks) :]]  # of a result that is a gradient it is not known here
        loss = sum((t * t).sum() for t in kept[: len(picks)])
        if loss.requires_grad:
            try:
                loss.backward()
            except RuntimeError as e:
                seen.append(str(e).partition("\n")[0])
        seen += [None if t.grad is None else t.grad.detach().clone() for t in (x, w)]
    torch.current().synchronize()
    return [v.numpy() if isinstance(v, torch.Tensor) else v for v in seen]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(PROGRAM, st.lists(PLACES, min_size=1, max_size=3))
def test_captured_is_streamed(steps, picks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            want = outcome(steps, picks, 4, False)
        except RuntimeError:
            assume(False)
        got = outcome(steps, picks, 4, True)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b
