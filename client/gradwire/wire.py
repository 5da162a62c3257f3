"""The client's end of the stream: instructions into frames, frames onto gRPC, replies to whoever waits for them.

No thread reads replies in the background: whoever waits reads, and runs the callbacks that come meanwhile. A full
window of unacknowledged frames makes the sender read, too, so neither side runs away from the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from gradwire.errors import exception
from gradwire_proto.v1 import gradwire_pb2 as pb

FLUSH_COUNT = 128
"""Instructions that make a frame leave."""
FLUSH_BYTES = 1 << 20
"""Bytes of tensor contents that make a frame leave."""
FLUSH_SECONDS = 0.002
"""How long an instruction waits for company."""
WINDOW = 64
"""Frames in flight before the sender reads acknowledgements."""
CHUNK = 1 << 20
SERVICE = "/gradwire.v1.Gradwire/"


class Wire:
    """One session's stream. ``call_back`` runs a callback and returns its answer."""

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: Sequence[tuple[str, str]],
        key: pb.SessionKey,
        call_back: Callable[[pb.Callback], pb.Answer],
        dropped: Callable[[int], None],
    ):
        self.channel = channel
        self.key = key
        self._metadata = metadata
        self.sent = 0
        """Instructions so far."""
        self._call_back = call_back
        self._dropped = dropped
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.lock = threading.RLock()
        """Held while an instruction is written; instructions of one thread keep their order."""
        self._frame = pb.Frame()
        self._bytes = 0
        self._seq = 0
        self._acknowledged = 0
        self._request = 0
        self._locations: dict[tuple[str, int], int] = {}
        self._reading = threading.RLock()
        self._arrived: dict[int, pb.Reply] = {}
        self._late: Exception | None = None
        self._broken: Exception | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._replies: Any = channel.stream_stream(f"{SERVICE}Stream")(
            iter(self._outbox.get, None), metadata=metadata
        )
        self._outbox.put(pb.Frame(attach=key).SerializeToString())
        self._timer = threading.Thread(target=self._flush_late, name="gradwire-flush", daemon=True)
        self._timer.start()

    def location(self, file: str, line: int) -> int:
        """The id of a place in the program, told to the server when it is new. Call with ``lock`` held."""
        known = self._locations.get((file, line))
        if known is None:
            known = self._locations[file, line] = len(self._locations) + 1
            self._frame.locations.add(id=known, file=file, line=line)
        return known

    def add(self, nbytes: int = 0) -> pb.Instruction:
        """A fresh instruction, to be filled in. Call with ``lock`` held."""
        frame = self._frame
        n = len(frame.instructions)
        if n >= FLUSH_COUNT or self._bytes >= FLUSH_BYTES:
            self._send()
            frame, n = self._frame, 0
        if not n:
            self._wake.set()
        self._bytes += nbytes
        self.sent += 1
        return frame.instructions.add()

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
        frame = self._frame
        if not frame.instructions:
            return
        self._frame = pb.Frame()
        self._bytes = 0
        if self._broken is not None:
            raise self._broken
        self._seq += 1
        frame.seq = self._seq
        self._outbox.put(frame.SerializeToString())

    def _flush_late(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            # A frame that fills up sooner has left by then; what is there now is its successor's start.
            if self._closing.wait(FLUSH_SECONDS):
                return
            with self.lock, contextlib.suppress(ConnectionError):
                self._send()

    def request(self) -> int:
        """A fresh number for something to be waited for."""
        with self.lock:
            self._request += 1
            return self._request

    def wait(self, request: int) -> pb.Reply:
        """The answer to a request, running callbacks until it comes.

        Raises:
            RuntimeError and others: what the server answered instead, or an earlier instruction's failure.
            ConnectionError: the stream broke.
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
        if self._broken is not None:
            raise self._broken
        try:
            reply = pb.Reply.FromString(next(self._replies))
        except (grpc.RpcError, StopIteration) as e:
            detail = e.details() if isinstance(e, grpc.Call) else "the server ended the stream"
            self._broken = ConnectionError(f"the connection to the gradwire server is lost: {detail}")
            raise self._broken from None
        if reply.acknowledged:
            self._acknowledged = reply.acknowledged
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

    def upload(self, upload: int, data: memoryview) -> None:
        """Bring bytes to the server beside the stream."""

        def chunks() -> Iterator[pb.UploadRequest]:
            yield pb.UploadRequest(header=pb.UploadHeader(key=self.key, upload=upload, nbytes=len(data)))
            for at in range(0, len(data), CHUNK):
                yield pb.UploadRequest(data=bytes(data[at : at + CHUNK]))

        call = self.channel.stream_unary(
            f"{SERVICE}Upload", pb.UploadRequest.SerializeToString, pb.UploadResponse.FromString
        )
        try:
            call(chunks(), metadata=self._metadata)
        except grpc.RpcError as e:
            raise rpc_exception(e) from None

    def download(self, key: int, into: memoryview) -> None:
        """Fetch bytes from the server beside the stream."""
        call = self.channel.unary_stream(
            f"{SERVICE}Download", pb.DownloadRequest.SerializeToString, pb.DownloadResponse.FromString
        )
        at = 0
        try:
            for response in call(pb.DownloadRequest(key=self.key, download=key), metadata=self._metadata):
                into[at : at + len(response.data)] = response.data
                at += len(response.data)
        except grpc.RpcError as e:
            raise rpc_exception(e) from None

    def close(self) -> None:
        """End the stream; what was added before is sent first."""
        with self.lock, contextlib.suppress(ConnectionError):
            self._send()
        self._closing.set()
        self._wake.set()
        self._outbox.put(None)


def rpc_exception(e: grpc.RpcError) -> Exception:
    """What a failed RPC means to a Python program."""
    from gradwire.errors import OutOfMemoryError

    code = e.code() if isinstance(e, grpc.Call) else None
    text = (e.details() if isinstance(e, grpc.Call) else "") or str(e)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ConnectionError(f"no gradwire server answers: {text}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OutOfMemoryError(text)
    return RuntimeError(text)
