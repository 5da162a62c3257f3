"""torch.masked, against NumPy on what the mask keeps."""

import numpy as np
import pytest
import scipy.special

import gradwire as torch

rng = np.random.default_rng(8)
X, Y = rng.standard_normal((2, 4, 5))
MASK = rng.random((4, 5)) < 0.6
MASK[:, 0] = True
MASKED = np.ma.array(X, mask=~MASK)


def t(a):
    return torch.tensor(a)


def kept(fill, f, **kwargs):
    return f(np.where(MASK, X, fill), 1, **kwargs)


def rows(f):
    return np.array([f(x[m]) for x, m in zip(X, MASK, strict=True)])


SAME = [
    ("sum", {}, MASKED.sum()),
    ("sum", {"dim": 1, "keepdim": True}, MASKED.sum(1, keepdims=True)),
    ("prod", {"dim": 0}, MASKED.prod(0)),
    ("mean", {"dim": 1}, MASKED.mean(1)),
    ("amax", {"dim": 1}, MASKED.max(1)),
    ("amin", {"dim": (0, 1)}, MASKED.min()),
    ("argmax", {"dim": 1}, MASKED.argmax(1)),
    ("argmin", {}, MASKED.argmin()),
    ("median", {"dim": 1}, rows(lambda v: np.sort(v)[(len(v) - 1) // 2])),
    ("var", {"dim": 0}, MASKED.var(0, ddof=1)),
    ("var", {"dim": 1, "unbiased": False}, MASKED.var(1)),
    ("std", {"dim": 1, "correction": 0}, MASKED.std(1)),
    ("norm", {"ord": 2, "dim": 1}, rows(np.linalg.norm)),
    ("norm", {"ord": -1, "dim": 1}, rows(lambda v: np.linalg.norm(v, -1))),
    ("normalize", {"ord": 2, "dim": 1}, np.where(MASK, X, 0) / rows(np.linalg.norm)[:, None]),
    ("logsumexp", {"dim": 1}, rows(scipy.special.logsumexp)),
    ("softmax", {"dim": 1}, kept(-np.inf, scipy.special.softmax)),
    ("log_softmax", {"dim": 1}, kept(-np.inf, scipy.special.log_softmax)),
    ("softmin", {"dim": 1}, scipy.special.softmax(np.where(MASK, -X, -np.inf), 1)),
    ("cumsum", {"dim": 1}, kept(0, np.cumsum)),
    ("cumprod", {"dim": 1}, kept(1, np.cumprod)),
]


@pytest.mark.parametrize(("name", "kwargs", "want"), SAME, ids=[f"{s[0]} {s[1]}" for s in SAME])
def test_same(name, kwargs, want):
    np.testing.assert_allclose(getattr(torch.masked, name)(t(X), mask=t(MASK), **kwargs).numpy(), np.asarray(want))


def test_logaddexp():
    made = torch.masked.logaddexp(t(X), t(Y), input_mask=t(MASK), other_mask=t(~MASK))
    np.testing.assert_allclose(made.numpy(), np.where(MASK, X, Y))


def test_a_mask_may_broadcast_and_be_numbers():
    np.testing.assert_allclose(torch.masked.sum(t(X), mask=t(np.array([0, 2, 0, 0, -1]))).numpy(), X[:, [1, 4]].sum())


def test_what_keeps_nothing():
    nothing = t(np.zeros((4, 5), bool))
    assert torch.masked.sum(t(X), mask=nothing).item() == 0
    assert np.isnan(torch.masked.mean(t(X), mask=nothing).item())
    assert torch.masked.amax(t(X), mask=nothing).item() == -np.inf


def test_gradients_reach_only_what_is_kept():
    x = t(X).requires_grad_()
    torch.masked.mean(x, 1, mask=t(MASK)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), MASK / MASK.sum(1, keepdims=True))
    for name, kwargs in (("prod", {}), ("softmax", {"dim": 1}), ("std", {"dim": 1}), ("logsumexp", {"dim": 1})):
        assert torch.autograd.gradcheck(lambda x, n=name, k=kwargs: getattr(torch.masked, n)(x, mask=t(MASK), **k), x)


REFUSED = [
    (lambda: torch.masked.sum(t(X), mask=t(MASK[None])), IndexError,
     "_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)"),
    (lambda: torch.masked.sum(t(X), mask=t(MASK[:, :3])), RuntimeError,
     "The expanded size of the tensor (5) must match the existing size (3) at non-singleton dimension 1.  Target "
     "sizes: [4, 5].  Tensor sizes: [4, 3]"),
    (lambda: torch.masked.mean(t(MASK), mask=t(MASK)), ValueError,
     "mean(): Could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
     "torch.bool"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "error", "text"), REFUSED, ids=[r[2][:20] for r in REFUSED])
def test_refused(f, error, text):
    with pytest.raises(error) as e:
        f()
    assert str(e.value) == text
