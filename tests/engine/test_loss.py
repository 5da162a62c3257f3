"""Losses: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest
import scipy.special as sp

from gradwire_engine import Engine, grad
from tests.engine.harness import case, check, rand

X, T = rand(3, 4), rand(3, 4, seed=1)
P, Q = rand(3, 4, low=0.1, high=0.9), rand(3, 4, seed=1, low=0.1, high=0.9)
W = rand(4, seed=2, low=0.5)
Y = np.array([2, 0, 3])
SOME = np.array([2, 1, 3])
BATCH, WHERE = rand(2, 3, 4), np.array([[0, 2, 1, 1], [2, 0, 0, 1]])


def reduced(loss, reduction):
    return {"none": lambda x: x, "mean": np.mean, "sum": np.sum}[reduction](loss)


def mse(x, t, reduction="mean"):
    return reduced((x - t) ** 2, reduction)


def smooth_l1(x, t, reduction="mean", beta=1.0):
    d = abs(x - t)
    return reduced(np.where(d < beta, d * d / 2 / beta, d - beta / 2) if beta else d, reduction)


def huber(x, t, reduction="mean", delta=1.0):
    return delta * smooth_l1(x, t, reduction, delta)


def bce(p, t, weight=None, reduction="mean"):
    return reduced(-(t * np.log(p) + (1 - t) * np.log(1 - p)) * (1 if weight is None else weight), reduction)


def bce_logits(x, t, weight=None, pos_weight=None, reduction="mean"):
    pos = 1 if pos_weight is None else pos_weight
    loss = -(pos * t * np.log(sp.expit(x)) + (1 - t) * np.log(sp.expit(-x)))
    return reduced(loss * (1 if weight is None else weight), reduction)


def nll(x, t, weight=None, reduction="mean", ignore_index=-100):
    if x.ndim == 1:
        return nll(x[None], t[None], weight, reduction, ignore_index)
    keep = t != ignore_index
    w = keep * (np.ones(x.shape[1]) if weight is None else weight)[np.where(keep, t, 0)]
    loss = -np.take_along_axis(x, np.where(keep, t, 0)[:, None], 1)[:, 0] * w
    return loss if reduction == "none" else loss.sum() / (w.sum() if reduction == "mean" else 1)


def cross_entropy(x, t, *args, **kwargs):
    dim = min(x.ndim - 1, 1)
    return nll(sp.log_softmax(x, dim), t, *args, **kwargs), sp.logsumexp(x, dim, keepdims=True)


CASES = [
    *[case("mse_loss", X, T, reduction=r, ref=mse, label=r) for r in ("none", "mean", "sum")],
    case("mse_loss", X, W, ref=mse, label="broadcast"),
    *[case("smooth_l1_loss", X, T, reduction=r, beta=0.7, ref=smooth_l1, label=r) for r in ("none", "mean", "sum")],
    case("smooth_l1_loss", X, T, beta=0.0, ref=smooth_l1, label="absolute"),
    *[case("huber_loss", X, T, reduction=r, delta=0.7, ref=huber, label=r) for r in ("none", "mean", "sum")],
    case("binary_cross_entropy", P, Q, ref=bce),
    case("binary_cross_entropy", P, Q, W, constant=(2,), reduction="sum", ref=bce, label="weight"),
    *[case("binary_cross_entropy_with_logits", X, Q, None, None, r, ref=bce_logits, label=r)
      for r in ("none", "mean", "sum")],
    case("binary_cross_entropy_with_logits", X, Q, W, W + 1, constant=(2, 3), ref=bce_logits, label="weights"),
    case("soft_margin_loss", X, np.sign(T), constant=(1,),
         ref=lambda x, y: np.log1p(np.exp(-y * x)).mean()),
    case("nll_loss", X, Y, ref=nll),
    case("nll_loss", X, Y, reduction="none", ignore_index=0, ref=nll, label="ignored"),
    case("nll_loss", X, Y, ignore_index=2, ref=nll, label="mean of the rest"),
    case("nll_loss", W, np.array(2), ref=nll, label="unbatched"),
    case("nll_loss2d", BATCH, WHERE, ref=nll),
    case("nll_loss2d", BATCH, WHERE, reduction="none", ref=nll, label="none"),
    case("nll_loss", X, Y, W, constant=(2,), ref=nll, label="weight"),
    case("nll_loss_backward", np.array(2.0), X, Y, None, "mean", -100,
         ref=lambda g, x, y, *_: -g / 3 * np.eye(4)[y]),
    case("nll_loss_backward", W[:3], X, Y, None, "none", 0,
         ref=lambda g, x, y, *_: -g[:, None] * np.eye(4)[y] * (y != 0)[:, None], label="ignored"),
    *[case("cross_entropy", X, Y, None, r, results=(0,), ref=cross_entropy, label=r) for r in ("none", "mean", "sum")],
    *[case("cross_entropy", X, Y, W, r, constant=(2,), results=(0,), ref=cross_entropy, label=f"weight {r}")
      for r in ("none", "mean")],
    case("cross_entropy", W, np.array(2), None, "none", results=(0,), ref=cross_entropy, label="unbatched"),
    *[case("cross_entropy", BATCH, WHERE, None, r, results=(0,), ref=cross_entropy, label=f"n-d {r}")
      for r in ("none", "mean")],
    case("cross_entropy", X, Y, ignore_index=0, results=(0,), ref=cross_entropy, label="ignored"),
    # Its derivative is that of cross_entropy's gradient, of which the given logsumexp is a part.
    case("cross_entropy_backward", np.array(3.0), X, Y, None, sp.logsumexp(X, 1, keepdims=True), "mean", -100,
         order=0, ref=lambda g, x, y, *_: g / 3 * (sp.softmax(x, 1) - np.eye(4)[y])),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


NAN = float("nan")
HUGE = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
ERRORS = [
    ("nll_loss", (X, np.array([1, 2, 4])), IndexError, "Target 4 is out of bounds."),
    ("nll_loss", (X, np.array([1, 2, -1])), IndexError, "Target -1 is out of bounds."),
    ("cross_entropy", (X, np.array([1, 10, 2])), IndexError, "Target 10 is out of bounds."),
    ("cross_entropy", (X, np.array([1, 2])), ValueError,
     "Expected input batch_size (3) to match target batch_size (2)."),
    ("cross_entropy", (X, np.array([1.0, 2, 0])), RuntimeError,
     "expected target dtype to be Long or Byte, but got Double"),
    ("nll_loss", (X, np.zeros((3, 1), int)), RuntimeError,
     "0D or 1D target tensor expected, multi-target not supported"),
    ("nll_loss", (W, np.array([1, 2])), ValueError,
     "For 1D input, 1D target must have size 1, but got target size: 2"),
    ("nll_loss", (np.array(1.0), np.array(0)), ValueError, "Expected 1 or more dimensions (got 0)"),
    ("nll_loss", (X, Y, W[:3]), RuntimeError,
     "weight tensor should be defined either for all 4 classes or no classes but got weight tensor of shape: [3]"),
    ("nll_loss2d", (BATCH, WHERE[:, :3]), RuntimeError, "Expected target size [2, 4], got [2, 3]"),
    ("nll_loss", (X.astype(int), Y), NotImplementedError, "\"nll_loss_out_frame\" not implemented for 'Long'"),
    ("mse_loss", (Y, Y), NotImplementedError, "\"mse_cpu\" not implemented for 'Long'"),
    ("mse_loss", (X, T, "most"), ValueError, "most is not a valid value for reduction"),
    ("smooth_l1_loss", (X, T, "mean", -1.0), RuntimeError,
     "smooth_l1_loss does not support negative values for beta."),
    ("huber_loss", (X, T, "mean", 0.0), RuntimeError, "huber_loss does not support non-positive values for delta."),
    ("binary_cross_entropy", (X, Q), RuntimeError, "all elements of input should be between 0 and 1"),
    ("binary_cross_entropy", (P * NAN, Q), RuntimeError, "all elements of input should be between 0 and 1"),
    ("binary_cross_entropy", (P, Q + 1), RuntimeError, "all elements of target should be between 0 and 1"),
    ("binary_cross_entropy_with_logits", (W, W[:3]), ValueError,
     "Target size (torch.Size([3])) must be the same as input size (torch.Size([4]))"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=str)
def test_error(op, args, kind, text):
    engine = Engine()
    with pytest.raises(kind) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text


def test_where_all_are_ignored_the_gradient_is_zero():
    engine = Engine()
    x = engine.wrap(X.copy(), requires_grad=True)
    loss = engine.call("cross_entropy", x, engine.wrap(np.full(3, 1)), None, "mean", 1)[0]
    (g,) = grad(engine, [loss], [x], [engine.wrap(np.array(1.0))], retain_graph=False, create_graph=False,
                allow_unused=False)  # fmt: skip
    assert np.isnan(loss.array)
    assert not g.array.any()


def test_large_logits_stay_finite():
    engine = Engine()
    x = engine.wrap(HUGE)
    assert engine.call("cross_entropy", x, engine.wrap(np.array([1, 1])))[0].array == 500
    loss = engine.call("binary_cross_entropy_with_logits", x, engine.wrap(np.array([[0.0, 0], [1, 0]])))
    np.testing.assert_allclose(loss.array, (2000 + 2 * np.log(2)) / 4)


def test_an_ignored_class_may_be_impossible():
    engine = Engine()
    x = engine.wrap(np.array([[-np.inf, 0.0], [0.0, 0.0]]))
    assert engine.call("nll_loss", x, engine.wrap(np.array([0, 1])), None, "sum", 0).array == 0
