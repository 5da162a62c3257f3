"""Arithmetic: values, derivatives to second order, subgradients, types, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine, grad
from tests.engine.harness import case, check, crand, host, rand, run

INTS, MORE = np.array([7, -7, 6, -1]), np.array([2, 2, -4, -3])


def c_divide(a, b, **_):
    return np.trunc(a / b).astype(np.result_type(a, b))


CASES = [
    case("add", rand(2, 3), rand(3), ref=np.add),
    case("add", crand(2), rand(2), ref=lambda a, b, alpha: a + alpha * b, alpha=2j, label="alpha"),
    case("add", 2, rand(3), ref=np.add, label="number"),
    case("sub", rand(2, 3), rand(2, 1), ref=np.subtract),
    case("rsub", rand(2), 3.0, ref=lambda a, b, alpha: b - alpha * a, alpha=2),
    case("mul", crand(2, 3), crand(3, seed=4), ref=np.multiply),
    case("mul", np.array([1, 2]), 2.5, ref=np.multiply, label="ints"),
    case("mul_", rand(2, 3), 2.5, ref=np.multiply),
    case("div", rand(2, 3), rand(3, low=0.5), ref=np.divide),
    case("div", crand(2), crand(2, seed=9), ref=np.divide, label="complex"),
    case("div", rand(4), rand(4, seed=2), ref=lambda a, b, rounding_mode: np.floor(a / b), rounding_mode="floor",
         label="floor"),
    case("div", INTS, MORE, ref=c_divide, rounding_mode="trunc", label="trunc"),
    case("div", rand(4), 0.3, ref=c_divide, rounding_mode="trunc", label="trunc-floats"),
    case("floor_divide", INTS, MORE, ref=np.floor_divide),
    case("remainder", rand(4), rand(4, seed=2), ref=np.remainder),
    case("remainder", 2.5, rand(4), ref=np.remainder, label="number"),
    case("fmod", rand(4), rand(4, seed=2), ref=np.fmod),
    case("fmod", INTS, 4, ref=np.fmod, label="ints"),
    case("neg", rand(3), ref=np.negative),
    case("positive", rand(3), ref=np.positive),
    case("reciprocal", rand(3, low=0.5), ref=np.reciprocal),
    case("square", crand(3), ref=np.square),
    case("square", np.array([True, False]), ref=lambda a: a.astype(np.int64), label="bools"),
    case("pow", rand(3, low=0.5), rand(3), ref=np.power),
    case("pow", crand(3), crand(3, seed=7), ref=np.power, label="complex"),
    case("pow", rand(3, low=0.5), crand(3), ref=np.power, label="complex-exponent"),
    case("pow", rand(3), 3, ref=np.power, label="cube"),
    case("pow", rand(3), 2, ref=np.power, label="square"),
    case("pow", rand(3, low=0.5), 0.5, ref=np.power, label="root"),
    case("pow", rand(3, low=0.5), -1.5, ref=np.power, label="number"),
    case("pow", 2.0, rand(3), ref=np.power, label="base"),
    case("pow", 1j, rand(3), ref=np.power, label="complex-base"),
    case("pow", INTS, np.array([2, 3, 0, 5]), ref=np.power, label="ints"),
    case("pow", np.array([2, 1, -1, -1, 0]), np.array([-1, -2, -3, -2, -1]), label="negative",
         ref=lambda a, b: np.array([0, 1, -1, 1, 0])),
    case("pow_", rand(3, low=0.5), -1.5, ref=np.power),
    case("pow_", rand(3, low=0.5), 2, ref=np.power, label="square"),
    case("addcmul", rand(2, 3), rand(3), rand(2, 1), ref=lambda a, b, c, value: a + value * b * c, value=0.5),
    case("addcmul", crand(3), crand(3, seed=2), crand(3, seed=3), value=2j, label="complex",
         ref=lambda a, b, c, value: a + value * b * c),
    case("addcdiv", rand(2, 3), rand(3), rand(2, 1, low=0.5), ref=lambda a, b, c, value: a + value * b / c, value=-2),
    case("lerp", rand(2, 3), rand(3, seed=4), 0.3, ref=lambda a, b, w: a + w * (b - a)),
    case("lerp", rand(2, 3), rand(3, seed=4), rand(3), ref=lambda a, b, w: a + w * (b - a), label="tensor"),
    case("lerp", crand(3), crand(3, seed=4), crand(3, seed=5), ref=lambda a, b, w: a + w * (b - a), label="complex"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


SUBGRADIENTS = [
    (case("pow", np.array([0.0, 2.0]), 0), [0.0, 0.0]),
    (case("pow", np.array([0.0, 0.0]), np.array([0, 1])), [0.0, 1.0]),
    (case("pow", np.array([0, 0]), np.array([0.0, 2.0])), [0.0, 0.0]),
    (case("pow", 0.0, np.array([0.0, -1.0])), [0.0, -np.inf]),
    (case("pow", -2.0, np.array([2.0])), [np.nan]),
    (case("div", np.array([5.0]), 2.0, rounding_mode="floor"), [0.0]),
]


@pytest.mark.parametrize(("c", "want"), SUBGRADIENTS, ids=str)
def test_subgradient(c, want):
    (result,), (leaf,), engine = run(c)
    ones = engine.wrap(np.ones_like(host(result)))
    with np.errstate(all="ignore"):
        (g,) = grad(engine, [result], [leaf], [ones], retain_graph=False, create_graph=False, allow_unused=False)
    np.testing.assert_array_equal(host(g), want)


def test_integers_stay_integers_and_wrap():
    engine = Engine()
    bytes_ = engine.wrap(np.array([1, 200], np.uint8))
    assert engine.call("add", bytes_, bytes_, -1).array.tolist() == [0, 0]
    assert engine.call("pow", bytes_, 2).array.dtype == np.uint8
    assert engine.call("pow", bytes_, 0.5).array.dtype == np.float32
    assert engine.call("div", bytes_, bytes_).array.dtype == np.float32


ONES, BOOLS, FLOATS = np.array([1, 2]), np.array([True, False]), np.array([1.0, 2.0])
ERRORS = [
    (case("add", ONES, ONES, alpha=0.5), RuntimeError, "For integral input tensors, argument alpha must not be a fl"),
    (case("add", ONES, ONES, alpha=True), RuntimeError, "Boolean alpha only supported for Boolean results."),
    (case("add", FLOATS, FLOATS, alpha=1j), RuntimeError, "For non-complex input tensors, argument alpha must not be"),
    (case("sub", BOOLS, BOOLS), RuntimeError, "Subtraction, the `-` operator, with two bool tensors is not supported."),
    (case("rsub", BOOLS, 1), RuntimeError, "Subtraction, the `-` operator, with a bool tensor is not supported."),
    (case("neg", BOOLS), RuntimeError, "Negation, the `-` operator, on a bool tensor is not supported."),
    (case("positive", BOOLS), RuntimeError, "The `+` operator, on a bool tensor is not supported."),
    (case("div", FLOATS, 2, rounding_mode="up"), RuntimeError, "'trunc', or 'floor' but found 'up'"),
    (case("div", crand(2), 2, rounding_mode="floor"), NotImplementedError,
     "\"div_floor_cpu\" not implemented for 'ComplexDouble'"),
    (case("div_", ONES, 2), RuntimeError, "result type Float can't be cast to the desired output type Long"),
    (case("floor_divide", ONES, 0), RuntimeError, "ZeroDivisionError"),
    (case("div", ONES, ONES - 1, rounding_mode="trunc"), RuntimeError, "ZeroDivisionError"),
    (case("remainder", ONES, 0), RuntimeError, "ZeroDivisionError"),
    (case("fmod", crand(2), 2), NotImplementedError, "\"fmod_cpu\" not implemented for 'ComplexDouble'"),
    (case("pow", ONES, -1), RuntimeError, "Integers to negative integer powers are not allowed."),
    (case("pow", BOOLS, BOOLS), NotImplementedError, "\"pow\" not implemented for 'Bool'"),
    (case("addcmul", BOOLS, BOOLS, BOOLS), NotImplementedError, "\"addcmul_cpu_out\" not implemented for 'Bool'"),
    (case("addcdiv", FLOATS, ONES, ONES), RuntimeError, "Integer division with addcdiv is no longer supported"),
    (case("lerp", ONES, ONES, 0.5), NotImplementedError, "\"lerp_kernel_scalar\" not implemented for 'Long'"),
    (case("lerp", FLOATS, FLOATS.astype("f4"), 1), RuntimeError, "expected dtype double for `end` but got dtype float"),
    (case("add", rand(2), rand(3)), RuntimeError, "The size of tensor a (2) must match the size of tensor b (3)"),
]  # fmt: skip


@pytest.mark.parametrize(("c", "error", "text"), ERRORS, ids=str)
def test_error(c, error, text):
    with pytest.raises(error) as e:
        run(c)
    assert e.type is error
    assert text in str(e.value)


def test_floor_divide_has_no_derivative():
    (result,), leaves, engine = run(case("floor_divide", rand(2), 2.0))
    with pytest.raises(RuntimeError, match="^derivative for aten::floor_divide is not implemented"):
        grad(engine, [result], leaves, [engine.wrap(np.ones(2))], retain_graph=False, create_graph=False,
             allow_unused=False)  # fmt: skip
