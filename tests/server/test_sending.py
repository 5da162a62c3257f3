"""Who may send on a stream, and when: one at a time, in order, and the status last."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server import stream as streams
from gradwire_server.errors import refusal
from gradwire_server.outbox import Outbox
from gradwire_server.stream import Stream
from tests.server.gate import Gate
from tests.server.raw import apply, put
from tests.system.proxy import until

WHY = refusal(grpc.StatusCode.ABORTED, "FENCED", "another")


class Call:
    """A call whose client reads when it is told to, and a stream on it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.stuck, self.reads, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.stream = Stream(b"", iter([]), self, self.send)  # type: ignore[arg-type]

    def send(self, data: bytes | None) -> None:
        self.sent.append(data)
        if data is not None:
            self.stuck.set()
            assert self.reads.wait(20)

    def set_code(self, code: grpc.StatusCode) -> None:
        self.sent.append(code)

    def set_details(self, text: str) -> None:
        self.sent.append(text)

    def set_trailing_metadata(self, metadata: Any) -> None:
        assert metadata

    def cancel(self) -> None:
        self.cancelled.set()
        self.reads.set()


def sending(call: Call, *data: bytes) -> threading.Thread:
    thread = threading.Thread(target=call.stream.send, args=data)
    thread.start()
    assert call.stuck.wait(20)
    return thread


def test_a_stream_that_ends_while_something_is_sent_ends_after_it():
    call = Call()
    thread = sending(call, b"1", b"2")
    call.stream.end(WHY)
    assert call.sent == [b"1"]
    call.reads.set()
    thread.join(20)
    call.stream.send(b"3")
    call.stream.end()
    assert call.sent == [b"1", grpc.StatusCode.ABORTED, "another", None]


def test_a_stream_is_cut_that_is_stuck(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "FENCE_SECONDS", 0.0)
    call = Call()
    thread = sending(call, b"1")
    call.stream.cut()
    assert call.cancelled.wait(20)
    thread.join(20)
    assert call.sent == [b"1", None]


def test_what_is_put_while_a_stream_begins_comes_after_what_it_lacks():
    outbox, call = Outbox(), Call()
    outbox.put(pb.Reply(done=pb.Done(request=1)))
    outbox.put(pb.Reply(done=pb.Done(request=2)))
    outbox.attach(call.stream, 1, 0)
    call.reads.set()
    outbox.put(pb.Reply(done=pb.Done(request=3)))  # whoever attached it has not yet come to sending
    call.stream.send()
    first, *rest = [pb.Reply.FromString(data) for data in call.sent]
    assert first.HasField("attached")
    assert [r.done.request for r in rest] == [2, 3]


def test_a_stream_attaches_while_the_session_is_busy(raw, service):
    gate = Gate(service.sessions[raw.key.session_id], "exp")
    raw.send(put(1, [1.0]), pb.Instruction(get=pb.Get(tensor=1, request=5)))
    raw.send(apply("exp", 1, results=(2,)))
    assert gate.reached.wait(20)
    assert raw.attach().last_seq == 2
    assert raw.reply("value").request == 5
    gate.open.set()


def test_a_stream_is_counted_when_it_ends(raw, service):
    def handled(code: str) -> float:
        labels = "bidi_stream", "gradwire.v1.Gradwire", "Stream", code
        return service.metrics.rpc_handled.labels(*labels)._value.get()

    fenced, ended = handled("Aborted"), handled("OK")
    older = raw.replies
    raw.attach()
    until(lambda: handled("Aborted") == fenced + 1)
    assert older.code() is grpc.StatusCode.ABORTED
    raw.frames.put(None)
    until(lambda: handled("OK") == ended + 1)


def test_a_client_overtaken_as_it_takes_over_is_told(raw, service):
    """The last moment is that after its request was handed to the thread that executes."""
    session = service.sessions[raw.key.session_id]
    clear, overtaken = session.transfers.clear, threading.Event()

    def overtake() -> None:
        session.transfers.clear = clear
        raw.attach(client=6)
        overtaken.set()

    session.transfers.clear = overtake
    with pytest.raises(grpc.RpcError) as e:
        next(raw.stub.Stream(iter([pb.Frame(attach=raw.key, client=5, takeover=True)]), timeout=20))
    assert e.value.code() is grpc.StatusCode.ABORTED
    assert overtaken.wait(20)
    raw.send(put(1, [1.0]))
    assert raw.get(1).tolist() == [1.0]
