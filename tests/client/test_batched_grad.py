"""Many gradients in one pass: ``is_grads_batched``, jacobians, and seeds inside vmap."""

from __future__ import annotations

import re

import pytest

import gradwire as torch

grad = torch.autograd.grad
EYE = torch.eye(3)


@pytest.fixture
def x():
    return torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


def rows(y, x, units, **options):
    """What a pass for each row makes."""
    return torch.stack([grad(y, x, u, retain_graph=True, **options)[0] for u in units])


def test_is_a_pass_for_each_row(x):
    y = torch.tanh(x * x.sum())
    (g,) = grad(y, x, EYE, is_grads_batched=True, retain_graph=True)
    assert g.shape == (3, 3) and not g.requires_grad
    torch.testing.assert_close(g, rows(y, x, EYE))
    twice = grad([y, y.sum()], [x], [EYE, torch.ones(3)], is_grads_batched=True)[0]
    torch.testing.assert_close(twice, g + g.sum(0))
    with pytest.raises(RuntimeError, match="second time"):
        grad(y, x, EYE, is_grads_batched=True)


def test_can_be_differentiated_again(x):
    w = EYE.clone().requires_grad_()
    (g,) = grad((x**3).sum() + x[0] * x, x, w, create_graph=True, is_grads_batched=True)
    by_x, by_w = grad(g.square().sum(), [x, w])
    (h,) = grad(rows((x**3).sum() + x[0] * x, x, w, create_graph=True).square().sum(), x)
    torch.testing.assert_close(by_x, h)
    assert by_w.shape == (3, 3)


def test_views_that_were_written_to(x):
    y = x * 1
    z = y.clone()
    z[0] = y[1] * 3
    z[1:].mul_(y[0])
    (g,) = grad(z, x, EYE, is_grads_batched=True)
    assert g.tolist() == [[0, 3, 0], [2, 1, 0], [3, 0, 1]]


def test_the_clients_part_is_done_row_by_row(x):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            seen.append(g.shape)
            return 2 * ctx.saved_tensors[0] * g

    seen = []
    y = Square.apply(x)
    y.register_hook(lambda g: seen.append("hook"))
    (g,) = grad(y, x, EYE, is_grads_batched=True)
    assert g.tolist() == [[2, 0, 0], [0, 4, 0], [0, 0, 6]]
    assert seen == ["hook", (3,)] * 3
    with pytest.raises(RuntimeError, match="second time"):
        grad(y, x, EYE, is_grads_batched=True)


def test_what_does_not_matter(x):
    z = torch.ones(2, requires_grad=True)
    assert grad(x * 2, [x, z], EYE, is_grads_batched=True, allow_unused=True)[1] is None
    assert grad(x * 2, [x, z], EYE, is_grads_batched=True, materialize_grads=True)[1].shape == (2,)
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        grad(x * 2, [x, z], EYE, is_grads_batched=True)
    assert grad(x * x, x, torch.ones(0, 3), is_grads_batched=True)[0].shape == (0, 3)


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda x: (x.sum(), None), ValueError, "vmap(vjp, in_dims=0, ...)(<inputs>): Got in_dim=0 for some input, but "
     "that input is a Tensor of dimensionality 0 so expected in_dim to satisfy 0 <= in_dim < 0."),
    (lambda x: (x * 2, None), RuntimeError, "grad can be implicitly created only for scalar outputs"),
    (lambda x: ([x, x * 2], [EYE, EYE[:2]]), ValueError, "vmap: Expected all tensors to have the same size in the "
     "mapped dimension, got sizes [3, 2] for the mapped dimension"),
    (lambda x: (x * 2, torch.ones(3)), RuntimeError, "grad_output[0] has a shape of torch.Size([]) and output[0] has a "
     "shape of torch.Size([3])"),
])  # fmt: skip
def test_refusals(x, make, error, text):
    y, weights = make(x)
    with pytest.raises(error, match=re.escape(text)):
        grad(y, x, weights, is_grads_batched=True)


def f(x, w):
    return torch.tanh(x @ w).softmax(-1)


X = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
W = torch.linspace(0, 1, 12, dtype=torch.float64).view(3, 4)
JACOBIANS = {
    "jacrev": lambda: torch.func.jacrev(f, (0, 1))(X, W),
    "in chunks": lambda: torch.func.jacrev(f, (0, 1), chunk_size=3)(X, W),
    "jacfwd": lambda: torch.func.jacfwd(f, (0, 1))(X, W),
    "vectorize": lambda: torch.autograd.functional.jacobian(f, (X, W), vectorize=True),
    "forward-mode": lambda: torch.autograd.functional.jacobian(f, (X, W), vectorize=True, strategy="forward-mode"),
}


@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobians_agree(name):
    want = torch.autograd.functional.jacobian(f, (X, W))
    for a, b in zip(JACOBIANS[name](), want, strict=True):
        torch.testing.assert_close(a, b)


def test_seeds_in_a_vmap_are_one_pass():
    def along(u):
        return torch.func.vjp(lambda w: f(X, w), W)[1](u)[0]

    units = torch.eye(8, dtype=torch.float64).reshape(8, 2, 4)
    want = torch.stack([along(u) for u in units])
    torch.testing.assert_close(torch.vmap(along)(units), want)
    twice = torch.vmap(torch.vmap(along))(units.reshape(2, 4, 2, 4))
    torch.testing.assert_close(twice, want.reshape(2, 4, 3, 4))
    both = torch.vmap(lambda x: torch.func.jacrev(f, 1)(x, W))(torch.stack([X, X + 1]))
    torch.testing.assert_close(both[1], torch.func.jacrev(f, 1)(X + 1, W))


def test_captured():
    @torch.compile
    def jacobian(w):
        return torch.func.jacrev(lambda w: f(X, w))(w)

    for w in (W, W + 1):
        torch.testing.assert_close(jacobian(w), torch.func.jacrev(lambda w: f(X, w))(w))
