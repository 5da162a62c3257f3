"""Pruning by masks."""

from __future__ import annotations

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn
from gradwire.nn.utils import prune


def layer():
    m = nn.Linear(4, 3)
    with torch.no_grad():
        m.weight.copy_((torch.arange(12.0).reshape(3, 4) + 1) * torch.tensor([1, -1, 1, -1]))
    return m


def test_the_least_numbers_go():
    m = layer()
    assert prune.l1_unstructured(m, "weight", amount=5) is m
    assert m.weight.tolist() == [[0, 0, 0, 0], [0, -6, 7, -8], [9, -10, 11, -12]]
    assert list(m.state_dict()) == ["bias", "weight_orig", "weight_mask"]
    prune.l1_unstructured(m, "weight", amount=0.5)  # of the 7 that are left, 4 go: halves are rounded to even
    assert m.weight.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, -10, 11, -12]]
    m(torch.ones(1, 4)).sum().backward()
    assert m.weight_orig.grad.tolist() == m.weight_mask.tolist()
    assert prune.is_pruned(m)
    prune.remove(m, "weight")
    assert list(m.state_dict()) == ["bias", "weight"]
    assert m.weight[2].tolist() == [0, -10, 11, -12]
    with pytest.raises(ValueError, match="has to be pruned before pruning can be removed"):
        prune.remove(m, "weight")


def test_slices_go():
    m = layer()
    prune.ln_structured(m, "weight", amount=1, n=2, dim=0)
    assert m.weight_mask.tolist() == [[0] * 4, [1] * 4, [1] * 4]
    prune.random_structured(m, "weight", amount=2, dim=1)
    assert m.weight_mask.sum(0).sort().values.tolist() == [0, 0, 2, 2]
    prune.random_unstructured(m, "bias", amount=2)
    assert int(m.bias_mask.sum()) == 1
    with pytest.raises(ValueError, match="Structured pruning can only be applied to multidimensional tensors"):
        prune.ln_structured(layer(), "bias", 1, 2, 0)


def test_several_tensors_as_one():
    a, b = layer(), layer()
    with torch.no_grad():
        b.weight.mul_(10)
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=14)
    assert int(a.weight_mask.sum()) == 0
    assert int(b.weight_mask.sum()) == 10
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE supported'):
        prune.global_unstructured([(a, "weight")], prune.LnStructured, amount=1, n=2)


def test_amounts_that_are_none():
    m = layer()
    with pytest.raises(TypeError, match="Invalid type for amount: x. Must be int or float."):
        prune.l1_unstructured(m, "weight", "x")
    for amount in (-1, 1.5):
        with pytest.raises(ValueError, match="should either be a float in the range .0, 1. or a non-negative integer"):
            prune.l1_unstructured(m, "weight", amount)
    with pytest.raises(ValueError, match="amount=13 should be smaller than the number of parameters to prune=12"):
        prune.l1_unstructured(m, "weight", 13)
    assert sorted(m.state_dict()) == ["bias", "weight"]


def test_a_method_of_ones_own():
    class Even(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    m = layer()
    Even.apply(m, "bias")
    assert m.bias_mask.tolist() == [0, 1, 0]
    Even.apply(m, "bias")
    assert m.bias_mask.tolist() == [0, 0, 0]
    assert Even().prune(torch.ones(4)).tolist() == [0, 1, 0, 1]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", [
    lambda m: prune.l1_unstructured(m, "weight", 3), nn.utils.weight_norm, nn.utils.spectral_norm,
], ids=("pruned", "length", "spectral"))  # fmt: skip
def test_captured_calls_compute_the_weight_anew(change):
    torch.manual_seed(0)
    m = change(layer())
    torch.manual_seed(0)
    twin = change(layer())
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (m, twin)]

    def step(net, optimizer, x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    f = torch.compile(lambda x: step(m, optimizers[0], x))
    for i in range(3):
        x = torch.full((2, 4), 0.1 * i)
        np.testing.assert_allclose(f(x).item(), step(twin, optimizers[1], x).item(), rtol=1e-5)
    m(x)
    twin(x)
    np.testing.assert_allclose(m.weight.tolist(), twin.weight.tolist(), rtol=1e-5)
