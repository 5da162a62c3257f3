"""A session that goes over from one client to another."""

from __future__ import annotations

import grpc
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from tests.server.gate import Gate
from tests.server.raw import apply, put


def take_over(raw):
    attached = raw.attach(client=77, takeover=True)
    raw.seq = attached.last_seq
    return attached


def test_the_next_client_gets_what_was_kept(raw, service):
    raw.send(put(1, [[1.0, 2.0]], True), apply("mul", 1, 2.0, results=(2,)), apply("sum", 2, results=(3,)),
             pb.Instruction(backward=pb.Backward(tensors=[3], retain_graph=True)), put(40, [1.0]),
             pb.Instruction(keep=pb.Keep(tensors={"w": 1, "y": 2})))  # fmt: skip
    assert raw.get(1).tolist() == [[1.0, 2.0]]
    attached = take_over(raw)
    assert (attached.last_seq, attached.last_reply, attached.highest_id, attached.device) == (2, 1, 2, "cpu")
    assert attached.limits == raw.opened.limits
    w, y = sorted(attached.kept, key=lambda k: k.name)
    assert (w.name, w.tensor, w.requires_grad, w.leaf, w.has_gradient) == ("w", 1, True, True, True)
    assert (list(w.spec.shape), w.spec.dtype, list(w.strides)) == ([1, 2], pb.DTYPE_FLOAT64, [2, 1])
    assert (y.name, y.tensor, y.requires_grad, y.leaf, y.has_gradient) == ("y", 2, True, False, False)
    assert list(service.sessions[raw.key.session_id].tensors) == [1, 2]
    assert raw.get(2).tolist() == [[2.0, 4.0]]


def test_keeping_what_is_not_there_changes_nothing(raw):
    raw.send(put(1, [1.0]), put(2, [2.0]), pb.Instruction(keep=pb.Keep(tensors={"a": 1, "b": 9})))
    assert raw.reply("error").message == "tensor id 9 is unknown in this session"
    assert raw.get(2).tolist() == [2.0]


def test_hooks_stay_behind(raw):
    raw.send(put(1, [1.0], True), pb.Instruction(add_hook=pb.AddHook(tensor=1, hook=30)),
             pb.Instruction(keep=pb.Keep(tensors={"w": 1})))  # fmt: skip
    raw.get(1)
    assert take_over(raw).highest_id == 1
    raw.send(apply("neg", 1, results=(2,)), pb.Instruction(backward=pb.Backward(tensors=[2], request=5)))
    assert raw.reply("done").request == 5


def test_replies_to_the_client_before_are_dropped(raw):
    raw.send(put(1, [1.0]), *[pb.Instruction(get=pb.Get(tensor=1, request=i)) for i in (1, 2, 3)])
    for _ in range(3):
        raw.reply("value")  # and does not say that it has them
    assert take_over(raw).last_reply == 3
    raw.send(pb.Instruction(get=pb.Get(tensor=1, request=9)))
    assert raw.reply("value").request == 9


def test_callbacks_of_the_client_before_fail(raw):
    """Two of them, one within the other; what follows in their frames is done."""
    raw.send(
        put(1, 1.0, True),
        apply("exp", 1, results=(2,)),
        pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=4)),
        pb.Instruction(grad=pb.Grad(outputs=[2], inputs=[1], results=[3], retain_graph=True)),
        put(5, [5.0]),
    )
    raw.reply("callback")
    raw.send(pb.Instruction(grad=pb.Grad(outputs=[2], inputs=[1], results=[6], retain_graph=True)), put(7, [7.0]))
    raw.reply("callback")
    attached = take_over(raw)
    assert attached.last_seq == 4  # an answer for each
    assert raw.get(5).tolist() == [5.0]
    assert raw.get(7).tolist() == [7.0]
    for i in (3, 6):
        assert "another has taken over the session" in raw.error(i).message


def test_the_client_before_is_fenced_off(raw):
    raw.send(put(1, [1.0]))
    next(raw.replies)
    older = raw.replies
    take_over(raw)
    with pytest.raises(grpc.RpcError) as e:
        next(older)
    assert e.value.code() is grpc.StatusCode.ABORTED
    assert raw.get(1).tolist() == [1.0]
    raw.attach(received=1, client=77, attempt=1)  # the new one comes back as ever
    raw.get(1)


def test_a_stream_that_ends_before_it_took_over_does_not_keep_the_session(raw, service):
    """The thread that executes is busy when it comes, and has nobody to send to when it is done."""
    session = service.sessions[raw.key.session_id]
    gate = Gate(session, "exp")
    raw.send(put(1, 1.0), apply("exp", 1, results=(2,)))
    assert gate.reached.wait(20)
    stream = raw.stub.Stream(iter([pb.Frame(attach=raw.key, client=5, takeover=True)]), timeout=0.2)
    with pytest.raises(grpc.RpcError) as e:
        next(stream)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gate.open.set()
    assert raw.attach(client=6, takeover=True).last_seq == 1
    raw.frames.put(None)
    assert list(raw.replies) == []
    assert not session.attached
    raw.attach(client=6, attempt=1)
