"""Element-wise functions: values, derivatives to second order, subgradients, types, errors."""

import numpy as np
import pytest
from scipy import special

from gradwire_engine import Engine, grad
from gradwire_proto.dtypes import BY_NAME
from tests.engine.harness import case, check, crand, host, rand, run

POSITIVE, UNIT = rand(4, low=0.3), rand(4, low=-0.9, high=0.9)
ODD = np.array([1.5, np.nan, np.inf, -np.inf])
ONES, BOOLS = np.array([1, -2]), np.array([True, False])


CASES = [
    case("sqrt", POSITIVE, ref=np.sqrt),
    case("sqrt", crand(3), ref=np.sqrt, label="complex"),
    case("sqrt_", POSITIVE, ref=np.sqrt),
    case("rsqrt", POSITIVE, ref=lambda a: 1 / np.sqrt(a)),
    case("exp", crand(3), ref=np.exp),
    case("exp", ONES, ref=lambda a: np.exp(a.astype("f4")), label="ints"),
    case("exp2", rand(3), ref=np.exp2),
    case("exp2", crand(3), ref=lambda a: 2**a, label="complex"),
    case("expm1", crand(3), ref=np.expm1),
    case("log", crand(3), ref=np.log),
    case("log2", crand(3), ref=np.log2),
    case("log10", POSITIVE, ref=np.log10),
    case("log1p", POSITIVE, ref=np.log1p),
    case("sin", crand(3), ref=np.sin),
    case("cos", crand(3), ref=np.cos),
    case("tan", UNIT, ref=np.tan),
    case("asin", UNIT, ref=np.arcsin),
    case("asin", crand(3), ref=np.arcsin, label="complex"),
    case("acos", UNIT, ref=np.arccos),
    case("acos", crand(3), ref=np.arccos, label="complex"),
    case("atan", crand(3), ref=np.arctan),
    case("sinh", crand(3), ref=np.sinh),
    case("cosh", crand(3), ref=np.cosh),
    case("tanh", crand(3), ref=np.tanh),
    case("asinh", crand(3), ref=np.arcsinh),
    case("acosh", 1 + POSITIVE, ref=np.arccosh),
    case("acosh", crand(3), ref=np.arccosh, label="complex"),
    case("atanh", UNIT, ref=np.arctanh),
    case("sigmoid", rand(3), ref=special.expit),
    case("sigmoid", crand(3), ref=lambda z: 1 / (1 + np.exp(-z)), label="complex"),
    case("sinc", rand(3), ref=np.sinc),
    case("sinc", crand(3), ref=np.sinc, label="complex"),
    case("logit", np.abs(UNIT), ref=special.logit),
    case("logit", UNIT, 0.1, ref=lambda a, eps: special.logit(np.clip(a, eps, 1 - eps)), label="eps"),
    case("deg2rad", rand(3), ref=np.deg2rad),
    case("rad2deg", rand(3), ref=np.rad2deg),
    case("ceil", rand(3), ref=np.ceil),
    case("floor", rand(3), ref=np.floor),
    case("floor", ONES, ref=np.floor, label="ints"),
    case("trunc", rand(3), ref=np.trunc),
    case("round", 3 * rand(5), ref=np.round),
    case("round", 300 * rand(3), decimals=-1, ref=np.round, label="tens"),
    case("round", rand(3), decimals=2, ref=np.round, label="decimals"),
    case("round", ONES, ref=np.round, label="ints"),
    case("frac", rand(3), ref=lambda a: a - np.trunc(a)),
    case("frexp", rand(3), ref=np.frexp),
    case("abs", rand(3), ref=np.abs),
    case("abs", crand(3), ref=np.abs, label="complex"),
    case("sign", rand(3), ref=np.sign),
    case("sign", BOOLS, ref=np.copy, label="bools"),
    case("sgn", rand(3), ref=np.sign),
    case("sign", ODD, ref=lambda a: np.array([1.0, 0, 1, -1]), order=0, label="nan"),
    case("sgn", crand(3), ref=np.sign, label="complex"),
    case("nan_to_num", ODD, ref=np.nan_to_num, order=0),
    case("nan_to_num", ODD, 7.0, 8.0, 9.0, ref=lambda a, *_: np.array([1.5, 7, 8, 9]), order=0, label="given"),
    case("nan_to_num", ODD + 1j * ODD[::-1], ref=np.nan_to_num, order=0, label="complex"),
    case("nan_to_num", ONES, ref=np.copy, label="ints"),
    case("maximum", rand(2, 3), rand(3), ref=np.maximum),
    case("minimum", rand(2, 3), rand(3), ref=np.minimum),
    case("fmax", rand(2, 3), rand(3), ref=np.fmax),
    case("fmax", ODD, ODD[::-1].copy(), ref=np.fmax, order=0, label="nan"),
    case("fmin", rand(2, 3), rand(3), ref=np.fmin),
    case("clamp", rand(2, 3), -0.5, 1.0, ref=np.clip),
    case("clamp", rand(2, 3), None, 1.0, ref=np.clip, label="above"),
    case("clamp", rand(9), rand(9, seed=1), rand(9, seed=3), ref=np.clip, label="tensors"),
    case("clamp_", rand(2, 3), -0.5, 1.0, ref=np.clip),
    case("clamp_min", rand(4), rand(4, seed=1), ref=np.maximum),
    case("clamp_max", rand(4), 0.5, ref=np.minimum),
    case("clamp_max", rand(4), rand(4, seed=1), ref=np.minimum, label="tensor"),
    case("atan2", rand(2, 3), rand(3, seed=1), ref=np.arctan2),
    case("hypot", rand(2, 3), rand(3, seed=1), ref=np.hypot),
    case("logaddexp", rand(2, 3), rand(3, seed=1), ref=np.logaddexp),
    case("logaddexp", crand(3), crand(3, seed=7), ref=lambda a, b: np.log(np.exp(a) + np.exp(b)), label="complex"),
    case("logaddexp2", rand(2, 3), rand(3, seed=1), ref=np.logaddexp2),
    case("copysign", rand(2, 3), rand(3, seed=1), ref=np.copysign),
    case("copysign", rand(3), -1, ref=np.copysign, label="number"),
    case("nextafter", rand(3), rand(3, seed=1), ref=np.nextafter),
    case("heaviside", np.array([-np.inf, 0, 2, np.inf]), rand(4), ref=np.heaviside, order=0),
    case("heaviside", np.array([-1, 0, 2]), np.array([5, 6, 7]), ref=lambda a, b: np.array([0, 6, 1]), label="ints"),
    case("ldexp", rand(3), rand(3, seed=1), ref=lambda a, b: a * 2**b),
    case("ldexp", rand(3), np.array([-2, 0, 3]), ref=np.ldexp, label="ints"),
    case("real", crand(2, 3), ref=np.real),
    case("real", rand(3), ref=np.real, label="floats"),
    case("imag", crand(2, 3), ref=np.imag),
    case("complex", rand(2, 3), rand(3), ref=lambda a, b: a + 1j * b),
    case("polar", rand(2, 3), rand(3), ref=lambda r, phi: r * np.exp(1j * phi)),
    case("angle", crand(3), ref=np.angle),
    case("angle", rand(4), ref=np.angle, label="floats"),
    case("angle", ODD, ref=np.angle, order=0, label="nan"),
    case("conj_physical", crand(3), ref=np.conj),
    case("view_as_real", crand(2, 3), ref=lambda z: np.stack([z.real, z.imag], -1)),
    case("view_as_complex", rand(3, 2), ref=lambda a: a[:, 0] + 1j * a[:, 1]),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


ZERO = np.array([0.0])
SUBGRADIENTS = [
    (case("abs", ZERO), [[0.0]]),
    (case("abs", ZERO * 1j), [[0.0]]),
    (case("sgn", ZERO * 1j), [[0.0]]),
    (case("angle", ZERO * 1j), [[0.0]]),
    (case("abs", ODD), [[1.0, 0.0, 1.0, -1.0]]),
    (case("sqrt", ZERO), [[np.inf]]),
    (case("atan2", ZERO, ZERO), [[0.0], [0.0]]),
    (case("sinc", ZERO), [[0.0]]),
    (case("logit", np.array([0.0, -0.5])), [[np.inf, np.nan]]),
    (case("maximum", ZERO, ZERO), [[0.5], [0.5]]),
    (case("minimum", ZERO, ZERO), [[0.5], [0.5]]),
    (case("fmax", ZERO, ZERO), [[1.0], [0.0]]),
    (case("clamp", np.array([-1.0, 1.0, 2.0]), -1, 1), [[1.0, 1.0, 0.0]]),
    (case("clamp", np.array([0.0, 5.0]), np.array([1.0, 2.0]), np.array([2.0, 1.0])),
     [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
    (case("clamp_min", ZERO, ZERO), [[1.0], [0.0]]),
    (case("copysign", np.array([0.0, -1.0]), 1), [[0.0, -1.0]]),
    (case("nan_to_num", ODD), [[1.0, 0.0, 0.0, 0.0]]),
    (case("round", ZERO), [[0.0]]),
]  # fmt: skip


@pytest.mark.parametrize(("c", "want"), SUBGRADIENTS, ids=str)
def test_subgradient(c, want):
    (result,), leaves, engine = run(c)
    ones = engine.wrap(np.ones_like(host(result)))
    with np.errstate(all="ignore"):
        made = grad(engine, [result], leaves, [ones], retain_graph=False, create_graph=False, allow_unused=False)
    for g, w in zip(made, want, strict=True):
        np.testing.assert_array_equal(host(g), w)


ERRORS = [
    (case("abs", BOOLS), NotImplementedError, "\"abs_cpu\" not implemented for 'Bool'"),
    (case("ceil", BOOLS), NotImplementedError, "\"ceil_vml_cpu\" not implemented for 'Bool'"),
    (case("floor", crand(2)), NotImplementedError, "floor is not supported for complex inputs"),
    (case("round", crand(2)), NotImplementedError, "\"round_vml_cpu\" not implemented for 'ComplexDouble'"),
    (case("round", ONES, decimals=1), NotImplementedError, "\"round_cpu\" not implemented for 'Long'"),
    (case("sign", crand(2)), NotImplementedError, "Unlike NumPy, torch.sign is not intended to support complex"),
    (case("deg2rad", crand(2)), RuntimeError, "deg2rad is not supported for complex tensors."),
    (case("frexp", ONES), RuntimeError, "torch.frexp() only supports floating-point dtypes"),
    (case("sin_", ONES), RuntimeError, "result type Float can't be cast to the desired output type Long"),
    (case("maximum", crand(2), crand(2)), RuntimeError, "maximum not implemented for complex tensors."),
    (case("clamp", rand(2)), RuntimeError, "torch.clamp: At least one of 'min' or 'max' must not be None"),
    (case("clamp", crand(2), 0), NotImplementedError, "clamp is not supported for complex types"),
    (case("hypot", ONES, ONES), NotImplementedError, "\"hypot_cpu\" not implemented for 'Long'"),
    (case("heaviside", ONES, rand(2)), RuntimeError, "heaviside is not yet implemented for tensors with different dty"),
    (case("imag", rand(2)), RuntimeError, "imag is not implemented for tensors with non-complex dtypes."),
    (case("complex", ONES, ONES), RuntimeError, "Expected both inputs to be Half, Float or Double tensors but got Lo"),
    (case("complex", rand(2), rand(2).astype("f4")), RuntimeError, "Expected object of scalar type Double but got sca"),
    (case("view_as_real", rand(2)), RuntimeError, "view_as_real is only supported for complex tensors"),
    (case("view_as_complex", ONES), RuntimeError, "view_as_complex is only supported for half, float and double tens"),
    (case("view_as_complex", rand(3)), RuntimeError, "Tensor must have a last dimension of size 2"),
    (case("view_as_complex", np.array(1.0)), RuntimeError, "Input tensor must have one or more dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(("c", "error", "text"), ERRORS, ids=str)
def test_error(c, error, text):
    with pytest.raises(error) as e:
        run(c)
    assert e.type is error
    assert text in str(e.value)


def test_parts_are_views():
    engine = Engine()
    z = engine.wrap(crand(2, 3))
    engine.call("mul_", engine.call("imag", z), 0)
    engine.call("add_", engine.call("view_as_real", z), 1)
    assert (z.array.imag == 1).all()


def test_writing_through_a_part_is_differentiated():
    engine = Engine()
    x = engine.wrap(rand(3, 2), requires_grad=True)
    y = engine.call("clone", x)
    engine.call("mul_", engine.call("view_as_complex", y), 1j)  # (a, b) becomes (-b, a)
    (g,) = grad(engine, [y], [x], [engine.wrap(np.ones((3, 2)))], retain_graph=False, create_graph=False,
                allow_unused=False)  # fmt: skip
    np.testing.assert_array_equal(g.array, [[1.0, -1.0]] * 3)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_small_floats(name):
    engine = Engine()
    x = engine.call("to_dtype", engine.wrap(POSITIVE), BY_NAME[name])
    for op, ref in (("exp2", np.exp2), ("sigmoid", special.expit), ("round", np.rint), ("sinc", np.sinc)):
        made = engine.call(op, x)
        assert made.spec.dtype.name == name
        np.testing.assert_allclose(made.array.astype("f8"), ref(x.array.astype("f8")), rtol=1e-2)
