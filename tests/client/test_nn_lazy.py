"""Layers whose parameters have shapes from the first input on, and torch's paths to the files of layers."""

from __future__ import annotations

import copy

import pytest
from gradwire.nn.modules.lazy import LazyModuleMixin

import gradwire as torch
from gradwire import nn


@pytest.mark.parametrize(("name", "args", "plain"), [
    ("LazyLinear", (3,), nn.Linear(4, 3)),
    ("LazyConv1d", (3, 2), nn.Conv1d(4, 3, 2)),
    ("LazyConv2d", (3, 2), nn.Conv2d(4, 3, 2)),
    ("LazyConvTranspose2d", (3, 2), nn.ConvTranspose2d(4, 3, 2)),
    ("LazyConvTranspose3d", (3, 2), nn.ConvTranspose3d(4, 3, 2)),
    ("LazyBatchNorm1d", (), nn.BatchNorm1d(4)),
    ("LazyBatchNorm3d", (), nn.BatchNorm3d(4)),
    ("LazyInstanceNorm2d", (), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
], ids=lambda v: v if isinstance(v, str) else "")  # fmt: skip
def test_a_first_input_makes_it_the_plain_layer(name, args, plain):
    layer = getattr(nn, name)(*args)
    assert layer.has_uninitialized_params()
    assert list(layer.state_dict()) == list(plain.state_dict())
    n = int(name[-2]) if name[-1] == "d" else 0
    x = torch.ones(2, 4, *(4,) * n)
    assert layer(x).shape == plain(x).shape
    assert type(layer) is type(plain)
    assert repr(layer) == repr(plain)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in layer.parameters())


def test_what_has_no_shape_refuses():
    layer = nn.LazyLinear(3)
    assert repr(layer.weight) == "<UninitializedParameter>"
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter or buffer"):
        _ = layer.weight.shape
    with pytest.raises(ValueError, match="parameter in <method 'numel' of 'torch._C.TensorBase' objects>"):
        layer.weight.numel()
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
        _ = layer.weight + 1
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        nn.Linear(4, 3).load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match=r"Expected 3D \(unbatched\) or 4D \(batched\) input to LazyConv2d, but got"):
        nn.LazyConv2d(3, 2)(torch.ones(5, 5))
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        nn.LazyConv2d(4, 2, groups=2)(torch.ones(1, 3, 5, 5))


def test_it_takes_types_and_values_before_its_first_input():
    layer = nn.LazyLinear(3).double()
    other = copy.deepcopy(layer)
    assert layer(torch.ones(2, 4, dtype=torch.float64)).dtype is torch.float64
    assert other.has_uninitialized_params()
    plain = nn.Linear(5, 3)
    loaded = nn.LazyLinear(3)
    loaded.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5)
    assert torch.equal(loaded(x), plain(x))
    assert repr(loaded) == repr(plain)
    wrong = nn.LazyLinear(3)
    wrong.load_state_dict(plain.state_dict())
    with pytest.raises(AssertionError, match="in_features inferred from input: 6 is not equal to in_features from"):
        wrong(torch.ones(2, 6))


def test_a_captured_call_gives_it_shapes_once():
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(1))
    f = torch.compile(net)
    x = torch.ones(2, 4)
    assert torch.equal(f(x), net(x))
    assert torch.equal(f(x), net(x))


def test_lazy_modules_of_ones_own():
    class Half(LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.UninitializedParameter()
            self.register_buffer("b", nn.UninitializedBuffer())

        def forward(self, x):
            return x * self.w + self.b

    class Own(Half):
        def initialize_parameters(self, x):
            with torch.no_grad():
                for t in (self.w, self.b):
                    t.materialize(x.shape)
                    t.fill_(2)

    net = Own()
    assert net(torch.ones(2)).tolist() == [4, 4]
    assert list(net.state_dict()) == ["w", "b"]
    with pytest.raises(NotImplementedError, match="initialize_parameters is not implemented for Half"):
        Half()(torch.ones(1))

    class Lame(Half):
        def initialize_parameters(self, x):
            pass

    with pytest.raises(RuntimeError, match="module Lame has not been fully initialized"):
        Lame()(torch.ones(1))


def test_torchs_paths():
    from gradwire.nn.modules.batchnorm import _BatchNorm
    from gradwire.nn.modules.loss import _WeightedLoss

    assert isinstance(nn.BatchNorm2d(3), _BatchNorm)
    assert isinstance(nn.NLLLoss(), _WeightedLoss)
    assert nn.modules.conv.Conv2d is nn.Conv2d


def test_what_torch_keeps_beside_layers():
    from gradwire.nn.modules.utils import _pair, consume_prefix_in_state_dict_if_present

    assert _pair(3) == (3, 3)
    assert _pair([1, 2]) == (1, 2)
    state = nn.Sequential(nn.Linear(1, 1)).state_dict(prefix="module.")
    consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["0.weight", "0.bias"]
    assert list(state._metadata) == ["", "0"]


def test_layers_by_torchs_path():
    from gradwire.nn.modules import Conv2d, Linear

    assert (Conv2d, Linear) == (nn.Conv2d, nn.Linear)
