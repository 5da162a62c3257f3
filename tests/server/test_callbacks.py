"""What is sent before a client knows that the server has called back is no part of the callback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from tests.server.raw import Raw, apply, put


def hooked(raw: Raw, x: int, hook: int) -> None:
    """A loss, ``x + 2``: twice a tensor of ones with a hook on the product."""
    raw.send(
        put(x, [1.0, 1.0], True),
        apply("mul", x, 2.0, results=(x + 1,)),
        apply("sum", x + 1, results=(x + 2,)),
        pb.Instruction(add_hook=pb.AddHook(tensor=x + 1, hook=hook)),
    )


def then_read(x: int, request: int) -> list[pb.Instruction]:
    """Backward from the loss, and ask for the gradient."""
    return [
        pb.Instruction(backward=pb.Backward(tensors=[x + 2])),
        pb.Instruction(get_gradient=pb.GetGradient(tensor=x, result=x + 3)),
        pb.Instruction(get=pb.Get(tensor=x + 3, request=request)),
    ]


def answer(call: pb.Callback, factor: float, result: int) -> list[pb.Instruction]:
    return [
        apply("mul", call.gradients[0], factor, results=(result,)),
        pb.Instruction(answer=pb.Answer(callback=call.id, results=[result])),
    ]


def doubles(value: Any) -> list[float]:
    return memoryview(value.data.data).cast("d").tolist()


def test_what_follows_a_backward_waits_for_it(raw):
    hooked(raw, 10, 1)
    raw.send(*then_read(10, 5), received=0)
    raw.send(apply("mul", 10, 10, results=(20,)), received=0)  # would have no history in a hook
    call = raw.reply("callback")
    raw.send(*answer(call, 10.0, 30), received=1)
    value = raw.reply("value")
    assert (value.request, doubles(value)) == (5, [20.0, 20.0])
    raw.send(pb.Instruction(inspect=pb.Inspect(tensor=20, request=1, max_nodes=1)), received=2)
    assert raw.reply("history").requires_grad


def test_a_backward_in_a_callback_has_its_own_that_waits(raw):
    hooked(raw, 10, 1)
    hooked(raw, 20, 2)
    raw.send(*then_read(10, 5), received=0)
    outer = raw.reply("callback")
    raw.send(*then_read(20, 6), received=1)
    inner = raw.reply("callback")
    assert (outer.hook, inner.hook) == (1, 2)
    raw.send(*answer(inner, 100.0, 30), received=2)
    value = raw.reply("value")
    assert (value.request, doubles(value)) == (6, [200.0, 200.0])
    raw.send(*answer(outer, 10.0, 31), received=3)
    value = raw.reply("value")
    assert (value.request, doubles(value)) == (5, [20.0, 20.0])


def test_a_callback_in_what_has_waited_comes_before_what_waits_behind_it(raw):
    hooked(raw, 10, 1)
    hooked(raw, 20, 2)
    raw.send(*then_read(10, 5), *then_read(20, 6), received=0)
    raw.send(*answer(raw.reply("callback"), 10.0, 30), received=1)
    assert raw.reply("value").request == 5
    raw.send(*answer(raw.reply("callback"), 10.0, 31), received=3)
    assert raw.reply("value").request == 6


def test_a_put_does_not_wait(raw):
    """Its bytes may be in memory that the client uses again when the frame is acknowledged."""
    hooked(raw, 10, 1)
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[12], request=9)), put(20, [3.0]), received=0)
    call = raw.reply("callback")
    raw.send(pb.Instruction(get=pb.Get(tensor=20, request=1)), received=1)
    assert doubles(raw.reply("value")) == [3.0]
    raw.send(*answer(call, 1.0, 30), received=2)
    assert raw.reply("done").request == 9


def test_a_client_that_does_not_say_what_it_received_knows_all(raw):
    hooked(raw, 10, 1)
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[12], request=9)))
    call = raw.reply("callback")
    raw.send(*answer(call, 1.0, 30))
    assert raw.reply("done").request == 9


def test_what_waits_is_bounded(raw, service):
    hooked(raw, 10, 1)
    session = service.sessions[raw.key.session_id]
    neg = apply("neg", 10, results=(50,)).apply
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[12], request=9)))
    call = raw.reply("callback")
    most = session.limits.max_instructions
    for _ in range(2):
        raw.send(*[pb.Instruction(apply=neg)] * (most // 2 + 1), received=0)
    assert raw.reply("error").message == f"more than {most} instructions wait for a callback to end"
    raw.frames.put(None)
    assert call.hook == 1


def test_the_bytes_of_what_waits_are_bounded(raw, service, monkeypatch):
    monkeypatch.setattr("gradwire_server.session.BEHIND_BYTES", 5000)
    hooked(raw, 10, 1)
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[12], request=9)))
    call = raw.reply("callback")
    arguments = [pb.Argument(tensor=10), pb.Argument(string_value="x" * 3000)]
    long = pb.Instruction(apply=pb.Apply(op="neg", arguments=arguments))
    raw.send(long, long, received=0)
    assert raw.reply("error").message == "instructions of more than 5000 bytes wait for a callback to end"
    raw.send(*answer(call, 1.0, 30))
    assert raw.reply("done").request == 9
    assert raw.reply("error").op == "neg"  # the one that waited was executed
    assert service.sessions[raw.key.session_id]._behind_bytes == 0


def test_a_function_that_is_run_again(raw):
    """d(exp x)²/dx, of which only x and the result are kept until backward."""
    def run(first: int) -> list[pb.Instruction]:
        return [apply("exp", 10, results=(first,)), apply("mul", first, first, results=(first + 1,))]

    raw.send(
        put(10, [1.0, 2.0], True),
        pb.Instruction(begin_function=pb.BeginFunction(function=7)),
        *run(11),
        pb.Instruction(record_function=pb.RecordFunction(name="Squares", function=7, outputs=[12], results=[13],
                                                         again=True)),
        pb.Instruction(free=pb.Free(tensors=[11, 12])),
        apply("sum", 13, results=(14,)),
        pb.Instruction(backward=pb.Backward(tensors=[14], request=9)),
    )  # fmt: skip
    call = raw.reply("callback")
    assert (call.function, list(call.gradients), call.retain_graph) == (7, [], False)
    grad_mode = pb.Instruction(set_grad_mode=pb.SetGradMode(enabled=True))
    raw.send(grad_mode, *run(21), pb.Instruction(answer=pb.Answer(callback=call.id, results=[22])), received=1)
    assert raw.reply("done").request == 9
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=10, result=30)))
    assert raw.get(30) == pytest.approx(2 * np.exp([2.0, 4.0]))


def test_only_what_was_begun_is_recorded_as_run_again(raw, service):
    begin = pb.Instruction(begin_function=pb.BeginFunction(function=7))
    record = pb.RecordFunction(name="F", function=7, outputs=[10], results=[11], again=True)
    raw.send(put(10, [1.0]), pb.Instruction(record_function=record))
    assert raw.error(11).message == "function 7 was not begun"
    raw.send(begin, pb.Instruction(record_function=pb.RecordFunction(function=7, again=True)))
    session = service.sessions[raw.key.session_id]
    assert raw.get(10) == [1.0]
    assert not session.begun_functions
    session.begun_functions.update(dict.fromkeys(range(100, 100 + session.limits.max_hooks), 0))
    raw.send(begin)
    assert raw.reply("error").message == "the session has a limit of 100000 functions that are being run"
