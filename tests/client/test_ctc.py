"""The CTC loss against a sum over all alignments."""

from __future__ import annotations

import itertools
import math

import gradwire.nn.functional as F
import numpy as np
import pytest

import gradwire as torch


def probability(p, target):
    """Of all paths that come to the target once repeats and blanks (0) are dropped."""
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if [c for c, _ in itertools.groupby(path) if c] == target:
            total += math.prod(p[t, c] for t, c in enumerate(path))
    return total


@pytest.mark.parametrize("behind", [False, True])
def test_all_alignments_count(behind):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 3, 3))
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    targets, steps = [[1, 2], [1, 1], []], [4, 3, 2]
    want = [-math.log(probability(p[:n, i], t)) for i, (t, n) in enumerate(zip(targets, steps, strict=True))]
    rows = torch.tensor([1, 2, 1, 1]) if behind else torch.tensor([[1, 2], [1, 1], [0, 0]])
    x = torch.tensor(scores, requires_grad=True)
    made = F.ctc_loss(x.log_softmax(2), rows, steps, torch.tensor([2, 2, 0]), reduction="none")
    np.testing.assert_allclose(made.detach().numpy(), want)
    mean = F.ctc_loss(x.log_softmax(2), rows, steps, [2, 2, 0])
    assert mean.item() == pytest.approx(np.mean(np.array(want) / [2, 2, 1]))
    mean.backward()
    direction, step = rng.standard_normal(scores.shape), 1e-6
    near = [F.ctc_loss(torch.tensor(scores + s * direction).log_softmax(2), rows, steps, [2, 2, 0]).item()
            for s in (step, -step)]  # fmt: skip
    assert (x.grad.numpy() * direction).sum() == pytest.approx((near[0] - near[1]) / (2 * step), rel=1e-6)


def test_targets_without_an_alignment():
    x = torch.zeros(2, 1, 3, requires_grad=True)
    log_probs = x.log_softmax(2)
    target = torch.tensor([[1, 1]])  # a repeat needs a blank between: three steps
    assert F.ctc_loss(log_probs, target, [2], [2]).item() == math.inf
    loss = torch.nn.CTCLoss(zero_infinity=True)(log_probs, target, [2], [2])
    assert loss.item() == 0
    loss.backward()
    assert x.grad.abs().sum().item() == 0


def test_refusals():
    log_probs, target = torch.zeros(2, 1, 3).log_softmax(2), torch.tensor([[1]])
    with pytest.raises(RuntimeError, match="blank must be in label range"):
        F.ctc_loss(log_probs, target, [2], [1], blank=3)
    with pytest.raises(RuntimeError, match="Expected input_lengths to have value at most 2, but got value 5"):
        F.ctc_loss(log_probs, target, [5], [1])
    with pytest.raises(RuntimeError, match="target_lengths must be of size batch_size"):
        F.ctc_loss(log_probs, target, [2], [1, 1])
