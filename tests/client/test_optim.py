"""Optimizers and schedules from the client's side: state, groups, saving, errors. Their numbers: tests/engine."""

import math

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim import lr_scheduler

MAKERS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    lambda p: optim.AdamW(p, lr=0.1),
    lambda p: optim.RMSprop(p, momentum=0.2, centered=True),
    lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.2),
]


def parameters():
    return [torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)]


def train(params, optimizer, turns):
    for i in range(turns):
        optimizer.zero_grad(set_to_none=i % 2 == 0)
        ((params[0] ** 2).sum() + (params[1] - 1) ** 2).backward()
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize("make", MAKERS)
def test_saved_and_loaded_it_goes_on_where_it_was(make):
    a = parameters()
    optimizer = make(a)
    train(a, optimizer, 3)
    b = [p.detach().clone().requires_grad_() for p in a]
    other = make(b)
    other.load_state_dict(optimizer.state_dict())
    assert repr(other) == repr(optimizer)
    for x, y in zip(train(a, optimizer, 4), train(b, other, 4), strict=True):
        np.testing.assert_array_equal(x, y)
    assert train(a, optimizer, 60)[1] == pytest.approx(1, abs=1.99)  # and it goes the right way


def test_gradient_descent_by_hand():
    p = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)
    (p * p).sum().backward()
    optimizer.step()
    assert p.tolist() == [0.5, -1.0]
    assert p.grad.tolist() == [2.0, -4.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_parameters_without_gradient_stay():
    a, b = parameters()
    optimizer = optim.Adam([a, b])
    a.sum().backward()
    optimizer.step()
    assert b.item() == 3.0
    assert [optimizer.state[p]["step"].item() for p in (a, b)] == [1, 0]


def test_groups_have_options_of_their_own():
    a, b = parameters()
    optimizer = optim.SGD([{"params": a}, {"params": [b], "lr": 0.5}], lr=0.1)
    (a.sum() + b).backward()
    optimizer.step()
    np.testing.assert_allclose(a.detach().numpy(), [0.9, -2.1])
    assert b.item() == 2.5


def test_closure_is_run_with_grad_and_its_loss_given_back():
    p = torch.tensor(2.0, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = p * p
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0


def test_rate_on_the_server():
    p, lr = torch.tensor(2.0, requires_grad=True), torch.tensor(0.5)
    optimizer = optim.SGD([p], lr=lr)
    schedule = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    p.backward()
    optimizer.step()
    schedule.step()
    optimizer.step()
    assert p.item() == 2.0 - 0.5 - 0.25
    assert lr.item() == 0.25


def test_representation():
    text = repr(optim.Adagrad(parameters()))
    assert text.startswith("Adagrad (\nParameter Group 0\n    differentiable: False\n    eps: 1e-10\n")
    assert text.endswith("    weight_decay: 0\n)")


BY_EPOCH = [
    (lambda o: lr_scheduler.StepLR(o, 3), lambda t: 0.1 ** (t // 3)),
    (lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.5), lambda t: 0.5 ** ((t >= 2) + (t >= 5))),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)), lambda t: 1 / (t + 1)),
    (lambda o: lr_scheduler.LinearLR(o, 0.5, 1.0, 4), lambda t: 0.5 + 0.5 * min(1, t / 4)),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 4), lambda t: (1 + math.cos(math.pi * t / 4)) / 2),
    (lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o, 0.5, 1.0, 2), lr_scheduler.StepLR(o, 2)], [3]),
     lambda t: 0.5 + 0.25 * min(t, 2) if t < 3 else 0.1 ** ((t - 3) // 2)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "rate"), BY_EPOCH)
def test_schedules(make, rate):
    optimizer = optim.SGD(parameters(), lr=2.0)
    schedule = make(optimizer)
    for epoch in range(12):
        assert schedule.get_last_lr()[0] == pytest.approx(2 * rate(epoch), abs=1e-12), epoch
        if epoch == 5:
            saved = schedule.state_dict()
            schedule = make(optim.SGD(parameters(), lr=2.0))
            schedule.load_state_dict(saved)
            schedule.optimizer.load_state_dict(optimizer.state_dict())
        schedule.step()


P = "torch.tensor([1.0, 2.0], requires_grad=True)"


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("optim.SGD([])", ValueError, "optimizer got an empty parameter list"),
        (f"optim.SGD([{P}], lr=-1)", ValueError, "Invalid learning rate: -1"),
        (f"optim.SGD([{P}], momentum=-1)", ValueError, "Invalid momentum value: -1"),
        (f"optim.SGD([{P}], nesterov=True)", ValueError, "Nesterov momentum requires a momentum and zero dampening"),
        (f"optim.SGD([{P}], lr={P})", ValueError, "Tensor lr must be 1-element"),
        (f"optim.SGD({P})", TypeError, "params argument given to the optimizer should be an iterable of Tensors or "
         "dicts, but got torch.FloatTensor"),
        ("optim.SGD([1])", TypeError, "optimizer can only optimize Tensors, but one of the params is int"),
        (f"optim.SGD([{P} * 2])", ValueError, "can't optimize a non-leaf Tensor"),
        (f"optim.SGD([('a', {P}), {P}])", ValueError,
         "all optimizer params should be with/without names. Some param names are missing"),
        (f"optim.SGD([{{'params': {{{P}}}}}])", TypeError,
         "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will "
         "change between runs. Please use a list instead."),
        (f"optim.Adam([{P}], eps=-1)", ValueError, "Invalid epsilon value: -1"),
        (f"optim.Adam([{P}], betas=(0.9, 1.0))", ValueError, "Invalid beta parameter at index 1: 1.0"),
        (f"optim.Adagrad([{P}], lr_decay=-1)", ValueError, "Invalid lr_decay value: -1"),
        (f"optim.SGD([{P}]).add_param_group(3)", TypeError, "param_group must be a dict, but got <class 'int'>"),
        (f"optim.SGD([{P}]).load_state_dict({{'state': {{}}, 'param_groups': []}})", ValueError,
         "loaded state dict has a different number of parameter groups"),
        ("lr_scheduler.StepLR(3, 2)", TypeError, "int is not an Optimizer"),
        (f"lr_scheduler.LambdaLR(optim.SGD([{P}]), [abs, abs])", ValueError, "Expected 1 lr_lambdas, but got 2"),
    ],
)
def test_errors(source, error, text):
    with pytest.raises(error) as e:
        eval(source)
    assert str(e.value) == text


def test_a_parameter_belongs_to_one_group():
    p = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([p, p])
