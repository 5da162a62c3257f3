"""Type promotion, held against the table of torch's documentation."""

from __future__ import annotations

import copy
import pickle
from itertools import permutations, product

import pytest

from gradwire_proto import dtypes
from gradwire_proto.dtypes import ALL, Category, join, promote

# The table of torch.promote_types, rows and columns in the order of ALL.
NAMES = ["b1", "u1", "i1", "i2", "i4", "i8", "f2", "bf", "f4", "f8", "c8", "c16"]
TABLE = """
    b1  u1  i1  i2  i4  i8  f2  bf  f4  f8  c8  c16
    u1  u1  i2  i2  i4  i8  f2  bf  f4  f8  c8  c16
    i1  i2  i1  i2  i4  i8  f2  bf  f4  f8  c8  c16
    i2  i2  i2  i2  i4  i8  f2  bf  f4  f8  c8  c16
    i4  i4  i4  i4  i4  i8  f2  bf  f4  f8  c8  c16
    i8  i8  i8  i8  i8  i8  f2  bf  f4  f8  c8  c16
    f2  f2  f2  f2  f2  f2  f2  f4  f4  f8  c8  c16
    bf  bf  bf  bf  bf  bf  f4  bf  f4  f8  c8  c16
    f4  f4  f4  f4  f4  f4  f4  f4  f4  f8  c8  c16
    f8  f8  f8  f8  f8  f8  f8  f8  f8  f8  c16 c16
    c8  c8  c8  c8  c8  c8  c8  c8  c8  c16 c8  c16
    c16 c16 c16 c16 c16 c16 c16 c16 c16 c16 c16 c16
"""
NAMED = dict(zip(NAMES, ALL, strict=True))
ROWS = [[NAMED[n] for n in line.split()] for line in TABLE.split("\n") if line.strip()]


@pytest.mark.parametrize(("row", "column"), [*product(range(12), range(12))])
def test_join_is_torchs_table(row: int, column: int):
    assert join(ALL[row], ALL[column]) is ROWS[row][column]


@pytest.mark.parametrize(
    ("dimensioned", "zero_dim", "numbers", "result"),
    [
        # Within one category, a lower group never widens a higher one.
        ("f4", "f8", [], "f4"),
        ("f2", "f4", [float], "f2"),
        ("i1", "i8", [int], "i1"),
        ("u1", "i1", [], "u1"),
        ("", "f2", [float], "f2"),
        ("c8", "c16", [complex], "c8"),
        # A number, or a 0-d tensor, of a higher category does.
        ("b1", "", [int], "i8"),
        ("i8", "", [float], "f4"),
        ("b1", "", [bool], "b1"),
        ("i4", "f8", [], "f8"),
        ("", "i4", [float], "f4"),
        ("i4", "", [complex], "c8"),
        # A float that turns complex keeps its precision.
        ("f8", "", [complex], "c16"),
        ("f4", "", [complex], "c8"),
        ("f4", "c16", [], "c8"),
        ("f8", "c8", [], "c16"),
        ("bf", "", [complex], "c8"),
        # Numbers alone.
        ("", "", [bool], "b1"),
        ("", "", [int, float], "f4"),
        ("", "", [int, complex], "c8"),
        # Several with dimensions join.
        ("f2 bf", "", [], "f4"),
        ("i8 f2", "", [], "f2"),
        ("u1 i1 b1", "", [], "i2"),
    ],
)
def test_promotion_knows_three_ranks(dimensioned: str, zero_dim: str, numbers: list[type], result: str):
    groups = [[NAMED[n] for n in text.split()] for text in (dimensioned, zero_dim)]
    for order in permutations(groups[0]):
        assert promote(order, groups[1], numbers) is NAMED[result]


def test_promotion_of_nothing():
    with pytest.raises(ValueError, match="at least one type"):
        promote([], [], [])


def test_parts_of_complex_types():
    assert [d.to_real().name for d in (dtypes.complex64, dtypes.complex128, dtypes.float16)] == [
        "float32", "float64", "float16"]  # fmt: skip
    assert [d.to_complex().name for d in (dtypes.float32, dtypes.float64, dtypes.complex64)] == [
        "complex64", "complex128", "complex64"]  # fmt: skip
    with pytest.raises(RuntimeError, match="Unknown Complex ScalarType for Char"):
        dtypes.int8.to_complex()


def test_types_are_not_written_to():
    with pytest.raises(AttributeError, match=r"attribute 'itemsize' of 'torch.dtype' objects is not writable"):
        dtypes.int8.itemsize = 2
    assert dtypes.int8.itemsize == 1


def test_properties():
    assert [d for d in ALL if not d.is_signed] == [dtypes.bool_, dtypes.uint8]
    assert [d for d in ALL if d.differentiable] == [d for d in ALL if d.category >= Category.FLOAT]
    assert [d.itemsize for d in ALL] == [1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16]
    assert [d.number for d in ALL] == list(range(1, 13))
    assert repr(dtypes.bfloat16) == "torch.bfloat16"


@pytest.mark.parametrize("d", ALL, ids=repr)
def test_there_is_one_object_a_type(d: dtypes.DType):
    assert pickle.loads(pickle.dumps(d)) is d
    assert copy.deepcopy(d) is d
