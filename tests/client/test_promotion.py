"""Which types mix to which: torch's table, the three ranks of what is mixed, and Python's types where one is named."""

import itertools
import re

import pytest

import gradwire as torch
from gradwire_proto import dtypes

TABLE = """
     b    u8   i8   i16  i32  i64  f16  bf16 f32  f64  c64  c128
b    b    u8   i8   i16  i32  i64  f16  bf16 f32  f64  c64  c128
u8   u8   u8   i16  i16  i32  i64  f16  bf16 f32  f64  c64  c128
i8   i8   i16  i8   i16  i32  i64  f16  bf16 f32  f64  c64  c128
i16  i16  i16  i16  i16  i32  i64  f16  bf16 f32  f64  c64  c128
i32  i32  i32  i32  i32  i32  i64  f16  bf16 f32  f64  c64  c128
i64  i64  i64  i64  i64  i64  i64  f16  bf16 f32  f64  c64  c128
f16  f16  f16  f16  f16  f16  f16  f16  f32  f32  f64  c64  c128
bf16 bf16 bf16 bf16 bf16 bf16 bf16 f32  bf16 f32  f64  c64  c128
f32  f32  f32  f32  f32  f32  f32  f32  f32  f32  f64  c64  c128
f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  c128 c128
c64  c64  c64  c64  c64  c64  c64  c64  c64  c64  c128 c64  c128
c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128
"""
"""What PyTorch 2.13 prints of promote_types."""
ROWS = [line.split() for line in TABLE.split("\n")[2:-1]]
SHORT = {row[0]: d for row, d in zip(ROWS, dtypes.ALL, strict=True)}
PROMOTED = {(SHORT[row[0]], other): SHORT[d] for row in ROWS for other, d in zip(dtypes.ALL, row[1:], strict=True)}


def kind(d):
    """Bool, integer, floating or complex: 0 to 3."""
    return 0 if d is torch.bool else 3 if d.is_complex else 2 if d.is_floating_point else 1


def mixed(operands, default):
    """The documented rule: a rank (tensors with dimensions, 0-d tensors, numbers) counts where it has a higher kind
    than all ranks before it; a complex number beside floats is complex of the floats' size."""
    result = None
    for rank in range(3):
        found = [d for r, d in operands if r == rank]
        if not found:
            continue
        d = found[0] if len(found) == 1 else PROMOTED[found[0], found[1]]
        if result is None:
            result = d
        elif kind(d) > kind(result):
            if kind(result) == 2:
                d = torch.complex128 if result is torch.float64 else torch.complex64
            result = d
    return result


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def default(request):
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


def test_the_table():
    assert len(PROMOTED) == 144
    for (a, b), want in PROMOTED.items():
        assert torch.promote_types(a, b) is want, (a, b)
        assert torch.can_cast(a, b) is (kind(a) <= kind(b)), (a, b)


def test_results_of_every_pair(default):
    complex_default = torch.complex128 if default is torch.float64 else torch.complex64
    given = [(0, d, torch.ones(1, dtype=d)) for d in dtypes.ALL] + [(1, d, torch.ones((), dtype=d)) for d in dtypes.ALL]
    given += [(2, torch.bool, True), (2, torch.int64, 1), (2, default, 1.5), (2, complex_default, 1j)]
    for (r, a, x), (s, b, y) in itertools.product(given, given):
        want = mixed([(r, a), (s, b)], default)
        assert torch.result_type(x, y) is want, (x, y)
        if r < 2 or s < 2:
            made = x * y
            assert made.dtype is want, (x, y)
            quotient = want if kind(want) > 1 else default
            assert (x / y).dtype is quotient, (x, y)
            if r + s < 2:
                assert torch.cat([x.reshape(1), y.reshape(1)]).dtype is PROMOTED[a, b]


def test_the_server_computes_in_the_types_that_are_told_of(default):
    for d in dtypes.ALL:
        made = torch.ones(2, dtype=d) * 1.5
        assert made.numpy().dtype == mixed([(0, d), (2, default)], default).name


@pytest.mark.parametrize("d", dtypes.ALL, ids=str)
def test_what_a_type_tells_of_itself(d):
    bits = int(re.sub(r"\D", "", d.name) or 8)
    assert d.itemsize * 8 == bits
    assert d.is_floating_point is ("float" in d.name)
    assert d.is_complex is ("complex" in d.name)
    assert d.is_signed is (d not in (torch.bool, torch.uint8))
    assert d.to_real() is {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(d, d)
    if kind(d) > 1:
        assert d.to_complex() is (torch.complex128 if d in (torch.float64, torch.complex128) else torch.complex64)
    else:
        with pytest.raises(RuntimeError, match=f"^Unknown Complex ScalarType for {d.legacy}$"):
            d.to_complex()


def test_pythons_types_name_types():
    meant = {float: torch.float64, int: torch.int64, bool: torch.bool, complex: torch.complex128}
    x = torch.ones(2)
    for python, d in meant.items():
        for made in (torch.zeros(2, dtype=python), torch.tensor([1], dtype=python), x.to(python), x.to(dtype=python),
                     torch.as_tensor([1], dtype=python), x.new_ones(2, dtype=python)):  # fmt: skip
            assert made.dtype is d
    assert x.sum(dtype=float).dtype is torch.float64
    assert torch.nn.Linear(2, 2, dtype=float).weight.dtype is torch.float64


@pytest.mark.parametrize(
    ("error", "text", "f"),
    [
        (TypeError, r"promote_types\(\): argument 'type1' \(position 1\) must be torch.dtype, not int",
         lambda: torch.promote_types(1, torch.int8)),
        (TypeError, r"can_cast\(\): argument 'to' \(position 2\) must be torch.dtype, not str",
         lambda: torch.can_cast(torch.int8, "x")),
        (TypeError, r"result_type\(\) received an invalid combination of arguments - got \(Tensor\), but expected one",
         lambda: torch.result_type(torch.ones(1))),
        (TypeError, r"tensor\(\): argument 'dtype' must be torch.dtype, not str", lambda: torch.tensor(1, dtype="x")),
        (ValueError, "invalid type: 'float'", lambda: torch.ones(1).type(float)),
        (RuntimeError, "Invalid device string: 'float32'", lambda: torch.ones(1).to("float32")),
    ],
)  # fmt: skip
def test_refusals(error, text, f):
    with pytest.raises(error, match=text):
        f()
