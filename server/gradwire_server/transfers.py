"""Tensors too big for a frame, on their way beside the stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradwire_engine.backend import to_host
from gradwire_engine.tensor import Meter
from gradwire_proto import chunks
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


@dataclass(slots=True)
class Download:
    """A tensor's contents as they were, being made into messages while the first of these are sent already."""

    nbytes: int
    messages: list[bytes] = field(default_factory=list)
    """Each of ``chunks.CHUNK`` bytes, but for the last."""


class Transfers:
    """Uploads not yet put and downloads not yet fetched; used from the threads of those calls."""

    def __init__(self, meter: Meter, most: int):
        self._meter = meter
        self._most = most
        self._lock = threading.Condition()
        self._uploads: dict[int, Upload] = {}
        self._downloads: dict[int, Download] = {}
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
        return found.data

    def announce(self, key: int, nbytes: int) -> None:
        """Have memory for a Download under ``key``, within the session's limit: :meth:`fill` follows.

        Raises:
            MemoryError: it would pass it, or there are too many transfers.
        """
        with self._lock:
            self._check(nbytes)
            self._downloads[key] = Download(nbytes)
            self._reserved += nbytes

    def fill(self, key: int, array: Any) -> None:
        """Copy what was announced, before anything writes to it."""
        messages = self._find(key).messages
        try:
            data = np.ascontiguousarray(to_host(array)).reshape(-1).view(np.uint8).data
            for at in range(0, len(data), chunks.CHUNK):
                messages.append(chunks.pack(chunks.DOWNLOAD_DATA, data[at : at + chunks.CHUNK]))
                with self._lock:
                    self._lock.notify_all()
        except MemoryError:
            self.end_download(key)
            raise

    def download(self, key: int, offset: int) -> Iterator[bytes]:
        """The messages of a download, from an offset on.

        Raises:
            ValueError: there is none, or it ended meanwhile.
            IndexError: the offset is past its end.
        """
        found = self._find(key)
        if offset > found.nbytes:
            raise IndexError(f"past the end of {found.nbytes} bytes")
        i, skip = divmod(offset, chunks.CHUNK)
        while i * chunks.CHUNK < found.nbytes:
            with self._lock:
                while len(found.messages) <= i and key in self._downloads:
                    self._lock.wait()
            self._find(key)
            message = found.messages[i]
            if skip:
                data = chunks.unpack(chunks.DOWNLOAD_DATA, message)
                assert data is not None
                message, skip = chunks.pack(chunks.DOWNLOAD_DATA, data[skip:]), 0
            yield message
            i += 1

    def _find(self, key: int) -> Download:
        found = self._downloads.get(key)
        if found is None:
            raise ValueError(f"download {key} is unknown in this session")
        return found

    def end_download(self, key: int) -> None:
        with self._lock:
            found = self._downloads.pop(key, None)
            self._reserved -= 0 if found is None else found.nbytes
            self._lock.notify_all()

    def clear(self) -> None:
        """Give up all of them."""
        with self._lock:
            for upload in self._uploads.values():
                upload.begin(0)
            self._uploads.clear()
            self._downloads.clear()
            self._reserved = 0
            self._lock.notify_all()

    def _check(self, nbytes: int) -> None:
        if len(self._uploads) + len(self._downloads) >= self._most:
            raise MemoryError(f"the session has a limit of {self._most} transfers at a time")
        self._meter.check(nbytes + self._reserved)
