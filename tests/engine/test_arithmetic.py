"""Arithmetic and copies: values, derivatives to second order, types."""

import numpy as np
import pytest

from tests.engine.harness import case, check, crand, rand

CASES = [
    case("add", rand(2, 3), rand(3), ref=np.add),
    case("add", crand(2), rand(2), ref=lambda a, b, alpha: a + alpha * b, alpha=2j, label="alpha"),
    case("sub", rand(2, 3), rand(2, 1), ref=np.subtract),
    case("rsub", rand(2), 3.0, ref=lambda a, b: b - a),
    case("mul", crand(2, 3), crand(3, seed=4), ref=np.multiply),
    case("mul", np.array([1, 2]), 2.5, ref=np.multiply, label="ints"),
    case("mul_", rand(2, 3), 2.5, ref=np.multiply),
    case("div", rand(2, 3), rand(3, low=0.5), ref=np.divide),
    case("div", crand(2), crand(2, seed=9), ref=np.divide, label="complex"),
    case("neg", rand(3), ref=np.negative),
    case("reciprocal", rand(3, low=0.5), ref=np.reciprocal),
    case("pow", rand(3, low=0.5), rand(3), ref=np.power),
    case("pow", rand(3), 3, ref=np.power, label="int"),
    case("pow", 2.0, rand(3), ref=np.power, label="base"),
    case("clone", rand(3), ref=np.copy),
    case("copy_", rand(2, 3), rand(3), ref=lambda a, b: np.broadcast_to(b, a.shape)),
    case("zero_", rand(2), ref=np.zeros_like),
    case("detach", rand(2), ref=np.copy, order=0),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)
