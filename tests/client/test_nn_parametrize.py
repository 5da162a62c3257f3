"""Parametrizations, the norms of weights, and fused layers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn
from gradwire.nn.utils import parametrizations, parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b

    def right_inverse(self, x):
        return x, torch.zeros_like(x)


class Calls(nn.Module):
    def __init__(self, f, back=None):
        super().__init__()
        self.f = f
        if back is not None:
            self.right_inverse = back

    def forward(self, x):
        return self.f(x)


def test_a_weight_is_a_function_of_its_original():
    m = nn.Linear(3, 3)
    weight = m.weight
    assert parametrize.register_parametrization(m, "weight", Symmetric()) is m
    assert type(m).__name__ == "ParametrizedLinear"
    assert list(m.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert m.parametrizations.weight.original is weight
    assert torch.equal(m.weight, m.weight.T)
    m(torch.ones(2, 3)).sum().backward()
    assert weight.grad.tril(-1).abs().sum() == 0
    m.weight = torch.arange(9.0).reshape(3, 3)
    assert m.weight.tolist() == [[0, 1, 2], [1, 4, 5], [2, 5, 8]]
    other = copy.deepcopy(m)
    assert torch.equal(other.weight, m.weight)
    assert other.parametrizations.weight.original is not weight
    with parametrize.cached():
        assert m.weight is m.weight
    assert m.weight is not m.weight
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules is only supported through"):
        pickle.dumps(m)
    parametrize.remove_parametrizations(m, "weight")
    assert type(m) is nn.Linear
    assert m.weight is weight
    assert torch.equal(weight, other.weight)
    parametrize.remove_parametrizations(other, "weight", leave_parametrized=False)
    assert other.weight.tolist() == [[0, 1, 2], [0, 4, 5], [0, 0, 8]]


def test_several_originals_and_several_parametrizations():
    m = nn.Linear(2, 2)
    before = m.weight.tolist()
    parametrize.register_parametrization(m, "weight", Sum())
    parametrize.register_parametrization(m, "weight", Calls(lambda x: 2 * x))
    assert list(m.state_dict()) == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    np.testing.assert_allclose(m.weight.tolist(), 2 * np.array(before))
    with pytest.raises(RuntimeError, match="parametrization Calls does not implement right_inverse"):
        m.weight = torch.ones(2, 2)
    with pytest.raises(ValueError, match="Cannot leave unparametrized .* a tensor that is parametrized in terms of"):
        parametrize.remove_parametrizations(m, "weight", leave_parametrized=False)
    other = nn.Linear(2, 2)
    parametrize.transfer_parametrizations_and_params(m, other)
    assert torch.equal(other.weight, m.weight)
    assert parametrize.type_before_parametrizations(other) is nn.Linear


@pytest.mark.parametrize(("made", "text"), [
    (Calls(torch.Tensor.double), "may not change the dtype of the tensor, unless `unsafe` flag is enabled"),
    (Calls(lambda x: x[:-1]), "may not change the shape of the tensor, unless `unsafe` flag is enabled"),
    (Calls(lambda x: 3), "A parametrization must return a tensor. Got int."),
    (Calls(lambda x: x, lambda x: 3), "'right_inverse' must return a Tensor or a Sequence of tensors"),
    (Calls(lambda x: x, lambda x: x.double()), "When `right_inverse` outputs one tensor, it may not change the dtype"),
    (Calls(lambda x: x, lambda x: (x, 3)), "Got element 1 of the sequence with type int."),
], ids=range(6))  # fmt: skip
def test_what_is_no_parametrization(made, text):
    with pytest.raises(ValueError, match=text):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", made)


def test_names_that_are_none():
    m = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="or a parametrized element with name 'x'"):
        parametrize.register_parametrization(m, "x", Symmetric())
    with pytest.raises(ValueError, match="does not have a parametrization on weight"):
        parametrize.remove_parametrizations(m, "weight")
    with pytest.raises(ValueError, match="has no parameter or buffer with name 'x'"):
        parametrizations.orthogonal(m, "x")
    with pytest.raises(ValueError, match='has to be one of "matrix_exp", "cayley", "householder". Got: qr'):
        parametrizations.orthogonal(m, orthogonal_map="qr")
    with pytest.raises(ValueError, match="Expected a matrix or batch of matrices. Got a tensor of 1 dimensions"):
        parametrizations.orthogonal(m, "bias")


@pytest.mark.parametrize("how", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("based", [True, False])
def test_orthogonal(how, shape, based):
    torch.manual_seed(1)
    m = nn.Linear(*shape[::-1], dtype=torch.float64)
    parametrizations.orthogonal(m, orthogonal_map=how, use_trivialization=based)

    def off(w):
        w = w.detach().numpy()
        return abs((w @ w.T if shape[0] <= shape[1] else w.T @ w) - np.eye(min(shape))).max()

    assert off(m.weight) < 1e-12
    m(torch.ones(2, shape[1], dtype=torch.float64)).square().sum().backward()
    torch.optim.SGD(m.parameters(), lr=0.1).step()
    assert off(m.weight) < 1e-12
    wanted = nn.init.orthogonal_(torch.empty(*shape, dtype=torch.float64))
    if based or how == "householder":
        m.weight = wanted
        np.testing.assert_allclose(m.weight.tolist(), wanted.tolist(), atol=1e-12)
    else:
        with pytest.raises(NotImplementedError, match="not possible to assign to the matrix exponential or the Cayley"):
            m.weight = wanted


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_parts_length_and_direction(dim):
    m = nn.Conv2d(2, 3, 2)
    before = m.weight.detach().clone()
    parametrizations.weight_norm(m, dim=dim)
    np.testing.assert_allclose(m.weight.tolist(), before.tolist(), rtol=1e-5)
    lengths = m.parametrizations.weight.original0
    assert tuple(lengths.shape) == {0: (3, 1, 1, 1), 1: (1, 2, 1, 1), None: ()}[dim]
    with torch.no_grad():
        m.parametrizations.weight.original1.mul_(3)
        lengths.mul_(2)
    np.testing.assert_allclose(m.weight.tolist(), (2 * before).tolist(), rtol=1e-5)


def test_weight_norm_of_old_and_what_it_saved():
    m = nn.Linear(3, 2)
    with pytest.warns(FutureWarning, match="`torch.nn.utils.weight_norm` is deprecated in favor of"):
        nn.utils.weight_norm(m)
    assert list(m.state_dict()) == ["bias", "weight_g", "weight_v"]
    with torch.no_grad():
        m.weight_g.fill_(2)
    m(torch.ones(1, 3)).sum().backward()
    np.testing.assert_allclose(m.weight.square().sum(1).tolist(), [4, 4], rtol=1e-5)
    assert m.weight_g.grad is not None
    new = parametrizations.weight_norm(nn.Linear(3, 2))
    new.load_state_dict(m.state_dict())
    np.testing.assert_allclose(new.weight.tolist(), m.weight.tolist(), rtol=1e-6)
    with pytest.warns(FutureWarning), pytest.raises(RuntimeError, match="Cannot register two weight_norm hooks on the"):
        nn.utils.weight_norm(m)
    nn.utils.remove_weight_norm(m)
    assert list(m.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found in Linear"):
        nn.utils.remove_weight_norm(m)


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_tracks_the_largest_singular_value(norm):
    torch.manual_seed(0)
    m = nn.Linear(4, 3, dtype=torch.float64)
    largest = np.linalg.svd(m.weight.detach().numpy())[1][0]
    before = m.weight.detach().numpy() / largest
    norm(m, n_power_iterations=200)
    m(torch.ones(1, 4, dtype=torch.float64))
    np.testing.assert_allclose(m.weight.tolist(), before, rtol=1e-6)
    m.eval()
    m(torch.ones(1, 4, dtype=torch.float64))
    first = m.weight
    m(torch.ones(1, 4, dtype=torch.float64))
    assert torch.equal(first, m.weight)
    with pytest.raises(ValueError, match="Expected n_power_iterations to be positive, but got n_power_iterations=0"):
        norm(nn.Linear(2, 2), n_power_iterations=0)


def test_a_captured_step_advances_the_power_method():
    torch.manual_seed(0)
    m = parametrizations.spectral_norm(nn.Linear(4, 3))
    twin = copy.deepcopy(m)
    f = torch.compile(lambda x: m(x))
    x = torch.ones(2, 4)
    for _ in range(3):
        np.testing.assert_allclose(f(x).tolist(), twin(x).tolist(), rtol=1e-6)
    np.testing.assert_allclose(m.parametrizations.weight[0]._u.tolist(), twin.parametrizations.weight[0]._u.tolist())


def test_fused_layers_do_what_both_do():
    x = torch.randn(2, 3, 5, 5)
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(8, 4, 3, 3))
    norm.eval()
    for conv, transposed in ((nn.Conv2d(3, 4, 2, bias=False), False), (nn.ConvTranspose2d(3, 4, 2), True)):
        fused = nn.utils.fuse_conv_bn_eval(conv.eval(), norm, transposed)
        np.testing.assert_allclose(fused(x).tolist(), norm(conv(x)).tolist(), atol=1e-5)
        with pytest.raises(AssertionError, match="Fusion only for eval!"):
            nn.utils.fuse_conv_bn_eval(conv.train(), norm, transposed)
    with pytest.raises(AssertionError, match="To fuse, linear.out_features == bn.num_features or bn.num_features == 1"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(3, 4).eval(), nn.BatchNorm1d(3).eval())
    assert nn.utils.skip_init(nn.Linear, 3, 4).weight.shape == (4, 3)
    with pytest.raises(RuntimeError, match="Module must support a 'device' arg to skip initialization"):
        nn.utils.skip_init(nn.ReLU)
