"""Optimizers from the client's side: state, groups, saving, errors. Their numbers: tests/engine."""

import copy

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim import lr_scheduler
from gradwire.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

MAKERS = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    lambda p: optim.AdamW(p, lr=0.1),
    lambda p: optim.RMSprop(p, momentum=0.2, centered=True),
    lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.2),
    lambda p: optim.Adadelta(p, lr=10.0),
    lambda p: optim.Adamax(p, lr=0.1),
    lambda p: optim.NAdam(p, lr=0.1),
    lambda p: optim.RAdam(p, lr=0.1, betas=(0.5, 0.9)),
    lambda p: optim.ASGD(p, lr=0.1, t0=2),
    lambda p: optim.Rprop(p, lr=0.1),
    lambda p: optim.Adafactor(p, lr=0.1),
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
        (f"optim.Adam([{P}], lr=torch.tensor(0.1), foreach=True)", ValueError,
         "lr as a Tensor is not supported for capturable=False and foreach=True"),
        (f"optim.Adadelta([{P}], rho=1.5)", ValueError, "Invalid rho value: 1.5"),
        (f"optim.NAdam([{P}], momentum_decay=-1)", ValueError, "Invalid momentum_decay value: -1"),
        (f"optim.Rprop([{P}], etas=(1.5, 2))", ValueError, "Invalid eta values: 1.5, 2"),
        (f"optim.Adamax([{P}], lr=float('nan'))", ValueError, "Invalid learning rate: nan"),
        (f"optim.SGD([{P}], fused=True, foreach=True)", RuntimeError,
         "`fused` and `foreach` cannot be `True` together."),
        (f"optim.Adam([{P}], fused=True, differentiable=True)", RuntimeError,
         "`fused` does not support `differentiable`"),
        (f"optim.SGD([{P}], differentiable=True)", NotImplementedError,
         "SGD(differentiable=True): a step is one op on the server, which has no derivative; write the update with ops "
         "of your own, from autograd.grad(..., create_graph=True)"),
        (f"optim.SGD([('a', {P})]).add_param_group({{'params': [{P}]}})", ValueError,
         "all optimizer param groups should be with/without names. cannot add param group without names to the "
         "optimizer"),
        (f"optim.Adagrad([{P}], lr_decay=-1)", ValueError, "Invalid lr_decay value: -1"),
        (f"optim.SGD([{P}]).add_param_group(3)", TypeError, "param_group must be a dict, but got <class 'int'>"),
        (f"optim.SGD([{P}]).load_state_dict({{'state': {{}}, 'param_groups': []}})", ValueError,
         "loaded state dict has a different number of parameter groups"),
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


def test_a_copy_goes_on_alone():
    a = parameters()
    optimizer = optim.NAdam(a, lr=0.1)
    train(a, optimizer, 2)
    other = copy.deepcopy(optimizer)
    b = other.param_groups[0]["params"]
    assert b[0] is not a[0]
    train(a, optimizer, 2)
    train(b, other, 2)
    for p, q in zip(a, b, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
        assert other.state[q]["step"].item() == 4


def test_complex_parameters_are_two_real_ones():
    p = torch.tensor([1 + 2j, -3j], requires_grad=True)
    q = torch.tensor([[1.0, 2.0], [0.0, -3.0]], requires_grad=True)
    a = optim.Rprop([p], lr=0.25)
    b = optim.Rprop([q], lr=0.25)
    for _ in range(3):
        p.grad = torch.tensor([1 - 1j, 2j])
        q.grad = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
        a.step()
        b.step()
    np.testing.assert_array_equal(torch.view_as_real(p.detach()).numpy(), q.detach().numpy())
    sums = optim.Adagrad([p], initial_accumulator_value=0.5)
    sums.step()
    assert sums.state[p]["sum"].tolist() == [1.5 + 1.5j, 0.5 + 4.5j]


def test_a_state_dict_of_torch_fits():
    """Its layout, with arrays for tensors, as torch 2.13 makes it after one step."""
    p = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = optim.NAdam([p], lr=0.5)
    one = np.ones((), np.float32)
    optimizer.load_state_dict({
        "state": {0: {"step": one, "mu_product": 0.5 * one, "exp_avg": np.array([0.1, -0.2], np.float32),
                      "exp_avg_sq": np.array([0.001, 0.004], np.float32)}},
        "param_groups": [{"lr": 0.25, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "params": [0]}],
    })  # fmt: skip
    assert optimizer.state[p]["step"].item() == 1
    assert optimizer.state[p]["mu_product"].item() == 0.5
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["momentum_decay"] == 4e-3  # what it lacks is the default
    p.grad = torch.zeros(2)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 2
    assert sorted(optimizer.state_dict()["state"][0]) == ["exp_avg", "exp_avg_sq", "mu_product", "step"]


def test_names_stay_where_a_state_dict_has_none():
    p = torch.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([("a", p)])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a"]
    saved = optim.SGD([p], lr=3).state_dict()
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["param_names"] == ["a"]
    assert optimizer.param_groups[0]["lr"] == 3


def test_hooks_see_each_step():
    p = torch.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([p], lr=1)
    seen = []
    anywhere = register_optimizer_step_pre_hook(lambda *a: seen.append("any"))
    after = register_optimizer_step_post_hook(lambda *a: seen.append("any after"))
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append((o, args, kwargs)))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    p.grad = torch.ones(())
    with anywhere, after:
        optimizer.step()
    assert seen == ["any", (optimizer, (optimizer,), {}), "after", "any after"]
    before.remove()
    seen.clear()
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: "loss"), {}))
    assert optimizer.step() == "loss"
    assert seen == ["after"]
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args, new_kwargs\), but got 3\."):
        optimizer.step()


def test_hooks_of_state_dicts():
    p = torch.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([p], lr=1)
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, made: {**made, "more": 1})
    saved = optimizer.state_dict()
    assert seen == ["first", "second"]
    assert saved["more"] == 1

    def smaller(o, given):
        given["param_groups"] = [{**given["param_groups"][0], "lr": 0.5}]

    optimizer.register_load_state_dict_pre_hook(smaller)
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    optimizer.load_state_dict(saved)
    assert seen[2:] == [0.5]
    assert saved["param_groups"][0]["lr"] == 1


def test_optimizers_of_ones_own():
    class Averaged(optim.Optimizer):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    state["step"] = state.get("step", 0) + 1
                    state["mean"] = state.get("mean", 0) + (p.grad - state.get("mean", 0)) / state["step"]
                    p -= group["lr"] * state["mean"]

    a, b = (torch.tensor([4.0, 8.0], requires_grad=True) for _ in range(2))
    first, second = Averaged([a], {"lr": 0.5}), Averaged([b], {"lr": 2.0})
    a.grad, b.grad = torch.tensor([2.0, 4.0]), torch.tensor([4.0, 2.0])
    first.step()
    assert a.tolist() == [3.0, 6.0]
    second.load_state_dict(first.state_dict())
    second.step()
    assert second.state[b]["step"] == 2
    assert b.tolist() == [2.5, 6.5]
    with pytest.raises(NotImplementedError):
        optim.Optimizer([a], {}).step()


def test_adagrad_has_state_from_the_start():
    p = torch.ones(2, requires_grad=True)
    state = torch.optim.Adagrad([p], initial_accumulator_value=0.5).state_dict()["state"][0]
    assert state["sum"].tolist() == [0.5, 0.5]
    assert state["step"].item() == 0


def test_betas_are_of_one_kind():
    with pytest.raises(ValueError, match="betas must be either both floats or both Tensors"):
        torch.optim.Adam([torch.ones(2, requires_grad=True)], betas=(torch.tensor(0.9), 0.9))
