"""as_strided: where a window begins, what it writes to, and what is not known of a part."""

import numpy as np
import pytest

import gradwire as torch

A = np.arange(12.0).reshape(3, 4)


def t(a=A, **kwargs):
    return torch.tensor(a, **kwargs)


SAME = [
    ("dense", lambda: torch.as_strided(t(), (2, 3), (5, 1)), [[0, 1, 2], [5, 6, 7]]),
    ("offset", lambda: t().as_strided((2, 2), (1, 4), 3), [[3, 7], [4, 8]]),
    ("sliding", lambda: t().as_strided((10, 3), (1, 1)), np.lib.stride_tricks.sliding_window_view(A.reshape(-1), 3)),
    ("part", lambda: t()[1].as_strided((2, 2), (1, 2)), [[4, 6], [5, 7]]),
    ("part in the whole", lambda: t()[1].as_strided((2, 2), (1, 2), 0), [[0, 2], [1, 3]]),
    ("transposed in the whole", lambda: t().t().as_strided((2, 2), (1, 2), 0), [[0, 2], [1, 3]]),
    ("scatter", lambda: torch.as_strided_scatter(t(), t([[-1.0, -2], [-3, -4]]), (2, 2), (1, 4), 1),
     [[0, -1, -3, 3], [4, -2, -4, 7], [8, 9, 10, 11]]),
]  # fmt: skip


@pytest.mark.parametrize(("made", "want"), [s[1:] for s in SAME], ids=[s[0] for s in SAME])
def test_same(made, want):
    np.testing.assert_array_equal(made().numpy(), want)


def test_a_write_through_a_window():
    x = t()
    x.as_strided((3,), (5,)).zero_()
    np.testing.assert_array_equal(x.numpy(), A * (1 - np.eye(3, 4)))


def test_gradients():
    x, src = t(requires_grad=True), t(-A[:2, :2], requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: x.as_strided((3, 3), (1, 2)) ** 2, x)
    assert torch.autograd.gradcheck(lambda x, src: torch.as_strided_scatter(x, src, (2, 2), (4, 1)) ** 2, (x, src))


REFUSED = [
    (lambda: t().as_strided((13,), (1,)), "setStorage: sizes [13], strides [1], storage offset 0, and itemsize 8 "
     "requiring a storage size of 104 are out of bounds for storage of size 96"),
    (lambda: t()[1].detach().as_strided((2,), (1,), 0),
     "as_strided: what this tensor is a part of is not known here. Please clone() it first."),
    (lambda: torch.as_strided_scatter(t().t(), t(A[0, :2]), (2,), (1,)),
     "as_strided_scatter: the input is not dense, or part of another tensor: clone() it first."),
    (lambda: torch.as_strided_scatter(t(), t(A[0]), (2,), (1,)),
     "expected src to have a size equal to the slice of self. src size = [4], slice size = [2]"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "text"), REFUSED, ids=[r[1][:30] for r in REFUSED])
def test_refused(f, text):
    with pytest.raises(RuntimeError) as e:
        f()
    assert str(e.value) == text
