"""torch.signal.windows: formulas evaluated here, and torch's refusals."""

import math

import numpy as np
import pytest

import gradwire as torch

K = np.arange(5)
WINDOWS = {
    "hann": ({}, 0.5 - 0.5 * np.cos(2 * np.pi * K / 4)),
    "hamming": ({"sym": False}, 0.54 - 0.46 * np.cos(2 * np.pi * K / 5)),
    "general_hamming": ({"alpha": 0.6}, 0.6 - 0.4 * np.cos(2 * np.pi * K / 4)),
    "general_cosine": ({"a": (0.2, 0.3, 0.5)}, 0.2 - 0.3 * np.cos(np.pi * K / 2) + 0.5 * np.cos(np.pi * K)),
    "blackman": ({}, 0.42 - 0.5 * np.cos(np.pi * K / 2) + 0.08 * np.cos(np.pi * K)),
    "bartlett": ({"sym": False}, 1 - abs(2 * K / 5 - 1)),
    "cosine": ({}, np.sin(np.pi / 5 * (K + 0.5))),
    "exponential": ({"tau": 2.0}, np.exp(-abs(K - 2) / 2)),
    "gaussian": ({"std": 1.5, "sym": False}, np.exp(-((K - 2.5) ** 2) / 4.5)),
    "kaiser": ({"beta": 3.0}, np.i0(3 * np.sqrt(1 - (K / 2 - 1) ** 2)) / np.i0(3)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_formula(name):
    kwargs, want = WINDOWS[name]
    made = getattr(torch.signal.windows, name)(5, dtype=torch.float64, **kwargs)
    np.testing.assert_allclose(made.numpy(), want, atol=1e-15, rtol=1e-13)
    assert getattr(torch.signal.windows, name)(1, **kwargs).tolist() == [1]


@pytest.mark.parametrize(("kwargs", "text"), [
    ({"M": -1}, "bartlett requires non-negative window length, got M=-1"),
    ({"M": 3, "layout": torch.sparse_coo}, "bartlett is implemented for strided tensors only, got: torch.sparse_coo"),
    ({"M": 3, "dtype": torch.int64}, "bartlett expects float32 or float64 dtypes, got: torch.int64"),
])  # fmt: skip
def test_refused(kwargs, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        torch.signal.windows.bartlett(**kwargs)


def test_layouts():
    assert torch.zeros(2).layout is torch.strided
    assert repr(torch.channels_last) == "torch.channels_last"
    with pytest.raises(NotImplementedError, match=r"no tensors of layout torch.sparse_coo: all are torch.strided"):
        torch.zeros(2, layout=torch.sparse_coo)
    assert math.prod(torch.empty_permuted((2, 3), (1, 0)).stride()) == 2
