"""Activations: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest
import scipy.special as sp

from gradwire_engine import Engine, grad
from tests.engine.harness import case, check, rand

X = rand(3, 4)
G = rand(3, 4, seed=1)
PROB = sp.softmax(rand(3, 4, seed=2), 1)


def tanh_gelu(x, approximate=None):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu(x):
    return x * sp.ndtr(x)


CASES = [
    case("relu", X, ref=lambda x: np.maximum(x, 0)),
    case("relu", np.array([-1, 2]), ref=lambda x: np.maximum(x, 0), label="ints"),
    case("relu_", X, ref=lambda x: np.maximum(x, 0)),
    case("threshold", X, 0.5, 9.0, ref=lambda x, t, v: np.where(x > t, x, v)),
    case("threshold_", X, 0.5, 9.0, ref=lambda x, t, v: np.where(x > t, x, v)),
    case("threshold_backward", G, X, 0.5, ref=lambda g, x, t: np.where(x > t, g, 0)),
    case("leaky_relu", X, 0.2, ref=lambda x, s: np.where(x > 0, x, s * x)),
    case("leaky_relu_", X, 0.2, ref=lambda x, s: np.where(x > 0, x, s * x)),
    case("leaky_relu_backward", G, X, 0.2, ref=lambda g, x, s: np.where(x > 0, g, s * g)),
    case("leaky_relu_backward", G, X, rand(4), ref=lambda g, x, s: np.where(x > 0, g, s * g), label="slopes"),
    case("elu", X, 1.5, 2.0, 0.5, ref=lambda x, a, s, i: s * np.where(x > 0, x, a * np.expm1(x * i))),
    case("elu_", X, ref=lambda x: np.where(x > 0, x, np.expm1(x))),
    case("elu", np.array([-800.0, 800.0]), ref=lambda x: np.array([-1.0, 800.0]), label="large"),
    case("gelu", X, ref=gelu),
    case("gelu_", X, ref=gelu),
    case("gelu", X, approximate="tanh", ref=tanh_gelu, label="tanh"),
    case("gelu_backward", G, X, before=lambda e, g, x: (g, x, e.call("gelu", x)),
         ref=lambda g, x: g * (sp.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))),
    case("gelu_backward", G, X, before=lambda e, g, x: (g, x, e.call("gelu", x, "tanh")), approximate="tanh",
         label="tanh"),
    case("silu", X, ref=lambda x: x * sp.expit(x)),
    case("silu_", X, ref=lambda x: x * sp.expit(x)),
    case("mish", X, ref=lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    case("mish_", X, ref=lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    case("hardtanh", X, -1.0, 0.5, ref=np.clip),
    case("hardtanh_", X, -1.0, 0.5, ref=np.clip),
    case("hardtanh_backward", G, X, -1.0, 0.5, ref=lambda g, x, a, b: g * ((x > a) & (x < b))),
    case("hardsigmoid", 3 * X, ref=lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    case("hardsigmoid_", 3 * X, ref=lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    case("hardswish", 3 * X, ref=lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    case("hardswish_", 3 * X, ref=lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    case("hardshrink", X, ref=lambda x: np.where(abs(x) > 0.5, x, 0)),
    case("hardshrink_backward", G, X, 0.5, ref=lambda g, x, m: g * (abs(x) > m)),
    case("softshrink", X, 0.3, ref=lambda x, m: np.sign(x) * np.maximum(abs(x) - m, 0)),
    case("softplus", X, 2.0, 1.0, ref=lambda x, b, t: np.where(x * b > t, x, np.log1p(np.exp(x * b)) / b)),
    case("log_sigmoid", X, ref=lambda x: np.log(sp.expit(x))),
    case("prelu_kernel", X, rand(4), ref=lambda x, w: np.where(x > 0, x, w * x)),
    case("softmax", X, 1, ref=sp.softmax),
    case("softmax", rand(2, 3, 2), 0, ref=sp.softmax, label="first"),
    case("softmax", np.array(0.5), 0, ref=lambda x, d: np.ones(()), label="0-d"),
    case("softmax_backward", G, PROB, 1, ref=lambda g, y, d: y * (g - (g * y).sum(d, keepdims=True))),
    case("log_softmax", X, -1, ref=sp.log_softmax),
    case("log_softmax", np.array([1000.0, 0.0]), 0, ref=lambda x, d: np.array([0.0, -1000.0]), label="large"),
    case("log_softmax_backward", G, np.log(PROB), 1, ref=lambda g, y, d: g - np.exp(y) * g.sum(d, keepdims=True)),
]

ERRORS = [
    ("relu", (np.array([True]),), RuntimeError, "Boolean inputs not supported for relu"),
    ("gelu", (np.array([1]), "none"), NotImplementedError, '"GeluKernelImpl" not implemented for \'Long\''),
    ("gelu", (X, "x"), RuntimeError, "approximate argument must be either none or tanh."),
    ("softmax", (np.array([1]), 0), NotImplementedError, '"softmax_lastdim_kernel_impl" not implemented for \'Long\''),
    ("softmax", (X, 2), IndexError,
     "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=str)
def test_error(op, args, kind, text):
    engine = Engine()
    with pytest.raises(kind) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text


def test_gelu_in_single_precision_is_right_everywhere():
    engine = Engine()
    x = np.append(np.linspace(-12, 12, 40001), [-np.inf, np.inf, np.nan, 1e30])
    slope = sp.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    t = engine.wrap(x.astype("f4"))
    with np.errstate(all="ignore"):
        y = engine.call("gelu", t)
        back = engine.call("gelu_backward", engine.wrap(np.ones_like(t.array)), t, y)
    for made, want in ((y.array, gelu(x)), (back.array, slope)):
        np.testing.assert_allclose(made[:40001], want[:40001], rtol=1e-6, atol=5e-7)
        assert np.isnan(made[-2])
        np.testing.assert_allclose(made[-1], want[-1], rtol=1e-6)


def test_masked_gradients_are_zero_even_where_infinite():
    engine = Engine()
    g = engine.wrap(np.array([np.inf, np.nan, np.inf]))
    x = engine.wrap(np.array([-1.0, -1.0, 1.0]))
    assert engine.call("threshold_backward", g, x, 0).array.tolist() == [0, 0, np.inf]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradient_of_relu_passes_nan_of_either_sign(dtype):
    engine = Engine()
    x = engine.wrap(np.array([np.nan, -np.nan, 0.0, -0.0, -1.0, 1.0, np.inf, -np.inf], dtype), True)
    (g,) = grad(engine, [engine.call("relu", x)], [x], [engine.wrap(np.full(8, 3, dtype))],
                retain_graph=False, create_graph=False, allow_unused=False)  # fmt: skip
    assert g.array.tolist() == [3, 3, 0, 0, 0, 3, 3, 0]


def test_relu_has_no_gradient_at_zero():
    engine = Engine()
    x = engine.wrap(np.zeros(2), requires_grad=True)
    (g,) = grad(engine, [engine.call("relu", x)], [x], [engine.wrap(np.ones(2))],
                retain_graph=False, create_graph=False, allow_unused=False)  # fmt: skip
    assert g.array.tolist() == [0, 0]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_half_precision_sums_in_single(name):
    engine = Engine()
    x = rand(4096).astype(np.float16)
    y = engine.call(name, engine.wrap(x), 0).array
    np.testing.assert_allclose(y, getattr(sp, name)(x.astype(np.float64)), rtol=2e-3, atol=2e-7)
