"""Functions of one example on batches: dimensions, nesting, gradients of each example, randomness and refusals."""

import numpy as np
import pytest

import gradwire as torch
from gradwire.dispatch import mode

A = np.arange(6.0).reshape(2, 3) - 2
B = np.arange(6.0).reshape(2, 3) * 3 + 1


def t(array):
    return torch.tensor(array)


def same(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


def test_dimensions():
    same(torch.vmap(torch.dot)(t(A), t(B)), (A * B).sum(1))
    same(torch.vmap(lambda x, y: x * y, in_dims=(1, None))(t(A), t(A[:, 0])), A.T * A[:, 0])
    same(torch.vmap(lambda x: x * 2, out_dims=1)(t(A)), 2 * A.T)
    same(torch.vmap(lambda d: d["a"] + d["b"], in_dims=({"a": 0, "b": None},))({"a": t(A), "b": t(B[0])}), A + B[0])
    same(torch.vmap(lambda x: x.sum(), in_dims=1, chunk_size=2)(t(A)), A.sum(0))
    outer = torch.vmap(torch.vmap(lambda x, y: x @ y, in_dims=(0, None)), in_dims=(None, 0))
    same(outer(t(A), t(B)), B @ A.T)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.max(x, torch.zeros(3)),
        lambda x: x.reshape(-1), lambda x: x.t(), lambda x: x.softmax(-1), lambda x: x.std(), lambda x: x.sort().values,
        lambda x: x[1:, 0], lambda x: torch.cat([x, torch.ones(2, 3)]), lambda x: x.clone().add_(1), lambda x: x.max(),
        lambda x: x @ torch.ones(3), lambda x: x @ x.T, lambda x: torch.nn.functional.layer_norm(x, (3,)),
        lambda x: x.permute(1, 0).unsqueeze(0).expand(2, 3, 2), lambda x: torch.zeros_like(x) + x.new_ones(3),
        lambda x: torch.where(x > 0, x, 0.0), lambda x: x.cumsum(0).diagonal(), lambda x: x.flip(0).roll(1),
    ],
)  # fmt: skip
def test_is_a_stack_of_examples(f):
    x = torch.stack([t(A), t(B), t(A - B)]).float()
    np.testing.assert_allclose(torch.vmap(f)(x).numpy(), torch.stack([f(e) for e in x]).numpy(), rtol=1e-6, atol=1e-6)


def test_gradients_of_each_example():
    w = np.array([0.5, -1.0, 2.0])
    grads = torch.vmap(torch.func.grad(lambda w, x: (x @ w) ** 2), in_dims=(None, 0))(t(w), t(A))
    same(grads, 2 * (A @ w)[:, None] * A)
    rows = torch.vmap(torch.func.jacrev(lambda x: x**2))(t(A))
    same(rows, np.stack([np.diag(2 * a) for a in A]))
    same(torch.func.grad(lambda x: torch.vmap(lambda r: r.sum() ** 2)(x).sum())(t(A)),
         np.broadcast_to(2 * A.sum(1, keepdims=True), A.shape))  # fmt: skip
    _, back = torch.func.vjp(torch.sin, t(A[0]))
    same(torch.vmap(back)(t(np.eye(3)))[0], np.diag(np.cos(A[0])))


def test_gradients_of_examples_leave_no_graph_and_compile():
    slope = torch.vmap(torch.func.grad(lambda x: (x**3).sum()))
    assert not slope(t(A)).requires_grad
    compiled = torch.compile(slope)
    for _ in range(3):
        same(compiled(t(A)), 3 * A**2)


def test_randomness():
    def noise(x):
        return x + torch.rand(3)

    zeros = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="called random operation while in randomness error mode"):
        torch.vmap(noise)(zeros)
    equal = torch.vmap(noise, randomness="same")(zeros)
    assert (equal[0] == equal[1]).all()
    other = torch.vmap(noise, randomness="different")(zeros)
    assert not (other[0] == other[1]).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x * 0 + torch.randint(100, (20,)), lambda x: torch.randn_like(x), lambda x: torch.randperm(20),
        lambda x: x.clone().uniform_(), lambda x: x.new_empty(20).normal_(),
        lambda x: torch.nn.functional.dropout(x + 1), lambda x: torch.nn.functional.alpha_dropout(x, training=True),
        lambda x: torch.ones(20).multinomial(20), lambda x: torch.normal(torch.zeros(20), 1.0),
    ],
)  # fmt: skip
def test_draws_are_the_same_or_different(draw):
    x = torch.zeros(3, 20)
    for mode_, equal in (("same", True), ("different", False)):
        a, b, c = torch.vmap(draw, randomness=mode_)(x).numpy()
        assert np.array_equal(a, b) is equal
        assert np.array_equal(b, c) is equal


@pytest.mark.parametrize(
    ("draw", "randomness", "text"),
    [
        (lambda x: torch.zeros(3).uniform_(), "different", "Cannot ask for different inplace randomness"),
        (lambda x: x.bernoulli(), "same", "does not currently support same randomness with a batched tensor"),
        (lambda x: torch.zeros(3).bernoulli_(x), "different", r"inplace bernoulli\(self, \*extra_args\) is not"),
    ],
)
def test_draws_that_there_are_not(draw, randomness, text):
    with pytest.raises(RuntimeError, match=text):
        torch.vmap(draw, randomness=randomness)(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: torch.vmap(lambda x: x)(), ValueError, "got no inputs"),
        (lambda: torch.vmap(torch.add)(torch.ones(2), torch.ones(3)), ValueError, r"sizes \[2, 3\] for the mapped"),
        (lambda: torch.vmap(torch.sin, in_dims=3)(torch.ones(2)), ValueError, "Got in_dim=3 for some input"),
        (lambda: torch.vmap(lambda x: 3)(torch.ones(2)), ValueError, "only return Tensors, got type <class 'int'>"),
        (lambda: torch.vmap(lambda x: x.item())(torch.ones(2)), RuntimeError, "calling .item\\(\\) on a Tensor"),
        (lambda: torch.vmap(lambda x: bool(x > 0))(torch.ones(2)), RuntimeError, "data-dependent control flow"),
        (lambda: torch.vmap(torch.sin, randomness="x"), RuntimeError, "Only allowed values for randomness"),
        (lambda: torch.vmap(lambda x: x.tolist())(torch.ones(2, 3)), RuntimeError, "Tensor that doesn't have storage"),
        (lambda: torch.vmap(lambda x: x.requires_grad_())(torch.ones(2)), RuntimeError, "call Tensor.requires_grad_"),
        (lambda: torch.vmap(lambda x: x.backward())(torch.ones(2)), RuntimeError, "backward\\(\\) called inside a"),
        (lambda: torch.vmap(torch.nonzero)(torch.ones(2, 3)), RuntimeError, "Attempted to vmap over aten::nonzero"),
        (lambda: torch.vmap(torch.unique)(torch.ones(2, 3)), RuntimeError, "Attempted to vmap over aten::_unique2"),
        (lambda: torch.vmap(lambda x: x[x > 0])(torch.ones(2, 3)), RuntimeError, "indexing with a boolean mask"),
        (lambda: torch.vmap(lambda x: x.masked_select(x > 0))(torch.ones(2, 3)), RuntimeError, "vmap over `mask` in"),
        (lambda: torch.vmap(lambda x: torch.ones(3).mul_(x))(torch.ones(2, 3)), RuntimeError, "operators instead of "
         "inplace arithmetic. If"),
        (lambda: torch.vmap(lambda x: torch.ones(3).fill_(x[0]))(torch.ones(2, 3)), RuntimeError, "instead of fill_."),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
    assert not mode.batching


def test_custom_functions_that_are_recorded_inside_are_refused():
    class Square(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return grad * 2 * ctx.saved_tensors[0]

    x = torch.arange(3.0)
    assert torch.vmap(Square.apply)(x).tolist() == [0, 1, 4]
    wanting = x.clone().requires_grad_()
    for f in (lambda: torch.vmap(torch.func.grad(Square.apply))(x), lambda: torch.vmap(Square.apply)(wanting)):
        with pytest.raises(NotImplementedError, match="vmap over the custom function Square while its gradient is rec"):
            f()
