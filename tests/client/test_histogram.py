"""Histograms, against NumPy's."""

import numpy as np
import pytest

import gradwire as torch

VALUES = np.sin(np.arange(50.0)).astype("f4")
WEIGHTS = np.cos(np.arange(50.0)).astype("f4") + 2


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["counted", "weighted"])
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("ends", [None, (-0.5, 0.75)])
def test_of_numbers(weight, density, ends):
    wanted, edges = np.histogram(VALUES, 7, ends, weights=weight, density=density)
    made = torch.histogram(torch.from_numpy(VALUES), 7, range=ends, density=density,
                           weight=None if weight is None else torch.from_numpy(weight))  # fmt: skip
    np.testing.assert_allclose(made.hist.numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(made.bin_edges.numpy(), edges, rtol=1e-5)


def test_edges():
    made = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0]).histogram(torch.tensor([0.0, 1.0, 3.0]))
    assert made.hist.tolist() == [1, 3]
    assert torch.histogram(torch.ones(2), 4).bin_edges.tolist() == [0.5, 0.75, 1, 1.25, 1.5]
    assert torch.histogram(torch.zeros(0), 2).hist.tolist() == [0, 0]


def test_of_points():
    points = VALUES[:48].reshape(16, 3)
    wanted, edges = np.histogramdd(points, (3, 2, 4))
    made = torch.histogramdd(torch.from_numpy(points), (3, 2, 4))
    assert made.hist.tolist() == wanted.tolist()
    for got, e in zip(made.bin_edges, edges, strict=True):
        np.testing.assert_allclose(got.numpy(), e, rtol=1e-5)
    own = [torch.tensor([-1.0, 0.0, 1.0])] * 3
    assert torch.histogramdd(torch.from_numpy(points), own).hist.sum().item() == 16


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (lambda x: torch.histogram(x, 0), RuntimeError, r"torch.histogram\(\): bins must be > 0, but got 0 for dim"),
        (lambda x: torch.histogram(x, 2, range=(1.0, 0.0)), RuntimeError, "min should not exceed max, but got min 1"),
        (lambda x: torch.histogram(x, 2, range=(1.0,)), RuntimeError, "range should have 2 elements, but got 1"),
        (lambda x: torch.histogram(x / 0, 2), RuntimeError, r"dimension 0's range \[nan, .*\] is not finite"),
        (lambda x: torch.histogram(x.long(), 2), NotImplementedError, "\"histogramdd\" not implemented for 'Long'"),
        (lambda x: torch.histogram(x, torch.tensor([0, 1])), RuntimeError, "input tensor and bins tensors should have"),
        (lambda x: torch.histogram(x, torch.ones(1, 2)), RuntimeError, "bins tensor should have one dimension, but"),
        (lambda x: torch.histogram(x, 2, weight=torch.ones(4)), RuntimeError, "it should have the same shape"),
        (lambda x: torch.histogram(x, 2, weight=x.double()), RuntimeError, r"but got input\(float\), and weight"),
        (lambda x: torch.histogramdd(x, [2]), RuntimeError, "input tensor should have at least 2 dimensions"),
        (lambda x: torch.histogramdd(x[None], [2]), RuntimeError, "size of bins must be equal to the innermost"),
    ],
)  # fmt: skip
def test_refusals(f, kind, text):
    with pytest.raises(kind, match=text):
        f(torch.arange(3.0))
