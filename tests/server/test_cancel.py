"""Work that is stopped: by the client, by the limit on what an instruction may take."""

from __future__ import annotations

import dataclasses

import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.brake import CANCELLED
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from tests.server.conftest import LIMITS
from tests.server.gate import Gate
from tests.server.raw import Raw, apply, put


def cancel(raw, last):
    raw.stub.Cancel(pb.CancelRequest(key=raw.key, last_seq=last), timeout=20)


@pytest.fixture
def gate(raw, service):
    made = Gate(service.sessions[raw.key.session_id], "exp")
    yield made
    made.open.set()


def test_what_is_cancelled_is_poisoned_and_the_session_goes_on(raw, gate):
    raw.send(put(1, [1.0]), apply("exp", 1, results=(2,)), apply("neg", 1, results=(3,)),
             pb.Instruction(location=5, apply=apply("neg", 1, results=(4,)).apply),
             locations=[pb.Location(id=5, file="train.py", line=12)])  # fmt: skip
    raw.send(apply("neg", 1, results=(5,)), apply("neg", 5, results=(6,)))
    raw.send(apply("neg", 1, results=(7,)))
    assert gate.reached.wait(20)
    cancel(raw, 2)
    gate.open.set()
    assert raw.get(1).tolist() == [1.0]
    assert raw.get(2).tolist() == [pytest.approx(2.718281828459045)]  # it ran already
    for i in (3, 4, 5, 6):
        assert raw.error(i).message == CANCELLED
    assert raw.error(4).location.line == 12
    assert raw.error(6).op == "neg"
    assert raw.get(7).tolist() == [-1.0]


def test_what_cancelled_ops_would_have_written_to_stays(raw, gate):
    raw.send(put(1, [1.0]), apply("mul_", 1, 2.0), apply("exp", 1, results=(2,)), apply("mul_", 1, 2.0))
    assert gate.reached.wait(20)
    cancel(raw, 1)
    gate.open.set()
    assert raw.get(1).tolist() == [2.0]
    raw.send(pb.Instruction(synchronize=pb.Synchronize(request=1)))
    assert raw.reply("done").request == 1  # nothing failed that anybody would want to know


def test_other_instructions_are_done_all_the_same(raw, gate):
    raw.send(put(1, [1.0], True), apply("exp", 1, results=(2,)), put(3, [5.0]),
             pb.Instruction(set_gradient=pb.SetGradient(tensors=[1], gradient=3)), put(4, [7.0]),
             pb.Instruction(free=pb.Free(tensors=[4])))  # fmt: skip
    assert gate.reached.wait(20)
    cancel(raw, 1)
    gate.open.set()
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=5)))
    assert raw.get(5).tolist() == [5.0]
    assert "unknown" in raw.error(4).message


def test_backward_and_grad_are_cancelled(raw, gate):
    raw.send(
        put(1, [1.0], True),
        apply("neg", 1, results=(2,)),
        apply("exp", 1, results=(3,)),
        pb.Instruction(backward=pb.Backward(tensors=[2], request=7)),
        pb.Instruction(grad=pb.Grad(outputs=[2], inputs=[1], results=[4], request=8)),
    )
    assert gate.reached.wait(20)
    cancel(raw, 1)
    gate.open.set()
    for request in (7, 8):
        e = raw.reply("error")
        assert (e.request, e.type, e.message) == (request, "RuntimeError", CANCELLED)
    assert raw.error(4).message == CANCELLED
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[2], request=9)))
    assert raw.reply("done").request == 9


def test_a_backward_under_way_ends_between_two_nodes(raw, service):
    """The hook of the last node in the chain cancels: the first is not reached."""
    raw.send(
        put(1, [1.0], True),
        apply("mul", 1, 2.0, results=(2,)),
        apply("mul", 2, 3.0, results=(3,)),
        pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=44)),
        pb.Instruction(backward=pb.Backward(tensors=[3], request=7)),
    )
    call = raw.reply("callback")
    cancel(raw, 1)
    raw.send(apply("mul", call.gradients[0], 10.0, results=(9,)), put(10, [4.0]),
             pb.Instruction(answer=pb.Answer(callback=call.id, results=[9])),
             apply("mul", 10, 2.0, results=(11,)))  # fmt: skip
    assert raw.reply("error").message == CANCELLED
    assert raw.get(9).tolist() == [30.0]  # what the client sends later is not part of what it cancelled
    assert raw.get(11).tolist() == [8.0]
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=12)))
    assert raw.error(12).message == "the tensor has no gradient"


def test_cancelling_what_is_done_changes_nothing(raw):
    raw.send(put(1, [1.0]))
    assert raw.get(1).tolist() == [1.0]
    cancel(raw, 2)
    raw.send(apply("neg", 1, results=(2,)))
    assert raw.get(2).tolist() == [-1.0]


def test_an_instruction_has_its_time(tmp_path):
    """The limit is over before the chain's gradient is; the callback's time is not the instruction's."""
    limits = dataclasses.replace(LIMITS, max_instruction_seconds=0.3)
    service = Service("cpu", limits, 8, Metrics())
    server, address = serve(service, f"unix:{tmp_path}/s")
    raw = Raw(address)
    session = service.sessions[raw.key.session_id]
    raw.send(put(1, [1.0], True), apply("mul", 1, 2.0, results=(2,)), apply("exp", 2, results=(3,)),
             pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=4)),
             pb.Instruction(backward=pb.Backward(tensors=[3], retain_graph=True, request=1)))  # fmt: skip
    call = raw.reply("callback")
    service._stopping.wait(1.1 * limits.max_instruction_seconds)
    session.brake.watch()
    raw.send(pb.Instruction(answer=pb.Answer(callback=call.id, results=[0])))
    assert raw.reply("done").request == 1

    gate = Gate(session, "mul")  # which the gradient of exp is made with
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[3], create_graph=True, request=2)))
    assert gate.reached.wait(20)
    while session.engine.halt is None:
        service._stopping.wait(0.001)
    gate.open.set()
    assert raw.reply("error").message == "backward took longer than the limit of 0.3 seconds an instruction"
    assert raw.get(1).tolist() == [1.0]
    raw.close()
    service.stop()
    server.stop(0).wait()
