"""Specs: interning, strides, and sizes that no memory holds."""

from __future__ import annotations

import pytest

from gradwire_proto.dtypes import bfloat16, float32, float64
from gradwire_proto.spec import MAX_ELEMENTS, row_major, spec


def test_equal_means_identical():
    assert spec((2, 3), float32) is spec((2, 3), float32)
    assert spec((2, 3), float32) is spec((2, 3), float32, (3, 1))
    assert spec((2, 3), float32, (1, 2)) is spec((2, 3), float32, (1, 2))
    assert spec((2, 3), float32) is not spec((3, 2), float32)
    assert spec((2, 3), float32) is not spec((2, 3), float64)
    assert spec((2, 3), float32) is not spec((2, 3), float32, (1, 2))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((), ()), ((4,), (1,)), ((2, 3, 4), (12, 4, 1)), ((2, 0, 4), (4, 4, 1)), ((0,), (1,)), ((1, 1), (1, 1))],
)
def test_strides_of_a_dense_tensor(shape, strides):
    assert row_major(shape) == spec(shape, float32).strides == strides


def test_sizes():
    s = spec((2, 3), bfloat16)
    assert (s.ndim, s.numel, s.nbytes) == (2, 6, 12)
    assert (spec((), float64).numel, spec((), float64).nbytes) == (1, 8)
    assert (spec((3, 0), float64).numel, spec((3, 0), float64).nbytes) == (0, 0)
    assert repr(s) == "bfloat16[2, 3]"


@pytest.mark.parametrize(
    ("shape", "strides", "contiguous"),
    [
        ((2, 3), (3, 1), True),
        ((2, 3), (1, 2), False),
        ((2, 3), (6, 1), False),
        ((1, 3), (99, 1), True),  # the step of a dimension of 1 is never taken
        ((0, 3), (1, 7), True),
        ((), (), True),
        ((3,), (0,), False),
    ],
)
def test_contiguous(shape, strides, contiguous):
    assert spec(shape, float32, strides).contiguous is contiguous


def test_refuses_negative_sizes():
    with pytest.raises(RuntimeError, match=r"Trying to create tensor with negative dimension -3: \[2, -3\]"):
        spec((2, -3), float32)


def test_refuses_more_elements_than_any_memory_holds():
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        spec((MAX_ELEMENTS, 2), float32)
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        spec((2**40,) * 3, float32)


def test_refuses_more_than_64_dimensions():
    assert spec((1,) * 64, float32).ndim == 64
    with pytest.raises(RuntimeError, match="at most 64 dimensions, got 65"):
        spec((1,) * 65, float32)
