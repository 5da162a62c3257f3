"""Connections that stand still, processes that are frozen or killed, clients that displace each other, slow readers."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradwire as torch
from gradwire.dispatch import sync_mode
from gradwire.session import connect
from gradwire.wire import WINDOW, Wire
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.limits import Limits
from gradwire_server.outbox import KEEP_BYTES
from tests.server.raw import Raw
from tests.system.faults import Local, local
from tests.system.processes import serve
from tests.system.programs import Cube
from tests.system.proxy import Fault, Proxy, until

UPLOADER = """
import sys, numpy as np, gradwire as torch
torch.connect(sys.argv[1])
torch.tensor(np.ones(8_000_000))
"""
LEASE = 0.4
UNREAD = 400


class Second:
    """Another client of a session."""

    def __init__(self, address: str, key: pb.SessionKey, received: int):
        self.raw = Raw(address)
        self.raw.key = key
        self.raw.seq = self.raw.attach(received, client=7, attempt=1).last_seq


@pytest.fixture(scope="module")
def leasing():
    with local(Limits(lease_seconds=LEASE)) as made:
        yield made


def later(run: Any) -> tuple[threading.Thread, list[Any]]:
    """Run in another thread; what comes of it, an exception included."""
    made: list[Any] = []

    def work() -> None:
        try:
            made.append(run())
        except BaseException as e:
            made.append(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, made


# ---- processes ----


def test_a_frozen_server_goes_on_when_it_is_thawed(tmp_path: Path):
    with serve(tmp_path) as process, connect(process.address):
        x = torch.tensor([1.0, 2.0])
        assert x.tolist() == [1.0, 2.0]
        process.process.send_signal(signal.SIGSTOP)
        for _ in range(100):
            x = x + 1
        reader, made = later(x.tolist)
        assert not made
        process.process.send_signal(signal.SIGCONT)
        reader.join(20)
        assert made == [[101.0, 102.0]]


def test_a_server_frozen_for_longer_than_one_waits(tmp_path: Path):
    with serve(tmp_path) as process, Proxy(process.address, listen=f"unix:{tmp_path}/p") as proxy:
        session = connect(proxy.address, reconnect=0.3)
        x = torch.ones(2)
        assert x.tolist() == [1.0, 1.0]
        process.process.send_signal(signal.SIGSTOP)
        proxy.cut()
        with pytest.raises(ConnectionError, match="the connection to the gradwire server is lost: "):
            x.tolist()
        with pytest.raises(ConnectionError):
            (x + 1).tolist()
        process.process.send_signal(signal.SIGCONT)
        session.close()


def test_a_server_that_was_killed_is_an_error_and_so_is_its_successor(tmp_path: Path):
    with serve(tmp_path) as first:
        gone, moved = connect(first.address, reconnect=0.3), connect(first.address)
        x, y = torch.ones(2), torch.ones(2)
        assert y.tolist() == [1.0, 1.0]
        x = torch.Tensor.clone(y)
        first.process.kill()
        first.process.wait()
        with pytest.raises(ConnectionError, match="the connection to the gradwire server is lost: "):
            gone.synchronize()
        (tmp_path / "s").unlink(missing_ok=True)
        with serve(tmp_path), pytest.raises(ConnectionError, match="no session '[0-9a-f]+' with this secret"):
            (x + 1).tolist()
        moved.close()
        gone.close()


def test_a_client_killed_while_it_uploads_leaves_nothing(leasing: Local):
    with leasing.proxy(lambda n: Fault(piece=4096)) as proxy:
        streams = {**os.environ, "GRADWIRE_SHARED_MEMORY": "0"}
        client = subprocess.Popen([sys.executable, "-c", UPLOADER, proxy.address], env=streams)
        until(lambda: any(u.received for s in leasing.service.sessions.values() for u in s.transfers._uploads.values()))
        proxy.stall("up")
        (session,) = leasing.service.sessions.values()
        (upload,) = session.transfers._uploads.values()
        assert 0 < upload.received < len(upload.data)
        memory, ended = weakref.ref(upload.data), weakref.ref(session)
        del upload, session
        client.kill()
        client.wait()
        proxy.go()
        until(lambda: not leasing.service.sessions)
        until(lambda: memory() is None)
        until(lambda: gc.collect() >= 0 and ended() is None)


# ---- leases ----


def test_a_program_that_is_busy_elsewhere_keeps_its_session(leasing: Local):
    """Nobody reads, nobody writes, and the connection is cut: the client attaches again all the same."""
    with leasing.proxy() as proxy, connect(proxy.address) as session:
        x = torch.ones(2)
        session.synchronize()
        end = leasing.session(session)
        for n in range(2, 4):
            epoch = end.epoch
            proxy.cut()
            until(lambda epoch=epoch: end.epoch > epoch and end.attached)
            assert proxy.accepted == n
        assert x.tolist() == [1.0, 1.0]


def test_a_stream_that_ends_begins_the_lease(leasing: Local):
    raw = Raw(leasing.address)
    raw.frames.put(None)
    until(lambda: raw.key.session_id not in leasing.service.sessions)
    raw.channel.close()


# ---- several clients of one session ----


@pytest.mark.parametrize("cut", [False, True])
def test_the_older_of_two_clients_is_told_and_stays_away(server: Local, cut: bool):
    with server.proxy() as proxy, connect(proxy.address) as session:
        x = torch.tensor([1.0, 2.0], dtype=torch.float64)
        session.synchronize()
        if cut:
            proxy.stall("down")  # it does not hear that it was displaced, and so comes back
        second = Second(server.address, session._key, session.wire._received)
        end = server.session(session)
        epoch = end.epoch
        if cut:
            proxy.cut()
            proxy.go()
        with pytest.raises(ConnectionError, match=f"another client has attached to session {session.id}"):
            x.tolist()
        assert second.raw.get(x._id).tolist() == [1.0, 2.0]
        assert end.epoch == epoch


def test_a_session_closed_while_a_thread_waits_for_a_lost_server(server: Local):
    with server.proxy() as proxy:
        session = connect(proxy.address)
        x = torch.ones(2)
        session.synchronize()
        proxy.refuse(True)
        proxy.cut()
        accepted = proxy.accepted
        reader, made = later(x.tolist)
        until(lambda: proxy.accepted > accepted + 1)
        session.close()
        reader.join(20)
        assert isinstance(made[0], ConnectionError)


def test_a_connection_that_never_gets_on_is_an_error(server: Local):
    """Every stream attaches, and is cut before what it has to send is through."""
    with server.proxy(lambda n: Fault(up=20_000)) as proxy:
        session = connect(proxy.address, reconnect=0.5)
        x = torch.tensor(np.ones(10_000))
        with pytest.raises(ConnectionError, match="the connection to the gradwire server is lost: "):
            x.tolist()
        assert proxy.accepted < 50
        session.close()


# ---- callbacks and interrupts ----


def test_an_interrupted_hook_ends_its_backward_pass(server: Local):
    def interrupted(g: Any) -> None:
        raise KeyboardInterrupt

    with connect(server.address):
        x = torch.ones(2, requires_grad=True)
        for _ in range(Limits().max_callback_depth + 1):  # more than could be under way
            y = x * 2
            y.register_hook(interrupted)
            with pytest.raises(KeyboardInterrupt):
                y.sum().backward()
        (x * 3).sum().backward()
        assert x.grad.tolist() == [3.0, 3.0]


def test_a_reply_that_an_interrupt_lost_comes_again(server: Local):
    with connect(server.address) as session:
        x = torch.ones(2)
        session.synchronize()
        wire = session.wire
        lost = (wire.request(), wire.request())
        with wire.lock:
            for request in lost:
                session.instruction().synchronize.request = request
        wire.flush()
        while not pb.Reply.FromString(next(wire._replies)).HasField("done"):
            pass  # taken from gRPC, and dropped
        assert x.tolist() == [1.0, 1.0]
        assert all(wire.wait(request).done.request == request for request in lost)


# ---- slow readers and writers ----


@pytest.fixture
def unread(server: Local):
    """A client that asks for 80 MB and does not read, and its session, which is stuck in sending."""
    raw = Raw(server.address)
    end = server.service.sessions[raw.key.session_id]
    size = 200_000
    raw.send(pb.Instruction(put=pb.Put(result=1, data=pb.TensorData(dtype=pb.DTYPE_UINT8, shape=[size],
                                                                    data=bytes(size)))))  # fmt: skip
    for i in range(UNREAD):
        raw.send(pb.Instruction(get=pb.Get(tensor=1, request=i + 1)))
    begun: list[int] = []

    def at_rest() -> bool:
        begun.append(end.begun)
        return begun[-1] > 1 and begun[-100:] == begun[-1:] * 100

    until(at_rest)
    assert end.begun < UNREAD
    yield raw, end
    raw.channel.close()


def test_a_client_that_never_reads_is_not_answered_without_bound(unread: Any):
    raw, end = unread
    assert end.outbox._bytes < KEEP_BYTES
    assert [raw.reply("value").request for _ in range(UNREAD)] == list(range(1, UNREAD + 1))


def test_a_client_that_never_reads_can_be_displaced(server: Local, unread: Any):
    raw, _ = unread
    second = Second(server.address, raw.key, 0)
    asked = second.raw.seq - 1
    assert [second.raw.reply("value").request for _ in range(asked)] == list(range(1, asked + 1))
    second.raw.send(pb.Instruction(synchronize=pb.Synchronize(request=99)))
    assert second.raw.reply("done").request == 99


def test_a_client_that_never_reads_does_not_keep_its_session_from_ending(unread: Any):
    raw, end = unread
    raw.stub.CloseSession(pb.CloseSessionRequest(key=raw.key), timeout=20)
    end.join(20)
    assert not end._thread.is_alive()


def test_a_server_that_does_not_take_frames_holds_the_client_back(server: Local):
    with server.proxy() as proxy, connect(proxy.address) as session:
        x = torch.zeros(1)
        session.synchronize()
        proxy.stall("up", "down")

        def stream() -> list[float]:
            y = x
            for _ in range(20_000):
                y = y + 1
            return y.tolist()

        _, made = writer = later(stream)
        wire = session.wire
        until(lambda: wire._seq - wire._acknowledged > WINDOW)
        assert len(wire._unacknowledged) <= WINDOW + 2
        proxy.go()
        writer[0].join(20)
        assert made == [[20_000.0]]


def test_a_far_server_is_waited_for_only_where_a_value_is_read(server: Local, monkeypatch: pytest.MonkeyPatch):
    waits = []
    read = Wire._read

    def count(self: Wire) -> None:
        waits.append(self)
        read(self)

    with server.proxy(lambda n: Fault(delay=0.04)) as proxy, connect(proxy.address) as session:
        x = torch.ones(8, requires_grad=True)
        session.synchronize()
        monkeypatch.setattr(Wire, "_read", count)
        for _ in range(200):
            loss = (x * 0.5).tanh().sum()
            x.grad = None
            loss.backward()
            with torch.no_grad():
                x -= 0.01 * x.grad
        assert waits == []
        assert np.isfinite(loss.item())



def test_what_another_thread_sent_before_a_callback_is_not_part_of_it(server: Local):
    """A callback runs with grad mode off; what was sent before the client knew of it must not."""
    with server.proxy() as proxy, connect(proxy.address) as session:
        x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        y = x * 2
        y.register_hook(lambda g: g * 3)
        session.synchronize()
        end = server.session(session)
        proxy.stall("down")
        backward, _ = later(y.sum().backward)
        until(lambda: end._waiting)
        begun = end.begun
        other, _ = later(lambda: (w * w).sum().backward())
        until(lambda: end.begun > begun)
        proxy.go()
        backward.join(20)
        other.join(20)
        assert w.grad.tolist() == [2.0, 2.0]
        assert x.grad.tolist() == [6.0, 6.0]


def in_another_thread(run: Any) -> Any:
    thread, made = later(run)
    thread.join(20)
    return made[0]


@pytest.fixture
def unhurried(server: Local, monkeypatch: pytest.MonkeyPatch):
    """A session whose frames leave only when somebody waits."""
    monkeypatch.setattr("gradwire.wire.FLUSH_SECONDS", 60.0)
    with connect(server.address) as session:
        yield session


def test_what_another_thread_adds_as_a_callback_comes_is_not_part_of_it(unhurried: Any):
    """It is written when the client does not know of the callback yet, and would be sent when it does."""
    x, w = torch.ones(2, requires_grad=True), torch.zeros(1, 2, 1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g * 3)
    take, made = unhurried.wire._take, []

    def late(reply: pb.Reply) -> None:
        if reply.HasField("callback"):
            made.append(in_another_thread(w.sinh))  # sent in full, which says nothing of the mode if it is known
        take(reply)

    unhurried.wire._take = late
    y.sum().backward()
    made[0].sum().backward()
    assert w.grad.tolist() == [[[1.0], [1.0]]]
    assert x.grad.tolist() == [6.0, 6.0]


def test_what_another_thread_adds_as_a_callback_ends_does_not_change_the_mode_after_it(unhurried: Any):
    """It says which mode it wants, in the callback; the server then goes back to the one before."""
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g * 3)
    loss, wire = y.sum(), unhurried.wire
    run = wire._run_callback

    def then_another(m: pb.Callback) -> pb.Answer:
        answer = run(m)
        in_another_thread(lambda: Cube.apply(w))
        return answer

    wire._run_callback = then_another
    with torch.no_grad():
        with wire.lock:
            sync_mode(unhurried)
        loss.backward()
    Cube.apply(w).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    assert x.grad.tolist() == [6.0, 6.0]
