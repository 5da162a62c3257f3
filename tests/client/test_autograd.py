"""torch's autograd as a program sees it: accumulation, hooks, custom functions, modes, higher orders."""

import gc
import warnings

import numpy as np
import pytest

import gradwire as torch

grad = torch.autograd.grad


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def values(t):
    return t.detach().numpy().tolist()


# ---- accumulation ----


def test_gradients_add_up_until_cleared():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert values(x.grad) == [4, 8]
    assert x.grad is first
    x.grad.zero_()
    x.sum().backward()
    assert values(x.grad) == [1, 1]
    x.grad = None
    assert x.grad is None
    x.grad = torch.tensor([5.0, 5.0])
    x.sum().backward()
    assert values(x.grad) == [6, 6]


def test_a_leaf_of_two_graphs():
    x = leaf(2.0)
    a, b = x * 3, x**2
    a.backward(torch.ones(1))
    b.backward(torch.ones(1))
    assert values(x.grad) == [7]


def test_backward_to_some_inputs_only():
    x, y = leaf(1.0), leaf(2.0)
    z = x * y
    z.sum().backward(inputs=[y])
    assert x.grad is None
    assert values(y.grad) == [1]


def test_backward_of_several_roots():
    x = leaf(1.0, 2.0)
    torch.autograd.backward([x.sum(), x * 2], [None, torch.tensor([1.0, 10.0])])
    assert values(x.grad) == [3, 21]


def test_what_saved_nothing_can_be_used_twice():
    x = leaf(1.0, 2.0)
    y = (x + 2).view(2, 1).sum()
    y.backward()
    y.backward()
    assert values(x.grad) == [2, 2]


def test_a_leaf_that_no_longer_requires_grad():
    x, y = leaf(1.0), leaf(2.0)
    z = x + y
    x.requires_grad_(False)
    z.sum().backward()
    assert x.grad is None
    assert values(y.grad) == [1]


def test_retained_gradients():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    assert y.retains_grad
    (y * 3).sum().backward()
    assert values(y.grad) == [3, 3]
    x.retain_grad()  # nothing to do for a leaf
    assert not x.retains_grad


# ---- grad ----


def test_grad_of_several_and_unused():
    x, y, z = leaf(1.0), leaf(2.0), leaf(3.0)
    gx, gz = grad([(x * y).sum(), x.sum()], [x, z], allow_unused=True)
    assert values(gx) == [3]
    assert gz is None
    _, gz = grad((x * y).sum(), [x, z], materialize_grads=True)
    assert values(gz) == [0]
    assert x.grad is None


def test_grad_of_something_in_the_middle():
    x = leaf(1.0, 2.0)
    y = x.exp()
    z = y * y
    (g,) = grad(z.sum(), y, retain_graph=True)
    np.testing.assert_allclose(g.numpy(), 2 * np.exp([1, 2]), rtol=1e-6)
    assert values(grad(y.sum(), y)[0]) == [1, 1]


def test_every_order():
    x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    d, sign = x.sin(), [np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin]
    for order in range(8):
        (d,) = grad(d, x, create_graph=True)
        assert d.item() == pytest.approx(sign[order % 4](0.5), rel=1e-12)


def test_gradient_of_a_penalty_on_the_gradient():
    w = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)

    def penalty(w):
        (g,) = grad(torch.tanh(w @ x).sum(), x, create_graph=True)
        return (g**2).sum()

    penalty(w).backward()
    analytic, eps = w.grad.numpy(), 1e-6
    for i in range(2):
        for j in range(2):
            step = torch.zeros(2, 2, dtype=torch.float64)
            step[i, j] = eps
            numeric = (penalty(w.detach() + step) - penalty(w.detach() - step)).item() / (2 * eps)
            assert analytic[i, j] == pytest.approx(numeric, rel=1e-6)


def test_create_graph_in_backward():
    x = leaf(1.0, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    (g,) = grad(first.sum(), x)
    assert values(g) == [6, 12]
    x.grad = None


# ---- modes ----


def test_modes_nest_and_decorate():
    x = leaf(1.0)
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
        with torch.set_grad_enabled(True):
            assert torch.is_grad_enabled()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()

    @torch.no_grad()
    def f(v):
        return v * 2

    assert f.__name__ == "f"
    assert not f(x).requires_grad

    @torch.enable_grad()
    def g(v):
        return v * 2

    with torch.no_grad():
        assert g(x).requires_grad


def test_an_error_leaves_no_grad():
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        raise ZeroDivisionError
    assert torch.is_grad_enabled()


def test_detach_shares_memory():
    x = leaf(1.0, 2.0)
    d = x.detach()
    assert not d.requires_grad
    d.mul_(3)
    assert values(x) == [3, 6]
    y = x * 2
    assert values(grad((y.detach() * x).sum(), x)[0]) == [6, 12]


def test_what_was_detached_in_place_can_be_saved():
    x = leaf(1.0, 2.0)
    y = x * 2
    assert y.detach_() is y
    (x * y).sum().backward()
    assert values(x.grad) == [2, 4]
    y.requires_grad_()
    (y * y).sum().backward()
    assert values(y.grad) == [4, 8]


# ---- the graph ----


def test_names_and_edges():
    x = torch.ones(2, 2, requires_grad=True)
    names = {
        "AddBackward0": x + 1, "MulBackward0": x * 2, "SumBackward0": x.sum(), "MmBackward0": x.mm(x),
        "PowBackward0": x**2, "SelectBackward0": x[0], "ViewBackward0": x.view(4), "ReluBackward0": x.relu(),
        "TBackward0": x.t(), "CloneBackward0": x.clone(), "MeanBackward0": x.mean(), "ExpBackward0": x.exp(),
        "Log1PBackward0": x.log1p(), "SumBackward1": x.sum(0), "MeanBackward1": x.mean((0, 1)), "ProdBackward0":
        x.prod(),
        "ProdBackward1": x.prod(0), "PowBackward1": x**x, "PowBackward2": 2**x, "ClampBackward1": x.clamp(0),
        "ClampBackward0": x.clamp(x), "ClampMinBackward1": x.clamp_min(x), "FmodBackward1": x.fmod(x),
        "RemainderBackward0": x % 2, "DivBackward2": x.div(2, rounding_mode="floor"), "XlogyBackward1":
        torch.xlogy(2, x),
        "MaskedFillBackward1": x.masked_fill(x > 0, x.sum()), "LerpBackward1": x.lerp(x, x), "SqueezeBackward0":
        x.squeeze(), "SqueezeBackward1": x[None].squeeze(0), "SqueezeBackward2": x[None, None].squeeze((0, 1)),
    }  # fmt: skip
    assert [y.grad_fn.name() for y in names.values()] == list(names)
    y = (x * torch.ones(2, 2)).exp()
    ((node, number),) = y.grad_fn.next_functions
    assert (node.name(), number) == ("MulBackward0", 0)
    (leaf_node, _), (nothing, _) = node.next_functions
    assert leaf_node.name() == "torch::autograd::AccumulateGrad"
    assert leaf_node.variable is x
    assert nothing is None
    assert x.grad_fn is None


def test_flags():
    x = leaf(1.0)
    y = x * 2
    assert (x.is_leaf, y.is_leaf) == (True, False)
    assert (x.requires_grad, y.requires_grad) == (True, True)
    assert not (y > 0).requires_grad
    assert not y.argmax().requires_grad
    assert torch.ones(2).is_leaf
    assert (torch.tensor([1, 2]) * 2).requires_grad is False


def test_a_long_chain():
    y = x = leaf(1.0)
    for _ in range(3000):
        y = y + 1
    y.sum().backward()
    assert values(x.grad) == [1]


# ---- hooks ----


def test_hooks_run_in_order_and_replace():
    x = leaf(1.0, 2.0)
    seen = []
    y = x + 0
    y.register_hook(lambda g: seen.append(("first", values(g))) or g * 2)
    handle = y.register_hook(lambda g: seen.append(("second", values(g))))
    x.register_hook(lambda g: seen.append(("leaf", values(g))) or g + 1)
    x.register_post_accumulate_grad_hook(lambda p: seen.append(("after", values(p.grad))))
    (y * 3).sum().backward()
    assert seen == [("first", [3, 3]), ("second", [6, 6]), ("leaf", [6, 6]), ("after", [7, 7])]
    handle.remove()
    handle.remove()
    seen.clear()
    y.sum().backward()
    assert [name for name, _ in seen] == ["first", "leaf", "after"]


def test_a_hook_may_stream_and_differentiate():
    x, w = leaf(1.0, 2.0), leaf(3.0)
    found = []

    def hook(g):
        with torch.enable_grad():
            (inner,) = grad((w * w).sum(), w)
        found.append(inner.item())
        return g * inner

    y = x * 1
    y.register_hook(hook)
    y.sum().backward()
    assert found == [6]
    assert values(x.grad) == [6, 6]


def test_an_exception_in_a_hook_comes_out():
    x = leaf(1.0)

    def fail(g):
        raise KeyError("mine")

    handle = x.register_hook(fail)
    with pytest.raises(KeyError, match="mine"):
        x.sum().backward()
    handle.remove()
    x.sum().backward()


def test_a_step_within_the_backward():
    w = leaf(1.0, 2.0)

    def step(p):
        with torch.no_grad():
            p -= 0.5 * p.grad
        p.grad = None

    w.register_post_accumulate_grad_hook(step)
    (w * torch.tensor([2.0, 4.0])).sum().backward()
    assert values(w) == [0, 0]
    assert w.grad is None


# ---- custom functions ----


class Scale(torch.autograd.Function):
    """x * factor, and a second output that has no gradient."""

    @staticmethod
    def forward(ctx, x, factor, name=None):
        ctx.factor = factor
        ctx.needs = ctx.needs_input_grad
        whole = (x > 0).sum()
        ctx.mark_non_differentiable(whole)
        return x * factor, whole

    @staticmethod
    def backward(ctx, g, _):
        assert ctx.needs == (True, False)
        return g * ctx.factor, None


def test_custom_function():
    x = leaf(1.0, -2.0)
    y, positive = Scale.apply(x, 5.0)
    assert y.requires_grad
    assert not positive.requires_grad
    assert positive.item() == 1
    assert y.grad_fn.name() == "ScaleBackward"
    (y * y).sum().backward()
    assert values(x.grad) == [50, -100]


def test_custom_function_of_two_tensors():
    class Mul(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            return (g * b if ctx.needs_input_grad[0] else None), (g * a if ctx.needs_input_grad[1] else None)

    a, b = leaf(2.0), leaf(3.0)
    z = Mul.apply(a, b)
    ga, gb = grad(z.sum(), [a, b], create_graph=True)
    assert (ga.item(), gb.item()) == (3, 2)
    assert grad(ga.sum(), b)[0].item() == 1
    assert values(grad(Mul.apply(a, b.detach()).sum(), a)[0]) == [3]
    assert torch.autograd.gradgradcheck(Mul.apply, (a.double().detach().requires_grad_(), leaf(1.5).double()),
                                        [torch.ones(1, dtype=torch.float64, requires_grad=True)])  # fmt: skip


# ---- what is kept ----


def test_graphs_go_when_results_go():
    x = leaf(1.0)
    for _ in range(50):
        y = (x * 2).exp().sum()
        del y
    gc.collect()
    (x * 2).sum().backward()
    assert values(x.grad) == [2]


# ---- what torch's own tests of autograd look at ----


def test_a_name_that_autograd_lacks():
    assert not hasattr(torch.autograd, "nonexistent")


def test_a_function_may_return_no_gradient():
    class Stop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return None

    x = leaf(1.0)
    Stop.apply(x).backward()
    assert x.grad is None
    assert grad(Stop.apply(x), x, allow_unused=True) == (None,)


def test_a_gradient_of_create_graph_leads_to_its_leaf():
    x = leaf(1.0, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x**3).sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    g.sum().backward()
    assert values(x.grad) == [6, 12]


def test_inputs_that_backward_does_not_reach():
    x, q = leaf(1.0), leaf(2.0)
    x.sum().backward(inputs=[q])
    assert x.grad is None
    assert q.grad is None
    y = x * 2
    (y * 3).sum().backward(inputs=[y])
    assert values(y.grad) == [3]
    assert y.retains_grad


def test_a_hook_may_write_to_the_gradient():
    x = leaf(1.0)
    x.register_hook(lambda g: g.mul_(3) and None)
    (x * 2).sum().backward()
    assert values(x.grad) == [6]


def test_a_hook_is_told_that_no_gradient_came():
    x = leaf(1.0, 2.0)
    a, b = (x * 2).unbind()
    seen = []
    b.register_hook(seen.append)
    a.backward()
    assert seen == [None]


def test_what_is_captured_on_the_way_is_as_it_was_before_hooks():
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    z = (y * 1).sum()
    assert [values(g) for g in grad(z, (y, x), retain_graph=True)] == [[1], [20]]
    assert values(grad(z, y)[0]) == [10]


def test_grad_says_what_it_was_given():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="all inputs have to be Tensors or GradientEdges, but got int"):
        grad(x.sum(), [3])
    with pytest.raises(AssertionError, match=r"Expected output to be a torch\.Tensor"):
        torch.autograd.backward([3])
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated"):
        grad(x.sum(), x, only_inputs=False)
    with pytest.warns(FutureWarning, match="`grad_variables` is deprecated"):
        torch.autograd.backward(x.sum(), grad_variables=torch.tensor(1.0))
    with pytest.raises(RuntimeError, match=r"grad_output\[0\] has a shape of torch\.Size\(\[3\]\)"):
        grad(x * 2, x, torch.ones(2, 3), is_grads_batched=True)


def test_keyword_arguments_and_plain_results_of_a_function():
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k=2):
            ctx.k = k
            return x * k, "plain"

        @staticmethod
        def backward(ctx, g, none):
            assert none is None
            return g * ctx.k, None

    x = leaf(1.0)
    y, word = Scale.apply(x, k=3)
    y.backward()
    assert word == "plain"
    assert values(x.grad) == [3]


def test_refusals_of_functions():
    class Dirty(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x.add_(1))
            return x.clone()

    class Extra(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            return x * k

        @staticmethod
        def backward(ctx, g):
            return g, g

    class Both(Extra):
        @staticmethod
        def vjp(ctx, g):
            return g, None

    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="Some elements marked as dirty during the forward method were not returned"):
        Dirty.apply(x * 1)
    with pytest.raises(RuntimeError, match="different than None at position 2, but the corresponding forward input"):
        Extra.apply(x, 3).backward()
    with pytest.raises(RuntimeError, match="Implementing both 'backward' and 'vjp'"):
        Both.apply(x, 3).backward()


def test_generators_keep_their_grad_mode():
    @torch.no_grad()
    def steps():
        try:
            sent = yield torch.is_grad_enabled()
            yield sent, torch.is_grad_enabled()
        except ValueError:
            yield "caught", torch.is_grad_enabled()

    g = steps()
    assert next(g) is False
    assert torch.is_grad_enabled()
    assert g.send("a") == ("a", False)
    assert g.throw(ValueError) == ("caught", False)
    assert repr(torch.set_grad_enabled(True)) == "torch.autograd.grad_mode.set_grad_enabled(mode=True)"
