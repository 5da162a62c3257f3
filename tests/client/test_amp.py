"""torch.autocast and torch.amp.GradScaler."""

from __future__ import annotations

import pytest

import gradwire as torch

F = torch.nn.functional
LOW = torch.bfloat16


def eye(dtype=torch.float32):
    return torch.eye(3, dtype=dtype)


LOWERED = {
    "matmul": lambda x: x @ x,
    "mm": lambda x: torch.mm(x, x),
    "addmm": lambda x: torch.addmm(x, x, x),
    "bmm": lambda x: torch.bmm(x[None], x[None]),
    "linear": lambda x: F.linear(x, x, x[0]),
    "conv1d": lambda x: F.conv1d(x[None], x[None]),
    "einsum": lambda x: torch.einsum("ij,jk->ik", x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
}
KEPT = {
    "add": lambda x: x + x,
    "softmax": lambda x: F.softmax(x, 0),
    "sum": lambda x: x.sum(),
    "relu": lambda x: F.relu(x),
}
RAISED = {
    "mse_loss": lambda x: F.mse_loss(x, x),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.arange(3)),
    "prod": lambda x: x.prod(),
    "l1_loss": lambda x: F.l1_loss(x, x),
    "svdvals": lambda x: torch.linalg.svdvals(x),
}


@pytest.mark.parametrize("f", LOWERED.values(), ids=LOWERED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_products_are_done_in_16_bits(f, dtype):
    with torch.autocast("cpu"):
        assert f(eye(dtype)).dtype is LOW
    with torch.autocast("cpu", dtype=torch.float16):
        assert f(eye(dtype)).dtype is torch.float16
    assert f(eye()).dtype is torch.float32


@pytest.mark.parametrize("f", KEPT.values(), ids=KEPT)
def test_others_are_as_they_come(f):
    with torch.autocast("cpu"):
        assert f(eye()).dtype is torch.float32
        assert f(eye(LOW)).dtype is LOW


@pytest.mark.parametrize("f", RAISED.values(), ids=RAISED)
def test_what_needs_more_is_done_in_32_bits(f):
    with torch.autocast("cpu"):
        assert f(eye(LOW)).dtype is torch.float32


def test_doubles_and_integers_stay():
    with torch.autocast("cpu"):
        assert (eye(torch.float64) @ eye(torch.float64)).dtype is torch.float64
        assert (eye(torch.int64) @ eye(torch.int64)).dtype is torch.int64


def test_it_nests_and_ends():
    with torch.autocast("cpu"):
        with torch.autocast("cpu", enabled=False):
            assert (eye() @ eye()).dtype is torch.float32
        assert (eye() @ eye()).dtype is LOW
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") is LOW
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        raise ZeroDivisionError
    assert (eye() @ eye()).dtype is torch.float32


def test_it_decorates():
    @torch.autocast("cpu")
    def product(x):
        return x @ x

    assert product(eye()).dtype is LOW
    assert (eye() @ eye()).dtype is torch.float32


def test_gradients_are_of_the_parameters_type():
    w = torch.full((3, 3), 0.5, requires_grad=True)
    with torch.autocast("cpu"):
        loss = F.mse_loss(eye() @ w, eye())
    loss.backward()
    assert w.grad.dtype is torch.float32
    torch.testing.assert_close(w.grad, (w.detach() - eye()) * 2 / 9, rtol=1e-2, atol=1e-2)


def test_captured_functions_are_other_programs_inside():
    product = torch.compile(lambda x: x @ x)
    assert product(eye()).dtype is torch.float32
    with torch.autocast("cpu"):
        assert product(eye()).dtype is LOW
        assert product(eye()).dtype is LOW
    assert product(eye()).dtype is torch.float32


def test_under_inference_mode_and_vmap():
    with torch.autocast("cpu"):
        with torch.inference_mode():
            made = eye() @ eye()
            assert made.dtype is LOW
            assert made.is_inference()
        assert torch.vmap(lambda x: x @ x)(eye()[None]).dtype is LOW


def test_custom_functions_say_what_they_want():
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            assert not torch.is_autocast_enabled("cpu")
            return a @ b

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            assert not torch.is_autocast_enabled("cpu")
            return grad @ b.mT, a.mT @ grad

    x = eye().requires_grad_()
    with torch.autocast("cpu"):
        made = Product.apply(x, eye(LOW))
    assert made.dtype is torch.float32
    made.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1]] * 3


def test_what_is_not_there():
    with pytest.raises(RuntimeError, match="User specified an unsupported autocast device_type 'toaster'"):
        torch.autocast("toaster")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`, got: `<class 'int'>`"):
        torch.autocast(3)
    with pytest.warns(UserWarning, match="In CPU autocast, but the target dtype is not supported. Disabling autocast."):
        off = torch.autocast("cpu", dtype=torch.float64)
    with off:
        assert (eye() @ eye()).dtype is torch.float32


def descend(scaler, factor):
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    scaler.scale((w * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    return w.tolist()


def test_scaled_gradients_are_scaled_back():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    assert descend(scaler, 3) == [-0.5, -0.5]
    assert scaler.get_scale() == 1024
    descend(scaler, 3)
    assert scaler.get_scale() == 2048


def test_a_step_with_gradients_that_overflow_is_left_out():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert descend(scaler, torch.inf) == [1, 1]
    assert scaler.get_scale() == 512


def test_unscaling_comes_once_and_before_the_step():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)
    with pytest.raises(AssertionError, match="Attempted unscale_ but _scale is None"):
        scaler.unscale_(optimizer)
    scaler.scale((w * 3).sum()).backward()
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match=r"unscale_\(\) has already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called since the last update\(\)."):
        scaler.step(optimizer)
    scaler.update()
    again = torch.amp.GradScaler("cpu")
    again.load_state_dict(scaler.state_dict())
    assert again.get_scale() == 8


def test_one_that_is_not_enabled_does_nothing_but_step():
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert descend(scaler, 3) == [-0.5, -0.5]
    assert scaler.get_scale() == 1


@pytest.mark.parametrize("layer", [torch.nn.GRU, torch.nn.GRUCell])
def test_a_gated_recurrence_keeps_its_state_in_float32(layer):
    m, x = layer(3, 2), torch.ones(4, 3)
    with torch.autocast("cpu"):
        made = m(x)
    h = made[0] if isinstance(made, tuple) else made
    assert h.dtype is torch.float32
    h.sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in m.parameters())
