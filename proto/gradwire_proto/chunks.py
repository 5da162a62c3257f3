"""The messages of bulk transfers, written and read by hand: protobuf would copy their bytes once more on each side."""

from __future__ import annotations

CHUNK = 1 << 20
"""Bytes of a tensor that go into one message."""
UPLOAD_DATA = 2
"""The number of UploadRequest.data."""
DOWNLOAD_DATA = 1
"""The number of DownloadResponse.data."""


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
