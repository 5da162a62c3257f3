"""Pooling: values and indices against a loop over windows, derivatives to second order, errors."""

from itertools import product

import numpy as np
import pytest

from gradwire_engine import Engine, grad
from tests.engine.harness import case, check, rand


def ints(v, n):
    return tuple(v) if len(v) == n else tuple(v) * n


def size_of(i, k, s, p, d, ceil_mode):
    out = (i + 2 * p - d * (k - 1) - 1 + (s - 1) * ceil_mode) // s + 1
    return out - 1 if ceil_mode and (out - 1) * s >= i + p else out


def largest(x, out, places):
    """Values and flat indices where ``places(o)`` lists the elements of window ``o`` in order."""
    n = len(out)
    values, indices = np.empty((*x.shape[:-n], *out)), np.empty((*x.shape[:-n], *out), int)
    for o in np.ndindex(*out):
        at = [np.ravel_multi_index(i, x.shape[-n:]) for i in places(o)]
        flat = x.reshape(*x.shape[:-n], -1)[..., at]
        values[(..., *o)] = flat.max(-1)
        indices[(..., *o)] = np.array(at)[flat.argmax(-1)]
    return values, indices


def max_pool(x, kernel, stride, padding, dilation, ceil_mode):
    n = len(kernel)
    s, p, d = ints(stride or kernel, n), ints(padding, n), ints(dilation, n)
    size = x.shape[-n:]
    out = [size_of(*v, ceil_mode) for v in zip(size, kernel, s, p, d, strict=True)]

    def places(o):
        lines = [[a * b - c + e * j for j in range(k)] for a, b, c, e, k in zip(o, s, p, d, kernel, strict=True)]
        return list(product(*([i for i in line if 0 <= i < m] for line, m in zip(lines, size, strict=True))))

    return largest(x, out, places)


def share(size, out, o):
    return range(o * size // out, -(-(o + 1) * size // out))


def adaptive_max_pool(x, out):
    n = len(out)
    return largest(x, out, lambda o: list(product(*map(share, x.shape[-n:], out, o))))


def adaptive_avg_pool(x, out):
    n = len(out)
    made = np.empty((*x.shape[:-n], *out))
    for o in np.ndindex(*out):
        window = x[(..., *(slice(r.start, r.stop) for r in map(share, x.shape[-n:], out, o)))]
        made[(..., *o)] = window.mean(tuple(range(-n, 0)))
    return made


def avg_pool(x, kernel, stride=(), padding=(0,), ceil_mode=False, include=True, divisor=None):
    n = len(kernel)
    s, p = ints(stride or kernel, n), ints(padding, n)
    size = x.shape[-n:]
    out = [size_of(*v, 1, ceil_mode) for v in zip(size, kernel, s, p, strict=True)]
    made = np.empty((*x.shape[:-n], *out))
    for o in np.ndindex(*out):
        start = [a * b - c for a, b, c in zip(o, s, p, strict=True)]
        stop = [min(a + k, m + c) for a, k, m, c in zip(start, kernel, size, p, strict=True)]
        inside = [slice(max(a, 0), min(b, m)) for a, b, m in zip(start, stop, size, strict=True)]
        window = x[(..., *inside)]
        count = np.prod(np.subtract(stop, start)) if include else np.prod(window.shape[-n:])
        made[(..., *o)] = window.sum(tuple(range(-n, 0))) / (divisor or count)
    return made


def adjoint(f, shape, grad):
    """The transposed of a linear map, column by column."""
    out = np.zeros(shape)
    for at in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[at] = 1
        out[at] = (f(unit) * grad).sum()
    return out


def scatter(x, indices, size, *_):
    out = np.zeros((*x.shape[: x.ndim - len(size)], int(np.prod(size))))
    for plane in np.ndindex(*out.shape[:-1]):
        np.add.at(out[plane], indices[plane].ravel(), x[plane].ravel())
    return out.reshape(*out.shape[:-1], *size)


def gather(x, indices, dims):
    flat = x.reshape(*x.shape[: x.ndim - dims], -1)
    return np.take_along_axis(flat, indices.reshape(*flat.shape[:-1], -1), -1).reshape(indices.shape)


def fractional(x, kernel, size, samples):
    n = len(size)
    values, indices = np.empty((*x.shape[:-n], *size)), np.empty((*x.shape[:-n], *size), int)
    samples = samples.reshape(*x.shape[:-n], n)
    for plane in np.ndindex(*x.shape[:-n]):
        draws = samples[plane][::-1] if n == 2 else samples[plane]
        starts = []
        for m, k, o, u in zip(x.shape[-n:], kernel, size, draws, strict=True):
            alpha = (m - k) / (o - 1) if o > 1 else 0
            starts.append([int((i + u) * alpha) - int(u * alpha) for i in range(o - 1)] + [m - k])

        def places(o, starts=starts):
            return list(product(*(range(a[i], a[i] + k) for a, i, k in zip(starts, o, kernel, strict=True))))

        values[plane], indices[plane] = largest(x[plane], size, places)
    return values, indices


INDICES = np.array([[[0, 3, 5]], [[1, 1, 4]]])
APART = np.array([[[0, 3, 5]], [[1, 2, 4]]])
CASES = [
    case("max_pool1d_with_indices", rand(2, 3, 7), (2,), (), (0,), (1,), False, ref=max_pool),
    case("max_pool1d_with_indices", rand(2, 7), (3,), (2,), (1,), (1,), True, ref=max_pool, label="ceil"),
    case("max_pool2d_with_indices", rand(2, 3, 4, 6), (2, 2), (), (0,), (1,), False, ref=max_pool),
    case("max_pool2d_with_indices", rand(1, 2, 7, 6), (3, 2), (2, 1), (1, 0), (2, 1), True, ref=max_pool, label="all"),
    case("max_pool3d_with_indices", rand(1, 1, 4, 3, 4), (2, 2, 3), (1,), (1,), (1,), False, ref=max_pool),
    case("max_pool2d_with_indices", np.arange(9).reshape(1, 3, 3) % 5, (2, 2), (1,), (1,), (1,), False, ref=max_pool,
         label="ints"),
    case("max_pool2d_with_indices", np.full((1, 3, 3), -np.inf), (2, 2), (1,), (1,), (1,), False, ref=max_pool, order=0,
         label="nothing"),
    case("adaptive_max_pool1d", rand(2, 7), (3,), ref=adaptive_max_pool),
    case("adaptive_max_pool2d", rand(2, 2, 5, 4), (3, 6), ref=adaptive_max_pool),
    case("adaptive_max_pool3d", rand(1, 2, 3, 4, 5), (2, 1, 3), ref=adaptive_max_pool),
    case("avg_pool1d", rand(2, 3, 7), (2,), ref=avg_pool),
    case("avg_pool2d", rand(2, 3, 4, 6), (2, 2), ref=avg_pool),
    case("avg_pool2d", rand(1, 2, 7, 6), (3, 2), (2, 1), (1,), True, False, ref=avg_pool, label="exclude"),
    case("avg_pool2d", rand(1, 2, 7, 6), (3, 2), (2, 3), (1,), True, True, ref=avg_pool, label="ceil"),
    case("avg_pool2d", rand(2, 7, 6), (3, 2), (2, 1), (1,), False, True, 5, ref=avg_pool, label="divisor"),
    case("avg_pool3d", rand(1, 1, 4, 3, 4), (2, 2, 3), (1,), (1,), ref=avg_pool),
    case("avg_pool2d", np.arange(18).reshape(2, 3, 3) - 9, (2, 2), ref=lambda x, k: np.trunc(avg_pool(x, k)),
         label="ints"),
    case("adaptive_avg_pool1d", rand(2, 7), (3,), ref=adaptive_avg_pool),
    case("adaptive_avg_pool2d", rand(2, 2, 5, 4), (3, 6), ref=adaptive_avg_pool),
    case("adaptive_avg_pool2d", rand(2, 2, 5, 4), (1, 1), ref=adaptive_avg_pool, label="global"),
    case("adaptive_avg_pool3d", rand(1, 2, 3, 4, 5), (2, 1, 3), ref=adaptive_avg_pool),
    *(
        case(f"avg_pool{n}d_backward", rand(2, *[2] * n), (5,) * n, (2,) * n, (3,), (1,), True, False, None,
             ref=lambda g, size, *args: adjoint(lambda x: avg_pool(x, *args), (2, *size), g))
        for n in (1, 2, 3)
    ),
    *(
        case(f"adaptive_avg_pool{n}d_backward", rand(2, *[3] * n), (5, 2, 4)[:n], (3,) * n,
             ref=lambda g, size, out: adjoint(lambda x: adaptive_avg_pool(x, out), (2, *size), g))
        for n in (1, 2, 3)
    ),
    case("scatter_planes", rand(2, 1, 3), INDICES, (6,), False, ref=scatter),
    case("scatter_planes", rand(2, 1, 3), APART, (6,), True, ref=scatter, label="unique"),
    case("gather_planes", rand(2, 1, 6), INDICES, 1, ref=gather),
    case("gather_planes", rand(2, 1, 2, 3), INDICES[..., None], 2, ref=gather, label="2d"),
    case("max_unpool", rand(2, 1, 3), APART, (7,), ref=scatter),
    case("fractional_max_pool", rand(2, 2, 6, 7), (2, 3), (3, 4), rand(2, 2, 2, low=0, high=1), ref=fractional,
         order=0),
    case("fractional_max_pool", rand(2, 4, 5, 6), (2, 1, 2), (2, 1, 4), rand(1, 2, 3, low=0, high=1), ref=fractional,
         order=0, label="3d"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def test_fractional_gradient_goes_to_the_largest():
    engine = Engine()
    x = engine.wrap(rand(1, 2, 6, 6), requires_grad=True)
    values, indices = engine.call(
        "fractional_max_pool", x, (2, 2), (3, 3), engine.wrap(rand(1, 2, 2, low=0, high=1))
    )
    g = rand(*values.shape)
    (made,) = grad(engine, [values], [x], [engine.wrap(g)], retain_graph=False, create_graph=False, allow_unused=False)
    np.testing.assert_allclose(made.array, scatter(g, indices.array, (6, 6)))


def test_nan_is_largest():
    engine = Engine()
    x = np.array([[1.0, np.nan, 3.0, 4.0]])
    values, indices = engine.call("max_pool1d_with_indices", engine.wrap(x), (2,), (), (0,), (1,), False)
    np.testing.assert_array_equal(values.array, [[np.nan, 4]])
    assert indices.array.tolist() == [[1, 3]]


SIMPLE = ((), (0,), (1,), False)


@pytest.mark.parametrize(
    ("op", "args", "error", "text"),
    [
        ("max_pool2d_with_indices", (rand(2, 5), (2,), *SIMPLE), RuntimeError,
         "non-empty 3D or 4D (batch mode) tensor expected for input"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (2,), (), (2,), (1,), False), RuntimeError,
         "pad should be at most half of effective kernel size, but got pad=2, kernel_size=2 and dilation=1"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (2,), (0,), (0,), (1,), False), RuntimeError,
         "stride should not be zero"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (2,), (-1,), (0,), (1,), False), RuntimeError,
         "stride should be greater than zero, but got dH: -1 dW: -1"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (2, 2, 2), *SIMPLE), RuntimeError,
         "max_pool2d: kernel_size must either be a single int, or a tuple of two ints"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (2,), (1, 1, 1), (0,), (1,), False), RuntimeError,
         "max_pool2d: stride must either be omitted, a single int, or a tuple of two ints"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5), (7,), *SIMPLE), RuntimeError,
         "Given input size: (2x5x5). Calculated output size: (2x0x0). Output size is too small"),
        ("max_pool2d_with_indices", (rand(1, 2, 0, 5), (2,), *SIMPLE), RuntimeError,
         "Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but got:[1, 2, 0, 5]"),
        ("max_pool2d_with_indices", (rand(1, 2, 5, 5) > 0, (2,), *SIMPLE), NotImplementedError,
         "\"max_pool2d\" not implemented for 'Bool'"),
        ("max_pool1d_with_indices", (rand(1, 2, 5), (7,), *SIMPLE), RuntimeError,
         "max_pool1d() Invalid computed output size: 0"),
        ("max_pool1d_with_indices", (rand(1, 2, 5), (0,), *SIMPLE), RuntimeError,
         "max_pool1d() kernel_size must be greater than zero, but got 0"),
        ("max_pool3d_with_indices", (rand(2, 5, 5, 5), (9,), *SIMPLE), RuntimeError,
         "Given input size: (2x5x5x5). Calculated output size: (2x0x0x0). Output size is too small"),
        ("avg_pool1d", (rand(1, 2, 5), (7,)), RuntimeError,
         "Given input size: (2x1x5). Calculated output size: (2x1x0). Output size is too small"),
        ("avg_pool1d", (rand(5), (2,)), RuntimeError,
         "Expected 2 to 3 dimensions, but got 1-dimensional tensor for argument #1 'self' (while checking arguments "
         "for avg_pool1d)"),
        ("avg_pool2d", (rand(1, 2, 5, 5), (2,), (), (0,), False, True, 0), RuntimeError, "divisor must be not zero"),
        ("avg_pool3d", (rand(1, 2, 5, 5), (7,)), RuntimeError,
         "input image (T: 2 H: 5 W: 5) smaller than kernel size (kT: 7 kH: 7 kW: 7)"),
        ("adaptive_avg_pool2d", (rand(5, 5), (2,)), RuntimeError,
         "adaptive_avg_pool2d(): Expected 3D or 4D tensor, but got [5, 5]"),
        ("adaptive_avg_pool2d", (rand(1, 2, 5, 5), (-1, -1)), RuntimeError,
         "adaptive_avg_pool2d: elements of output_size must be greater than or equal to 0 but received {-1, -1}"),
        ("adaptive_max_pool2d", (rand(1, 2, 0, 5), (2,)), RuntimeError,
         "adaptive_max_pool2d(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
         "[1, 2, 0, 5] with dimension 2 being empty"),
        ("max_unpool", (rand(1, 1, 2), INDICES[:1, :, :2] + 5, (4,)), RuntimeError,
         "Found an invalid max index: 5 (output volumes are of size 4x1)"),
        ("max_unpool", (rand(1, 1, 2), INDICES[:1], (4,)), RuntimeError,
         "Expected shape of indices to be same as that of the input tensor ([1, 1, 2]) but got indices tensor with "
         "shape: [1, 1, 3]"),
        ("fractional_max_pool", (rand(1, 1, 6, 6), (2, 2), (7, 7), rand(1, 1, 2)), RuntimeError,
         "fractional_max_pool2d(): pool height 2 too large relative to input height 6"),
    ],
)  # fmt: skip
def test_errors(op, args, error, text):
    engine = Engine()
    with pytest.raises(error) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text
