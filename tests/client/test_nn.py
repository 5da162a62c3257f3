"""Modules: registration, state, modes, hooks, and what they look like."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2, bias=False)
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu()) * self.scale


def test_what_is_assigned_is_registered():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "first.weight", "first.bias", "norm.weight", "norm.bias", "last.weight",
    ]  # fmt: skip
    assert [n for n, _ in net.named_children()] == ["first", "norm", "last"]
    assert list(net.state_dict()) == [
        "scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
        "norm.num_batches_tracked", "last.weight",
    ]  # fmt: skip
    assert net.get_parameter("first.weight") is net.first.weight
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    del net.last
    assert "last.weight" not in dict(net.named_parameters())
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'last'"):
        _ = net.last


def test_refusals():
    net = Net()
    with pytest.raises(TypeError, match=r"cannot assign '.*FloatTensor' as parameter 'weight' .torch.nn.Param"):
        net.first.weight = torch.ones(4, 3)
    with pytest.raises(TypeError, match=r"cannot assign 'int' as child module 'first' \(torch.nn.Module or None exp"):
        net.first = 3
    with pytest.raises(KeyError, match="attribute 'forward' already exists"):
        net.register_buffer("forward", torch.ones(1))
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train(1)
    with pytest.raises(NotImplementedError, match='Module .* is missing the required "forward" function'):
        nn.Module()(1)

    class Hasty(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Hasty()


def test_a_state_dict_goes_to_another_net():
    a, b = Net(), Net()
    assert repr(b.load_state_dict(a.state_dict())) == "<All keys matched successfully>"
    x = torch.randn(5, 3)
    assert torch.equal(a.eval()(x), b.eval()(x))
    state = a.state_dict()
    state["more"] = state.pop("scale")
    state["first.bias"] = torch.ones(7)
    with pytest.raises(RuntimeError) as e:
        b.load_state_dict(state)
    assert str(e.value) == (
        'Error(s) in loading state_dict for Net:\n\tMissing key(s) in state_dict: "scale". \n\tUnexpected key(s) in '
        'state_dict: "more". \n\tsize mismatch for first.bias: copying a param with shape torch.Size([7]) from '
        "checkpoint, the shape in current model is torch.Size([4])."
    )


def test_a_copy_is_another():
    a = Net()
    b = copy.deepcopy(a)
    with torch.no_grad():
        b.first.weight.zero_()
    assert a.first.weight.abs().sum().item() > 0
    assert isinstance(b.first.weight, nn.Parameter)


def test_pickling_is_refused_with_a_way_out():
    with pytest.raises(TypeError, match="a Net's tensors live in .* can't be pickled: use gradwire.save on its"):
        pickle.dumps(Net())


def test_modes_and_types():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert net.double().first.weight.dtype is torch.float64
    assert net.norm.num_batches_tracked.dtype is torch.int64
    net.requires_grad_(False)
    assert not net.train()(torch.randn(4, 3, dtype=torch.float64)).requires_grad


def test_repr():
    assert repr(nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.Flatten())) == (
        "Sequential(\n  (0): Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))\n  (1): ReLU()\n"
        "  (2): Flatten(start_dim=1, end_dim=-1)\n)"
    )
    assert repr(nn.ModuleList([nn.Linear(2, 2)] * 2)) == (
        "ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n)"
    )


def test_hooks_see_what_goes_in_and_out():
    net, seen = nn.Linear(2, 1), []
    with net.register_forward_pre_hook(lambda m, args: seen.append("pre") or (args[0] * 2,)):
        handle = net.register_forward_hook(lambda m, args, out: seen.append("post") or out + 1)
        net.register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
        x = torch.ones(1, 2, requires_grad=True)
        y = net(x)
        want = (net.weight.detach().sum() * 2 + net.bias.detach() + 1).item()
        assert y.item() == pytest.approx(want, rel=1e-6)
        y.backward()
        handle.remove()
    assert seen == ["pre", "post", (net.weight.tolist(), [[1.0]])]


def test_batch_norm_keeps_statistics():
    x = np.random.default_rng(0).standard_normal((64, 3)) * 2 + 1
    for momentum, weight in ((0.1, 0.1), (None, 1.0)):
        norm = nn.BatchNorm1d(3, momentum=momentum, dtype=torch.float64)
        made = norm(torch.tensor(x))
        np.testing.assert_allclose(made.detach().numpy().mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(norm.running_mean.numpy(), weight * x.mean(0))
        np.testing.assert_allclose(norm.running_var.numpy(), 1 - weight + weight * x.var(0, ddof=1))
        assert norm.num_batches_tracked.item() == 1
        if momentum is None:
            norm(torch.tensor(x[:32]))
            np.testing.assert_allclose(norm.running_mean.numpy(), (x.mean(0) + x[:32].mean(0)) / 2)


def test_layers_from_the_tables_are_classes_like_others():
    assert str(inspect.signature(nn.LeakyReLU)) == "(negative_slope=0.01, inplace=False)"
    assert nn.LeakyReLU.__module__ == "gradwire.nn"
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'slope'"):
        nn.LeakyReLU(slope=1)
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1, but got 2"):
        nn.Dropout(2)

    class Mine(nn.Softmax):
        def __init__(self):
            super().__init__(dim=0)

    assert Mine()(torch.zeros(2)).tolist() == [0.5, 0.5]
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]), reduction="sum")
    assert "weight" in loss.state_dict()
    assert loss(torch.zeros(2, 2), torch.tensor([0, 1])).item() == pytest.approx(4 * np.log(2))


def test_dropout_is_off_in_evaluation():
    drop = nn.Dropout(0.5)
    x = torch.ones(1000)
    assert set(drop(x).tolist()) == {0.0, 2.0}
    assert torch.equal(drop.eval()(x), x)


def test_sequences_of_modules():
    net = nn.Sequential(nn.ReLU(), nn.Tanh()).append(nn.Sigmoid())
    assert [type(m).__name__ for m in net[1:]] == ["Tanh", "Sigmoid"]
    net.insert(0, nn.Identity())
    del net[1]
    assert list(net._modules) == ["0", "1", "2"]
    assert type(net.pop(-1)) is nn.Sigmoid
    with pytest.raises(IndexError, match="index 5 is out of range"):
        net[5]
    named = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    assert list(named) == ["a", "b"]
    assert len(list(nn.ParameterList([torch.ones(1), torch.ones(2)]).parameters())) == 2
    assert list(nn.ParameterDict({"x": torch.ones(1)}).state_dict()) == ["x"]


def test_a_step_with_a_network_is_captured():
    torch.manual_seed(1)
    nets = [Net(), Net()]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.Adam(n.parameters(), lr=0.1) for n in nets]
    x, y = torch.randn(8, 3), torch.randn(8, 2)

    def step(net, optimizer):
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    captured = torch.compile(lambda: step(nets[1], optimizers[1]))
    for _ in range(4):
        assert captured().item() == pytest.approx(step(nets[0], optimizers[0]).item(), rel=1e-5)
    assert nets[1].norm.num_batches_tracked.item() == 4
    for n in nets:
        n.eval()
    assert captured().item() == pytest.approx(step(nets[0], optimizers[0]).item(), rel=1e-5)
    assert nets[1].norm.num_batches_tracked.item() == 4


def test_mode_and_parameters_of_a_captured_network_are_watched():
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(1.0))))
    f = torch.compile(lambda x: net(x))
    x = torch.ones(1, 2)
    for _ in range(3):
        assert f(x).tolist() == [[0.0, 0.0]]
    net.eval()
    net[0][0][0].weight = nn.Parameter(torch.eye(2))
    assert [f(x).tolist() for _ in range(3)] == [[[1.0, 1.0]]] * 3
    net[0][0][0].weight = nn.Parameter(torch.eye(2) * 2)
    assert f(x).tolist() == [[2.0, 2.0]]


def test_state_dict_hooks_that_return():
    net = nn.Linear(2, 2)
    handle = net.register_state_dict_post_hook(lambda *args: {})
    with pytest.raises(RuntimeError, match="state_dict post-hook must return None"):
        net.state_dict()
    handle.remove()
    net._register_state_dict_hook(lambda module, state, prefix, metadata: {"other": state[prefix + "bias"]})
    assert list(net.state_dict()) == ["other"]


def test_submodules_that_cannot_be_set():
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    net.foo = 3
    net.set_submodule("0.0", nn.Tanh())
    assert repr(net[0][0]) == "Tanh()"
    with pytest.raises(ValueError, match="Cannot set the submodule without a target name!"):
        net.set_submodule("", nn.Tanh())
    with pytest.raises(ValueError, match="`module` is not an nn.Module, found <class 'int'>"):
        net.set_submodule("0", 3)
    with pytest.raises(AttributeError, match="Sequential has no attribute `9`"):
        net.set_submodule("0.9", nn.Tanh(), strict=True)
    with pytest.raises(AttributeError, match="`foo` is not an nn.Module"):
        net.set_submodule("foo", nn.Tanh())


def test_states_of_older_versions():
    norm = nn.BatchNorm1d(2)
    state = dict(norm.state_dict())
    del state["num_batches_tracked"]
    norm.load_state_dict(state)
    state = norm.state_dict()
    assert state._metadata[""] == {"version": 2}
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match='Missing key.s. in state_dict: "num_batches_tracked"'):
        norm.load_state_dict(state)
    net = nn.Module()
    net.scale = nn.Parameter(torch.tensor(1.0))
    net.load_state_dict({"scale": torch.tensor([5.0])})
    assert net.scale.item() == 5
    with pytest.warns(FutureWarning, match="Positional args are being deprecated, use kwargs instead"):
        assert list(net.state_dict({}, "p.")) == ["p.scale"]


def test_parameters_by_name_are_a_dict():
    named = nn.ParameterDict({"b": torch.ones(2), "a": torch.zeros(1)})
    assert list(named) == ["a", "b"]  # of a plain dict, sorted
    named["c"] = 3
    assert repr(named) == (
        "ParameterDict(\n    (a): Parameter containing: [torch.FloatTensor of size 1]\n"
        "    (b): Parameter containing: [torch.FloatTensor of size 2]\n    (c): Object of type: int\n)"
    )
    assert named.popitem() == ("c", 3)
    assert named.setdefault("d") is None
    assert list(reversed(named)) == ["d", "b", "a"]
    assert list(named | nn.ParameterDict({"z": torch.ones(1)})) == ["a", "b", "d", "z"]
    assert named.copy()["a"] is named["a"]
    assert list(named.fromkeys(["x"], 1).items()) == [("x", 1)]
    named.clear()
    with pytest.raises(KeyError, match="dictionary is empty"):
        named.popitem()
    with pytest.raises(TypeError, match="it is not a string .type is 'int'"):
        named[3] = torch.ones(1)
    with pytest.raises(ValueError, match="ParameterDict update sequence element #0 has length 3; 2 is required"):
        named.update([[1, 2, 3]])
    with pytest.raises(TypeError, match="ModuleDict update sequence element #0 should be Iterable; isint"):
        nn.ModuleDict([1])
    with pytest.raises(RuntimeError, match="ParameterDict should not be called."):
        named(1)


def test_types_of_modules():
    net = nn.Linear(2, 2)
    assert net.to_empty(device="cpu") is net
    with pytest.warns(UserWarning, match="Complex modules are a new feature"):
        net.to(torch.complex64)
    assert net.weight.dtype is torch.complex64


def test_inputs_have_names():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
    loss = nn.CrossEntropyLoss()
    assert loss(input=x, target=y).item() == loss(x, target=y).item() == loss(x, y).item()
    assert nn.ReLU()(input=x).tolist() == x.tolist()
    assert nn.PoissonNLLLoss()(log_input=x, target=x).item() == nn.PoissonNLLLoss()(x, x).item()
    assert nn.TripletMarginLoss()(anchor=x, positive=x, negative=x + 9).item() == 0
    for layer, name in ((loss, "weight"), (loss, "targets"), (nn.ReLU(), "inplace"), (nn.Dropout(), "training")):
        with pytest.raises(TypeError) as e:
            layer(x, **{name: y})
        assert str(e.value) == f"{type(layer).__name__}.forward() got an unexpected keyword argument '{name}'"


def test_a_shallow_copy_shares_what_is_registered():
    net = nn.Linear(2, 2)
    twin = copy.copy(net)
    assert twin is not net
    assert twin.weight is net.weight
    twin.training = False
    assert net.training
