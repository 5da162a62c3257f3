"""Interpolation: against a direct reading of each rule, and the adjoint identity, to second order."""

import math

import numpy as np
import pytest

from gradwire_engine import Engine, maps
from gradwire_proto.catalog.resize import MODES
from tests.engine.harness import case, check, rand


def cubic(x, a):
    x = abs(x)
    return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


FILTERS = {
    "bilinear_aa": (1, lambda x: max(0.0, 1 - abs(x))),
    "bicubic_aa": (2, lambda x: cubic(x, -0.5)),
    "lanczos_aa": (3, lambda x: np.sinc(x) * np.sinc(x / 3) if abs(x) < 3 else 0.0),
}


def matrix(mode, size, out, align_corners, factor):
    """One axis of an interpolation as a matrix."""
    m = np.zeros((out, size))
    scale = 1 / factor if factor else size / out
    if align_corners:
        scale = (size - 1) / max(out - 1, 1)
    for o in range(out):
        middle = (o + 0.5) * scale - 0.5
        at = o * scale if align_corners else middle
        if mode == "nearest":
            m[o, min(int(o * scale), size - 1)] = 1
        elif mode == "nearest_exact":
            m[o, min(int((o + 0.5) * scale), size - 1)] = 1
        elif mode in ("linear", "bilinear", "trilinear"):
            at = max(at, 0)
            i = min(int(at), size - 1)
            m[o, i] += 1 - (at - i)
            m[o, min(i + 1, size - 1)] += at - i
        elif mode == "bicubic":
            for i in range(math.floor(at) - 1, math.floor(at) + 3):
                m[o, min(max(i, 0), size - 1)] += cubic(at - i, -0.75)
        else:
            reach, weight = FILTERS[mode]
            width = max(scale, 1)
            center = (o + 0.5) * scale
            line = range(max(0, int(center - reach * width + 0.5)), min(size, int(center + reach * width + 0.5)))
            for i in line:
                m[o, i] = weight((i + 0.5 - center) / width)
            m[o] /= m[o].sum()
    return m


def resize(x, mode, out, align_corners=False, factors=(), transposed=False, size=None):
    size = size or x.shape[2:]
    for d in range(len(out)):
        m = matrix(mode, size[d], out[d], align_corners, factors[d] if factors else 0)
        x = np.moveaxis(np.tensordot(x, m if transposed else m.T, (2 + d, 0)), -1, 2 + d)
    return x


def cases(mode, n):
    small, large = (2, 5, 3)[:n], (7, 3, 4)[:n]
    op = f"upsample_{mode}{n}d"
    x = rand(2, 1, *(4, 6, 5)[:n])
    variants = [(small, False, ()), (large, False, ()), (small, False, (0.6, 0.9, 0.7)[:n])]
    if "nearest" not in mode and "aa" not in mode:
        variants += [(small, True, ()), (large, True, ())]
    for i, args in enumerate(variants):
        yield case(op, x, *args, label=str(i), ref=lambda x, *args: resize(x, mode, *args))
    yield case(f"{op}_backward", rand(2, 1, *small), (4, 6, 5)[:n], small,
               ref=lambda g, size, out: resize(g, mode, out, transposed=True, size=size))  # fmt: skip


CASES = [c for mode, dims in MODES.items() for n in dims for c in cases(mode, n)]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def test_what_is_infinite_stays_where_it_is_in_large_arrays(monkeypatch):
    engine = Engine()
    x = np.arange(200, dtype=np.float32).reshape(2, 1, 100)
    x[0, 0, 40] = np.inf
    x[1, 0, 60] = np.nan
    small = engine.call("upsample_linear1d", engine.wrap(x), (200,), False, ()).array
    monkeypatch.setattr(maps, "PIECE", 50)
    large = engine.call("upsample_linear1d", engine.wrap(x), (200,), False, ()).array
    np.testing.assert_array_equal(large, small)
    assert np.isinf(large).sum() == 4 == np.isnan(large).sum()


def test_bytes_to_the_nearest():
    engine = Engine()
    x = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    made = engine.call("upsample_nearest1d", engine.wrap(x), (8,))
    assert made.array.tolist() == [[[0, 0, 1, 1, 2, 2, 3, 3]]]
    assert made.array.dtype == np.uint8


@pytest.mark.parametrize(
    ("op", "args", "error", "text"),
    [
        ("upsample_nearest1d", (rand(1, 1, 4), (0,)), RuntimeError,
         "Input and output sizes should be greater than 0, but got input (W: 4) and output (W: 0)"),
        ("upsample_bilinear2d", (rand(1, 1, 4), (2, 2)), RuntimeError,
         "It is expected input_size equals to 4, but got size 3"),
        ("upsample_bilinear2d", (rand(1, 1, 4, 4), (2,)), RuntimeError,
         "It is expected output_size equals to 2, but got size 1"),
        ("upsample_nearest2d", (np.ones((1, 1, 4, 4), int), (2, 2)), NotImplementedError,
         "\"upsample_nearest2d_channels_last\" not implemented for 'Long'"),
    ],
)  # fmt: skip
def test_errors(op, args, error, text):
    engine = Engine()
    with pytest.raises(error) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text
