"""Comparisons, logic and bits: values, types and errors."""

import numpy as np
import pytest

from tests.engine.harness import case, check, rand

INTS, MORE = np.array([5, -3, 0, 12]), np.array([3, -3, 7, 10])

CASES = [
    case("eq", INTS, MORE, ref=np.equal),
    case("ne", INTS, 5, ref=np.not_equal),
    case("lt", rand(2, 3), rand(3), ref=np.less),
    case("le", rand(3), 0.5, ref=np.less_equal),
    case("gt", rand(3), 0.5, ref=np.greater),
    case("ge", INTS, MORE, ref=np.greater_equal),
    case("bitwise_and", INTS, MORE, ref=np.bitwise_and),
    case("bitwise_or", INTS, MORE, ref=np.bitwise_or),
    case("bitwise_xor", INTS, 6, ref=np.bitwise_xor),
    case("bitwise_not", INTS, ref=np.bitwise_not),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)
