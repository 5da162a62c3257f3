"""Custom functions that return, view or write to their inputs, and what they saved after it was written to."""

import pytest

import gradwire as torch

INSIDE = "was created inside a custom Function (or because an input was returned as-is)"


def scaled(forward):
    """A custom function of one input whose derivative is 5, whatever it does."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def backward(ctx, g):
            return 5 * g.reshape(-1)

    Scaled.forward = staticmethod(forward)
    return Scaled.apply


def doubled(ctx, x):
    ctx.mark_dirty(x)
    return x.mul_(2)


def leaf():
    return torch.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize("forward", [lambda ctx, x: x, lambda ctx, x: x.view(2, 1)], ids=["input", "view"])
def test_an_input_returned_and_a_view_of_one_are_views_not_to_be_written_to(forward):
    x = leaf()
    f = scaled(forward)
    y = f(x)
    assert y is not x
    assert y._is_view()
    assert y._base is x
    with pytest.raises(RuntimeError, match="Output 0 of Scaled is a view and is being modified inplace") as e:
        y.add_(1)
    assert INSIDE in str(e.value)
    y.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_a_view_that_a_function_made_is_lost_when_its_base_is_written_to():
    a = leaf() * 1
    y = scaled(lambda ctx, x: x)(a)
    a.add_(1)
    with pytest.raises(RuntimeError, match="its base or another view of its base has been modified inplace") as e:
        y.sum()
    assert INSIDE in str(e.value)


def test_an_input_that_was_written_to_is_the_result():
    x = leaf()
    a = x * 1
    assert scaled(doubled)(a) is a
    assert a._version == 2  # by the write, and by the word of it
    assert a.tolist() == [2, 4]
    a.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_a_view_that_was_written_to_rewrites_its_base():
    """Of a = 3x the first element goes through the function: the gradients are 5 * 3 and 3."""
    x = leaf()
    a = x * 3
    part = a[:1]
    assert scaled(doubled)(part) is part
    assert a.tolist() == [6, 6]
    assert a.grad_fn.name() == "torch::autograd::CopySlices"
    a.sum().backward()
    assert x.grad.tolist() == [15, 3]


def test_what_a_function_may_not_write_to():
    x = leaf()
    with pytest.raises(RuntimeError, match="^a leaf Variable that requires grad has been used in an in-place"):
        scaled(doubled)(x)
    with pytest.raises(RuntimeError, match="^a view of a leaf Variable that requires grad is being used in an in-pla"):
        scaled(doubled)(x.view(2))
    with pytest.raises(RuntimeError, match="modifies a view inplace, it can't return other outputs"):
        scaled(lambda ctx, x: (doubled(ctx, x), x + 1))((x * 1).view(2))


def test_what_is_returned_twice_is_one_result_with_the_last_place():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            return y, y

        @staticmethod
        def backward(ctx, a, b):
            seen.append((a.tolist(), b.tolist()))
            return 2 * (a + b)

    seen = []
    x = leaf()
    a, b = Twice.apply(x)
    assert a is b
    (a + 3 * b).sum().backward()
    assert seen == [([0, 0], [4, 4])]
    assert x.grad.tolist() == [8, 8]


def test_what_was_written_to_since_it_was_saved_is_told_by_who_made_it():
    def saving(ctx, x):
        ctx.save_for_backward(x, y := x.exp())
        return y

    class Saving(torch.autograd.Function):
        forward = staticmethod(saving)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[1]

    x = leaf()
    a = x + 1
    y = Saving.apply(a)
    a.add_(1)
    with pytest.raises(RuntimeError, match=r"FloatTensor \[2\]\], which is output 0 of Add, is at version 1"):
        y.sum().backward()
    y = Saving.apply(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"FloatTensor \[2\]\], which is output 0 of Saving, is at version 1"):
        y.sum().backward()


def test_only_tensors_can_be_marked():
    def marked(mark):
        return lambda ctx, x: getattr(ctx, mark)(3) or x * 1

    with pytest.raises(RuntimeError, match="^mark_dirty can only accept variables, but argument $"):
        scaled(marked("mark_dirty"))(leaf())
    with pytest.raises(RuntimeError, match="^mark_non_differentiable only accepts variable arguments, but got $"):
        scaled(marked("mark_non_differentiable"))(leaf())
