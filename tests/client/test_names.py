"""Names and orders of arguments beside those of the documentation: torch's binding has them, so programs use them."""

import pytest

import gradwire as torch

X, Y = torch.arange(9.0).view(3, 3), torch.ones(3, 3)
SPD = torch.eye(3) * 4
KEYWORDS = {
    "bitwise_and": (lambda: torch.bitwise_and(self=2, other=torch.tensor([3])), [2]),
    "pow": (lambda: torch.pow(self=2, exponent=torch.tensor([3])), [8]),
    "cholesky_inverse": (lambda: torch.cholesky_inverse(input=torch.eye(1)), [[1]]),
    "cholesky_solve": (lambda: torch.cholesky_solve(input=torch.ones(1, 1), input2=torch.eye(1)), [[1]]),
    "hsplit": (lambda: torch.hsplit(X, sections=3)[1], [[1], [4], [7]]),
    "vsplit": (lambda: X.vsplit(indices=(1,))[0], [[0, 1, 2]]),
    "dsplit": (lambda: torch.dsplit(torch.ones(1, 1, 2), sections=2)[0], [[[1]]]),
    "tensor_split": (lambda: X.tensor_split(tensor_indices_or_sections=torch.tensor([1]))[0], [[0, 1, 2]]),
    "isin": (lambda: torch.isin(X[0], test_element=2), [False, False, True]),
    "repeat_interleave": (lambda: torch.repeat_interleave(repeats=torch.tensor([1, 2])), [0, 1, 1]),
    "split_copy": (lambda: torch.split_copy(input=X[0], split_size=1)[2], [2]),
    "unsafe_split": (lambda: X[0].unsafe_split(split_size=2)[1], [2]),
    "view_copy": (lambda: torch.view_copy(torch.tensor([1.0]), dtype=torch.int32), [1065353216]),
    "sum_to_size": (lambda: X.sum_to_size(size=(1, 3)), [[9, 12, 15]]),
    "tile": (lambda: X[0].tile(dims=(2,)), [0, 1, 2, 0, 1, 2]),
    "triangular_solve": (lambda: torch.triangular_solve(input=torch.ones(1, 1), A=torch.eye(1))[0], [[1]]),
    "orgqr": (lambda: torch.orgqr(torch.eye(1), input2=torch.zeros(1)), [[1]]),
    "ormqr": (lambda: torch.ormqr(torch.eye(1), input2=torch.zeros(1), input3=torch.ones(1, 1)), [[1]]),
    "tril_indices": (lambda: torch.tril_indices(1, 1, requires_grad=False), [[0], [0]]),
    "copy_": (lambda: torch.zeros(1).copy_(other=torch.ones(1), non_blocking=True), [1]),
}


@pytest.mark.parametrize(("f", "wanted"), KEYWORDS.values(), ids=KEYWORDS)
def test_keywords(f, wanted):
    assert f().tolist() == wanted


ORDERS = {
    "add": (lambda: torch.add(X, 2, Y), lambda: X + 2 * Y),
    "add_": (lambda: X.clone().add_(2, Y), lambda: X + 2 * Y),
    "sub": (lambda: X.sub(2, Y), lambda: X - 2 * Y),
    "addmm": (lambda: torch.addmm(2, X, 3, X, Y), lambda: 2 * X + 3 * X @ Y),
    "addmm with beta": (lambda: torch.addmm(2, X, X, Y), lambda: 2 * X + X @ Y),
    "addmm of a tensor": (lambda: X.addmm(2, 3, X, Y), lambda: 2 * X + 3 * X @ Y),
    "addmm_": (lambda: X.clone().addmm_(2, X, Y), lambda: 2 * X + X @ Y),
    "addcmul": (lambda: torch.addcmul(X, 3, X, Y), lambda: X + 3 * X * Y),
    "addcdiv": (lambda: X.addcdiv(3, X, Y), lambda: X + 3 * X / Y),
}


@pytest.mark.parametrize(("f", "wanted"), ORDERS.values(), ids=ORDERS)
def test_orders_from_before_numbers_were_named(f, wanted):
    with pytest.warns(UserWarning, match="^This overload of .* is deprecated:\n\t"):
        assert f().tolist() == wanted().tolist()


def test_other_orders_are_refused():
    with pytest.raises(TypeError, match=r"^add\(\) takes 2 positional arguments but 3 were given$"):
        torch.add(X, Y, Y)


def test_a_norm_except_along_the_only_dim():
    assert torch.norm_except_dim(torch.tensor([-1.0, 2.0])).tolist() == [1, 2]
