"""What torch refuses is refused, with torch's error type and text; and what it warns of is warned of."""

import re

import pytest

import gradwire as torch

F = torch.nn.functional
AGAIN = "Trying to backward through the graph a second time (or directly access saved tensors after they have already"
MODIFIED = "one of the variables needed for gradient computation has been modified by an inplace operation: "
LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."
MULTI_VIEW = (
    "Output 0 of {} is a view and is being modified inplace. This view is the output of a function that returns "
    "multiple views. Such functions do not allow the output views to be modified inplace. You should replace the "
    "inplace operation by an out-of-place one."
)


def leaf(*shape):
    return torch.ones(*(shape or (2,)), requires_grad=True)


def twice():
    y = leaf().exp()
    y.sum().backward()
    y.sum().backward()


def overwritten():
    y = leaf().exp()
    y.mul_(2)
    y.sum().backward()


def overwritten_by_index():
    x = leaf()
    y = x * 1
    y[0] = 3.0
    z = y.exp()
    z[1] = 0.0
    z.sum().backward()


def set_item():
    leaf()[0] = 1.0


def assign(name, value, make=leaf):
    return lambda: setattr(make(), name, value())


def multi_view(split):
    def f():
        split(leaf(2, 2) * 1)[0].mul_(2)

    return f


def no_grad_view():
    y = leaf() * 1
    with torch.no_grad():
        v = y.view(2)
    v.mul_(2)


def hooked(hook):
    def f():
        x = leaf()
        x.register_hook(hook)
        x.sum().backward()

    return f


def detached_while_saved():
    y = leaf() * 1
    z = y * y
    y.detach_()
    z.sum().backward()


def bool_of_two():
    if torch.ones(2):
        pass


def function(forward, backward=None):
    """Apply a custom function and go backward through it."""

    def f():
        body = {"forward": staticmethod(forward)}
        if backward is not None:
            body["backward"] = staticmethod(backward)
        made = type("F", (torch.autograd.Function,), body)
        made.apply(leaf()).sum().backward()

    return f


def double(ctx, x):
    return x * 2


def save(ctx, x):
    ctx.save_for_backward(x)
    return x * 2


def save_number(ctx, x):
    ctx.save_for_backward(3)
    return x * 2


def saved_twice():
    made = type("F", (torch.autograd.Function,), {"forward": staticmethod(save),
                "backward": staticmethod(lambda ctx, g: g * ctx.saved_tensors[0])})  # fmt: skip
    y = made.apply(leaf())
    y.sum().backward()
    y.sum().backward()


def once_differentiable():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

    x = leaf()
    (g,) = torch.autograd.grad(Cube.apply(x).pow(2).sum(), x, create_graph=True)
    g.sum().backward()


grad = torch.autograd.grad
REFUSED = [
    # ---- the graph ----
    ("twice", twice, RuntimeError, AGAIN),
    ("overwritten", overwritten, RuntimeError,
     MODIFIED + "[torch.FloatTensor [2]], which is output 0 of Exp, is at version 1; expected version 0 instead. Hint: "
     "enable anomaly detection to find the operation that failed to compute its gradient, with "
     "torch.autograd.set_detect_anomaly(True, check_nan=False)."),
    ("overwritten by index", overwritten_by_index, RuntimeError, MODIFIED + "[torch.FloatTensor [2]]"),
    ("not a scalar", lambda: leaf().mul(2).backward(), RuntimeError,
     "grad can be implicitly created only for scalar outputs"),
    ("no history", lambda: torch.ones(()).backward(), RuntimeError,
     "element 0 of tensors does not require grad and does not have a grad_fn"),
    ("complex scalar", lambda: torch.ones((), dtype=torch.complex64, requires_grad=True).mul(2).backward(),
     RuntimeError, "grad can be implicitly created only for real scalar outputs but got torch.complex64"),
    ("unused", lambda: grad(leaf().sum(), leaf()), RuntimeError,
     "The differentiated Tensor at index 0 appears to not have been used in the graph. Set allow_unused=True if this "
     "is the desired behavior."),
    ("input without grad", lambda: grad(leaf().sum(), torch.ones(2)), RuntimeError,
     "One of the differentiated Tensors does not require grad"),
    ("no inputs", lambda: grad(leaf().sum(), []), RuntimeError, "`inputs` argument to `grad()` cannot be empty."),
    ("gradient of another shape", lambda: leaf().mul(2).backward(torch.ones(3)), RuntimeError,
     "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape of torch.Size([2])."),
    ("gradients of another number", lambda: grad([leaf() * 2, leaf() * 2], leaf(), [torch.ones(2)]), RuntimeError,
     "got 2 tensors and 1 gradients"),
    ("gradient of another kind", lambda: leaf().mul(2).backward(torch.ones(2, dtype=torch.complex64)), RuntimeError,
     "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
     "grad_output[0] has a dtype of torch.complex64 and output[0] has a dtype of torch.float32."),
    # ---- requires_grad, grad ----
    ("integers", lambda: torch.tensor([1], requires_grad=True), RuntimeError,
     "Only Tensors of floating point and complex dtype can require gradients"),
    ("integers later", lambda: torch.tensor([1]).requires_grad_(), RuntimeError,
     "only Tensors of floating point dtype can require gradients"),
    ("integers by attribute", assign("requires_grad", lambda: True, lambda: torch.tensor([1])), RuntimeError,
     "only Tensors of floating point and complex dtype can require gradients"),
    ("flag of a result", assign("requires_grad", lambda: False, lambda: leaf() * 2), RuntimeError,
     "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph "
     "that doesn't require differentiation use var_no_grad = var.detach()."),
    ("grad of another shape", assign("grad", lambda: torch.ones(3)), RuntimeError,
     "attempting to assign a gradient of size '[3]' to a tensor of size '[2]'. Please ensure that the gradient and "
     "the tensor are the same size"),
    ("grad of another type", assign("grad", lambda: torch.ones(2, dtype=torch.float64)), RuntimeError,
     "attempting to assign a gradient with dtype 'double' to a tensor with grad_dtype 'Float'."),
    ("grad that is no tensor", assign("grad", lambda: 1), TypeError,
     "assigned grad expected to be a Tensor or None but got grad of type int"),
    ("retain without grad", lambda: torch.ones(2).retain_grad(), RuntimeError,
     "can't retain_grad on Tensor that has requires_grad=False"),
    ("numpy", lambda: leaf().numpy(), RuntimeError,
     "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."),
    # ---- in place ----
    ("leaf in place", lambda: leaf().add_(1), RuntimeError, LEAF),
    ("leaf in place before shapes", lambda: leaf().add_(torch.ones(2, 2)), RuntimeError, LEAF),
    ("view of a leaf in place", lambda: leaf()[:1].add_(1), RuntimeError, VIEW_OF_LEAF),
    ("item of a leaf", set_item, RuntimeError, VIEW_OF_LEAF),
    ("split", multi_view(lambda t: t.split(1)), RuntimeError, MULTI_VIEW.format("Split")),
    ("unbind", multi_view(lambda t: t.unbind()), RuntimeError, MULTI_VIEW.format("Unbind")),
    ("view of no_grad", no_grad_view, RuntimeError,
     "A view was created in no_grad mode and is being modified inplace with grad mode enabled."),
    ("detach_ of a view", lambda: leaf().view(1, 2).detach_(), RuntimeError,
     "Can't detach views in-place. Use detach() instead."),
    ("detached while saved", detached_while_saved, RuntimeError,
     "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_().This is not supported, please "
     "use out-of-place `.detach()` instead"),
    ("expanded in place", lambda: torch.ones(1).expand(3).add_(1), RuntimeError,
     "unsupported operation: more than one element of the written-to tensor refers to a single memory location."),
    # ---- hooks and custom functions ----
    ("hook without grad", lambda: torch.ones(2).register_hook(print), RuntimeError,
     "cannot register a hook on a tensor that doesn't require gradient"),
    ("post hook on a result", lambda: leaf().mul(2).register_post_accumulate_grad_hook(print), RuntimeError,
     "post accumulate grad hooks cannot be registered on non-leaf tensors"),
    ("hook of another shape", hooked(lambda g: torch.ones(3)), RuntimeError,
     "hook '<lambda>' has changed the size of value"),
    ("hook of another type", hooked(lambda g: g.double()), RuntimeError,
     "hook '<lambda>' has changed the type of value (was torch.FloatTensor got torch.DoubleTensor)"),
    ("hook that returns a number", hooked(lambda g: 3), TypeError, "expected Variable, but hook returned 'int'"),
    ("too many gradients", function(double, lambda ctx, g: (g, g)), RuntimeError,
     "function FBackward returned an incorrect number of gradients (expected 1, got 2)"),
    ("gradient that is no tensor", function(double, lambda ctx, g: 3), RuntimeError,
     "expected Variable or None (got int)"),
    ("gradient of a bad shape", function(double, lambda ctx, g: torch.ones(5)), RuntimeError,
     "Function FBackward returned an invalid gradient at index 0 - got [5] but expected shape compatible with [2]"),
    ("no backward", function(double), NotImplementedError,
     "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward "
     "mode AD."),
    ("saving a number", function(save_number, lambda ctx, g: g), TypeError,
     "save_for_backward can only save variables, but argument 0 is of type int"),
    ("custom function twice", saved_twice, RuntimeError, AGAIN),
    ("once differentiable", once_differentiable, RuntimeError,
     "trying to differentiate twice a function that was marked with @once_differentiable"),
    # ---- values ----
    ("truth of two", bool_of_two, RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
    ("item of two", lambda: torch.ones(2).item(), RuntimeError,
     "a Tensor with 2 elements cannot be converted to Scalar"),
    ("iterating a scalar", lambda: list(torch.ones(())), TypeError, "iteration over a 0-d tensor"),
    ("length of a scalar", lambda: len(torch.ones(())), TypeError, "len() of a 0-d tensor"),
    # ---- shapes and types ----
    ("broadcast", lambda: torch.ones(2) + torch.ones(3), RuntimeError,
     "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0"),
    ("broadcast at the last", lambda: torch.ones(3, 2) + torch.ones(2, 3), RuntimeError,
     "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 1"),
    ("broadcast in place", lambda: torch.ones(1).add_(torch.ones(3)), RuntimeError,
     "output with shape [1] doesn't match the broadcast shape [3]"),
    ("matmul", lambda: torch.ones(2, 3) @ torch.ones(2, 3), RuntimeError,
     "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    ("mv", lambda: torch.ones(2, 3).mv(torch.ones(2)), RuntimeError,
     "size mismatch, got input (2), mat (2x3), vec (2)"),
    ("bmm", lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 3, 4)), RuntimeError,
     "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3]."),
    ("dim", lambda: torch.ones(2, 2).sum(5), IndexError,
     "Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
    ("reshape", lambda: torch.ones(6).reshape(4, 2), RuntimeError, "shape '[4, 2]' is invalid for input of size 6"),
    ("view", lambda: torch.ones(2, 3).t().view(6), RuntimeError,
     "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
     "contiguous subspaces). Use .reshape(...) instead."),
    ("cat", lambda: torch.cat([torch.ones(2, 3), torch.ones(2, 2)]), RuntimeError,
     "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 2 for tensor number 1 in the "
     "list."),
    ("cat of nothing", lambda: torch.cat([]), ValueError, "torch.cat(): expected a non-empty list of Tensors"),
    ("stack", lambda: torch.stack([torch.ones(2), torch.ones(3)]), RuntimeError,
     "stack expects each tensor to be equal size, but got [2] at entry 0 and [3] at entry 1"),
    ("expand", lambda: torch.ones(2, 3).expand(2, 4), RuntimeError,
     "The expanded size of the tensor (4) must match the existing size (3) at non-singleton dimension 1.  Target "
     "sizes: [2, 4].  Tensor sizes: [2, 3]"),
    ("permute", lambda: torch.ones(2, 3).permute(0, 0), RuntimeError, "permute(): duplicate dims are not allowed."),
    ("squeeze", lambda: torch.ones(2).squeeze(3), IndexError,
     "Dimension out of range (expected to be in range of [-1, 0], but got 3)"),
    ("index out of range", lambda: torch.ones(2)[5], IndexError,
     "index 5 is out of bounds for dimension 0 with size 2"),
    ("too many indices", lambda: torch.ones(2)[0, 0], IndexError, "too many indices for tensor of dimension 1"),
    ("float into int", lambda: torch.tensor([1]).add_(1.5), RuntimeError,
     "result type Float can't be cast to the desired output type Long"),
    ("float tensor into int", lambda: torch.tensor([1]).mul_(torch.ones(1)), RuntimeError,
     "result type Float can't be cast to the desired output type Long"),
    ("mean of ints", lambda: torch.tensor([1]).mean(), RuntimeError,
     "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: Long"),
    ("list for a tensor", lambda: torch.ones(2) + [1, 2], TypeError,
     "unsupported operand type(s) for +: 'Tensor' and 'list'"),
    ("number for a tensor", lambda: torch.exp(1.0), TypeError,
     "exp(): argument 'input' (position 1) must be Tensor, not float"),
    # ---- what only the data shows ----
    ("singular", lambda: torch.linalg.inv(torch.zeros(2, 2)).sum().item(), torch.linalg.LinAlgError,
     "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because the input matrix is "
     "singular."),
    ("not positive-definite", lambda: torch.linalg.cholesky(-torch.eye(2)).sum().item(), torch.linalg.LinAlgError,
     "linalg.cholesky: The factorization could not be completed because the input is not positive-definite (the "
     "leading minor of order 1 is not positive-definite)."),
]  # fmt: skip


@pytest.mark.parametrize(("run", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(run, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        run()
    assert (leaf() * 2).sum().item() == 4  # the session goes on


def weight():
    w = torch.ones(2)
    return leaf() * w, w


def indices():
    i = torch.tensor([0, 1])
    return leaf().gather(0, i), i


def condition():
    c = torch.tensor([True, False])
    return torch.where(c, leaf(), 0.0), c


SAVED = [(weight, "torch.FloatTensor"), (indices, "torch.LongTensor"), (condition, "CPUBoolType")]


@pytest.mark.parametrize(("make", "kind"), SAVED, ids=["weight", "indices", "condition"])
def test_what_needs_no_gradient_and_was_saved_is_refused_at_once(make, kind):
    """The backward itself raises, not what next waits."""
    y, saved = make()
    saved.zero_()
    with pytest.raises(RuntimeError, match=re.escape(f"{MODIFIED}[{kind} [2]] is at version 1; expected version 0")):
        y.sum().backward()


def test_a_result_that_was_saved_is_refused_at_once_when_written_to_without_grad():
    y = leaf().exp()
    with torch.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match=re.escape(f"{MODIFIED}[torch.FloatTensor [2]], which is output 0 of Exp")):
        y.sum().backward()


def test_an_index_that_a_reduction_saved_is_nobodys_output():
    values, indices = leaf().max(0)
    indices.add_(1)
    with pytest.raises(RuntimeError, match=re.escape(f"{MODIFIED}[torch.LongTensor []] is at version 1; expected")):
        values.backward()


def test_a_gradient_that_is_not_kept_is_warned_of():
    y = leaf() * 2
    with pytest.warns(UserWarning, match="The .grad attribute of a Tensor that is not a leaf Tensor is being accessed"):
        assert y.grad is None


def test_create_graph_in_backward_is_warned_of():
    with pytest.warns(UserWarning, match=r"Using backward\(\) with create_graph=True will create a reference cycle"):
        leaf().sum().backward(create_graph=True)


def test_what_may_be_written_to_after_it_was_made():
    """Torch saves the input of gelu, copies what it repeats, and doesn't track the pieces of an unsafe split."""
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.gelu(x)
    (want,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    y.mul_(3)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert torch.allclose(first, 3 * want)
    (second,) = torch.autograd.grad(first.sum(), x)
    density = torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5
    assert torch.allclose(second, 3 * density * (2 - x * x))
    repeated = x.repeat_interleave(1), x.repeat_interleave(2)
    for pieces in (x * 1).unsafe_split(1), torch.unsafe_chunk(x * 1, 2), repeated:
        pieces[0].mul_(2)
        pieces[1].mul_(3)
        assert torch.autograd.grad(pieces[0].sum() + pieces[1].sum(), x)[0].tolist() in ([2, 3], [8, 8])
