"""Tensors from sizes and numbers, copies and fills: values, types, errors, and limits held before allocation."""

import numpy as np
import pytest

from gradwire_engine import Engine
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_proto import dtypes
from tests.engine.harness import case, check, crand, rand


def typed(f):
    return lambda *args, dtype, **kwargs: np.asarray(f(*args, **kwargs)).astype(NUMPY_DTYPE[dtype])


def triangle(lower):
    def ref(rows, columns, offset=0):
        full = np.ones((rows, columns))
        return np.stack(np.nonzero(np.tril(full, offset) if lower else np.triu(full, offset)))

    return typed(ref)


CASES = [
    case("full", (2, 3), 2.5, dtype=dtypes.float32, ref=typed(np.full)),
    case("full", (2,), -1, dtype=dtypes.uint8, ref=lambda s, v, dtype: np.full(2, 255, "uint8"), label="wraps"),
    case("full", (), 2.7, dtype=dtypes.int64, ref=typed(np.full), label="truncates"),
    case("full", (2,), 1j, dtype=dtypes.complex64, ref=typed(np.full), label="complex"),
    case("new_full", rand(2), (3, 1), 4, ref=lambda a, s, v: np.full(s, v), order=0),
    case("arange", 0, 7, 2, dtype=dtypes.int64, ref=typed(np.arange)),
    case("arange", 5, 0, -2, dtype=dtypes.int32, ref=typed(np.arange), label="down"),
    case("arange", 0.5, 2.0, 0.25, dtype=dtypes.float64, ref=typed(np.arange), label="floats"),
    case("arange", 3, 3, 1, dtype=dtypes.int64, ref=typed(np.arange), label="empty"),
    case("linspace", -1, 2, 7, dtype=dtypes.float64, ref=typed(np.linspace)),
    case("linspace", 0, 1j, 3, dtype=dtypes.complex128, ref=typed(np.linspace), label="complex"),
    case("logspace", 0, 2, 5, 2.0, dtype=dtypes.float64, ref=typed(lambda a, b, n, base: base ** np.linspace(a, b, n))),
    case("eye", 2, 3, dtype=dtypes.float32, ref=typed(np.eye)),
    *[case(f"tri{'l' if lower else 'u'}_indices", 4, 3, k, dtype=dtypes.int32, ref=triangle(lower), label=str(k))
      for lower in (True, False) for k in (-5, -2, 0, 1, 3)],
    case("tril_indices", 0, 3, 0, dtype=dtypes.int64, ref=triangle(True), label="no rows"),
    case("fill", rand(2, 3), np.array(2.5), ref=np.full_like),
    case("fill_", rand(2, 3), np.array(2.5), ref=np.full_like),
    case("fill_", crand(2), 1j, ref=np.full_like, label="complex"),
    case("zero_", rand(2, 3), ref=np.zeros_like),
    case("clone", rand(3), ref=np.copy),
    case("detach", rand(2), ref=np.copy, order=0),
    case("copy_", rand(2, 3), crand(3), ref=lambda a, b: np.broadcast_to(b.real, a.shape), label="drops imaginary"),
    case("require", rand(3), np.array([True, True]), "too little", ref=lambda a, *_: a),
    case("to_dtype", crand(2), dtypes.float64, ref=lambda a, d: a.real),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


F64, I64 = dtypes.float64, dtypes.int64
ERRORS = [
    ("full", ((-1,), 1.0, F64), RuntimeError, r"Trying to create tensor with negative dimension -1: \[-1\]"),
    ("full", ((2,), 300, dtypes.uint8), RuntimeError, "value cannot be converted to type uint8_t without overflow"),
    ("full", ((2,), 1j, dtypes.float32), RuntimeError, "value cannot be converted to type float without overflow"),
    ("full", ((2**40, 2**40), 0, F64), RuntimeError, "Storage size calculation overflowed"),
    ("arange", (0, 5, 0, I64), RuntimeError, "step must be nonzero"),
    ("arange", (0, -5, 1, I64), RuntimeError, "upper bound and lower bound inconsistent with step sign"),
    ("arange", (0, float("inf"), 1, F64), RuntimeError, "unsupported range: 0 -> inf"),
    ("arange", (0, 5, 1, dtypes.bool_), NotImplementedError, "\"arange_cpu\" not implemented for 'Bool'"),
    ("linspace", (0, 1, -1, F64), RuntimeError, "number of steps must be non-negative"),
    ("eye", (-1, 2, F64), RuntimeError, "n must be greater or equal to 0, got -1"),
    ("tril_indices", (-1, 2, 0, I64), RuntimeError, "row must be non-negative, got-1"),
]


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=lambda v: v if isinstance(v, str) else "")
def test_errors(op, args, kind, text):
    with pytest.raises(kind, match=text):
        Engine().call(op, *args)


def test_require_refuses_in_the_callers_words():
    engine = Engine()
    with pytest.raises(RuntimeError, match="too little"):
        engine.call("require", engine.wrap(rand(3)), engine.wrap(np.array([True, False])), "too little")
    with pytest.raises(RuntimeError, match="expected a condition of bools, got Double"):
        engine.call("require", engine.wrap(rand(3)), engine.wrap(rand(3)), "too little")


def test_fill_takes_no_vector():
    e = Engine()
    with pytest.raises(RuntimeError, match="fill_ only supports 0-dimension value tensor but got tensor with 1 dim"):
        e.call("fill_", e.wrap(rand(2)), e.wrap(rand(2)))


def test_sizes_are_charged_before_anything_is_allocated():
    e = Engine(max_bytes=1000)
    for op, args in [("full", ((1000,), 0, F64)), ("arange", (0, 2**40, 1, I64)), ("eye", (2**20, 2**20, F64))]:
        with pytest.raises(MemoryError):
            e.call(op, *args)
    assert e.meter.used == 0
