"""Inference mode: what it marks, and what may not be done with that outside."""

import copy

import pytest

import gradwire as torch


def made():
    with torch.inference_mode():
        return torch.ones(3)


def test_what_is_marked():
    plain = torch.ones(3)
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
        for t in (plain * 2, torch.tensor([1.0]), torch.zeros(2), (plain * 2)[:2], copy.deepcopy(plain), plain.clone()):
            assert t.is_inference()
            assert torch.is_inference(t)
        for t in (plain, plain[:2], plain.reshape(3, 1), plain.detach(), plain.add_(1), plain.contiguous()):
            assert not t.is_inference()
        with torch.inference_mode(False):
            assert torch.is_grad_enabled()
            assert not torch.ones(2).is_inference()
        assert torch.ones(2).is_inference()
    assert not torch.is_inference_mode_enabled()
    t = made()
    assert t[:2].is_inference()
    assert t.detach().is_inference()
    assert not (t * 1).is_inference()
    assert not t.clone().is_inference()


def test_decorators():
    @torch.inference_mode()
    def called(x):
        return x * 2

    @torch.inference_mode
    def bare(x):
        return x * 2

    @torch.inference_mode()
    def steps(x):
        yield x * 2

    x = torch.ones(2, requires_grad=True)
    for t in (called(x), bare(x), *steps(x)):
        assert t.is_inference()
        assert not t.requires_grad


def test_leaves():
    with torch.inference_mode():
        x = torch.ones(2, requires_grad=True)
        assert x.is_inference()
        assert not (x * 2).requires_grad
        assert torch.ones(2).requires_grad_().requires_grad
        with torch.enable_grad():
            assert not (x * 2).requires_grad
    t = made()
    for f in (lambda: t.requires_grad_(), lambda: setattr(t, "requires_grad", True)):
        with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor outside InferenceMode"):
            f()
    t.requires_grad_(False)
    with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
        t._version  # noqa: B018


@pytest.mark.parametrize(
    "write",
    [lambda t: t.add_(1), lambda t: t[:2].add_(1), lambda t: t.zero_(), lambda t: t.unsqueeze_(0),
     lambda t: t.resize_(4), lambda t: t.__setitem__(0, 1), lambda t: torch.add(torch.ones(3), 1, out=t)],
)  # fmt: skip
def test_it_is_not_written_to_outside(write):
    t = made()
    for mode in (torch.enable_grad(), torch.no_grad()):
        with mode, pytest.raises(RuntimeError, match="^Inplace update to inference tensor outside InferenceMode is"):
            write(t)
    with torch.inference_mode():
        write(t)


SAVED = "^Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode"


@pytest.mark.parametrize(
    "f",
    [lambda r, t: r * t, lambda r, t: t * r, lambda r, t: r / t, lambda r, t: torch.dot(r, t),
     lambda r, t: (r * 1).mul_(t), lambda r, t: torch.where(t > 0, r, 0) * t],
)  # fmt: skip
def test_it_is_not_saved(f):
    r, t = torch.full((3,), 2.0, requires_grad=True), made()
    with pytest.raises(RuntimeError, match=SAVED):
        f(r, t)
    with torch.inference_mode():
        f(r, t)
    with torch.no_grad():
        assert not f(r, t).is_inference()
    assert f(r, t.clone()).requires_grad


def test_it_is_computed_with_where_it_is_not_saved():
    r, t = torch.full((3,), 2.0, requires_grad=True), made()
    total = (r + t).sum() + (r - t).sum() + torch.cat([r, t]).sum() + (r * t.clone()).sum()
    total.backward()
    assert r.grad.tolist() == [4, 4, 4]


def test_custom_functions_do_not_save_it():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

    with pytest.raises(RuntimeError, match=SAVED):
        Product.apply(torch.ones(3, requires_grad=True), made())


def test_views_of_normal_tensors():
    x = torch.ones(3, requires_grad=True)
    with torch.inference_mode():
        v = x[:2]
        n = torch.ones(3)
    assert v.requires_grad
    with pytest.raises(RuntimeError, match="^A view was created in inference mode and is being modified inplace"):
        v.add_(1)
    y = torch.ones(3)
    y.copy_(n)
    x.grad = n


def test_compiled_functions():
    @torch.compile
    def f(x):
        return x * 2, x[:1]

    for _ in range(3):
        with torch.inference_mode():
            made, view = f(torch.ones(2))
            assert made.is_inference()
            assert view.is_inference()
        assert not f(torch.ones(2))[0].is_inference()
