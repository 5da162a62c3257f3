"""``out=``: results go to tensors that are there, with torch's refusals."""

import numpy as np
import pytest

import gradwire as torch

OVERLAPS = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)
FUNCTIONS = {
    "op": (lambda x, out: torch.add(x, 1, out=out), lambda a: a + 1),
    "composed": (lambda x, out: torch.kron(x, x, out=out), lambda a: np.kron(a, a)),
    "matmul": (lambda x, out: torch.matmul(x, x.T, out=out), lambda a: a @ a.T),
    "where": (lambda x, out: torch.where(x > 2, x, -x, out=out), lambda a: np.where(a > 2, a, -a)),
    "overloaded": (lambda x, out: torch.max(x, out=out), lambda a: a.max()),
    "norm": (lambda x, out: torch.norm(x, out=out), np.linalg.norm),
    "creation": (lambda x, out: torch.ones(2, 3, out=out), np.ones_like),
    "copy": (lambda x, out: torch.t_copy(x, out=out), lambda a: a.T),
}


@pytest.mark.parametrize(("f", "want"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_results_go_there(f, want):
    a = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    out = torch.empty(0)
    assert f(torch.tensor(a), out) is out
    np.testing.assert_allclose(out.numpy(), want(a), rtol=1e-6)
    dense = torch.empty(tuple(out.shape))
    view = dense.view(-1)
    f(torch.tensor(a), dense)
    np.testing.assert_allclose(view.numpy(), np.ravel(want(a)), rtol=1e-6)


def test_what_is_computed_before_it_is_written_may_be_an_argument():
    x = torch.arange(4.0)
    assert torch.cumsum(x, 0, out=x) is x
    assert x.tolist() == [0, 1, 3, 6]
    assert torch.mm(x.view(2, 2), x.view(2, 2), out=x.view(2, 2)).tolist() == [[3, 6], [18, 39]]
    with pytest.raises(RuntimeError, match="some elements of the input tensor"):
        torch.cat((x[:2], x[2:]), out=x)


def test_sums_and_answers_take_the_type_of_out():
    x = torch.tensor([1.5, 2.0])
    assert torch.sum(x, 0, out=torch.tensor(0)).dtype is torch.int64
    assert torch.all(x, 0, out=torch.tensor(0, dtype=torch.uint8)).item() == 1


def test_several_results_are_named():
    values, indices = torch.empty(0), torch.empty(0, dtype=torch.long)
    made = torch.sort(torch.tensor([3.0, 1.0, 2.0]), out=(values, indices))
    assert made.values is values
    assert made.indices is indices
    assert values.tolist() == [1, 2, 3]
    assert indices.tolist() == [1, 2, 0]
    with pytest.raises(TypeError, match="argument 'out' must be tuple of 2 Tensors, not Tensor"):
        torch.sort(torch.ones(3), out=values)


def test_another_size_warns():
    out = torch.empty(2)
    with pytest.warns(UserWarning, match=r"resized since it had shape \[2\], which does not match .* shape \[4\]"):
        torch.exp(torch.zeros(4), out=out)
    assert out.tolist() == [1, 1, 1, 1]


REFUSED = {
    "recorded": (lambda x: torch.add(x.requires_grad_(), 1, out=torch.empty(4)), "add(): functions with out=... "
                 "arguments don't support automatic differentiation, but one of the arguments requires grad."),
    "narrower": (lambda x: torch.add(x, 1, out=torch.empty(4, dtype=torch.long)),
                 "result type Float can't be cast to the desired output type Long"),
    "other type": (lambda x: torch.gather(x, 0, torch.tensor([0]), out=torch.empty(1, dtype=torch.double)),
                   "Expected out tensor to have dtype float, but got double instead"),
    "part": (lambda x: torch.add(x[1:], 1, out=x[:-1]), OVERLAPS),
    "gathered": (lambda x: torch.gather(x, 0, torch.tensor([0, 1, 2, 3]), out=x), OVERLAPS),
    "itself": (lambda x: torch.add(x, 1, out=x[:1].expand(4)), "unsupported operation: more than one element of the "
               "written-to tensor refers to a single memory location. Please clone() the tensor before performing the "
               "operation."),
}  # fmt: skip


@pytest.mark.parametrize(("f", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(f, text):
    with pytest.raises(RuntimeError) as e:
        f(torch.arange(4.0))
    assert str(e.value) == text


def test_parts_beside_each_other_and_the_same_tensor_are_fine():
    x = torch.arange(4.0)
    torch.add(x[:2], 10, out=x[2:])
    torch.mul(x, 2, out=x)
    assert x.tolist() == [0, 2, 20, 22]
