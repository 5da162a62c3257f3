"""Averaged models: means and exponential averages by hand, buffers, and batch norms' statistics computed anew."""

import numpy as np
import pytest

import gradwire as torch
from gradwire.optim import swa_utils


def model():
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))


def averages(values, **options):
    """Weights of an averaged model after the model had these weights, and a buffer of it."""
    m = model()
    averaged = swa_utils.AveragedModel(m, **options)
    for v in values:
        torch.nn.init.constant_(m[0].weight, v)
        m[1].running_mean.fill_(v)
        averaged.update_parameters(m)
    assert averaged.n_averaged.item() == len(values)
    return averaged.module[0].weight[0, 0].item(), averaged.module[1].running_mean[0].item()


VALUES = [1.0, 2.0, 6.0, 3.0]
MEAN, EMA = 3.0, ((1 * 0.5 + 2 * 0.5) * 0.5 + 6 * 0.5) * 0.5 + 3 * 0.5


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({}, MEAN),
        ({"avg_fn": swa_utils.get_swa_avg_fn()}, MEAN),
        ({"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}, MEAN),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, EMA),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}, EMA),
    ],
)
def test_averages(options, want):
    assert averages(VALUES, **options) == (pytest.approx(want), 3)
    assert averages(VALUES, use_buffers=True, **options) == (pytest.approx(want), pytest.approx(want))


def test_only_the_first_update_waits(monkeypatch):
    m = model()
    averaged = swa_utils.AveragedModel(m, device="cpu")
    averaged.update_parameters(m)
    with monkeypatch.context() as c:
        c.setattr(torch.Tensor, "_values", lambda t: pytest.fail("a value was read"))
        averaged.update_parameters(m)
        torch.compile(lambda x: averaged.update_parameters(m))(torch.ones(1))
    fresh = swa_utils.AveragedModel(model())
    averaged.load_state_dict(fresh.state_dict())
    averaged.update_parameters(m)  # the first again, so a copy
    assert averaged.n_averaged.item() == 1
    assert torch.equal(averaged.module[0].weight, m[0].weight)
    assert averaged(torch.ones(4, 2)).shape == (4, 3)


def test_statistics_computed_anew():
    m = model()
    m.eval()
    batches = [np.random.default_rng(i).standard_normal((5, 2)).astype(np.float32) for i in range(3)]
    swa_utils.update_bn([(torch.tensor(b), None) for b in batches], m, device="cpu")
    assert not m.training
    assert m[1].momentum == 0.1
    weight, bias = (p.detach().numpy() for p in m[0].parameters())
    hidden = [b @ weight.T + bias for b in batches]
    np.testing.assert_allclose(m[1].running_mean.numpy(), np.mean([h.mean(0) for h in hidden], 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(m[1].running_var.numpy(), np.mean([h.var(0, ddof=1) for h in hidden], 0), rtol=1e-4)
    plain = torch.nn.Linear(2, 3).eval()
    swa_utils.update_bn([1 / 0 for _ in ()], plain)  # nothing to do


def test_errors():
    with pytest.raises(ValueError, match=r"^Invalid decay value 2 provided\. Please provide a value in \[0,1\]"):
        swa_utils.get_ema_avg_fn(2)
    with pytest.raises(AssertionError, match="^Only one of avg_fn and multi_avg_fn should be provided$"):
        swa_utils.AveragedModel(model(), avg_fn=abs, multi_avg_fn=abs)
