"""Who may go on with a session or an upload: the latest that began, whatever the order in which they arrive."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Displaced, SessionEnded
from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service
from gradwire_server.session import Session
from gradwire_server.stream import Stream
from gradwire_server.transfers import Upload
from tests.server.raw import Raw, put


def refuse(raw: Raw, **first: Any) -> None:
    """Check that a stream with this first frame is fenced off."""
    text = f"another client has attached to session {raw.key.session_id}"
    with pytest.raises(grpc.RpcError, match=text) as e:
        next(raw.stub.Stream(iter([pb.Frame(attach=raw.key, **first)]), timeout=20))
    assert e.value.code() is grpc.StatusCode.ABORTED


def test_a_stream_that_was_overtaken_on_its_way_is_refused(raw):
    raw.attach(client=5, attempt=2)
    refuse(raw, client=5, attempt=1)
    refuse(raw, client=5, attempt=2)
    raw.send(put(1, [1.0]))
    assert raw.get(1).tolist() == [1.0]  # the stream of attempt 2 goes on


def test_a_client_that_was_displaced_does_not_come_back(raw):
    raw.attach(client=5, attempt=1)
    raw.attach(client=6, attempt=1)
    refuse(raw, client=5, attempt=2)
    raw.attach()  # says nothing of who it is: always taken for a new one
    refuse(raw, client=6, attempt=2)
    raw.send(put(1, [1.0]))
    assert raw.get(1).tolist() == [1.0]


def test_an_upload_that_was_overtaken_writes_nothing_more():
    upload = Upload(np.zeros(6, np.uint8))
    old, _ = upload.begin(1)
    upload.write(old, memoryview(b"\1\2"))
    new, received = upload.begin(2)
    assert received == 2
    with pytest.raises(Displaced):
        upload.write(old, memoryview(b"\3\4"))
    with pytest.raises(Displaced):
        upload.begin(1)
    upload.write(new, memoryview(b"\3\4\5\6"))
    assert upload.data.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_session_is_opened_once_however_often_its_answer_is_lost(raw, service):
    request = pb.OpenSessionRequest(protocol_version=1, request_id=b"drawn at random.")
    first, again = raw.stub.OpenSession(request, timeout=20), raw.stub.OpenSession(request, timeout=20)
    assert first == again
    request.request_id = b"another, at random"
    other = raw.stub.OpenSession(request, timeout=20)
    assert other.session_id != first.session_id
    for opened in (first, other):
        key = pb.SessionKey(session_id=opened.session_id, secret=opened.secret)
        raw.stub.CloseSession(pb.CloseSessionRequest(key=key), timeout=20)


class CutContext:
    """The context of a call whose client is gone already."""

    def add_callback(self, callback: Any) -> bool:
        return False

    def cancel(self) -> None:
        pass


def test_a_stream_cut_before_it_was_served_ends():
    service = Service("cpu", Limits(), 1, Metrics())
    opened = service.OpenSession(pb.OpenSessionRequest(protocol_version=1), CutContext())  # type: ignore[arg-type]
    session = service.sessions[opened.session_id]
    key = pb.SessionKey(session_id=opened.session_id, secret=opened.secret)
    first = pb.Frame(attach=key).SerializeToString()
    sent: list[Any] = []
    service.Stream(iter([first]), CutContext(), sent.append)  # type: ignore[arg-type]
    assert pb.Reply.FromString(sent[0]).HasField("attached")
    assert not session.attached
    service.stop()


def test_nobody_attaches_to_a_session_that_has_ended():
    session = Session("cpu", 0, Limits(), lambda s: None)
    session.end()
    with pytest.raises(SessionEnded):
        session.attach(Stream(b"", iter([]), CutContext(), lambda _: None), pb.Frame())  # type: ignore[arg-type]
