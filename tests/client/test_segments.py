"""Reductions of stretches, and indices in tensors of a size told beforehand."""

import math

import pytest

import gradwire as torch
from gradwire.autograd import gradcheck, gradgradcheck

X = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
WANTED = {
    "sum": ([[2, 4], [0, 0], [4, 5]], [[5, 7], [3, 3], [7, 8]]),
    "mean": ([[1, 2], [math.nan, math.nan], [4, 5]], [[2.5, 3.5], [3, 3], [7, 8]]),
    "prod": ([[0, 3], [1, 1], [4, 5]], [[0, 9], [3, 3], [12, 15]]),
    "max": ([[2, 3], [-math.inf, -math.inf], [4, 5]], [[3, 3], [3, 3], [4, 5]]),
    "min": ([[0, 1], [math.inf, math.inf], [4, 5]], [[0, 1], [3, 3], [3, 3]]),
}


@pytest.mark.parametrize("reduce", WANTED)
def test_segments(reduce):
    x = torch.tensor(X)
    plain, begun = WANTED[reduce]
    lengths, offsets = torch.tensor([2, 0, 1]), torch.tensor([0, 2, 2, 3])
    assert repr(torch.segment_reduce(x, reduce, lengths=lengths).tolist()) == repr(torch.tensor(plain).float().tolist())
    assert torch.segment_reduce(x, reduce, offsets=offsets, initial=3).tolist() == begun
    w = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)

    def f(w):
        return torch.segment_reduce(w, reduce, lengths=torch.tensor([2, 1, 2]), unsafe=True)

    assert gradcheck(f, (w,))
    assert gradgradcheck(f, (w,))


def test_rows_of_lengths():
    made = torch.segment_reduce(torch.tensor(X), "sum", lengths=torch.tensor([[1, 1], [0, 2], [2, 0]]), axis=1)
    assert made.tolist() == [[0, 1], [0, 5], [9, 0]]


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"reduce": "foo"}, "reduce argument must be either sum, prod, mean, amax or amin, got foo"),
        ({}, r"Either lengths or offsets must be defined"),
        ({"lengths": [2, 2]}, r"Expected all rows of lengths along axis to sum to data.size"),
        ({"lengths": [-1, 4]}, "lengths contains negative value!"),
        ({"indices": [0, 1]}, "indices based reduction is not supported yet"),
    ],
)
def test_refusals(kwargs, text):
    given = {k: v if k == "reduce" else torch.tensor(v) for k, v in kwargs.items()}
    with pytest.raises(RuntimeError, match=text):
        torch.segment_reduce(torch.tensor(X), **{"reduce": "sum"} | given)


def test_nonzero_static():
    m = torch.tensor([[1, 0], [0, 2]])
    assert torch.nonzero_static(m, size=3).tolist() == [[0, 0], [1, 1], [-1, -1]]
    assert m.nonzero_static(size=1, fill_value=7).tolist() == [[0, 0]]
    assert torch.nonzero_static(torch.tensor(1), size=2).shape == (2, 0)
    batched = torch.vmap(lambda row: row.nonzero_static(size=2))(m)
    assert batched.tolist() == [[[0], [-1]], [[1], [-1]]]
    with pytest.raises(RuntimeError, match="nonzero_static: 'size' must be an non-negative integer"):
        m.nonzero_static(size=-1)
