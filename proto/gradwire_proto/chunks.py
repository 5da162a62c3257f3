"""Bulk transfers, without a copy too many: protobuf would copy the bytes of each message once more on either side."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

CHUNK = 1 << 20
"""Bytes of a tensor that go into one message."""
UPLOAD_DATA = 2
"""The number of UploadRequest.data."""
DOWNLOAD_DATA = 1
"""The number of DownloadResponse.data."""
THREADS = min(4, os.cpu_count() or 1)
SHARE = 4 << 20
"""Bytes that are worth a thread of their own."""


def pack(field: int, data: memoryview) -> bytes:
    """A message of nothing but a bytes field."""
    head = bytearray((field << 3 | 2,))
    n = len(data)
    while n > 127:
        head.append(n & 127 | 128)
        n >>= 7
    head.append(n)
    return b"".join((head, data))


def unpack(field: int, message: bytes) -> memoryview | None:
    """The contents of such a message, not copied; None for any other, which is protobuf's to read."""
    if len(message) < 2 or message[0] != field << 3 | 2:
        return None
    n = shift = 0
    for at in range(1, min(len(message), 11)):
        n |= (message[at] & 127) << shift
        shift += 7
        if message[at] < 128:
            data = memoryview(message)[at + 1 :]
            return data if len(data) == n else None
    return None


def spread(nbytes: int, copy: Callable[[int, int], object]) -> None:
    """Have ``copy(begin, end)``, which lets go of the GIL, copy all bytes: many of them on several threads, as one core
    can't use all of the memory's bandwidth, least of all where pages are new."""
    n = max(1, min(THREADS, nbytes // SHARE))
    bounds = [nbytes * i // n & -4096 for i in range(n)] + [nbytes]
    failures: list[BaseException] = []

    def run(i: int) -> None:
        try:
            copy(bounds[i], bounds[i + 1])
        except BaseException as e:
            failures.append(e)

    others = [threading.Thread(target=run, args=(i,), name="gradwire-copy") for i in range(1, n)]
    for t in others:
        t.start()
    run(0)
    for t in others:
        t.join()
    if failures:
        raise failures[0]
