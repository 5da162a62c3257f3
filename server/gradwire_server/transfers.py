"""Tensors too big for a frame, on their way beside the stream."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradwire_engine.backend import to_host
from gradwire_engine.tensor import Meter
from gradwire_proto import chunks
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Displaced


@dataclass(slots=True)
class Upload:
    """Bytes that come beside the stream, over several tries where the connection breaks."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    received: int = 0
    _turn: int = 0
    _attempt: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, attempt: int) -> tuple[int, int]:
        """Take over from the try before, which may not know yet that it is broken.

        Returns:
            What ``write`` wants to know it by, and how many bytes are there.

        Raises:
            Displaced: a later try was faster.
        """
        with self._lock:
            if attempt and attempt <= self._attempt:
                raise Displaced("a later try goes on with this upload")
            self._attempt = attempt or self._attempt
            self._turn += 1
            return self._turn, self.received

    def write(self, turn: int, data: memoryview) -> None:
        """Add what came.

        Raises:
            Displaced: another try has taken over.
            ValueError: it is more than was announced.
        """
        with self._lock:
            if turn != self._turn:
                raise Displaced("a later try goes on with this upload")
            end = self.received + len(data)
            if end > len(self.data):
                raise ValueError(f"more than the {len(self.data)} bytes that the header announced")
            self.data[self.received : end] = data
            self.received = end

    def end(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Let no try go on, and give away the bytes: a try that was cut stays in memory, with the error that ended it,
        until the garbage collector comes."""
        with self._lock:
            self._turn += 1
            data, self.data = self.data, np.empty(0, np.uint8)
            return data


class Download:
    """A tensor's contents, sent from its own memory as long as nothing may write there."""

    def __init__(self, data: np.ndarray[Any, np.dtype[np.uint8]]):
        self.nbytes = data.nbytes
        self._data = data
        self._lock = threading.Lock()

    def keep(self) -> None:
        """Go on from a copy."""
        with self._lock:
            source, copy = self._data, np.empty_like(self._data)
            chunks.spread(self.nbytes, lambda i, j: np.copyto(copy[i:j], source[i:j]))
            self._data = copy

    def message(self, at: int) -> bytes:
        """The chunk that begins at ``at``."""
        with self._lock:
            return chunks.pack(chunks.DOWNLOAD_DATA, self._data[at : at + chunks.CHUNK].data)


class Transfers:
    """Uploads not yet put and downloads not yet fetched; used from the threads of those calls."""

    def __init__(self, meter: Meter, most: int):
        self._meter = meter
        self._most = most
        self._lock = threading.Lock()
        self._uploads: dict[int, Upload] = {}
        self._downloads: dict[int, Download] = {}
        self.lent: set[int] = set()
        """Downloads that nothing has been copied of; the session's thread alone uses this."""
        self._reserved = 0

    def upload(self, number: int, nbytes: int) -> Upload:
        """An upload, new or begun in an earlier try, with memory within the session's limit.

        Raises:
            MemoryError: it would pass it, or there are too many transfers.
            ValueError: an earlier try was of another size.
        """
        with self._lock:
            found = self._uploads.get(number)
            if found is None:
                self._check(nbytes)
                self._reserved += nbytes
                found = self._uploads[number] = Upload(np.empty(nbytes, np.uint8))
            elif len(found.data) != nbytes:
                raise ValueError(f"upload {number} is of {len(found.data)} bytes, not {nbytes}")
        return found

    def take_upload(self, number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes of a complete upload.

        Raises:
            ValueError: there is none.
        """
        with self._lock:
            found = self._uploads.get(number)
            if found is None or found.received < len(found.data):
                raise ValueError(f"upload {number} is unknown in this session, or not complete")
            del self._uploads[number]
            self._reserved -= len(found.data)
            return found.end()

    def offer(self, key: int, array: Any, lend: bool) -> None:
        """Have an array's contents at hand for a Download under ``key``.

        Args:
            lend: nobody writes to the array before ``keep`` is called, so there may be no need for a copy.

        Raises:
            MemoryError: it would pass the session's limit, or there are too many transfers.
        """
        with self._lock:
            self._check(array.nbytes)
            self._reserved += array.nbytes
            made = np.ascontiguousarray(to_host(array))
            found = self._downloads[key] = Download(made.reshape(-1).view(np.uint8))
        if made is array:
            if lend:
                self.lent.add(key)
            else:
                found.keep()

    def keep(self, instructions: Iterable[pb.Instruction]) -> None:
        """Copy what is lent before these instructions are executed, but for what they say the client has."""
        for m in instructions:
            self.lent.difference_update(m.free.downloads)
        for key in self.lent:
            found = self._downloads.get(key)
            if found is not None:  # the session may have ended
                found.keep()
        self.lent.clear()

    def download(self, key: int) -> Download:
        """What is there under ``key``.

        Raises:
            ValueError: nothing is.
        """
        with self._lock:
            found = self._downloads.get(key)
        if found is None:
            raise ValueError(f"download {key} is unknown in this session")
        return found

    def end_upload(self, number: int) -> None:
        with self._lock:
            found = self._uploads.pop(number, None)
            self._reserved -= 0 if found is None else len(found.end())

    def end_download(self, key: int) -> None:
        with self._lock:
            found = self._downloads.pop(key, None)
            self._reserved -= 0 if found is None else found.nbytes

    def clear(self) -> None:
        """Give up all of them."""
        with self._lock:
            for upload in self._uploads.values():
                upload.end()
            self._uploads.clear()
            self._downloads.clear()
            self._reserved = 0

    def _check(self, nbytes: int) -> None:
        if len(self._uploads) + len(self._downloads) >= self._most:
            raise MemoryError(f"the session has a limit of {self._most} transfers at a time")
        self._meter.check(nbytes + self._reserved)
