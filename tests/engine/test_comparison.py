"""Comparisons, logic and bits: values, types, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine
from tests.engine.harness import case, check, crand, rand, run

INTS, MORE = np.array([5, -3, 0, 12]), np.array([3, -3, 7, 10])
ODD = np.array([1.0, np.nan, np.inf, -np.inf, -0.0])
REAL = np.array([1 + 0j, 2 + 1j])


def logical(f):
    return lambda a, b: f(a != 0, b != 0)


CASES = [
    case("eq", INTS, MORE, ref=np.equal),
    case("eq", crand(3), crand(3), ref=np.equal, label="complex"),
    case("ne", INTS, 5, ref=np.not_equal),
    case("lt", rand(2, 3), rand(3), ref=np.less),
    case("lt", INTS, 0.5, ref=np.less, label="mixed"),
    case("le", rand(3), 0.5, ref=np.less_equal),
    case("gt", rand(3), 0.5, ref=np.greater),
    case("ge", INTS, MORE, ref=np.greater_equal),
    case("ge_", rand(3), 0.5, ref=lambda a, b: (a >= b).astype(float)),
    case("isnan", ODD, ref=np.isnan),
    case("isnan", INTS, ref=np.isnan, label="ints"),
    case("isinf", ODD, ref=np.isinf),
    case("isfinite", ODD, ref=np.isfinite),
    case("isfinite", ODD * 1j, ref=np.isfinite, label="complex"),
    case("isposinf", ODD, ref=np.isposinf),
    case("isneginf", ODD, ref=np.isneginf),
    case("isreal", REAL, ref=np.isreal),
    case("isreal", ODD, ref=np.isreal, label="floats"),
    case("signbit", ODD, ref=np.signbit),
    case("signbit", INTS, ref=lambda a: a < 0, label="ints"),
    case("isclose", ODD, ODD * (1 + 1e-6), ref=np.isclose),
    case("isclose", ODD, ODD + 1e-6, ref=np.isclose, equal_nan=True, rtol=0.0, label="nan"),
    case("isclose", INTS, MORE, ref=np.isclose, rtol=0.5, label="ints"),
    case("isclose", crand(3), crand(3) + 1e-9j, ref=np.isclose, label="complex"),
    case("logical_and", rand(3), INTS[:3], ref=logical(np.logical_and)),
    case("logical_or", crand(3), INTS[:3], ref=logical(np.logical_or)),
    case("logical_xor", INTS, MORE > 0, ref=logical(np.logical_xor)),
    case("logical_xor_", INTS, MORE, ref=logical(np.logical_xor)),
    case("logical_not", INTS, ref=np.logical_not),
    case("bitwise_and", INTS, MORE, ref=np.bitwise_and),
    case("bitwise_or", INTS, MORE, ref=np.bitwise_or),
    case("bitwise_xor", 6, INTS, ref=np.bitwise_xor),
    case("bitwise_not", INTS, ref=np.bitwise_not),
    case("bitwise_left_shift", INTS, 2, ref=np.left_shift),
    case("bitwise_right_shift", 1024, np.array([1, 3]), ref=np.right_shift),
    case("gcd", INTS, MORE, ref=np.gcd),
    case("lcm", INTS, MORE, ref=np.lcm),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


ERRORS = [
    (case("lt", crand(2), 1), NotImplementedError, "\"lt_cpu\" not implemented for 'ComplexDouble'"),
    (case("bitwise_not", rand(2)), NotImplementedError, "\"bitwise_not_cpu\" not implemented for 'Double'"),
    (case("bitwise_left_shift", INTS > 0, INTS > 0), NotImplementedError, "\"lshift_cpu\" not implemented for 'Bool'"),
    (case("gcd", rand(2), rand(2)), NotImplementedError, "\"gcd_cpu\" not implemented for 'Double'"),
    (case("isposinf", crand(2)), RuntimeError, "isposinf does not support complex inputs."),
    (case("signbit", crand(2)), NotImplementedError, "signbit is not implemented for complex tensors."),
    (case("isclose", rand(4), INTS), RuntimeError, "Double did not match Long"),
    (case("isclose", INTS, INTS, atol=-1.0), RuntimeError, "atol must be greater than or equal to zero, but got -1"),
]


@pytest.mark.parametrize(("c", "error", "text"), ERRORS, ids=str)
def test_error(c, error, text):
    with pytest.raises(error) as e:
        run(c)
    assert e.type is error
    assert str(e.value) == text


def test_a_comparison_has_no_history():
    engine = Engine()
    assert not engine.call("gt", engine.wrap(rand(3), requires_grad=True), 0).requires_grad
