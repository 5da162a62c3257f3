"""Memory shared with a server on this machine: segments are files in a directory that it offers, mapped here.

The client owns them. It fills one before a Put names it, and leaves it alone until that Put's frame is acknowledged; it
has a Get fill one, and reads it when the answer comes. Either may be repeated after a broken connection: the file is
there. Segments are used again, since fresh memory costs twice as much as a copy.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_proto import chunks

if TYPE_CHECKING:
    from gradwire.wire import Wire

MOST_BYTES = 256 << 20
"""Of segments, in use or to be used again; a tensor above this has one for itself, and not for longer than it takes."""
MOST_SEGMENTS = 16
"""Each is a file that is open."""
STEP = 1 << 20
NONCE_BYTES = 32


def nonce(directory: str) -> bytes:
    """The proof that this process sees the memory that a server offers; empty where it doesn't, or is told not to."""
    if not directory or os.environ.get("GRADWIRE_SHARED_MEMORY", "1") == "0" or not hasattr(os, "posix_fallocate"):
        return b""
    try:
        if not _private(directory):
            return b""
        with open(os.path.join(directory, "nonce"), "rb") as f:
            found = f.read(NONCE_BYTES + 1)
    except OSError:
        return b""
    return found if len(found) == NONCE_BYTES else b""


def beneath(offered: str, directory: str) -> str:
    """A session's directory, if it is in the one that was offered and nobody else's."""
    try:
        ours = bool(directory) and os.path.dirname(directory) == offered and _private(directory)
    except OSError:
        return ""
    return directory if ours else ""


def _private(directory: str) -> bool:
    found = os.lstat(directory)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


class Segment:
    """A file and its mapping.

    Raises:
        OSError: there is no room, or no directory any more.
    """

    def __init__(self, directory: str, nbytes: int):
        self.name = secrets.token_hex(8)
        self.path = os.path.join(directory, self.name)
        self.frame = 0
        """It is free when this frame is acknowledged: that of the last instruction that named it."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            # Memory that turns out to be missing when it is written to would end the process.
            os.posix_fallocate(fd, 0, nbytes)
            self.data: np.ndarray[Any, np.dtype[np.uint8]] = np.frombuffer(mmap.mmap(fd, nbytes), np.uint8)
        except OSError:
            os.unlink(self.path)
            raise
        finally:
            os.close(fd)

    def fill(self, array: np.ndarray[Any, Any]) -> None:
        """Copy an array to the beginning."""
        if array.flags.c_contiguous:
            source = array.reshape(-1).view(np.uint8)
            chunks.spread(len(source), lambda i, j: np.copyto(self.data[i:j], source[i:j]))
        else:
            np.copyto(self.data[: array.nbytes].view(array.dtype).reshape(array.shape), array)

    def read(self, into: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Copy the beginning."""
        chunks.spread(len(into), lambda i, j: np.copyto(into[i:j], self.data[i:j]))


def fresh(nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Memory that has its pages: worth getting while there is somebody to wait for."""
    made = np.empty(nbytes, np.uint8)
    made[:: mmap.PAGESIZE] = 0
    return made


class Pool:
    """The segments of one session; none at all without a directory."""

    def __init__(self, directory: str, wire: Wire):
        self._directory = directory
        self._wire = wire
        self._lock = threading.Lock()
        self._all: set[Segment] = set()
        self._idle: list[Segment] = []

    @contextlib.contextmanager
    def lend(self, nbytes: int) -> Iterator[Segment | None]:
        """A segment of so many bytes for a Put or a Get, waiting for others to be free; None where there is no room.

        Whoever names it in an instruction sets its ``frame``, and whoever has the answer resets it.
        """
        wanted = nbytes > 0 and self._directory != ""
        segment = self._take(nbytes) if wanted else None
        while wanted and segment is None and (frame := self._awaited()):
            self._wire.settle(frame)
            segment = self._take(nbytes)
        try:
            yield segment
        finally:
            if segment is not None:
                with self._lock:
                    self._idle.append(segment)
        if segment is not None and len(segment.data) > MOST_BYTES:
            self._wire.settle(segment.frame)
            with self._lock:
                self._remove(segment)

    def _take(self, nbytes: int) -> Segment | None:
        acknowledged = self._wire.acknowledged
        with self._lock:
            free = [s for s in self._idle if s.frame <= acknowledged]
            fitting = [s for s in free if len(s.data) >= nbytes]
            if fitting:
                found = min(fitting, key=lambda s: len(s.data))
                self._idle.remove(found)
                return found
            step = max(STEP, 1 << max(0, nbytes.bit_length() - 4))  # so that others of about this size can use it, too
            size = -(-nbytes // step) * step
            while True:
                if not self._all or not self._full(size):
                    with contextlib.suppress(OSError):
                        made = Segment(self._directory, size)
                        self._all.add(made)
                        return made
                if not free:
                    return None
                self._remove(free.pop(0))

    def _awaited(self) -> int:
        """The first frame that a segment waits for; 0 where none does."""
        acknowledged = self._wire.acknowledged
        with self._lock:
            return min((s.frame for s in self._idle if s.frame > acknowledged), default=0)

    def close(self, leave: bool = False) -> None:
        """Remove all; the server removes the directory, but it may be gone. Or ``leave`` it for who comes next."""
        with self._lock:
            for s in list(self._all):
                self._remove(s)
        if self._directory and not leave:
            with contextlib.suppress(OSError):
                os.rmdir(self._directory)

    def _full(self, nbytes: int) -> bool:
        """Whether a segment more would be too much."""
        return len(self._all) >= MOST_SEGMENTS or sum(len(s.data) for s in self._all) + nbytes > MOST_BYTES

    def _remove(self, segment: Segment) -> None:
        self._all.discard(segment)
        if segment in self._idle:
            self._idle.remove(segment)
        with contextlib.suppress(OSError):
            os.unlink(segment.path)
