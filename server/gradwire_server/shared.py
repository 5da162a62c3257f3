"""Memory shared with clients on the same machine: files of theirs in a directory that nobody else can enter.

The server copies from and to these files rather than mapping them: one that was cut short under a mapping would end
the process, but only ends a read.
"""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gradwire_proto import chunks

log = logging.getLogger(__name__)
PREFIX = "gradwire-"
NAME = re.compile(r"[a-z0-9]{1,32}")


class Segments:
    """The files of one session. The client makes them, names them and says when to read or to write which."""

    def __init__(self, path: str):
        os.mkdir(path, 0o700)
        self.path = path

    def read(self, name: str, nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """What a segment begins with.

        Raises:
            ValueError: there is no such segment, or it is shorter.
        """
        fd = self._open(name, os.O_RDONLY, nbytes)
        try:
            data = np.empty(nbytes, np.uint8)

            def copy(at: int, end: int) -> None:
                while at < end:
                    n = os.preadv(fd, [data[at : min(end, at + chunks.CHUNK)].data], at)
                    if not n:
                        raise ValueError(f"segment '{name}' was cut short at {at} of {nbytes} bytes")
                    at += n

            chunks.spread(nbytes, copy)
            return data
        finally:
            os.close(fd)

    def write(self, name: str, data: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Write to the beginning of a segment.

        Raises:
            ValueError: there is no such segment, or it is shorter.
        """
        fd = self._open(name, os.O_WRONLY, data.nbytes)
        try:

            def copy(at: int, end: int) -> None:
                while at < end:
                    at += os.pwrite(fd, data[at:end].data, at)

            chunks.spread(data.nbytes, copy)
        finally:
            os.close(fd)

    def _open(self, name: str, mode: int, nbytes: int) -> int:
        if NAME.fullmatch(name) is None:
            raise ValueError(f"a segment's name is of a to z and 0 to 9, 32 at most, got {name!r}")
        try:
            fd = os.open(os.path.join(self.path, name), mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            raise ValueError(f"segment '{name}' can't be opened: {e.strerror}") from None
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_size >= nbytes:
            return fd
        os.close(fd)
        raise ValueError(f"segment '{name}' is no file of {nbytes} bytes or more")

    def close(self) -> None:
        """Take the name from all of them; their memory goes with the last who has them open."""
        shutil.rmtree(self.path, ignore_errors=True)


class SharedMemory:
    """A server's directory, beneath a file system in memory.

    Raises:
        OSError: it can't be made.
    """

    def __init__(self, root: str):
        sweep(root)
        self.path, self._lock = _make(root)
        self._nonce = secrets.token_bytes(32)
        try:
            Path(self.path, "nonce").write_bytes(self._nonce)
        except OSError:
            self.close()
            raise

    def accept(self, session: str, nonce: bytes) -> Segments | None:
        """A place for a session whose client has read the nonce: that proves that it runs here, as the same user."""
        if not hmac.compare_digest(nonce, self._nonce):
            return None
        try:
            return Segments(os.path.join(self.path, session))
        except OSError as e:
            log.warning("no shared memory for a session: %s", e)
            return None

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _make(root: str) -> tuple[str, int]:
    """A fresh directory, locked as long as this process lives, and its descriptor."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=root)
        fd = _lock(path)
        # Another server that starts now may have found it before it was locked.
        if fd is not None:
            if os.path.exists(path):
                return path, fd
            os.close(fd)


def _lock(path: str) -> int | None:
    """Lock a directory; None where somebody has, or where it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def sweep(root: str) -> None:
    """Remove what servers of this user left that did not end by themselves: what nobody has locked."""
    for entry in Path(root).glob(f"{PREFIX}*"):
        try:
            mine = entry.lstat().st_uid == os.getuid()
        except OSError:
            continue  # another one sweeps, too
        fd = _lock(str(entry)) if mine else None
        if fd is not None:
            shutil.rmtree(entry, ignore_errors=True)
            os.close(fd)
