"""Products of matrices and vectors: values, derivatives to second order, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine
from tests.engine.harness import case, check, crand, rand


def plus(product):
    return lambda input, a, b, beta=1, alpha=1: beta * input + alpha * product(a, b)


def sum_of_products(a, b):
    return np.matmul(a, b).sum(0)


def linear(x, w, b=0):
    return x @ w.T + b


CASES = [
    case("mm", rand(2, 3), rand(3, 4), ref=np.matmul),
    case("mm", crand(2, 3), crand(3, 4), ref=np.matmul, label="complex"),
    case("mm", np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4), ref=np.matmul, label="ints"),
    case("mm", rand(2, 0), rand(0, 3), ref=np.matmul, label="empty"),
    case("mv", rand(2, 3), rand(3), ref=np.matmul),
    case("mv", crand(2, 3), crand(3), ref=np.matmul, label="complex"),
    case("bmm", rand(2, 3, 4), rand(2, 4, 1), ref=np.matmul),
    case("bmm", crand(2, 3, 4), crand(2, 4, 1), ref=np.matmul, label="complex"),
    case("dot", rand(3), rand(3, seed=1), ref=np.dot),
    case("dot", crand(3), crand(3, seed=1), ref=np.dot, label="complex"),
    case("vdot", crand(3), crand(3, seed=1), ref=np.vdot),
    case("outer", crand(3), crand(2, seed=1), ref=np.outer),
    *[
        case("matmul", make(*a), make(*b, seed=3), ref=np.matmul, label=f"{a}{b}{make.__name__}")
        for make in (rand, crand)
        for a, b in (
            ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 2, 3), (3, 4)), ((2, 2, 3), (3,)), ((3,), (2, 3, 4)),
            ((2, 3), (2, 3, 4)), ((5, 1, 2, 3), (2, 3, 4)), ((2, 3), (3, 2)), ((2, 0, 3), (3, 4)),
        )
    ],
    case("linalg_cross", rand(2, 3), rand(2, 3, seed=1), ref=np.cross),
    case("linalg_cross", crand(3, 1), crand(3, 2, seed=1), dim=0, label="complex",
         ref=lambda a, b, dim: np.cross(*np.broadcast_arrays(a, b), axis=0)),
    case("linear", rand(2, 3), rand(4, 3), rand(4), ref=linear),
    case("linear", crand(2, 3), crand(4, 3), crand(4), ref=linear, label="complex"),
    case("linear", rand(2, 3), rand(4, 3), ref=linear, label="no bias"),
    case("linear", rand(2, 5, 3), rand(4, 3), rand(4), ref=linear, label="batches"),
    case("linear", rand(3), rand(4, 3), rand(4), ref=linear, label="vector"),
    case("linear", rand(2, 5, 3), rand(3), ref=linear, label="one feature"),
    case("linear", rand(2, 3), rand(4, 3), rand(2, 4), ref=linear, label="bias a row"),
    case("addmm", rand(4), rand(2, 3), rand(3, 4), ref=plus(np.matmul)),
    case("addmm", crand(2, 4), crand(2, 3), crand(3, 4), ref=plus(np.matmul), beta=2j, alpha=0.5 + 1j, label="complex"),
    case("addmm", np.full((2, 1), np.nan), rand(2, 3), rand(3, 4), ref=lambda i, a, b, beta: a @ b, beta=0, order=0,
         label="beta 0"),
    case("addmm_", rand(2, 4), rand(2, 3), rand(3, 4), ref=plus(np.matmul), beta=0.5, alpha=2),
    case("addmm_", rand(2, 4), rand(2, 3), rand(3, 4), ref=plus(np.matmul), beta=0, label="beta 0"),
    case("addmv", rand(2), rand(2, 3), rand(3), ref=plus(np.matmul), beta=2, alpha=3),
    case("addmv_", crand(2), crand(2, 3), crand(3), ref=plus(np.matmul)),
    case("addr", rand(2, 3), rand(2), rand(3), ref=plus(np.outer), beta=2, alpha=3),
    case("addr_", crand(2, 3), crand(2), crand(3), ref=plus(np.outer)),
    case("addbmm", rand(3, 5), rand(2, 3, 4), rand(2, 4, 5), ref=plus(sum_of_products), beta=2, alpha=3),
    case("addbmm_", crand(3, 5), crand(2, 3, 4), crand(2, 4, 5), ref=plus(sum_of_products)),
    case("baddbmm", rand(3, 5), rand(2, 3, 4), rand(2, 4, 5), ref=plus(np.matmul), beta=2, alpha=3),
    case("baddbmm_", crand(2, 3, 5), crand(2, 3, 4), crand(2, 4, 5), ref=plus(np.matmul)),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


WRONG = [
    ("mm", [(2, 3), (2, 3)], "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    ("mm", [(2,), (2, 3)], "self must be a matrix"),
    ("mv", [(2, 3), (2,)], "size mismatch, got input (2), mat (2x3), vec (2)"),
    ("bmm", [(2, 3, 4), (3, 4, 5)],
     "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [3, 4]."),
    ("bmm", [(2, 3), (2, 3, 4)], "batch1 must be a 3D tensor"),
    ("dot", [(2,), (3,)], "inconsistent tensor size, expected tensor [2] and src [3] to have the same number of "
                          "elements, but got 2 and 3 elements respectively"),
    ("dot", [(2, 2), (3,)], "1D tensors expected, but got 2D and 1D tensors"),
    ("matmul", [(), (2,)], "both arguments to matmul need to be at least 1D, but they are 0D and 1D"),
    ("matmul", [(2, 2, 3), (3, 3, 4)],
     "The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0"),
    ("matmul", [(2, 2, 3), (2, 3)], "mat1 and mat2 shapes cannot be multiplied (4x3 and 2x3)"),
    ("matmul", [(2, 3, 4), (5,)], "size mismatch, got input (6), mat (6x4), vec (5)"),
    ("outer", [(2, 3), (2,)], "outer: Expected 1-D argument self, but got 2-D"),
    ("linear", [(2, 3), (4, 2)], "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x4)"),
    ("linear", [(2, 3), (4, 3), (5,)], "The expanded size of the tensor (4) must match the existing size (5) at "
                                       "non-singleton dimension 1.  Target sizes: [2, 4].  Tensor sizes: [5]"),
    ("linear", [(), (3, 3)], "both arguments to linear need to be at least 1D, but they are 0D and 2D"),
    ("addmm", [(4,), (3,), (3, 4)], "mat1 must be a matrix, got 1-D tensor"),
    ("addmm", [(5,), (2, 3), (3, 4)], "The expanded size of the tensor (4) must match the existing size (5) at "
                                      "non-singleton dimension 1.  Target sizes: [2, 4].  Tensor sizes: [5]"),
    ("addmv", [(4,), (2, 3), (3,)], "size mismatch, got input (4), mat (2x3), vec (3)"),
    ("linalg_cross", [(3,), (2,)], "linalg.cross: inputs dimension -1 must have length 3. Got 3 and 2"),
    ("linalg_cross", [(3,), (3, 3)], "linalg.cross: inputs must have the same number of dimensions."),
    ("addr", [(2, 2), (3, 2), (3,)], "addr: Expected 1-D argument vec1, but got 2-D"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shapes", "text"), WRONG)
def test_shapes_that_do_not_fit(name, shapes, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call(name, *[engine.wrap(rand(*s)) for s in shapes])
    assert str(e.value) == text


@pytest.mark.parametrize(("name", "a", "b", "text"), [
    ("mm", rand(2, 2), rand(2, 2).astype("f"), "expected m1 and m2 to have the same dtype, but got: double != float"),
    ("mv", rand(2, 2), rand(2).astype("f"), "addmv input tensors must have the same dtype, but got Float, Double, and "
                                            "Float"),
    ("bmm", rand(1, 2, 2), rand(1, 2, 2).astype("f"), "expected scalar type Double but found Float"),
    ("dot", rand(2), rand(2).astype("f"), "dot : expected both vectors to have same dtype, but found Double and "
                                          "Float"),
])  # fmt: skip
def test_types_that_do_not_fit(name, a, b, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call(name, engine.wrap(a), engine.wrap(b))
    assert str(e.value) == text


def test_half_accumulates_in_float():
    engine = Engine()
    ones = engine.wrap(np.full((1, 4096), 1, np.float16))
    assert engine.call("mm", ones, engine.call("transpose", ones, 0, 1)).array.item() == 4096


def test_linear_is_one_node():
    engine = Engine()
    x, w = engine.wrap(rand(2, 3), True), engine.wrap(rand(4, 3), True)
    y = engine.call("linear", x, w)
    assert y.grad_fn.name == "AddmmBackward0"
    assert engine.nodes == 3
