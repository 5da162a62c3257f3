"""``.grad`` is never a number of yesterday's, and never one that no backward made."""

import warnings

import pytest

import gradwire as torch

grad = torch.autograd.grad


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def values(t):
    return t.detach().numpy().tolist()


def test_none_after_a_backward_that_failed():
    x = leaf(1.0, 2.0)
    y = x.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    assert x.grad is None


def test_create_graph_makes_another():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    first = x.grad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x * x).sum().backward(create_graph=True)
    assert values(x.grad) == [3, 5]
    assert x.grad.requires_grad
    assert values(first) == [1, 1]
    x.grad = None


def test_none_where_only_a_gradient_of_the_gradient_led():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (g,) = grad((x * y).sum(), x, create_graph=True)
    g.sum().backward()
    assert x.grad is None
    assert values(y.grad) == [1, 1]


def test_grad_fills_what_is_retained():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    grad((y * y).sum(), x)
    assert values(y.grad) == [4, 8]


def test_retained_through_a_write():
    x = leaf(1.0, 2.0)
    y = x.sin()
    y.retain_grad()
    (y * 3).sum().backward()
    y.fill_(1.0)
    assert values(y.grad) == [3, 3]


def test_a_gradient_becomes_a_leaf():
    x = leaf(1.0, 2.0)
    (g,) = grad((x / 2).sum(), x, create_graph=True)
    assert not g.requires_grad
    g.requires_grad_()
    assert g.is_leaf
    (g * g).sum().backward()
    assert values(g.grad) == [1, 1]


def test_retained_at_what_was_written_last():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.sin_()
    y.sum().backward()
    assert values(y.grad) == [1, 1]
    y = x * 2
    part = y[1:]
    part.retain_grad()
    y.mul_(5)
    (part * 3).sum().backward()
    assert values(part.grad) == [3]


def test_one_can_be_assigned_to_what_is_no_leaf():
    y = leaf(1.0, 2.0) * 2
    y.grad = torch.tensor([3.0, 4.0])
    assert y.grad.tolist() == [3, 4]
    y.sum().backward()
    assert y.grad.tolist() == [3, 4]
    y.grad = None
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None


def test_detach_in_place_keeps_it():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    x.detach_()
    assert not x.requires_grad
    assert x.grad.tolist() == [3, 3]


ASSIGNED = [("int64", "long int"), ("float16", "c10::Half"), ("bool", "bool"), ("complex64", "c10::complex<float>")]


@pytest.mark.parametrize(("dtype", "name"), ASSIGNED)
def test_one_of_another_type_is_refused(dtype, name):
    with pytest.raises(RuntimeError, match=f"gradient with dtype '{name}' to a tensor with grad_dtype 'Float'"):
        leaf(1.0).grad = torch.ones(1, dtype=getattr(torch, dtype))


def test_one_that_no_longer_fits_is_refused():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    x.data = torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(2\) must match the size of tensor b \(3\) at"):
        (x * 2).sum().backward()


def test_requires_grad_takes_a_bool_and_a_leaf():
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="^requires_grad must be a bool$"):
        y.requires_grad = 1
    with pytest.raises(TypeError, match=r"^requires_grad_\(\): argument 'requires_grad' \(position 1\) must be bool"):
        y.requires_grad_("yes")
    with pytest.raises(RuntimeError, match=r"^you can only change requires_grad flags of leaf variables.$"):
        y.requires_grad = True
    assert y.requires_grad_(True) is y


def test_a_hook_after_accumulation_returns_nothing():
    x = leaf(1.0)
    with (
        x.register_post_accumulate_grad_hook(lambda t: 5),
        pytest.raises(TypeError, match="^expected Variable, but hook returned 'int'$"),
    ):
        x.sum().backward()
