"""The client's end of the stream: instructions into frames, frames onto gRPC, replies to whoever waits for them.

No thread reads replies in the background: whoever waits reads, and runs the callbacks that come meanwhile. A full
window of unacknowledged frames makes the sender read, too, so neither side runs away from the other.

A connection that breaks is made again: frames are kept until they are acknowledged, and the server keeps its replies
until it is told that they came, so every instruction is executed once and every answer arrives.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from gradwire.errors import OutOfMemoryError, exception
from gradwire_proto.codec import frame_field
from gradwire_proto.v1 import gradwire_pb2 as pb

FLUSH_COUNT = 128
"""Instructions that make a frame leave."""
FLUSH_BYTES = 1 << 20
"""Bytes of tensor contents that make a frame leave."""
FLUSH_SECONDS = 0.002
"""How long an instruction waits for company."""
WINDOW = 64
"""Frames in flight before the sender reads acknowledgements: with FLUSH_BYTES, the bound on what is kept to repeat."""
BACKOFF = 0.02, 2.0
"""Seconds before a second and, at most, before any later try to reconnect; they double, and are drawn at random."""
FINAL = frozenset({
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED, grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
})  # fmt: skip
"""What no other try would change."""
SERVICE = "/gradwire.v1.Gradwire/"


class Wire:
    """One session's stream.

    Args:
        call_back: runs a callback and returns its answer.
        dropped: is told of custom functions that are not part of any graph any more.
        patience: seconds that reconnecting may take.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: Sequence[tuple[str, str]],
        key: pb.SessionKey,
        call_back: Callable[[pb.Callback], pb.Answer],
        dropped: Callable[[int], None],
        patience: float,
    ):
        self.channel = channel
        self.key = key
        self.sent = 0
        """Instructions so far."""
        self.lock = threading.RLock()
        """Held while an instruction is written; instructions of one thread keep their order."""
        self._metadata = metadata
        self._call_back = call_back
        self._dropped = dropped
        self._patience = patience
        self._parts: list[bytes | pb.Instruction] = []
        """The frame to be: instructions, those in bytes encoded already."""
        self._fresh: list[pb.Location] = []
        self._bytes = 0
        self._seq = 0
        self._acknowledged = 0
        self._unacknowledged: deque[tuple[int, bytes]] = deque()
        self._received = 0
        self._requests = 0
        self._locations: dict[tuple[str, int], int] = {}
        self._reading = threading.RLock()
        self._arrived: dict[int, pb.Reply] = {}
        self._late: Exception | None = None
        self._broken: Exception | None = None
        self._wake = threading.Event()
        self.closing = threading.Event()
        self._open()
        self._timer = threading.Thread(target=self._flush_late, name="gradwire-flush", daemon=True)
        self._timer.start()

    # ---- out ----

    def location(self, file: str, line: int) -> int:
        """The id of a place in the program, told to the server when it is new. Call with ``lock`` held."""
        known = self._locations.get((file, line))
        if known is None:
            known = self._locations[file, line] = len(self._locations) + 1
            self._fresh.append(pb.Location(id=known, file=file, line=line))
        return known

    def add(self, nbytes: int = 0) -> pb.Instruction:
        """A fresh instruction, to be filled in. Call with ``lock`` held."""
        made = pb.Instruction()
        self._append(made, nbytes)
        return made

    def add_encoded(self, data: bytes) -> None:
        """Add an instruction as a field ``instructions`` of a Frame. Call with ``lock`` held."""
        self._append(data, len(data))

    def _append(self, part: bytes | pb.Instruction, nbytes: int) -> None:
        parts = self._parts
        if len(parts) >= FLUSH_COUNT or self._bytes >= FLUSH_BYTES:
            self._send()
            parts = self._parts
        if not parts:
            self._wake.set()
        self._bytes += nbytes
        self.sent += 1
        parts.append(part)

    def flush(self) -> None:
        """Send what is there. Call without ``lock`` held, for it may wait for the server to keep up."""
        with self.lock:
            self._send()
        self.relieve()

    def relieve(self) -> None:
        """Wait for acknowledgements where too many frames are in flight."""
        if self._seq - self._acknowledged > WINDOW:
            with self._reading:
                while self._seq - self._acknowledged > WINDOW // 2:
                    self._read()

    def _send(self) -> None:
        parts = self._parts
        if not parts:
            return
        self._parts = []
        self._bytes = 0
        if self._broken is not None:
            raise self._broken
        self._seq += 1
        head = pb.Frame(seq=self._seq, received=self._received, locations=self._fresh)
        self._fresh.clear()
        # A message is its fields one after the other, so instructions encoded earlier just follow.
        fields = [p if type(p) is bytes else frame_field(p) for p in parts]
        data = b"".join([head.SerializeToString(), *fields])
        self._unacknowledged.append((self._seq, data))
        self._outbox.put(data)

    def _flush_late(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            # A frame that fills up sooner has left by then; what is there now is its successor's start.
            if self.closing.wait(FLUSH_SECONDS):
                return
            with self.lock, contextlib.suppress(ConnectionError):
                self._send()

    # ---- in ----

    def request(self) -> int:
        """A fresh number for something to be waited for."""
        with self.lock:
            self._requests += 1
            return self._requests

    def wait(self, request: int) -> pb.Reply:
        """The answer to a request, running callbacks until it comes.

        Raises:
            RuntimeError and others: what the server answered instead, or an earlier instruction's failure.
            ConnectionError: the connection broke, and could not be made again.
        """
        self.flush()
        with self._reading:
            while request not in self._arrived:
                self._read()
            reply = self._arrived.pop(request)
            late, self._late = self._late, None
        if reply.WhichOneof("kind") == "error":
            raise exception(reply.error)
        if late is not None:
            raise late
        return reply

    def _read(self) -> None:
        """Take one reply, from a new connection where the old one broke. Call with ``_reading`` held."""
        if self._broken is not None:
            raise self._broken
        try:
            reply = pb.Reply.FromString(next(self._replies))
        except (grpc.RpcError, StopIteration) as e:
            self._reconnect(e)
            return
        self._take(reply)

    def _take(self, reply: pb.Reply) -> None:
        if reply.acknowledged > self._acknowledged:
            self._acknowledged = reply.acknowledged
            kept = self._unacknowledged
            while kept and kept[0][0] <= reply.acknowledged:
                kept.popleft()
        if reply.seq:
            if reply.seq <= self._received:
                return  # repeated after a broken connection
            self._received = reply.seq
        for function in reply.dropped_functions:
            self._dropped(function)
        kind = reply.WhichOneof("kind")
        if kind is None or kind == "attached":
            return
        if kind == "callback":
            answer = self._call_back(reply.callback)
            with self.lock:
                self.add().answer.CopyFrom(answer)
                self._send()
            return
        body = getattr(reply, kind)
        if body.request:
            self._arrived[body.request] = reply
        elif self._late is None:
            self._late = exception(reply.error)

    # ---- the connection ----

    def _open(self) -> None:
        """Begin a stream; the first frame attaches it to the session."""
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._outbox.put(pb.Frame(attach=self.key, received=self._received).SerializeToString())
        self._replies: Any = self.channel.stream_stream(f"{SERVICE}Stream")(
            iter(self._outbox.get, None), metadata=self._metadata
        )

    def _reconnect(self, broken: Exception) -> None:
        """Attach again, and send again what the server does not have.

        Raises:
            ConnectionError: the session is gone, or the server is, for longer than ``patience``.
        """
        end = time.monotonic() + self._patience
        pause = BACKOFF[0]
        while True:
            code = broken.code() if isinstance(broken, grpc.Call) else None
            if self.closing.is_set() or code in FINAL or time.monotonic() >= end:
                why = broken.details() if isinstance(broken, grpc.Call) else "the server ended the stream"
                self._broken = ConnectionError(f"the connection to the gradwire server is lost: {why}")
                raise self._broken from None
            self._outbox.put(None)  # lets the old stream's sender go
            try:
                with self.lock:
                    self._open()
                    reply = pb.Reply.FromString(next(self._replies))
                    for seq, data in self._unacknowledged:
                        if seq > reply.attached.last_seq:
                            self._outbox.put(data)
                self._take(reply)
                return
            except (grpc.RpcError, StopIteration) as e:
                broken = e
            self.closing.wait(random.uniform(pause / 2, pause))
            pause = min(2 * pause, BACKOFF[1])

    def close(self) -> None:
        """End the stream; what was added before is sent first."""
        with self.lock, contextlib.suppress(ConnectionError):
            self._send()
        self.closing.set()
        self._wake.set()
        self._outbox.put(None)


def rpc_exception(e: grpc.RpcError) -> Exception:
    """What a failed RPC means to a Python program."""
    code = e.code() if isinstance(e, grpc.Call) else None
    text = (e.details() if isinstance(e, grpc.Call) else "") or str(e)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ConnectionError(f"no gradwire server answers: {text}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OutOfMemoryError(text)
    return RuntimeError(text)
