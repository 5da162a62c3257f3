"""as_strided: windows with and without overlap, writes through them, what lies out of bounds."""

import numpy as np
import pytest

from gradwire_engine import Engine, backward
from tests.engine.harness import case, check, crand, rand, run


def window(a, size, stride, offset=0):
    at = offset + sum(step * i for i, step in zip(np.indices(size), stride, strict=True))
    return a.reshape(-1)[at]


def added(g, room, stride, offset):
    memory = np.zeros(room, g.dtype)
    for i in np.ndindex(g.shape):
        memory[offset + np.dot(i, stride).astype(int)] += g[i]
    return memory


CASES = [
    case("as_strided", rand(3, 4), (2, 3), (5, 1), 1, ref=window),
    case("as_strided", crand(3, 4), (3, 3), (1, 2), ref=window, label="overlap"),
    case("as_strided", rand(3), (2, 3), (0, 1), ref=window, label="expanded"),
    case("as_strided", rand(3), (), (), 2, ref=lambda a, *_: a[2], label="0d"),
    case("as_strided", rand(3), (0, 2), (1, 100), 1000, ref=lambda *_: np.empty((0, 2)), label="empty"),
    case("as_strided_backward", rand(2, 3), 12, (5, 1), 1, ref=added),
    case("as_strided_backward", crand(3, 3), 7, (1, 2), 0, ref=added, label="overlap"),
    case("as_strided_backward", rand(2, 2), 9, (0, 3), 2, ref=added, label="expanded"),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def test_a_write_through_a_window_reaches_the_memory_and_its_history():
    engine = Engine()
    x, w = engine.wrap(rand(6), requires_grad=True), engine.wrap(rand(2, 2), requires_grad=True)
    y = engine.call("clone", x)
    engine.call("mul_", engine.call("as_strided", y, (2, 2), (3, 1), 1), w)
    want = x.array.copy()
    want[[1, 2, 4, 5]] *= w.array.reshape(-1)
    np.testing.assert_array_equal(y.array, want)
    backward(engine, [engine.call("sum", y, None, False)], [None], retain_graph=False, create_graph=False)
    np.testing.assert_allclose(x.grad.array, [1, *w.array[0], 1, *w.array[1]])
    np.testing.assert_allclose(w.grad.array.reshape(-1), x.array[[1, 2, 4, 5]])


ERRORS = [
    (((2, 2), (1, 20), 3), "setStorage: sizes [2, 2], strides [1, 20], storage offset 3, and itemsize 8 requiring a "
     "storage size of 200 are out of bounds for storage of size 96"),
    (((), (), 12), "setStorage: sizes [], strides [], storage offset 12, and itemsize 8 requiring a storage size of "
     "104 are out of bounds for storage of size 96"),
    (((2, 2), (1, 2), -1), "Tensor: invalid storage offset -1"),
    (((2, 2), (1, -2), 9), "as_strided: Negative strides are not supported at the moment, got strides: [1, -2]"),
    (((2, 2), (1,)), "mismatch in length of strides and shape"),
    (((2, -2), (1, 1)), "Storage size calculation overflowed with sizes=[2, -2] and strides=[1, 1]"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), ERRORS, ids=[e[1][:30] for e in ERRORS])
def test_error(args, text):
    with pytest.raises(RuntimeError) as e:
        run(case("as_strided", rand(3, 4), *args))
    assert str(e.value) == text


def test_memory_of_what_is_not_dense_is_not_its_own():
    engine = Engine()
    with pytest.raises(RuntimeError, match="as_strided: the input is not dense"):
        engine.call("as_strided", engine.call("t", engine.wrap(rand(2, 3))), (2,), (1,))
    with pytest.raises(RuntimeError, match="out of bounds for storage of size 24"):
        engine.call("as_strided_backward", engine.wrap(rand(2)), 3, (3,), 0)
