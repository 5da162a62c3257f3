"""Derivatives of functions as functions: values, nesting, aux values and refusals."""

import numpy as np
import pytest

import gradwire as torch

fn = torch.func
X = np.array([0.5, -1.0, 2.0])


def at():
    return torch.tensor(X)


def same(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


def test_gradients_nest_and_leave_no_graph():
    g = fn.grad(lambda x: (x**4).sum())
    same(g(at()), 4 * X**3)
    assert not g(at()).requires_grad
    same(fn.grad(lambda x: g(x).sum())(at()), 12 * X**2)
    x = at().requires_grad_()
    same(torch.autograd.grad(g(x).sum(), x)[0], 12 * X**2)


def test_argnums_trees_and_aux():
    a, b = fn.grad(lambda x, y: (x * y * y).sum(), argnums=(0, 1))(at(), at() + 1)
    same(a, (X + 1) ** 2)
    same(b, 2 * X * (X + 1))
    found = fn.grad(lambda p: (p["w"] * p["b"][0]).sum())({"w": at(), "b": [at() * 2]})
    same(found["w"], 2 * X)
    same(found["b"][0], X)
    slope, (value, aux) = fn.grad_and_value(lambda x: ((x**2).sum(), x + 1), has_aux=True)(at())
    same(slope, 2 * X)
    same(value, (X**2).sum())
    same(aux, X + 1)


def test_products():
    out, back = fn.vjp(lambda x, y: x.sin() * y, at(), at())
    same(out, np.sin(X) * X)
    same(back(torch.ones_like(out))[1], np.sin(X))
    out, push = fn.linearize(torch.sin, at())
    same(push(at()), np.cos(X) * X)
    same(fn.jvp(lambda x: x.sin(), (at(),), (at(),))[1], np.cos(X) * X)
    same(fn.jvp(fn.grad(lambda x: (x**3).sum()), (at(),), (at(),))[1], 6 * X * X)
    same(fn.grad(lambda x: fn.jvp(torch.sin, (x,), (torch.ones_like(x),))[1].sum())(at()), -np.sin(X))


def test_jacobians_and_hessians():
    for jacobian in (fn.jacrev, fn.jacfwd):
        same(jacobian(lambda x: x**2)(at()), np.diag(2 * X))
    for outer in (fn.jacrev, fn.jacfwd):
        for inner in (fn.jacrev, fn.jacfwd):
            same(outer(inner(lambda x: x.sum() ** 3))(at()), np.full((3, 3), 6 * X.sum()))
    same(fn.hessian(lambda x: x.prod())(at()), np.array([[0, 2, -1], [2, 0, 0.5], [-1, 0.5, 0]]))


def test_a_module_is_a_function_of_its_parameters():
    class Scale:
        def __init__(self):
            self.weight = at()

        def named_parameters(self, remove_duplicate=True):
            return [("weight", self.weight)]

        def __call__(self, x):
            return self.weight * x

    module = Scale()
    same(fn.functional_call(module, {"weight": at() * 2}, (at(),)), 2 * X * X)
    same(module(at()), X * X)
    slopes = fn.grad(lambda p: fn.functional_call(module, p, at()).sum())({"weight": at()})
    same(slopes["weight"], X)
    same(fn.stack_module_state([Scale(), Scale()])[0]["weight"], np.stack([X, X]))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fn.grad(lambda x: x)(at()), RuntimeError, "to return a scalar Tensor, got tensor with 1 dims"),
        (lambda: fn.grad(lambda x: 3)(at()), RuntimeError, "to return a Tensor, got <class 'int'>"),
        (lambda: fn.grad(torch.sum, argnums=3)(at()), RuntimeError, "Got argnum=3, but only 1 positional inputs"),
        (lambda: fn.grad(torch.sum)(3), ValueError, "Thing passed to transform API must be Tensor"),
        (lambda: fn.jvp(torch.sin, at(), at()), RuntimeError, "Expected primals to be a tuple"),
        (lambda: fn.jvp(torch.sin, (at(),), (at()[:2],)), RuntimeError, "different size than that of the original"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
