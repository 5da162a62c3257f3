"""Element-wise functions: values, derivatives to second order, subgradients, types and errors."""

import numpy as np
import pytest
from scipy import special

from tests.engine.harness import case, check, crand, rand

CASES = [
    case("exp", crand(3), ref=np.exp),
    case("log", rand(3, low=0.5), ref=np.log),
    case("sqrt", rand(3, low=0.5), ref=np.sqrt),
    case("sqrt", crand(3), ref=np.sqrt),
    case("sin", crand(3), ref=np.sin),
    case("cos", crand(3), ref=np.cos),
    case("tanh", crand(3), ref=np.tanh),
    case("sigmoid", rand(3), ref=special.expit),
    case("abs", rand(3), ref=np.abs),
    case("abs", crand(3), ref=np.abs),
    case("sgn", crand(3), ref=np.sign),
    case("maximum", rand(2, 3), rand(3), ref=np.maximum),
    case("minimum", rand(2, 3), rand(3), ref=np.minimum),
    case("clamp", rand(2, 3), -0.5, 1.0, ref=np.clip),
    case("clamp", rand(2, 3), rand(3), rand(3, seed=3), ref=np.clip, label="tensors"),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)
