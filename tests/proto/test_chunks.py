"""Messages framed by hand are protobuf's, byte for byte."""

from __future__ import annotations

import pytest

from gradwire_proto import chunks
from gradwire_proto.v1 import gradwire_pb2 as pb


@pytest.mark.parametrize("n", [1, 127, 128, 16383, 16384, 2**21])
@pytest.mark.parametrize(("field", "kind"), [(chunks.UPLOAD_DATA, pb.UploadRequest),
                                             (chunks.DOWNLOAD_DATA, pb.DownloadResponse)])  # fmt: skip
def test_a_chunk_is_what_protobuf_makes_of_it(field, kind, n):
    data = bytes(i % 251 for i in range(n))
    message = chunks.pack(field, memoryview(data))
    assert message == kind(data=data).SerializeToString()
    assert chunks.unpack(field, message) == data


@pytest.mark.parametrize("message", [
    b"", b"\x12", b"\x12\x80", b"\x12\x02a", b"\x12\x01ab", b"\x0a\x01a", b"\x12\xff" + b"\xff" * 20,
    pb.UploadRequest(header=pb.UploadHeader(upload=1), data=b"a").SerializeToString(),
    pb.UploadRequest(data=b"a").SerializeToString() + b"\x1a\x01a",
])  # fmt: skip
def test_anything_else_is_left_to_protobuf(message):
    assert chunks.unpack(chunks.UPLOAD_DATA, message) is None


def test_an_empty_chunk_can_be_read():
    assert chunks.pack(2, memoryview(b"")) == b"\x12\x00"
    assert pb.UploadRequest.FromString(b"\x12\x00").data == b""
    assert chunks.unpack(2, b"\x12\x00") == b""
