"""First values of parameters, and gradients cut to size."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn


@pytest.mark.parametrize(("fill", "low", "high", "std"), [
    (lambda t: nn.init.uniform_(t, -1, 3), -1, 3, 4 / math.sqrt(12)),
    (lambda t: nn.init.normal_(t, 0, 0.5), -4, 4, 0.5),
    (lambda t: nn.init.trunc_normal_(t, std=1.0, a=-1, b=1), -1, 1, 0.5396),
    (nn.init.xavier_uniform_, -math.sqrt(6 / 500), math.sqrt(6 / 500), math.sqrt(2 / 500)),
    (nn.init.xavier_normal_, -1, 1, math.sqrt(2 / 500)),
    (nn.init.kaiming_uniform_, -math.sqrt(6 / 300), math.sqrt(6 / 300), math.sqrt(2 / 300)),
    (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), -1, 1, 0.1),
], ids=range(7))  # fmt: skip
def test_distributions(fill, low, high, std):
    torch.manual_seed(0)
    w = nn.Parameter(torch.empty(200, 300))
    assert fill(w) is w
    made = w.detach().numpy()
    assert made.min() >= low
    assert made.max() <= high
    assert made.std() == pytest.approx(std, rel=0.02)
    assert w.is_leaf


def test_matrices():
    for shape in ((5, 3), (3, 5), (4, 2, 3)):
        w = nn.init.orthogonal_(torch.empty(*shape, dtype=torch.float64), gain=2).numpy().reshape(shape[0], -1)
        small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    assert nn.init.eye_(torch.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = torch.randn(1, 2, 5)
    assert torch.equal(nn.functional.conv1d(x, nn.init.dirac_(torch.empty(2, 2, 3)), padding=1), x)
    assert ((nn.init.sparse_(torch.empty(10, 4), 0.3) == 0).sum(0) == 3).all()


def test_refusals():
    with pytest.raises(ValueError, match="Unsupported nonlinearity sine"):
        nn.init.calculate_gain("sine")
    with pytest.raises(ValueError, match="Fan in and fan out can not be computed for tensor with fewer than 2 dim"):
        nn.init.xavier_uniform_(torch.empty(3))
    with pytest.raises(ValueError, match=r"Mode fan not supported, please use one of \['fan_in', 'fan_out'\]"):
        nn.init.kaiming_normal_(torch.empty(3, 3), mode="fan")


def gradients(*values):
    made = [torch.zeros(len(v), requires_grad=True) for v in values]
    for p, v in zip(made, values, strict=True):
        p.grad = torch.tensor(v)
    return made


@pytest.mark.parametrize(("norm", "total"), [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
def test_norms_are_clipped(norm, total):
    ps = gradients([3.0, 4.0], [12.0])
    assert nn.utils.clip_grad_norm_(iter(ps), 1.0, norm).item() == pytest.approx(total)
    assert ps[1].grad.item() == pytest.approx(12 / total, rel=1e-5)
    assert nn.utils.get_total_norm([p.grad for p in ps], norm).item() == pytest.approx(1, rel=1e-5)
    nn.utils.clip_grad_norm_(ps, 5.0, norm)
    assert ps[1].grad.item() == pytest.approx(12 / total, rel=1e-5)  # smaller already


def test_norms_that_are_no_numbers_and_values():
    ps = gradients([math.inf, 1.0])
    with pytest.raises(RuntimeError, match="The total norm of order 2.0 for gradients from `parameters` is non-finite"):
        nn.utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_value_(ps, 0.5)
    assert ps[0].grad.tolist() == [0.5, 0.5]


def test_vectors():
    net = nn.Linear(2, 1)
    v = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(torch.arange(3.0), net.parameters())
    assert v.shape == (3,)
    assert (net.weight.tolist(), net.bias.tolist()) == ([[0.0, 1.0]], [2.0])
    assert net.weight.requires_grad


def test_gradients_by_names_of_norms_and_old_names():
    p = nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([3.0, -4.0])
    assert nn.utils.clip_grad_norm_([p], 2.0, norm_type="inf").item() == 4
    with pytest.warns(FutureWarning, match="now deprecated in favor of `torch.nn.utils.clip_grad_norm_`"):
        nn.utils.clip_grad_norm([p], 1.0)
    with pytest.warns(UserWarning, match="`parameters` is an empty generator, no gradient clipping will occur"):
        nn.utils.clip_grad_norm_((p for p in ()), 1.0)
