"""The adaptive softmax, and the loss with a linear layer inside."""

from __future__ import annotations

import gradwire.nn.functional as F
import numpy as np
import pytest

import gradwire as torch
from gradwire import nn


def test_probabilities_are_those_of_head_and_cluster():
    torch.manual_seed(0)
    m = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 6, 9], div_value=2.0, head_bias=True).double()
    assert [tuple(p.shape) for p in m.parameters()] == [(6, 8), (6,), (4, 8), (3, 4), (2, 8), (3, 2), (1, 8), (3, 1)]
    x = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 4, 7, 11, 3])
    every = m.log_prob(x)
    np.testing.assert_allclose(every.exp().sum(1).tolist(), 1)
    head = F.log_softmax(m.head(x), 1)
    inside = F.log_softmax(m.tail[1](x), 1)
    np.testing.assert_allclose(every[:, 7].tolist(), (head[:, 4] + inside[:, 1]).tolist())
    output, loss = m(x, target)
    np.testing.assert_allclose(output.tolist(), every.gather(1, target.unsqueeze(1)).squeeze(1).tolist())
    assert loss.item() == pytest.approx(-output.mean().item())
    assert torch.autograd.gradcheck(lambda x: m(x, target).loss, (x,))
    assert m(x[0], target[0]).output.shape == ()
    np.testing.assert_array_equal(m.predict(x).tolist(), every.argmax(1).tolist())


@pytest.mark.parametrize(("cutoffs", "text"), [
    ([], "cutoffs should be a sequence of length larger than 0"),
    ([3, 3], "cutoffs should be a sequence of unique, positive integers sorted in an increasing order"),
    ([12], "where each value is between 1 and n_classes-1"),
])  # fmt: skip
def test_cutoffs_that_are_none(cutoffs, text):
    with pytest.raises(ValueError, match=text):
        nn.AdaptiveLogSoftmaxWithLoss(8, 12, cutoffs)


def test_targets_that_are_none():
    m, x = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3]), torch.ones(2, 8)
    with pytest.raises(RuntimeError, match=r"Target values should be in \[0, 11\], but values in range \[0, 12\] were"):
        m(x, torch.tensor([0, 12]))
    with pytest.raises(RuntimeError, match="should have the same size in the batch dimension"):
        m(x, torch.tensor([0]))
    with pytest.raises(RuntimeError, match="1D target tensor expects 2D input tensors, but found inputs with size"):
        m(x[0, :2], torch.tensor([0, 1]))


def test_linear_cross_entropy_is_both():
    torch.manual_seed(0)
    m = nn.LinearCrossEntropyLoss(4, 5, bias=True, weight=torch.arange(1.0, 6.0), label_smoothing=0.1)
    assert list(m.state_dict()) == ["weight", "linear.weight", "linear.bias"]
    x, target = torch.randn(3, 4), torch.tensor([0, 4, 2])
    wanted = F.cross_entropy(m.linear(x), target, m.weight, label_smoothing=0.1)
    assert m(x, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    with pytest.raises(RuntimeError, match=r"expected weight shape to be \(5,\), got \(4,\)"):
        nn.LinearCrossEntropyLoss(4, 5, weight=torch.ones(4))


def test_fractional_pools_refuse_when_they_are_made():
    with pytest.raises(ValueError, match="FractionalMaxPool2d requires specifying either an output size, or a pooling"):
        nn.FractionalMaxPool2d(3)
    with pytest.raises(ValueError, match="only one of output_size and output_ratio may be specified"):
        nn.FractionalMaxPool3d(3, output_size=2, output_ratio=0.5)
    with pytest.raises(ValueError, match=r"output_ratio must be between 0 and 1 \(got 1.5\)"):
        nn.FractionalMaxPool2d(3, output_ratio=1.5)
    pool = nn.FractionalMaxPool2d(2, output_size=3, _random_samples=torch.full((2, 3, 2), 0.5))
    x = torch.randn(2, 3, 7, 7)
    assert torch.equal(pool(x)[0], pool(x[0]))
