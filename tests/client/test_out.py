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


LONG, DOUBLE = torch.long, torch.double
OTHER_TYPES = {
    "abs": (lambda x, out: torch.abs(x, out=out), DOUBLE, "Found dtype Double but expected Float"),
    "cummax": (lambda x, out: torch.cummax(x, 0, out=(out, torch.empty(0, dtype=LONG))), DOUBLE,
               "expected scalar_type Float but found Double"),
    "dot": (lambda x, out: torch.dot(x, x, out=out), DOUBLE, "result dtype Double does not match input dtype Float"),
    "all": (lambda x, out: torch.all(x, 0, out=out), DOUBLE, "all only supports bool tensor for result, got: Double"),
    "masked_select": (lambda x, out: torch.masked_select(x, x > 1, out=out), DOUBLE,
                      "masked_select(): self and result must have the same scalar type"),
    "signbit": (lambda x, out: torch.signbit(x, out=out), DOUBLE, "signbit does not support non-boolean outputs."),
    "nanquantile": (lambda x, out: torch.nanquantile(x, 0.5, out=out), DOUBLE,
                    "quantile() out tensor must be same dtype as the input tensor"),
    "nonzero": (lambda x, out: torch.nonzero(x, out=out), DOUBLE,
                "nonzero: Expected out tensor to have scalar type Long but got scalar typeDouble"),
    "float_power": (lambda x, out: torch.float_power(x, 2, out=out), LONG, "the output given to float_power has dtype "
                    "Long but the operation's result requires dtype Double"),
    "inner": (lambda x, out: torch.inner(x, x, out=out), DOUBLE, "tensordot: Expected the output tensor to have dtype "
              "Float, but got an output tensor with dtype Double"),
    "where": (lambda x, out: torch.where(x > 1, x, x, out=out), DOUBLE, "Expected out type to be Float but got Double"),
    "kron": (lambda x, out: torch.kron(x, x, out=out), LONG, "result type Float can't be cast to the desired output "
             "type Long"),
    "cholesky_inverse": (lambda x, out: torch.cholesky_inverse(torch.eye(2), out=out), LONG, "cholesky_inverse: "
                         "Expected result to be safely castable from Float dtype, but got result with dtype Long"),
    "mean": (lambda x, out: torch.mean(x, 0, out=out), LONG, "mean.dtype_out(): input types can't be cast to the "
             "desired output type Long"),
    "logsumexp": (lambda x, out: torch.logsumexp(x, 0, out=out), LONG, "logsumexp(): Expected floating point type for "
                  "result tensor, but got: Long"),
}  # fmt: skip


@pytest.mark.parametrize(("f", "dtype", "text"), OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_out_of_another_type(f, dtype, text):
    with pytest.raises(RuntimeError) as e:
        f(torch.arange(4.0), torch.empty(0, dtype=dtype))
    assert str(e.value) == text


CONVERTED = {
    "cat": lambda x, out: torch.cat((x, x), out=out),
    "stack": lambda x, out: torch.stack((x, x), out=out),
    "kron": lambda x, out: torch.kron(x, x, out=out),
    "outer": lambda x, out: torch.outer(x, x, out=out),
    "diff": lambda x, out: torch.diff(x, out=out),
    "mean": lambda x, out: torch.mean(x, 0, out=out),
    "std": lambda x, out: torch.std(x, 0, out=out),
    "eye": lambda x, out: torch.eye(2, out=out),
}


@pytest.mark.parametrize("f", CONVERTED.values(), ids=CONVERTED)
def test_out_of_a_wider_type(f):
    x = torch.arange(4.0)
    wide, own = torch.empty(0, dtype=DOUBLE), torch.empty(0)
    f(x, wide)
    f(x, own)
    assert wide.tolist() == own.double().tolist()


def test_tensors_in_a_row_that_do_not_fit():
    text = r"^torch.cat\(\): input types can't be cast to the desired output type Long$"
    for f in (torch.cat, torch.hstack, torch.stack):
        with pytest.raises(TypeError, match=text):
            f((torch.ones(1), torch.ones(1)), out=torch.empty(0, dtype=LONG))


def test_functions_that_have_it_as_well():
    places, a = torch.empty(0, dtype=LONG), torch.empty(0)
    assert torch.argsort(torch.tensor([3.0, 1.0, 2.0]), out=places).tolist() == [1, 2, 0]
    assert torch.inverse(torch.eye(1) * 2, out=a) is a
    assert a.tolist() == [[0.5]]
    assert torch.matrix_power(torch.eye(1) * 2, 3, out=a).tolist() == [[8]]
    log = torch.empty(0)
    assert torch.slogdet(torch.eye(1), out=(torch.empty(0), log)).logabsdet is log
    assert torch.orgqr(torch.eye(1), torch.zeros(1), out=torch.empty(0)).tolist() == [[1]]
