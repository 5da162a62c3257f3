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
