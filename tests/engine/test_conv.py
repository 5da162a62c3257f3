"""Convolution, its adjoints, unfold and fold: values, derivatives to second order, errors."""

from itertools import product

import numpy as np
import pytest

from gradwire_engine import Engine
from tests.engine.harness import case, check, crand, rand


def conv(x, w, b, stride, padding, dilation, transposed, output_padding, groups):
    """The definition, one product at a time."""
    n = w.ndim - 2
    s, p, d, extra = (tuple(v) * (n if len(v) == 1 else 1) for v in (stride, padding, dilation, output_padding))
    kernel = w.shape[2:]
    if transposed:
        size = [(i - 1) * a - 2 * b_ + c * (k - 1) + e + 1
                for i, k, a, b_, c, e in zip(x.shape[2:], kernel, s, p, d, extra, strict=True)]  # fmt: skip
        out = np.zeros((len(x), w.shape[1] * groups, *size), x.dtype)
        small, large = x, out
    else:
        sizes = zip(x.shape[2:], kernel, s, p, d, strict=True)
        size = [(i + 2 * b_ - c * (k - 1) - 1) // a + 1 for i, k, a, b_, c in sizes]
        out = np.zeros((len(x), w.shape[0], *size), x.dtype)
        small, large = out, x
    each_small, each_large = small.shape[1] // groups, large.shape[1] // groups
    for at in product(*map(range, small.shape[2:])):
        for k in product(*map(range, kernel)):
            to = tuple(o * a - b_ + i * c for o, a, b_, i, c in zip(at, s, p, k, d, strict=True))
            if any(t < 0 or t >= size_ for t, size_ in zip(to, large.shape[2:], strict=True)):
                continue
            for g in range(groups):
                i, j = slice(g * each_small, (g + 1) * each_small), slice(g * each_large, (g + 1) * each_large)
                m = w[(i, slice(None), *k)]
                if transposed:
                    large[(slice(None), j, *to)] += small[(slice(None), i, *at)] @ m
                else:
                    small[(slice(None), i, *at)] += large[(slice(None), j, *to)] @ m.T
    return out if b is None else out + b.reshape(-1, *[1] * n)


def conv_weight(g, x, kernel, stride, padding, dilation, groups):
    """Bilinear in both, so its numbers are those of the convolution with each unit weight."""
    shape = (g.shape[1], x.shape[1] // groups, *kernel)
    out = np.zeros(shape)
    for at in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[at] = 1
        out[at] = (g * conv(x, unit, None, stride, padding, dilation, False, (0,), groups)).sum()
    return out


def blocks(x, kernel, dilation, padding, stride):
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(p, p) for p in padding])
    size = [(i - d * (k - 1) - 1) // s + 1 for i, k, d, s in zip(x.shape[-2:], kernel, dilation, stride, strict=True)]
    cols = [
        x[..., i * stride[0] : i * stride[0] + dilation[0] * kernel[0] : dilation[0],
          j * stride[1] : j * stride[1] + dilation[1] * kernel[1] : dilation[1]].reshape(*x.shape[:-3], -1)
        for i in range(size[0])
        for j in range(size[1])
    ]  # fmt: skip
    return np.stack(cols, -1)


def unblocks(cols, size, kernel, dilation, padding, stride):
    """The adjoint of ``blocks``: column by column of its matrix."""
    shape = (*cols.shape[:-2], cols.shape[-2] // (kernel[0] * kernel[1]), *size)
    out = np.zeros(shape)
    for at in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[at] = 1
        out[at] = (cols * blocks(unit, kernel, dilation, padding, stride)).sum()
    return out


PLAIN = ((1,), (0,), (1,), False, (0,), 1)
CASES = [
    case("convolution", rand(2, 3, 7), rand(4, 3, 3), rand(4), *PLAIN, ref=conv, label="1d"),
    case("convolution", rand(2, 3, 5, 6), rand(4, 3, 3, 2), rand(4), *PLAIN, ref=conv, label="2d"),
    case("convolution", rand(1, 2, 3, 4, 3), rand(2, 2, 2, 3, 2), None, *PLAIN, ref=conv, label="3d"),
    case("convolution", rand(2, 4, 6, 7), rand(6, 2, 2, 3), rand(6), (2, 3), (1, 2), (2, 1), False, (0,), 2, ref=conv,
         label="all"),
    case("convolution", rand(2, 3, 4, 4), rand(3, 1, 3, 3), None, (1,), (1,), (1,), False, (0,), 3, ref=conv,
         label="depthwise"),
    case("convolution", rand(2, 3, 4, 4), rand(5, 3, 1, 1), None, *PLAIN, ref=conv, label="pointwise"),
    case("convolution", crand(1, 2, 4, 4), crand(2, 2, 2, 2, seed=3), crand(2, seed=5), *PLAIN, ref=conv,
         label="complex"),
    case("convolution", rand(0, 3, 5), rand(4, 3, 3), rand(4), *PLAIN, ref=conv, order=0, label="empty"),
    case("convolution", rand(2, 3, 4), rand(3, 2, 3), rand(2), (2,), (1,), (1,), True, (1,), 1, ref=conv,
         label="transposed1d"),
    case("convolution", rand(2, 4, 3, 4), rand(4, 2, 2, 3), rand(4), (2, 1), (1, 2), (1, 2), True, (1,), 2, ref=conv,
         label="transposed2d"),
    case("convolution", rand(1, 2, 2, 3, 2), rand(2, 1, 2, 2, 2), None, (2,), (0,), (1,), True, (0,), 1, ref=conv,
         label="transposed3d"),
    case("convolution", np.arange(18).reshape(1, 2, 9), np.arange(6).reshape(1, 2, 3), None, *PLAIN, ref=conv,
         label="ints"),
    case("convolution_weight", rand(2, 4, 3, 3), rand(2, 2, 5, 7), (2, 3), (2,), (1,), (1, 2), 2, ref=conv_weight),
    case("attach", rand(2), rand(3), ref=lambda x, _: x),
    case("im2col", rand(2, 2, 5, 6), (2, 3), (2, 1), (1, 0), (1, 2), ref=blocks),
    case("im2col", rand(2, 4, 4), (2, 2), (1, 1), (0, 0), (1, 1), ref=blocks, label="unbatched"),
    case("col2im", rand(2, 12, 10), (5, 6), (2, 3), (2, 1), (1, 0), (1, 2), ref=unblocks),
    case("col2im", rand(8, 9), (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), ref=unblocks, label="unbatched"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def test_blocks_of_columns_make_no_difference(monkeypatch):
    from gradwire_engine.kernels import conv as kernels

    for args in [
        (rand(3, 4, 6, 7), rand(6, 2, 2, 3), rand(6), (2, 3), (1, 2), (2, 1), False, (0,), 2),
        (rand(3, 4, 5, 4), rand(4, 2, 2, 3), rand(4), (2, 1), (1, 2), (1, 2), True, (1, 0), 2),
    ]:
        engine = Engine()
        values = [engine.wrap(a.copy()) if isinstance(a, np.ndarray) else a for a in args]
        for block in (1, 100, 300):
            monkeypatch.setattr(kernels, "BLOCK", block)
            made = engine.call("convolution", *values)
            np.testing.assert_allclose(made.array, conv(*args), rtol=1e-10, atol=1e-12)


ERRORS = [
    ((rand(2, 3), rand(4, 3, 3), None, *PLAIN),
     "Expected 3-dimensional input for 3-dimensional weight [4, 3, 3], but got 2-dimensional input of size [2, 3] "
     "instead"),
    ((rand(1, 2, 5, 5), rand(4, 3, 3, 3), None, *PLAIN),
     "Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 2, 5, 5] to have 3 channels, but got 2 channels "
     "instead"),
    ((rand(1, 3, 2, 2), rand(4, 3, 3, 3), None, *PLAIN),
     "Calculated padded input size per channel: (2 x 2). Kernel size: (3 x 3). Kernel size can't be greater than "
     "actual input size"),
    ((rand(1, 3, 5, 5), rand(4, 3, 3, 3), rand(3), *PLAIN),
     "Given weight of size [4, 3, 3, 3], expected bias to be 1-dimensional with 4 elements, but got bias of size [3] "
     "instead"),
    ((rand(1, 3, 5, 5).astype("float32"), rand(4, 3, 3, 3), None, *PLAIN),
     "expected scalar type Float but found Double"),
    ((rand(1, 3, 5, 5), rand(4, 3, 3, 3), None, (1, 1, 1), (0,), (1,), False, (0,), 1),
     "expected stride to be a single integer value or a list of 2 values to match the convolution dimensions, but got "
     "stride=[1, 1, 1]"),
    ((rand(1, 3, 5, 5), rand(4, 3, 3, 3), None, (1,), (-1,), (1,), False, (0,), 1),
     "negative padding is not supported"),
    ((rand(1, 3, 5, 5), rand(4, 3, 3, 3), None, (0,), (0,), (1,), False, (0,), 1),
     "non-positive stride is not supported"),
    ((rand(1, 4, 5, 5), rand(3, 2, 3, 3), None, (1,), (0,), (1,), False, (0,), 2),
     "Given groups=2, expected weight to be divisible by 2 at dimension 0, but got weight of size [[3, 2, 3, 3]] "
     "instead"),
    ((rand(1, 3, 5), rand(3, 3, 3), None, (1,), (0,), (1,), True, (1,), 1),
     "output padding must be smaller than either stride or dilation, but got output_padding_height: 0 "
     "output_padding_width: 1 stride_height: 1 stride_width: 1 dilation_height: 1 dilation_width: 1"),
    ((rand(1, 3, 1, 1), rand(3, 3, 3, 3), None, (1,), (3,), (1,), True, (0,), 1),
     "Given input size per channel: (1 x 1). Calculated output size per channel: (-3 x -3). Output size is too small"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), ERRORS)
def test_convolution_errors(args, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call("convolution", *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text


@pytest.mark.parametrize(
    ("op", "args", "text"),
    [
        ("im2col", ((7, 7), (1, 1), (0, 0), (1, 1)),
         "Given input with spatial size (5, 5), kernel_size=(7, 7), dilation=(1, 1), padding=(0, 0), "
         "calculated shape of the array of sliding blocks as (-1, -1), but its components must be at least one."),
        ("im2col", ((0,), (1, 1), (0, 0), (1, 1)),
         "kernel size should be greater than zero, but got kernel_height: 0 kernel_width: 0"),
        ("im2col", ((2, 2, 2), (1, 1), (0, 0), (1, 1)), "It is expected kernel_size equals to 2, but got size 3"),
    ],
)  # fmt: skip
def test_unfold_errors(op, args, text):
    engine = Engine()
    with pytest.raises(RuntimeError) as e:
        engine.call(op, engine.wrap(rand(1, 2, 5, 5)), *args)
    assert str(e.value) == text
