"""Views share memory and history, in-place ops rewrite both; types mix as torch's tables say."""

import numpy as np
import pytest

import gradwire as torch
from tests.devices import on_cpu

A = np.arange(12.0).reshape(3, 4)

VIEWS = {
    "t": lambda x: x.t(),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "view": lambda x: x.view(2, 6),
    "flatten": lambda x: x.flatten(),
    "reshape": lambda x: x.reshape(4, 3),
    "select": lambda x: x.select(1, 2),
    "item": lambda x: x[1],
    "negative item": lambda x: x[-1, -2],
    "slice": lambda x: x[1:, ::2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "diagonal": lambda x: x.diagonal(1),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "none and ellipsis": lambda x: x[..., None, 1],
    "view of view of view": lambda x: x[1:].t()[::2].unsqueeze(0),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "view_as": lambda x: x.view_as(x),
    "expand": lambda x: x[:1].expand(1, 1, 4),
    "alias": lambda x: x.detach(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_write_through_a_view_is_seen(view):
    x = torch.tensor(A)
    v = view(x)
    v.mul_(-10)
    want = A.copy()
    touched = view(torch.arange(12).view(3, 4)).numpy().ravel()
    want.ravel()[touched] *= -10
    np.testing.assert_array_equal(x.numpy(), want)
    assert v._version == x._version == 1
    x.add_(1)
    np.testing.assert_array_equal(v.numpy().ravel(), want.ravel()[touched] + 1)


@pytest.mark.parametrize("view", [v for n, v in VIEWS.items() if n != "alias"], ids=[n for n in VIEWS if n != "alias"])
def test_history_follows_a_write_through_a_view(view):
    """y = 3x, a part of it squared in place: the part's gradient is 3 * 2 * 3x, the rest's is 3."""
    x = torch.tensor(A, requires_grad=True)
    y = x * 3
    view(y).square_()
    assert y.grad_fn.name() == "torch::autograd::CopySlices"
    y.sum().backward()
    want = np.full(12, 3.0)
    touched = view(torch.arange(12).view(3, 4)).numpy().ravel()
    want[touched] = 18 * A.ravel()[touched]
    np.testing.assert_allclose(x.grad.numpy().ravel(), want)


def test_a_view_follows_a_write_to_its_base():
    x = torch.tensor(A, requires_grad=True)
    y = x * 1
    row, column = y[0], y[:, 0]
    y.mul_(2)
    row.mul_(5)
    np.testing.assert_array_equal(column.detach().numpy(), [0, 8, 16])
    column.sum().backward()
    want = np.zeros((3, 4))
    want[:, 0] = [10, 2, 2]
    np.testing.assert_array_equal(x.grad.numpy(), want)


def test_a_view_requires_grad_as_its_base_does():
    """One without history of its own is recorded, and passes nothing on."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.no_grad():
        apart = x.view(2)
    early = (y := torch.tensor([1.0, 2.0])).view(2)
    y.requires_grad_()
    for v in apart, early:
        assert v.requires_grad
        assert v.is_leaf
        (v * 3).sum().backward()
        assert (v * torch.tensor([1.0, 2.0], requires_grad=True)).requires_grad
        assert v.grad is None
    assert x.grad is None
    early.requires_grad_()
    (early * 3).sum().backward()
    assert early.grad.tolist() == [3, 3]


def test_views_that_may_not_be_written_to_are_lost_with_a_write_to_their_base():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    first, _ = y.split(1)
    with torch.no_grad():
        apart = y.view(2)
    y.add_(1)
    with pytest.raises(RuntimeError, match="Output 0 of Split is a view and its base or another view of its base has "):
        first * 2
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode and its base or another view of its ba"):
        apart * 2
    assert y.tolist() == [3, 5]
    early, _ = torch.zeros(2).split(1)
    with pytest.raises(RuntimeError, match="created in no_grad mode and is being modified .* returns multiple views"):
        early.add_(x[:1])


def test_a_view_whose_base_was_written_to_is_a_window_on_it():
    y = torch.tensor(A, requires_grad=True) * 2
    row, block = y[1], y.unsqueeze(0).squeeze((0,))
    y.mul_(3)
    with torch.no_grad():
        assert [row.grad_fn.name(), block.grad_fn.name()] == ["AsStridedBackward0"] * 2
    assert y.grad_fn.name() == "MulBackward0"
    row.sum().backward()


def test_assignment():
    x = torch.zeros(3, 4)
    x[0] = 1
    x[1:, 1:3] = torch.tensor([[2.0, 3.0]])
    x[:, -1] = torch.tensor([7.0, 8.0, 9.0])
    x[x == 0] = -1
    x[[0, 2], 0] = torch.tensor([5.0, 6.0])
    assert x.tolist() == [[5, 1, 1, 7], [-1, 2, 3, 8], [6, 2, 3, 9]]
    x[...] = 4
    assert (x == 4).all()


def test_gradients_of_assignment():
    x = torch.tensor(A, requires_grad=True)
    value = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = x * 2
    y[1, :2] = value**2
    y[2] = y[0]
    (y * y).sum().backward()
    want = 8 * A
    want[0] *= 2
    want[1, :2] = want[2] = 0
    np.testing.assert_allclose(x.grad.numpy(), want)
    np.testing.assert_allclose(value.grad.numpy(), 4 * np.array([1.0, 8.0]))


def test_in_place_on_a_leaf_under_no_grad():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.no_grad():
        x.add_(1)
        x[0] = 9
    assert x.is_leaf
    assert x.requires_grad
    assert x._version == 2
    (x * x).sum().backward()
    assert x.grad.tolist() == [18, 6]


def test_in_place_ops_return_their_tensor():
    x = torch.ones(2)
    assert x.add_(1) is x
    y = x
    y += 1
    assert y is x
    assert x.tolist() == [3, 3]
    x[0] += 1
    assert x.tolist() == [4, 3]


def test_writes_from_overlapping_memory():
    x = torch.arange(5.0)
    x[1:] = x[:-1].clone()
    assert x.tolist() == [0, 0, 1, 2, 3]
    x.copy_(x.flip(0))
    assert x.tolist() == [3, 2, 1, 0, 0]


# ---- types ----

PROMOTED = [
    ("int64", 2.0, "float32"), ("int64", 2, "int64"), ("uint8", 300, "uint8"), ("bool", 1, "int64"),
    ("bool", 1.0, "float32"), ("float16", 2.0, "float16"), ("bfloat16", 1e30, "bfloat16"), ("float32", 2j, "complex64"),
    ("float64", 2j, "complex128"), ("int32", 2j, "complex64"), ("float32", True, "float32"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "number", "want"), PROMOTED)
def test_numbers_are_weak(dtype, number, want):
    made = torch.ones(2, dtype=getattr(torch, dtype)) * number
    assert made.dtype is getattr(torch, want)


JOINED = [
    ("uint8", "int8", "int16"), ("int32", "int64", "int64"), ("int64", "float16", "float16"),
    ("float16", "bfloat16", "float32"), ("float32", "float64", "float64"), ("bool", "uint8", "uint8"),
    ("complex64", "float64", "complex128"), ("float32", "complex64", "complex64"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "want"), JOINED)
def test_types_join(a, b, want):
    a, b, want = (getattr(torch, n) for n in (a, b, want))
    assert (torch.ones(2, dtype=a) + torch.ones(2, dtype=b)).dtype is want
    assert torch.promote_types(a, b) is want
    assert torch.result_type(torch.ones(2, dtype=a), torch.ones(2, dtype=b)) is want


def test_scalars_with_no_dimension_are_weak_too():
    assert (torch.ones(2) + torch.tensor(2.0, dtype=torch.float64)).dtype is torch.float32
    assert (torch.ones(2, dtype=torch.int32) + torch.tensor(2.0)).dtype is torch.float32
    assert (torch.ones(2, dtype=torch.int32) * torch.tensor(5)).dtype is torch.int32
    assert (torch.tensor(1) / torch.tensor(2)).dtype is torch.float32
    assert torch.tensor([1, 2]).div(2).dtype is torch.float32
    assert torch.tensor([3, 4]).true_divide(2).tolist() == [1.5, 2.0]


def test_gradients_have_their_leaves_types():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([1.0 + 1j, 2.0], requires_grad=True)
    ((x * y) * z).abs().sum().backward()
    assert (x.grad.dtype, y.grad.dtype, z.grad.dtype) == (torch.float32, torch.float64, torch.complex64)


@on_cpu
def test_the_default_type():
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.get_default_dtype() is torch.float64
        assert torch.tensor(1.0).dtype is torch.float64
        assert torch.zeros(2).dtype is torch.float64
        assert repr(torch.ones(1)) == "tensor([1.])"
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.tensor(1.0).dtype is torch.float32


@on_cpu
def test_printing_a_big_tensor():
    x = torch.arange(2000.0)
    assert repr(x) == (
        "tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,\n        1.9990e+03])"
    )
    y = torch.ones(50, 40, requires_grad=True) * 2
    assert repr(y).endswith("[2., 2., 2.,  ..., 2., 2., 2.]], grad_fn=<MulBackward0>)")
    y[0] = 1
    assert repr(y).endswith("grad_fn=<CopySlices>)")
    assert repr(torch.zeros(0, 3)) == "tensor([], size=(0, 3))"
