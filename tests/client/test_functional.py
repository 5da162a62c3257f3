"""Derivatives of functions, and the checks of derivatives: values, shapes, refusals."""

import re

import numpy as np
import pytest

import gradwire as torch
from gradwire.autograd.gradcheck import GradcheckError

fn = torch.autograd.functional
X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
Y = np.array([1.0, -2.0, 0.5])


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def same(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


def product(x, y):
    """A function with a known jacobian: rows of x times y."""
    return (x * y).sum(1)


def test_jacobian():
    jx, jy = fn.jacobian(product, (torch.tensor(X), torch.tensor(Y)))
    assert jx.shape == (2, 2, 3)
    same(jx, np.einsum("ij,k->ijk", np.eye(2), Y))
    same(jy, X)
    same(fn.jacobian(lambda x: x**2, torch.tensor(Y)), np.diag(2 * Y))


def test_several_outputs_and_single_tuples():
    found = fn.jacobian(lambda y: (y.sum(), y.exp()), torch.tensor(Y))
    assert isinstance(found, tuple)
    same(found[0], np.ones(3))
    same(found[1], np.diag(np.exp(Y)))
    ((only,),) = fn.jacobian(lambda y: (y.sum(),), (torch.tensor(Y),))
    same(only, np.ones(3))


def test_forward_mode_agrees():
    args = torch.tensor(X), torch.tensor(Y)
    forward = fn.jacobian(product, args, strategy="forward-mode", vectorize=True)
    for mine, other in zip(forward, fn.jacobian(product, args), strict=True):
        same(mine, other.numpy())


def test_jacobian_keeps_the_graph_if_asked():
    y = leaf(Y)
    found = fn.jacobian(lambda v: v**3, y, create_graph=True)
    same(torch.autograd.grad(found.sum(), y)[0], 6 * Y)
    assert not fn.jacobian(lambda v: v**3, y).requires_grad


def test_what_does_not_matter_is_zero():
    jx, jy = fn.jacobian(lambda x, y: y * 2, (torch.tensor(X), torch.tensor(Y)))
    same(jx, np.zeros((3, 2, 3)))
    same(jy, 2 * np.eye(3))


def test_hessian():
    same(fn.hessian(lambda y: (y**3).sum(), torch.tensor(Y)), np.diag(6 * Y))
    (xx, xy), (yx, yy) = fn.hessian(lambda x, y: (product(x, y) ** 2).sum(), (torch.tensor(X), torch.tensor(Y)))
    assert (xx.shape, xy.shape, yx.shape, yy.shape) == ((2, 3, 2, 3), (2, 3, 3), (3, 2, 3), (3, 3))
    same(yy, 2 * X.T @ X)
    same(xx, 2 * np.einsum("ik,j,l->ijkl", np.eye(2), Y, Y))
    same(xy, yx.numpy().transpose(1, 2, 0))


def test_products():
    x, y = torch.tensor(X), torch.tensor(Y)
    v = torch.tensor([2.0, -1.0], dtype=torch.float64)
    out, (vx, vy) = fn.vjp(product, (x, y), v)
    same(out, X @ Y)
    same(vx, np.outer(v.numpy(), Y))
    same(vy, v.numpy() @ X)
    out, jv = fn.jvp(product, (x, y), (torch.ones_like(x), torch.zeros_like(y)))
    same(jv, np.full(2, Y.sum()))

    def cubes(y):
        return (y**3).sum()

    for apply in (fn.vhp, fn.hvp):
        out, hv = apply(cubes, y, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        same(out, (Y**3).sum())
        same(hv, 6 * Y * [1, 2, 3])
    same(fn.vjp(cubes, y)[1], 3 * Y**2)


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda y: fn.jacobian(lambda v: 3, y), TypeError,
         "The outputs of the user-provided function given to jacobian must be either a Tensor or a tuple of Tensors "
         "but the given outputs of the user-provided function has type <class 'int'>."),
        (lambda y: fn.jacobian(lambda v: v, (y, 3)), TypeError,
         "The inputs given to jacobian must be either a Tensor or a tuple of Tensors but the value at index 1 has type "
         "<class 'int'>."),
        (lambda y: fn.vjp(lambda v: v, y), RuntimeError,
         "The vector v can only be None if the user-provided function returns a single Tensor with a single element."),
        (lambda y: fn.jvp(lambda v: v, y), RuntimeError,
         "The vector v can only be None if the input to the user-provided function is a single Tensor with a single "
         "element."),
        (lambda y: fn.vjp(lambda v: v, y, torch.ones(2)), RuntimeError,
         "v has invalid size: should be torch.Size([3]) but got torch.Size([2])."),
        (lambda y: fn.vjp(lambda v: (v, v), y, y), RuntimeError,
         "v is a tuple of invalid length: should be 2 but got 1."),
        (lambda y: fn.hessian(lambda v: v, y), RuntimeError,
         "The Tensor returned by the function given to hessian should contain a single element"),
        (lambda y: fn.hvp(lambda v: (v.sum(),), y, y), RuntimeError,
         "The function given to hvp should return a single Tensor"),
        (lambda y: fn.jacobian(lambda v: v.detach(), y, strict=True), RuntimeError,
         "Output 0 of the user-provided function does not require gradients."),
        (lambda y: fn.hessian(lambda v: v.sum(), y, strict=True), RuntimeError,
         "found that the jacobian of the user-provided function with respect to input 0 is independent of the input."),
        (lambda y: fn.jacobian(lambda a, b: a, (y, y), strict=True), RuntimeError,
         "Output 0 of the user-provided function is independent of input 1. This is not allowed in strict mode."),
        (lambda y: fn.jacobian(lambda v: v, y, strategy="sideways"), AssertionError,
         'Expected strategy to be either "forward-mode" or "reverse-mode".'),
        (lambda y: fn.jacobian(lambda v: v, y, strategy="forward-mode"), NotImplementedError,
         "only implemented for `vectorize=True`."),
    ],
)  # fmt: skip
def test_refusals(run, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        run(torch.tensor(Y))


class Wrong(torch.autograd.Function):
    """exp, with twice its gradient."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return 2 * g * y


def test_gradcheck():
    assert torch.autograd.gradcheck(product, (leaf(X), leaf(Y)))
    assert torch.autograd.gradcheck(lambda z: (z * z.conj()).real.sum(), (leaf(Y + 1j * Y[::-1].copy()),))
    assert torch.autograd.gradcheck(lambda z: z.exp(), leaf(Y[:2] + 0.5j))
    assert torch.autograd.gradgradcheck(lambda x, y: (x.sin() * y).sum(), (leaf(X), leaf(Y)))


def test_gradcheck_leaves_its_input_as_it_was():
    x = leaf(X)
    torch.autograd.gradcheck(lambda v: v.sin(), x)
    assert (x.detach().numpy() == X).all()
    assert x.grad is None


def test_gradcheck_finds_what_is_wrong():
    text = r"^Jacobian mismatch for output 0 with respect to input 0,\nnumerical:tensor\(\[\[(.|\n)*\nanalytical:tensor"
    with pytest.raises(GradcheckError, match=text):
        torch.autograd.gradcheck(Wrong.apply, leaf(Y))
    assert not torch.autograd.gradcheck(Wrong.apply, leaf(Y), raise_exception=False)
    with pytest.raises(GradcheckError, match="^While considering the imaginary part of complex outputs only, Jacobian"):
        torch.autograd.gradcheck(lambda v: Wrong.apply(v), leaf(Y + 1j))
    with pytest.raises(GradcheckError, match="for output 1 with respect to input 0"):
        torch.autograd.gradcheck(lambda v: (v * 2, Wrong.apply(v)), leaf(Y))
    assert not torch.autograd.gradgradcheck(Wrong.apply, leaf(Y), raise_exception=False)


def test_gradcheck_wants_doubles_and_gradients():
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision floating point"):
        torch.autograd.gradcheck(lambda v: v * 2, torch.ones(2, requires_grad=True), atol=1e-1, rtol=1e-1)
    with pytest.raises(ValueError, match="gradcheck expects at least one input tensor to require gradient"):
        torch.autograd.gradcheck(lambda v: v * 2, torch.ones(2))
