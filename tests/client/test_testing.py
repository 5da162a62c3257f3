"""assert_close says what torch says, recorded from torch 2.13; make_tensor makes what it is asked for."""

import math
import re

import numpy as np
import pytest

import gradwire as torch
from tests.devices import on_cpu

assert_close = torch.testing.assert_close
make_tensor = torch.testing.make_tensor
T = torch.tensor


@pytest.mark.parametrize(
    ("actual", "expected", "options"),
    [
        (lambda: T([1.0, 2.0]), lambda: T([1.0, 2.000001]), {}),
        (lambda: T([1.0, math.nan]), lambda: T([1.0, math.nan]), {"equal_nan": True}),
        (lambda: 1.0, lambda: 1.0 + 1e-9, {}),
        (lambda: {"a": [T(1.0)], "b": None}, lambda: {"b": None, "a": [T(1.0)]}, {}),
        (lambda: T([1.0]), lambda: T([1.0], dtype=torch.float64), {"check_dtype": False}),
        (lambda: np.array([1.0]), lambda: np.array([1.0]), {}),
        (lambda: T([1.0], requires_grad=True), lambda: T([1.0]), {}),
        (lambda: T([5, 7]), lambda: T([5, 8]), {"rtol": 0, "atol": 1}),
    ],
)
def test_close(actual, expected, options):
    assert_close(actual(), expected(), **options)


@pytest.mark.parametrize(
    ("actual", "expected", "options", "kind", "text"),
    [
        (lambda: T([[1.0, 2.0], [3.0, 4.0]]), lambda: T([[1.0, 2.0], [0.0, 4.5]]), {}, AssertionError,
         "Tensor-likes are not close!\n\nMismatched elements: 2 / 4 (50.0%)\nGreatest absolute difference: 3.0 at "
         "index (1, 0) (up to 1e-05 allowed)\nGreatest relative difference: inf at index (1, 0) (up to 1.3e-06 "
         "allowed)"),
        (lambda: T([1, 2]), lambda: T([1, 3]), {}, AssertionError,
         "Tensor-likes are not equal!\n\nMismatched elements: 1 / 2 (50.0%)\nGreatest absolute difference: 1 at index "
         "(1,)\nGreatest relative difference: 0.3333333432674408 at index (1,)"),
        (lambda: T(1.0), lambda: T(2.0), {}, AssertionError,
         "Scalars are not close!\n\nExpected 2.0 but got 1.0.\nAbsolute difference: 1.0 (up to 1e-05 allowed)\n"
         "Relative difference: 0.5 (up to 1.3e-06 allowed)"),
        (lambda: 1, lambda: 2, {}, AssertionError,
         "Scalars are not equal!\n\nExpected 2 but got 1.\nAbsolute difference: 1\nRelative difference: 0.5"),
        (lambda: T([1.0, math.nan]), lambda: T([1.0, math.nan]), {}, AssertionError,
         "Mismatched elements: 1 / 2 (50.0%)\nGreatest absolute difference: nan at index (1,)"),
        (lambda: T([1.0]), lambda: T([[1.0]]), {}, AssertionError,
         "The values for attribute 'shape' do not match: torch.Size([1]) != torch.Size([1, 1])."),
        (lambda: T([1.0]), lambda: T([1.0], dtype=torch.float64), {}, AssertionError,
         "The values for attribute 'dtype' do not match: torch.float32 != torch.float64."),
        (lambda: [1, [2, T([1.0])]], lambda: [1, [2, T([2.0])]], {}, AssertionError,
         "The failure occurred for item [1][1]"),
        (lambda: [1], lambda: [1, 2], {}, AssertionError, "The length of the sequences mismatch: 1 != 2"),
        (lambda: {"a": 1}, lambda: {"b": 1}, {}, AssertionError,
         "The keys of the mappings do not match:\nMissing keys in the actual mapping: ['b']\nAdditional keys in the "
         "actual mapping: ['a']"),
        (lambda: None, lambda: 1, {}, AssertionError, "None mismatch: None is not 1"),
        (lambda: True, lambda: False, {}, AssertionError, "Booleans mismatch: True is not False"),
        (lambda: "a", lambda: "b", {}, TypeError,
         "No comparison pair was able to handle inputs of type <class 'str'> and <class 'str'>."),
        (lambda: 1.0, lambda: 2.0, {"rtol": 0.1}, ValueError,
         "Both 'rtol' and 'atol' must be either specified or omitted, but got no atol."),
        (lambda: 1.0, lambda: 2.0, {"msg": "mine"}, AssertionError, "mine"),
        (lambda: True, lambda: False, {"msg": lambda m: f"<{m}>"}, AssertionError,
         "<Booleans mismatch: True is not False>"),
    ],
)  # fmt: skip
def test_not_close(actual, expected, options, kind, text):
    with pytest.raises(kind, match=re.escape(text)):
        assert_close(actual(), expected(), **options)


@on_cpu
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "bfloat16", "float16", "float32", "float64", "complex64"])
def test_make_tensor(dtype):
    dtype = getattr(torch, dtype)
    made = make_tensor((3, 5), dtype=dtype, device="cpu")
    assert made.shape == (3, 5)
    assert made.dtype is dtype
    assert made.is_contiguous()
    assert not make_tensor(3, 5, dtype=dtype, device="cpu", noncontiguous=True).is_contiguous()
    if dtype is not torch.bool:
        narrow = make_tensor(200, dtype=dtype, device="cpu", low=2, high=4)
        parts = torch.view_as_real(narrow) if dtype is torch.complex64 else narrow
        assert bool((parts >= 2).all())
        assert bool((parts <= 4).all())


@on_cpu
def test_make_tensor_refuses():
    with pytest.raises(ValueError, match="`low` must be less than `high`, but got 3 >= 2"):
        make_tensor(2, dtype=torch.float32, device="cpu", low=3, high=2)
    with pytest.raises(ValueError, match="`requires_grad=True` is not supported for boolean and integral dtypes"):
        make_tensor(2, dtype=torch.int64, device="cpu", requires_grad=True)
    assert make_tensor(2, dtype=torch.float32, device="cpu", requires_grad=True).requires_grad
    assert bool((make_tensor(50, dtype=torch.int64, device="cpu", low=-1, high=2, exclude_zero=True) != 0).all())
