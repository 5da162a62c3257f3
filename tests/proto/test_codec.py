"""Arguments on the wire: what is written by hand is what protobuf writes, and comes back as it went."""

import math

import pytest

from gradwire_proto import dtypes
from gradwire_proto.catalog import CATALOG
from gradwire_proto.codec import decode_arguments, encode_apply, encode_calls, encode_template, frame_field
from gradwire_proto.v1 import gradwire_pb2 as pb


class Tensor:
    def __init__(self, i: int):
        self._id = i


def decoded(op: str, values: list, ids: list[int], location: int = 3) -> pb.Instruction:
    frame = pb.Frame.FromString(encode_apply(CATALOG[op], values, ids, location, Tensor))
    assert len(frame.instructions) == 1
    return frame.instructions[0]


def sent(op: str, values: list) -> tuple[list, dict]:
    return decode_arguments(decoded(op, values, [1]).apply.arguments, lambda i: f"tensor {i}")


def test_as_protobuf_writes_it():
    instruction = decoded("add", [Tensor(2**40), Tensor(7), 2], [2**62, 9], location=2**20)
    assert instruction.location == 2**20
    want = pb.Apply(
        op="add",
        arguments=[pb.Argument(tensor=2**40), pb.Argument(tensor=7), pb.Argument(int_value=2, name="alpha")],
        results=[2**62, 9],
    )
    assert instruction.apply == want
    again = frame_field(pb.Instruction(apply=want, location=2**20))
    assert encode_apply(CATALOG["add"], [Tensor(2**40), Tensor(7), 2], [2**62, 9], 2**20, Tensor) == again


def test_defaults_are_left_out():
    assert len(decoded("add", [Tensor(1), Tensor(2), 1], [3]).apply.arguments) == 2
    assert len(decoded("sum", [Tensor(1), None, False, None], [3]).apply.arguments) == 1


@pytest.mark.parametrize("v", [0, 1, -1, 2**62, True, False, 1.0, 0.0, -0.0, math.inf, 1e-300, 2j, 1 - 0j])
def test_numbers_keep_kind_and_sign(v):
    for _ in range(2):  # the second time from memory
        (_, back), _ = sent("mul", [Tensor(1), v])
        assert (type(back), str(back)) == (type(v), str(v))


def test_nan():
    assert math.isnan(sent("mul", [Tensor(1), math.nan])[0][1])


@pytest.mark.parametrize("v", [(), (1, 2), (-1,), (2**40,)])
def test_lists_of_ints(v):
    assert sent("sum", [Tensor(1), v, False, None]) == (["tensor 1", v], {})


def test_dtypes_strings_and_lists_of_tensors():
    assert sent("to_dtype", [Tensor(1), dtypes.bfloat16])[0][1] is dtypes.bfloat16
    assert sent("cat", [(Tensor(1), Tensor(2)), -1])[0] == [("tensor 1", "tensor 2"), -1]
    assert sent("index", [Tensor(1), (None, Tensor(2))])[0][1] == (None, "tensor 2")
    assert sent("div", [Tensor(1), Tensor(2), "floor"]) == (["tensor 1", "tensor 2"], {"rounding_mode": "floor"})


def test_an_id_of_zero_is_none():
    with pytest.raises(ValueError, match="0 is no tensor id"):
        decode_arguments([pb.Argument(tensor=0)], lambda i: i)


@pytest.mark.parametrize("words", [[], [1], [1, 2, 2**63 + 5], list(range(3000))])
def test_calls_as_protobuf_writes_them(words):
    want = pb.Instruction(calls=pb.Calls(words=words))
    assert pb.Frame.FromString(encode_calls(words)) == pb.Frame(instructions=[want])
    if words:
        assert encode_calls(words) == frame_field(want)


def test_a_template_marks_where_tensors_go():
    hole = object()
    made = encode_template(3, CATALOG["div"], [hole, 2.0, "floor"], 1, True)
    assert made == pb.Template(id=3, op="div", results=1, no_grad=True, arguments=[
        pb.Argument(tensor=1), pb.Argument(float_value=2.0), pb.Argument(name="rounding_mode", string_value="floor"),
    ])  # fmt: skip
    many = encode_template(4, CATALOG["cat"], [(hole, hole), 0], 1, False).arguments
    assert list(many[0].tensors.ids) == [1, 1]
