"""gradwire.compile: whole training steps, captured and streamed: losses, parameters, gradients, optimizers."""

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim import lr_scheduler


def runs(f):
    """How often the server ran each program of a compiled function."""
    return sorted(p.runs for p in f.plan().programs)


def same(a, b):
    np.testing.assert_array_equal(np.asarray(a.detach()), np.asarray(b.detach()))

MAKERS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    lambda p: optim.AdamW(p, lr=0.1),
    lambda p: optim.RMSprop(p, momentum=0.2, centered=True),
    lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.2),
    lambda p: optim.Adadelta(p, weight_decay=0.1),
    lambda p: optim.Adamax(p, lr=0.1),
    lambda p: optim.NAdam(p, lr=0.1),
    lambda p: optim.RAdam(p, lr=0.1, betas=(0.5, 0.8)),
    lambda p: optim.ASGD(p, lr=0.1, t0=2, lambd=0.1),
    lambda p: optim.Rprop(p, lr=0.1),
    lambda p: optim.Adafactor(p, lr=0.1),
    lambda p: optim.Adam([{"params": p[:1], "lr": 0.2}, {"params": p[1:]}], lr=0.1),
]


def model():
    return [torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)]


def loss_of(params, x):
    return (params[0] * x).tanh().sum() + (params[1] - 1) ** 2


def train(make, turns, clear, compiled, schedule=None, between=None):
    """Losses, parameters and gradients after some steps."""
    params = model()
    optimizer = make(params)

    def step(x):
        loss = loss_of(params, x)
        clear(optimizer)
        loss.backward()
        optimizer.step()
        return loss

    run = torch.compile(step) if compiled else step
    scheduler = schedule(optimizer) if schedule else None
    losses = []
    for i in range(turns):
        losses.append(run(torch.tensor([1.0, i / 7])))
        if scheduler:
            scheduler.step()
        if between:
            between(params, optimizer, i)
    return [*losses, *params, *(p.grad for p in params)], optimizer, run


CLEARS = {
    "dropped": lambda o: o.zero_grad(), "zeroed": lambda o: o.zero_grad(set_to_none=False), "added": lambda o: None,
}  # fmt: skip


@pytest.mark.parametrize("clear", CLEARS)
@pytest.mark.parametrize("make", MAKERS)
def test_steps_are_what_streaming_makes(make, clear):
    a, mine, f = train(make, 6, CLEARS[clear], True)
    b, theirs, _ = train(make, 6, CLEARS[clear], False)
    for x, y in zip(a, b, strict=True):
        same(x, y)
    assert sum(runs(f)) >= 4
    for p, q in zip(mine.state.values(), theirs.state.values(), strict=True):
        assert p.keys() == q.keys()
        for name in p:
            same(p[name], q[name])


def test_schedules_are_followed():
    def schedule(o):
        return lr_scheduler.StepLR(o, step_size=2, gamma=0.5)

    a, _, f = train(MAKERS[0], 6, CLEARS["dropped"], True, schedule)
    b, _, _ = train(MAKERS[0], 6, CLEARS["dropped"], False, schedule)
    for x, y in zip(a, b, strict=True):
        same(x, y)
    assert runs(f) == [1, 1, 1]


def test_rates_that_take_turns_find_their_programs():
    def between(params, o, i):
        o.param_groups[0]["lr"] = 0.1 if i % 2 else 0.3

    a, _, f = train(MAKERS[4], 9, CLEARS["dropped"], True, between=between)
    b, _, _ = train(MAKERS[4], 9, CLEARS["dropped"], False, between=between)
    for x, y in zip(a, b, strict=True):
        same(x, y)
    assert sum(runs(f)) == 7


def test_state_that_is_loaded_is_used():
    saved = []

    def between(params, o, i):
        if i == 1:
            state = o.state_dict()
            copies = {k: {n: t.clone() for n, t in s.items()} for k, s in state["state"].items()}
            saved.append({"state": copies, "param_groups": state["param_groups"]})
            saved.append(o.state_dict())  # keeps what is there now alive
        if i == 3:
            o.load_state_dict(saved[0])

    a, _, _ = train(MAKERS[3], 7, CLEARS["dropped"], True, between=between)
    saved.clear()
    b, _, _ = train(MAKERS[3], 7, CLEARS["dropped"], False, between=between)
    for x, y in zip(a, b, strict=True):
        same(x, y)


def test_gradients_that_are_cleared_outside():
    def between(params, o, i):
        if i % 2:
            o.zero_grad()
        elif i == 2:
            params[0].grad = torch.ones(2)

    a, _, f = train(MAKERS[1], 7, CLEARS["added"], True, between=between)
    b, _, _ = train(MAKERS[1], 7, CLEARS["added"], False, between=between)
    for x, y in zip(a, b, strict=True):
        same(x, y)
    assert runs(f) == [6]


class Counting(optim.Optimizer):
    """A user's own, which keeps its number of steps in Python."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                p.add_(p.grad, alpha=-group["lr"] / state["step"])


def test_what_an_optimizer_counts_in_python_makes_other_programs():
    make = lambda p: Counting(p, {"lr": 0.1})  # noqa: E731
    a, _, f = train(make, 4, CLEARS["dropped"], True)
    b, _, _ = train(make, 4, CLEARS["dropped"], False)
    for x, y in zip(a, b, strict=True):
        same(x, y)
    assert sum(runs(f)) == 0
