"""Fourier transforms: values, adjoints to second order, precision, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine, backend
from tests.engine.harness import case, check, crand, rand, run


def c2c(a, dim, norm, forward):
    return (np.fft.fftn if forward else np.fft.ifftn)(a, axes=dim, norm=norm)


def r2c(a, dim, norm, onesided):
    return (np.fft.rfftn if onesided else np.fft.fftn)(a, axes=dim, norm=norm)


def c2r(a, dim, norm, size):
    return np.fft.irfftn(a, [*(a.shape[d] for d in dim[:-1]), size], axes=dim, norm=norm)


def scaled(a, dim, size, factor):
    weights = [1 if k in (0, size / 2) else factor for k in range(size // 2 + 1)]
    return np.moveaxis(np.moveaxis(a, dim, -1) * weights, -1, dim)


CASES = [
    *[case("fft_c2c", crand(3, 4), (0,), norm, forward, ref=c2c, label=f"{norm}-{forward}")
      for norm in ("backward", "ortho", "forward") for forward in (True, False)],
    case("fft_c2c", crand(3, 4, 2), (2, 0), "backward", True, ref=c2c, label="dims"),
    case("fft_c2c", crand(0, 4), (1,), "backward", True, ref=lambda a, *_: a, label="empty"),
    *[case("fft_r2c", rand(3, 4), (-1,), norm, onesided, ref=r2c, label=f"{norm}-{onesided}")
      for norm in ("backward", "ortho", "forward") for onesided in (True, False)],
    case("fft_r2c", rand(3, 5, 2), (2, 0, 1), "ortho", True, ref=r2c, label="odd"),
    case("fft_r2c", rand(3, 5, 2), (0, 1), "forward", False, ref=r2c, label="dims"),
    case("fft_r2c", rand(2, 1), (1,), "backward", True, ref=r2c, label="one-point"),
    case("fft_r2c", rand(0, 4), (1,), "backward", True, ref=lambda *_: np.empty((0, 3)), label="empty"),
    *[case("fft_c2r", crand(3, 4), (-1,), norm, size, ref=c2r, label=f"{norm}-{size}")
      for norm in ("backward", "ortho", "forward") for size in (6, 7)],
    case("fft_c2r", crand(3, 4, 2), (2, 0, 1), "backward", 7, ref=c2r, label="dims"),
    case("fft_c2r", crand(2, 1), (1,), "backward", 1, ref=c2r, label="one-point"),
    case("fft_c2r", crand(0, 3), (1,), "backward", 4, ref=lambda *_: np.empty((0, 4)), label="empty"),
    case("fft_scale_pairs", crand(3, 4), 1, 6, 0.5, ref=scaled, label="even"),
    case("fft_scale_pairs", rand(4, 3), 0, 7, 2.0, ref=scaled, label="odd"),
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize("c", CASES, ids=str)
def test_of_many_numbers(c, monkeypatch):
    monkeypatch.setattr(backend, "LONG", 1)
    check(c)


@pytest.mark.parametrize(
    ("name", "array", "rest", "want"),
    [
        ("fft_c2c", crand(4).astype(np.complex64), ("backward", True), np.complex64),
        ("fft_r2c", rand(4).astype(np.float32), ("backward", True), np.complex64),
        ("fft_r2c", rand(4).astype(np.float32), ("backward", False), np.complex64),
        ("fft_c2r", crand(4).astype(np.complex64), ("backward", 6), np.float32),
        ("fft_r2c", rand(2**14).astype(np.float32), ("backward", True), np.complex64),
    ],
)
def test_single_precision_stays_single(name, array, rest, want):
    assert run(case(name, array, (0,), *rest))[0][0].array.dtype == want


def test_the_imaginary_part_of_what_must_be_real_does_not_count():
    x = crand(4)
    real = x.copy()
    real[[0, -1]] = real[[0, -1]].real
    engine = Engine()
    made, same = (engine.call("fft_c2r", engine.wrap(a), (0,), "backward", 6).array for a in (x, real))
    np.testing.assert_allclose(made, same)


ERRORS = [
    (case("fft_c2c", crand(3), (1,), "backward", True), IndexError,
     "Dimension out of range (expected to be in range of [-1, 0], but got 1)"),
    (case("fft_c2c", np.array(1j), (-1,), "backward", True), IndexError,
     "Dimension specified as -1 but tensor has no dimensions"),
    (case("fft_c2c", crand(3, 2), (0, -2), "backward", True), RuntimeError, "FFT dims must be unique"),
    (case("fft_c2c", crand(3, 2), (), "backward", True), RuntimeError, "fft_c2c must transform at least one axis"),
    (case("fft_c2c", crand(3), (0,), "half", True), RuntimeError, 'Invalid normalization mode: "half"'),
    (case("fft_c2c", rand(3), (0,), "backward", True), RuntimeError, "Unsupported dtype Double"),
    (case("fft_r2c", rand(3).astype(np.float16), (0,), "backward", True), RuntimeError, "Unsupported dtype Half"),
    (case("fft_r2c", rand(3, 0), (1,), "backward", True), RuntimeError, "Invalid number of data points (0) specified"),
    (case("fft_c2r", crand(3), (0,), "backward", 0), RuntimeError, "Invalid number of data points (0) specified"),
    (case("fft_c2r", crand(3), (0,), "backward", 6), RuntimeError,
     "fft_c2r: 6 real points have 4 frequencies, but dimension 0 has 3"),
    (case("fft_scale_pairs", crand(3), 0, 8, 2.0), RuntimeError,
     "fft_scale_pairs: 8 real points have 5 frequencies, but dimension 0 has 3"),
]  # fmt: skip


@pytest.mark.parametrize(("c", "error", "text"), ERRORS, ids=str)
def test_error(c, error, text):
    with pytest.raises(error) as e:
        run(c)
    assert str(e.value) == text
