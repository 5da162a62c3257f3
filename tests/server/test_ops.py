"""Templates and calls through a real socket: what another language would send, and what is wrong with it."""

from __future__ import annotations

import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.limits import Limits
from tests.server.raw import Raw, apply, put

MOST = Limits().max_templates


def template(id: int, op: str, *args, results: int = 1, no_grad: bool = False, **kwargs) -> pb.Template:
    made = apply(op, *args, **kwargs).apply
    return pb.Template(id=id, op=op, arguments=made.arguments, results=results, no_grad=no_grad)


def calls(*words: int) -> pb.Instruction:
    return pb.Instruction(calls=pb.Calls(words=words))


def many(*ids: int) -> pb.Argument:
    return pb.Argument(tensors=pb.Tensors(ids=ids))


def test_gradient_of_a_cube(raw):
    raw.send(
        put(1, [-3.0, 2.0, 5.0], requires_grad=True),
        calls(1, 0, 1, 2, 2, 0, 2, 3),
        pb.Instruction(backward=pb.Backward(tensors=[3])),
        pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=4)),
        templates=[template(1, "pow", 1, 3.0), template(2, "sum", 1)],
    )
    assert raw.get(4).tolist() == [27.0, 12.0, 75.0]
    raw.send(calls(2, 0, 4, 5))  # in a later frame
    assert raw.get(5) == 114.0


def test_tensors_go_where_they_are_named(raw):
    """In the order of the message, whatever the signature's."""
    by_name = pb.Template(id=1, op="sub", results=1, arguments=[
        pb.Argument(name="other", tensor=1), pb.Argument(name="input", tensor=1),
    ])  # fmt: skip
    raw.send(put(1, [5.0]), put(2, [3.0]), calls(1, 0, 1, 2, 3), templates=[by_name])
    assert raw.get(3).tolist() == [-2.0]


def test_lists_with_tensors_and_without(raw):
    raw.send(put(1, [[1.0, 2.0]]), put(2, [[3.0, 4.0]]), put(3, [1.0, 0.0]),
             templates=[template(1, "cat", many(9, 9, 9)), template(2, "sum", 1, dim=[0])])  # fmt: skip
    raw.send(calls(1, 0, 1, 2, 1, 4, 2, 0, 4, 5))
    assert raw.get(5).tolist() == [5.0, 8.0]


def test_several_results_and_none(raw):
    raw.send(put(1, [3.0, 1.0]), templates=[template(1, "sort", 1, results=2), template(2, "add_", 1, 1, results=0)])
    raw.send(calls(1, 0, 1, 2, 3, 2, 0, 2, 1))
    assert raw.get(2).tolist() == [4.0, 4.0]


def test_grad_mode_is_the_templates(raw):
    off = pb.Instruction(set_grad_mode=pb.SetGradMode(enabled=False))
    raw.send(
        off,
        put(1, [2.0], requires_grad=True),
        calls(1, 0, 1, 1, 2, 2, 0, 1, 1, 3),
        pb.Instruction(inspect=pb.Inspect(tensor=2, request=1)),
        pb.Instruction(inspect=pb.Inspect(tensor=3, request=2)),
        apply("mul", 1, 1, results=(4,)),
        pb.Instruction(inspect=pb.Inspect(tensor=4, request=3)),
        templates=[template(1, "mul", 1, 1), template(2, "mul", 1, 1, no_grad=True)],
    )
    assert [raw.reply("history").requires_grad for _ in range(3)] == [True, False, False]


def test_a_template_told_again(raw):
    raw.send(put(1, [2.0]), templates=[template(7, "neg", 1)])
    raw.send(calls(7, 0, 1, 2), templates=[template(7, "exp2", 1)])
    assert raw.get(2).tolist() == [4.0]


def test_the_same_template_for_other_shapes_and_types(raw):
    raw.send(put(1, [2.0]), put(2, [[1.0], [2.0]]), templates=[template(1, "mul", 1, 1)])
    raw.send(calls(1, 0, 1, 1, 3, 1, 0, 2, 2, 4, 1, 0, 1, 2, 5))
    assert [raw.get(i).tolist() for i in (3, 4, 5)] == [[4.0], [[1.0], [4.0]], [[2.0], [4.0]]]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_zeros_keep_their_sign(raw, sign):
    raw.send(put(1, [1.0]), put(2, [-1.0]), templates=[template(1, "mul", 1, 0.0), template(2, "mul", 1, -0.0)])
    raw.send(calls(1, 0, 1, 3, 2, 0, 1, 4), apply("mul", 1, 0.0, results=(5,)), apply("mul", 1, -0.0, results=(6,)))
    assert [str(raw.get(i)[0]) for i in (3, 4, 5, 6)] == ["0.0", "-0.0", "0.0", "-0.0"]


# ---- bad input ----


def works(raw: Raw) -> bool:
    raw.send(put(500, [1.0]), calls(99, 0, 500, 500, 501), templates=[template(99, "add", 1, 1)])
    return raw.get(501).tolist() == [2.0]


def test_what_goes_wrong_poisons_the_result_and_names_the_line(raw):
    raw.send(
        put(1, [1.0, 2.0]), put(2, [1.0, 2.0, 3.0]),
        calls(1, 5, 1, 2, 3, 1, 5, 3, 3, 4),
        templates=[template(1, "add", 1, 1)],
        locations=[pb.Location(id=5, file="program.py", line=7)],
    )  # fmt: skip
    error = raw.error(4)
    assert error.type == "RuntimeError"
    assert "The size of tensor a (2) must match the size of tensor b (3)" in error.message
    assert (error.op, list(error.arguments)) == ("add", ["float64[2]", "float64[3]"])
    assert (error.location.file, error.location.line) == ("program.py", 7)
    assert works(raw)


def test_a_write_that_fails_poisons_what_it_would_have_written(raw):
    raw.send(put(1, [[1.0]]), put(2, [2.0]), templates=[template(1, "index_add_", 1, dim(0), 1, 1, results=0)])
    raw.send(calls(1, 0, 1, 2, 2))
    assert raw.error(1).op == "index_add_"
    assert works(raw)


def dim(v: int) -> pb.Argument:
    return pb.Argument(int_value=v)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (template(1, "nonsense", 1), "no op is called 'nonsense'; ListOps tells the catalog"),
        (template(1, "neg", 1, colour=2.0), "neg() got an unexpected keyword argument 'colour'"),
        (template(1, "sum", 1, results=2), "sum makes 1 tensors, got 2 ids for them"),
        (pb.Template(id=1, op="mul", results=1, arguments=[pb.Argument(tensor=1)]),
         'mul() missing 1 required positional arguments: "other"'),
        (pb.Template(id=1, op="mul", results=1, arguments=[pb.Argument(tensor=1), pb.Argument(tensor=0)]),
         "0 is no tensor id"),
        (pb.Template(id=1, op="to_dtype", results=1, arguments=[pb.Argument(tensor=1), pb.Argument(dtype=99)]),
         "unknown dtype number 99"),
    ],
)  # fmt: skip
def test_a_template_that_can_not_be(raw, made, text):
    raw.send(put(1, [1.0]), calls(1, 0, 1, *range(2, 2 + made.results)), templates=[made])
    assert raw.error(2).message == text
    assert works(raw)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((1, 0, 77, 2), "tensor id 77 is unknown in this session"),
        ((1, 0, 1, 1), "tensor id 1 is already in use"),
        ((1, 0, 1, 0), "tensor id 0 is out of range: clients choose from 1 to 2**63 - 1"),
        ((1, 0, 1, 2**63), f"tensor id {2**63} is out of range: clients choose from 1 to 2**63 - 1"),
        ((2, 0, 1, 2), "template 2 is unknown in this session"),
        ((1, 0, 1), "calls that end in the middle of one"),
        ((1,), "calls that end in the middle of one"),
    ],
)
def test_calls_that_can_not_be(raw, words, text):
    raw.send(put(1, [1.0]), calls(*words), templates=[template(1, "neg", 1)])
    if words[-1] == 2 and words[0] == 1:
        assert raw.error(2).message == text
    else:
        assert raw.reply("error").message == text
    assert works(raw)


@pytest.mark.parametrize("id", [0, MOST + 1, 2**32 - 1])
def test_a_template_id_out_of_range(raw, id):
    raw.send(templates=[template(id, "neg", 1)])
    assert raw.reply("error").message == f"template id {id} is out of range: from 1 to {MOST}"
    assert raw.opened.limits.max_templates == MOST
    assert works(raw)


def test_calls_count_as_instructions(raw):
    most = Limits().max_instructions
    nothing = pb.Template(id=1, op="neg_", results=0, arguments=[pb.Argument(tensor=1)])
    raw.send(put(1, [1.0]), calls(*[1, 0, 1] * (most + 1)), templates=[nothing])
    assert raw.reply("error").message == f"a frame holds at most {most} instructions"
    assert works(raw)


def test_calls_of_nothing_do_not_count_backwards(raw, service):
    """A counter of Prometheus that is asked for in the middle of the frame must not be told a negative number."""
    session = service.sessions[raw.key.session_id]
    counts = []
    reply = session.reply

    def note(**kind):
        counts.append(session.instructions_run)
        reply(**kind)

    session.reply = note
    raw.send(calls(), calls(7, 0), pb.Instruction(synchronize=pb.Synchronize(request=1)))
    assert raw.reply("error").message == "template 7 is unknown in this session"
    assert "template 7 is unknown" in raw.reply("error").message  # as the first error, to who synchronizes
    assert min(counts) >= 0
    assert works(raw)


def test_a_poisoned_argument_tells_the_root_cause(raw):
    raw.send(apply("neg", 44, results=(2,)), calls(1, 0, 2, 3, 1, 0, 3, 4), templates=[template(1, "neg", 1)])
    assert raw.error(4).message == "tensor id 44 is unknown in this session"
    assert works(raw)
