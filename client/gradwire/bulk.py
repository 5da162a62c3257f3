"""Tensors too big for a frame, beside the stream in chunks; a transfer that breaks goes on where it was."""

from __future__ import annotations

import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from gradwire import waits
from gradwire.wire import BACKOFF, FINAL, SERVICE, overdue, rpc_exception
from gradwire_proto import chunks
from gradwire_proto.v1 import gradwire_pb2 as pb

Attempt = Callable[[int, int, float | None], Iterator[int]]
"""One try: where to begin, how often it was tried, and how many seconds it has; tells how much is there."""


class Bulk:
    """The transfers of one session.

    Args:
        patience: seconds that a transfer may stand still.
        closing: set when the session ends, which ends the waiting, too.
        deadline: seconds that a transfer may take, if at all limited.
    """

    def __init__(
        self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]], key: pb.SessionKey, patience: float,
        closing: threading.Event, deadline: float | None = None,
    ):  # fmt: skip
        self._metadata = metadata
        self._key = key
        self._patience = patience
        self._closing = closing
        self._deadline = deadline
        self._alarm = waits.Alarm(self._abort)
        self._calls: dict[int, Any] = {}
        """Under way, by thread."""
        self._upload = channel.stream_stream(f"{SERVICE}Upload", None, pb.UploadResponse.FromString)
        self._download = channel.unary_stream(f"{SERVICE}Download", pb.DownloadRequest.SerializeToString, None)

    def upload(self, number: int, data: memoryview) -> None:
        """Bring bytes to the server, for a Put to refer to by ``number``.

        Raises:
            ConnectionError, RuntimeError, OutOfMemoryError: it can't be done.
            TimeoutError: the deadline passed.
        """

        def attempt(_: int, nr: int, timeout: float | None) -> Iterator[int]:
            header = pb.UploadHeader(key=self._key, upload=number, nbytes=len(data), attempt=nr)
            starts: queue.SimpleQueue[int] = queue.SimpleQueue()

            def messages() -> Iterator[bytes]:
                yield pb.UploadRequest(header=header).SerializeToString()
                # What an earlier try brought is there; the first need not wait to be told.
                for at in range(starts.get() if nr > 1 else 0, len(data), chunks.CHUNK):
                    yield chunks.pack(chunks.UPLOAD_DATA, data[at : at + chunks.CHUNK])

            try:
                call = self._upload(messages(), timeout=timeout, metadata=self._metadata)
                for response in self._under_way(call):
                    starts.put(response.received)
                    yield response.received
            finally:
                starts.put(len(data))  # lets the sender go

        self._retry(attempt, len(data))

    def download(self, number: int, into: memoryview) -> None:
        """Fetch the bytes that the server keeps under ``number``.

        Raises:
            ConnectionError, RuntimeError: it can't be done.
            TimeoutError: the deadline passed.
        """

        def attempt(at: int, _: int, timeout: float | None) -> Iterator[int]:
            request = pb.DownloadRequest(key=self._key, download=number, offset=at)
            for message in self._under_way(self._download(request, timeout=timeout, metadata=self._metadata)):
                data = chunks.unpack(chunks.DOWNLOAD_DATA, message)
                if data is None:
                    data = memoryview(pb.DownloadResponse.FromString(message).data)
                into[at : at + len(data)] = data
                at += len(data)
                yield at

        self._retry(attempt, len(into))

    def close(self) -> None:
        self._alarm.stop()

    def _under_way(self, call: Any) -> Any:
        self._calls[threading.get_ident()] = call
        return call

    def _abort(self) -> None:
        """Ctrl-C."""
        call = self._calls.get(threading.main_thread().ident or 0)
        if call is not None:
            call.cancel()

    def _retry(self, attempt: Attempt, nbytes: int) -> None:
        """Try until all bytes are there, as long as that gets on or ``patience`` lasts."""
        guarded = self._alarm.guard()
        try:
            self._go_on(attempt, nbytes)
        except Exception:
            waits.freeze()
            raise
        finally:
            self._calls.pop(threading.get_ident(), None)
            if guarded:
                self._alarm.unguard()

    def _go_on(self, attempt: Attempt, nbytes: int) -> None:
        began, due = time.monotonic(), waits.due(self._deadline)
        at, nr = 0, 1
        end, pause = time.monotonic() + self._patience, BACKOFF[0]
        while True:
            broken: grpc.RpcError | None = None
            try:
                for there in attempt(at, nr, None if due == math.inf else max(due - time.monotonic(), 0.0)):
                    if there > at:
                        end, pause = time.monotonic() + self._patience, BACKOFF[0]
                    at = there
            except grpc.RpcError as e:
                broken = e
            if broken is None and at == nbytes:
                return
            if self._alarm.pressed:
                raise KeyboardInterrupt
            code = broken.code() if isinstance(broken, grpc.Call) else None
            if code is grpc.StatusCode.DEADLINE_EXCEEDED or time.monotonic() >= due:
                raise overdue(began) from None
            if code in FINAL or self._closing.is_set() or time.monotonic() >= end:
                if broken is None:
                    raise ConnectionError(f"the server ends a transfer of {nbytes} bytes after {at}")
                raise rpc_exception(broken) from None
            self._closing.wait(min(random.uniform(pause / 2, pause), due - time.monotonic()))
            pause, nr = min(2 * pause, BACKOFF[1]), nr + 1
