"""What the SDK composes of reductions and order: overloads, quantiles, integrals, covariance, against NumPy."""

import numpy as np
import pytest

import gradwire as torch
from tests.devices import on_cpu

rng = np.random.default_rng(3)
A = rng.standard_normal((3, 5))
V = rng.standard_normal(6)
GAP = A.copy()
GAP[1, 2] = np.nan
W = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
N = np.array([1, 2, 1, 3, 1])
ROWS = np.array([[2, 1, 2], [2, 1, 2], [0, 1, 0], [2, 1, 2]])
REPEATED = np.array([[3, 1, 1], [2, 3, 3]])


def t(a):
    return torch.tensor(a)


def arrays(made):
    return [np.asarray(x.numpy()) for x in made] if isinstance(made, tuple) else [np.asarray(made.numpy())]


SAME = [
    ("max", lambda: t(A).max(), A.max()),
    ("max dim", lambda: torch.max(t(A), 1), (A.max(1), A.argmax(1))),
    ("max axis", lambda: t(A).max(axis=1, keepdims=True), (A.max(1, keepdims=True), A.argmax(1, keepdims=True))),
    ("max other", lambda: torch.max(t(A), t(-A)), np.abs(A)),
    ("min dim", lambda: t(A).min(-1), (A.min(1), A.argmin(1))),
    ("aminmax", lambda: torch.aminmax(t(A), dim=0), (A.min(0), A.max(0))),
    ("var", lambda: t(A).var(), A.var(ddof=1)),
    ("var biased", lambda: torch.var(t(A), False), A.var()),
    ("var dim", lambda: torch.var(t(A), 1, False, True), A.var(1, keepdims=True)),
    ("std", lambda: torch.std(t(A), (0, 1), correction=2), A.std(ddof=2)),
    ("std unbiased", lambda: torch.std(t(A), dim=0, unbiased=False), A.std(0)),
    ("var_mean", lambda: torch.var_mean(t(A), 1), (A.var(1, ddof=1), A.mean(1))),
    ("nanmean", lambda: torch.nanmean(t(GAP), 1), np.nanmean(GAP, 1)),
    ("sum_to_size", lambda: t(A).sum_to_size(1, 5), A.sum(0, keepdims=True)),
    ("sum_to_size less", lambda: t(A).sum_to_size((5,)), A.sum(0)),
    ("norm", lambda: torch.norm(t(A)), np.linalg.norm(A)),
    ("norm 1", lambda: t(A).norm(1, 0, True), np.abs(A).sum(0, keepdims=True)),
    ("norm fro", lambda: torch.norm(t(A), "fro", dim=(0, 1)), np.linalg.norm(A)),
    ("dist", lambda: torch.dist(t(V), t(A[0, :1]), 1), np.abs(V - A[0, 0]).sum()),
    ("renorm", lambda: torch.renorm(t(A), 2, 0, 1.0),
     A * np.minimum(1, 1 / (np.linalg.norm(A, axis=1, keepdims=True) + 1e-7))),
    ("argsort", lambda: torch.argsort(t(A), descending=True), np.argsort(-A)),
    ("msort", lambda: torch.msort(t(A)), np.sort(A, 0)),
    ("sort", lambda: t(A).sort(0).values, np.sort(A, 0)),
    ("median", lambda: t(A).median(), np.median(A)),
    ("nanmedian dim", lambda: torch.nanmedian(t(GAP), 0).values, [np.sort(c[c == c])[(sum(c == c) - 1) // 2]
                                                                 for c in GAP.T]),
    *[(f"quantile {how}", lambda how=how: torch.quantile(t(A), 0.3, interpolation=how), np.quantile(A, 0.3, method=how))
      for how in ("linear", "lower", "higher", "midpoint", "nearest")],
    ("quantiles", lambda: torch.quantile(t(A), t(W / 5), 0), np.quantile(A, W / 5, 0)),
    ("quantiles kept", lambda: torch.quantile(t(A), t(W / 5), 1, True), np.quantile(A, W / 5, 1, keepdims=True)),
    ("quantile of all", lambda: torch.quantile(t(A), t(W / 5), keepdim=True), np.quantile(A, W / 5, keepdims=True)),
    ("quantile nan", lambda: torch.quantile(t(GAP), 0.5, 1), np.quantile(GAP, 0.5, 1)),
    ("quantile 0d", lambda: torch.quantile(t(2.0), 0.5, 0, keepdim=True), 2.0),
    ("nanquantile", lambda: torch.nanquantile(t(GAP), 0.4, 1), np.nanquantile(GAP, 0.4, 1)),
    ("diff", lambda: torch.diff(t(A), 2, 0), np.diff(A, 2, 0)),
    ("diff ends", lambda: torch.diff(t(A), prepend=t(A[:, :2]), append=t(A[:, :1])),
     np.diff(A, prepend=A[:, :2], append=A[:, :1])),
    ("diff bool", lambda: torch.diff(t(A > 0)), np.diff(A > 0)),
    ("diff too often", lambda: torch.diff(t(V), 9), []),
    ("trapezoid", lambda: torch.trapezoid(t(A), dx=0.5), np.trapezoid(A, dx=0.5)),
    ("trapezoid x", lambda: torch.trapz(t(A), t(W[:3]), dim=0), np.trapezoid(A, W[:3], axis=0)),
    ("trapezoid xs", lambda: torch.trapezoid(t(A), t(A * 2)), np.trapezoid(A, A * 2)),
    ("cumulative_trapezoid", lambda: torch.cumulative_trapezoid(t(V)), np.cumsum((V[1:] + V[:-1]) / 2)),
    ("gradient", lambda: torch.gradient(t(A), spacing=t(1.0)), tuple(np.gradient(A))),
    ("gradient of second order", lambda: torch.gradient(t(A), spacing=0.5, dim=1, edge_order=2),
     (np.gradient(A, 0.5, axis=1, edge_order=2),)),
    ("gradient of no step", lambda: torch.gradient(t(A), spacing=0, dim=0), (np.gradient(A, axis=0) * np.inf,)),
    ("gradient along nothing", lambda: torch.gradient(t(A), dim=()), ()),
    ("gradient at places", lambda: torch.gradient(t(A), spacing=[t(np.cumsum(W[:3])), t(np.cumsum(W))]),
     tuple(np.gradient(A, np.cumsum(W[:3]), np.cumsum(W)))),
    ("gradient at places of second order", lambda: torch.gradient(t(A), spacing=[t(np.cumsum(W))], dim=-1,
                                                                  edge_order=2),
     (np.gradient(A, np.cumsum(W), axis=-1, edge_order=2),)),
    ("cov", lambda: torch.cov(t(A)), np.cov(A)),
    ("cov weighted", lambda: torch.cov(t(A), correction=0, fweights=t(N), aweights=t(W)),
     np.cov(A, ddof=0, fweights=N, aweights=W)),
    ("cov aweights", lambda: torch.cov(t(A), aweights=t(W)), np.cov(A, aweights=W)),
    ("cov of one", lambda: torch.cov(t(V)), V.var(ddof=1)),
    ("cov complex", lambda: torch.cov(t(A + 1j * A[::-1])), np.cov(A + 1j * A[::-1])),
    ("corrcoef", lambda: torch.corrcoef(t(A)), np.corrcoef(A)),
    ("corrcoef complex", lambda: torch.corrcoef(t(A + 1j * A[::-1])), np.corrcoef(A + 1j * A[::-1])),
    ("bucketize", lambda: torch.bucketize(t(V), t(np.array([-1.0, 0, 1])), right=True), np.digitize(V, [-1, 0, 1])),
    ("bucketize number", lambda: torch.bucketize(0.5, t(np.array([-1.0, 0, 1]))), 2),
    ("bincount", lambda: torch.bincount(t(N), minlength=6), np.bincount(N, minlength=6)),
    ("bincount weights", lambda: torch.bincount(t(N), t(W)), np.bincount(N, W)),
    ("bincount of none", lambda: torch.bincount(t(N[:0])), []),
    ("unique", lambda: torch.unique(t(REPEATED)), [1, 2, 3]),
    ("unique rows", lambda: torch.unique(t(ROWS), dim=0, return_inverse=True, return_counts=True),
     np.unique(ROWS, axis=0, return_inverse=True, return_counts=True)),
    ("unique columns", lambda: torch.unique(t(ROWS), dim=1), np.unique(ROWS, axis=1)),
    ("unique planes", lambda: t(ROWS.reshape(2, 2, 3)).unique(dim=-1), np.unique(ROWS.reshape(2, 2, 3), axis=-1)),
    ("unique_consecutive rows", lambda: torch.unique_consecutive(t(ROWS), dim=0, return_counts=True),
     ([[2, 1, 2], [0, 1, 0], [2, 1, 2]], [2, 1, 1])),
    ("unique all", lambda: torch.unique(t(REPEATED), return_inverse=True, return_counts=True),
     ([1, 2, 3], [[2, 0, 0], [1, 2, 2]], [2, 1, 3])),
    ("unique_consecutive", lambda: torch.unique_consecutive(t(REPEATED[0]), return_inverse=True, return_counts=True),
     ([3, 1], [0, 1, 1], [1, 2])),
]  # fmt: skip


@pytest.mark.parametrize(("f", "want"), [s[1:] for s in SAME], ids=[s[0] for s in SAME])
def test_same_as_numpy(f, want):
    want = want if isinstance(want, tuple) else (want,)
    for mine, theirs in zip(arrays(f()), want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-12)


@on_cpu
def test_named_results_print_as_torchs():
    made = torch.tensor([1.0, 3.0]).max(0)
    assert repr(made) == "torch.return_types.max(\nvalues=tensor(3.),\nindices=tensor(1))"
    values, indices = made
    assert (values, indices) == (made.values, made.indices) == (made[0], made[1])


REFUSALS = [
    (lambda: torch.nanmean(t(N)), RuntimeError,
     "nanmean(): expected input to have floating point or complex dtype but got Long"),
    (lambda: t(A).sum_to_size(4, 5), RuntimeError, "size {[4, 5]} is not expandable to size {[3, 5]}."),
    (lambda: torch.norm(t(A), "foo"), RuntimeError, "linalg.matrix_norm: Order foo not supported."),
    (lambda: torch.norm(t(A), "nuc", 0), RuntimeError, "linalg.matrix_norm: dim must be a 2-tuple. Got 0"),
    (lambda: torch.renorm(t(A), -1, 0, 1.0), RuntimeError, "renorm: non-positive-norm not supported"),
    (lambda: torch.renorm(t(A), 2, 0, -1.0), RuntimeError, "renorm: expected maxnorm to be >= 0 but got -1"),
    (lambda: torch.renorm(t(2.0), 2, 0, 1.0), RuntimeError,
     "renorm: input needs at least 2 dimensions, got 0 dimensions"),
    (lambda: torch.quantile(t(A[:0]), 0.5), RuntimeError, "quantile() input tensor must be non-empty"),
    (lambda: torch.quantile(t(N), 0.5), RuntimeError, "quantile() input tensor must be either float or double dtype"),
    (lambda: torch.quantile(t(A), 2.0), RuntimeError, "quantile() q must be in the range [0, 1] but got 2"),
    (lambda: torch.quantile(t(A), t(A)), RuntimeError, "quantile() q must be a scalar or 1D tensor"),
    (lambda: torch.diff(t(A), prepend=t(V)), RuntimeError,
     "diff expects prepend or append to be the same dimension as input"),
    (lambda: torch.gradient(t(A), dim=0, edge_order=3), RuntimeError,
     "torch.gradient only supports edge_order=1 and edge_order=2."),
    (lambda: torch.gradient(t(A[:1])), RuntimeError,
     "torch.gradient expected each dimension size to be at least edge_order+1"),
    (lambda: torch.gradient(t(A), spacing=(1, t(V))), TypeError,
     "expected Tensor as element 0 in argument 1, but got int"),
    (lambda: torch.gradient(t(A), spacing=(t(A), t(A))), RuntimeError,
     "torch.gradient expected each element of spacing to have one dimension, but got an element with 2 dimensions!"),
    (lambda: torch.gradient(t(A), spacing=(t(V),), dim=1), RuntimeError,
     "torch.gradient expected one coordinate for each of 5 samples, but got 6"),
    (lambda: torch.gradient(t(N.astype("B"))), RuntimeError, "torch.gradient does not support uint8 input."),
    (lambda: torch.trapezoid(t(A), t(V)), RuntimeError,
     "trapezoid: There must be one `x` value for each sample point"),
    (lambda: torch.cov(t(A[None])), RuntimeError,
     "cov(): expected input to have two or fewer dimensions but got an input with 3 dimensions"),
    (lambda: torch.cov(t(A), fweights=t(W)), RuntimeError,
     "cov(): expected fweights to have integral dtype but got fweights with Double dtype"),
    (lambda: torch.bincount(t(A)), NotImplementedError, "\"bincount_cpu\" not implemented for 'Double'"),
    (lambda: torch.bincount(t(N), minlength=-1), RuntimeError, "minlength should be >= 0"),
    (lambda: torch.bucketize(t(V), t(A)), RuntimeError, "boundaries tensor must be 1 dimension, but got dim(2)"),
]


@pytest.mark.parametrize(("f", "error", "text"), REFUSALS, ids=[r[2][:30] for r in REFUSALS])
def test_refusals(f, error, text):
    with pytest.raises(error) as e:
        f()
    assert str(e.value) == text
