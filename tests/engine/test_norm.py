"""Normalization: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest
import scipy.special as sp

from gradwire_engine import Engine, grad
from tests.engine.harness import case, check, rand

X = rand(3, 4)
IMAGE = rand(2, 4, 3)
W, B = rand(4, seed=1, low=0.5), rand(4, seed=2)
MEAN, VAR = rand(4, seed=3), rand(4, seed=4, low=0.5)


def standard(x, axes, eps):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps), mean, var


def affine(y, w, b, shape):
    return y * (1 if w is None else w.reshape(shape)) + (0 if b is None else b.reshape(shape))


def layer_norm(x, shape, w=None, b=None, eps=1e-5):
    y, mean, var = standard(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    return affine(y, w, b, shape), mean, var


def rms_norm(x, shape, w, eps):
    square = (x * x).mean(tuple(range(x.ndim - len(shape), x.ndim)), keepdims=True)
    return affine(x / np.sqrt(square + eps), w, None, shape), square


def group_norm(x, groups, w=None, b=None, eps=1e-5):
    view = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    y, mean, var = standard(view, tuple(range(2, view.ndim)), eps)
    return affine(y.reshape(x.shape), w, b, (-1, *[1] * (x.ndim - 2))), mean, var


def batch_norm(x, w=None, b=None, eps=1e-5):
    y, mean, var = standard(x, (0, *range(2, x.ndim)), eps)
    return affine(y, w, b, (-1, *[1] * (x.ndim - 2))), mean.ravel(), var.ravel()


def batch_norm_eval(x, mean, var, w=None, b=None, eps=1e-5):
    shape = (-1, *[1] * (x.ndim - 2))
    return affine((x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps), w, b, shape)


FIRST = {"results": (0,)}
CASES = [
    case("layer_norm", X, (4,), W, B, **FIRST, ref=layer_norm),
    case("layer_norm", X, (4,), None, None, 0.1, **FIRST, ref=layer_norm, label="plain"),
    case("layer_norm", IMAGE, (4, 3), rand(4, 3), None, **FIRST, ref=layer_norm, label="two dims"),
    case("rms_norm", X, (4,), W, 1e-6, **FIRST, ref=rms_norm),
    case("rms_norm", IMAGE, (4, 3), None, 0.1, **FIRST, ref=rms_norm, label="plain"),
    case("group_norm", IMAGE, 2, W, B, **FIRST, ref=group_norm),
    case("group_norm", rand(2, 4, 2, 2), 4, **FIRST, ref=group_norm, label="plain"),
    case("group_norm", rand(2, 4, 4), 4, W, B, **FIRST, ref=group_norm, label="square"),
    case("batch_norm", X, W, B, **FIRST, ref=batch_norm),
    case("batch_norm", IMAGE, None, B, 0.1, **FIRST, ref=batch_norm, label="3-d"),
    case("batch_norm", rand(2, 4, 2, 2), W, **FIRST, ref=batch_norm, label="4-d"),
    case("batch_norm_eval", IMAGE, MEAN, VAR, W, B, constant=(1, 2), ref=batch_norm_eval),
    case("batch_norm_eval", X, MEAN, VAR, constant=(1, 2), ref=batch_norm_eval, label="plain"),
    case("batch_norm_update_", MEAN, VAR, W, W + 1, 0.1, 12, order=0,
         ref=lambda m, v, mean, var, k, n: (m + k * (mean - m), v + k * (var * n / (n - 1) - v))),
    # Its derivative counts mean and variance as parts of the input: that of layer_norm's gradient above.
    case("norm_backward", X, rand(3, 4, seed=5), *standard(rand(3, 4, seed=5), 1, 0)[1:], None, (1,), (4,), 0.0,
         order=0, ref=lambda g, x, mean, var, *_: (
             ((g - g.mean(1, keepdims=True)) - (y := (x - mean) / np.sqrt(var)) * (g * y).mean(1, keepdims=True))
             / np.sqrt(var), (g * y).sum(0), g.sum(0))),
]  # fmt: skip

ERRORS = [
    ("layer_norm", (X, (5,)),
     "Given normalized_shape=[5], expected input with shape [*, 5], but got input of size[3, 4]"),
    ("layer_norm", (X, (4,), W[:3]),
     "Expected weight to be of same shape as normalized_shape, but got weight of shape [3] and normalized_shape = [4]"),
    ("layer_norm", (X, ()), "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
     "element, but got normalized_shape = []"),
    ("layer_norm", (X.astype(int), (4,)), "\"LayerNormKernelImpl\" not implemented for 'Long'"),
    ("group_norm", (X, 3), "Expected number of channels in input to be divisible by num_groups, but got input of shape "
     "[3, 4] and num_groups=3"),
    ("group_norm", (W, 2), "Expected at least 2 dimensions for input tensor but received 1"),
    ("group_norm", (X, 2, W[:3]), "Expected weight to be a vector of size equal to the number of channels in input, "
     "but got weight of shape [3] and input of shape [3, 4]"),
    ("batch_norm", (X, W[:3]), "weight should contain 4 elements not 3"),
    ("batch_norm_eval", (X, W[:3], W), "running_mean should contain 4 elements not 3"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize(("op", "args", "text"), ERRORS, ids=str)
def test_error(op, args, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text


def test_third_derivatives_are_right():
    """Mean and variance are saved, but the derivative of the backward makes them anew from the input."""

    def derivative(a, directions):
        engine = Engine()
        x = engine.wrap(np.array([a, 1.0, -0.5]), requires_grad=True)
        y = engine.call("layer_norm", x, (3,))[0]
        for v in directions:
            (y,) = grad(engine, [y], [x], [engine.wrap(v)], retain_graph=True, create_graph=True, allow_unused=False)
        return y.array[0]

    along = np.array([1.0, 0, 0])
    to_second = [sp.softmax([1.0, 2, 3]), along]
    numeric = (derivative(0.3 + 1e-5, to_second) - derivative(0.3 - 1e-5, to_second)) / 2e-5
    np.testing.assert_allclose(derivative(0.3, [*to_second, along]), numeric, rtol=1e-6)
