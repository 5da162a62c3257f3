"""Big tensors, over both of their ways: chunks beside the stream, and memory shared with a server on this machine."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest

import gradwire as torch
from gradwire import bulk, shared
from gradwire.errors import OutOfMemoryError
from gradwire.session import connect
from gradwire_proto.v1 import gradwire_pb2 as pb
from tests.system.processes import serve

N = 1 << 18
"""Bytes that still travel within a frame."""


@pytest.fixture(params=["shared", "streams"])
def session(request, monkeypatch):
    if request.param == "streams":
        monkeypatch.setenv("GRADWIRE_SHARED_MEMORY", "0")
    with connect() as s:
        assert s.limits.max_inline_bytes == N
        assert bool(s._segments._directory) == (request.param == "shared")
        yield s


@pytest.fixture
def near():
    with connect() as s:
        assert s._segments._directory
        yield s


def there_and_back(a: np.ndarray) -> None:
    back = torch.tensor(a).numpy()
    assert back.dtype == a.dtype
    np.testing.assert_array_equal(back, a)


def segments(s) -> list[str]:
    return os.listdir(s._segments._directory)


# ---- both ways ----


@pytest.mark.parametrize("n", [0, 1, N // 8 - 1, N // 8, N // 8 + 1, 3_000_001])
def test_sizes_around_the_limits(session, n):
    there_and_back(np.arange(n, dtype="f8"))


@pytest.mark.parametrize("shape", [(0, 10**7), (10**7, 0), (1, 200_000, 1)])
def test_shapes(session, shape):
    there_and_back(np.ones(shape))


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"])
def test_types(session, dtype):
    there_and_back((np.arange(600_000) % 120).astype(dtype))


def test_bfloat16(session):
    a = np.arange(400_000) % 256
    x = torch.tensor(a, dtype=torch.bfloat16)
    assert x.numpy().dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(x.numpy().astype(int), a)


@pytest.mark.parametrize("view", [
    lambda a: a.T, lambda a: a[::-1, ::3], lambda a: np.asfortranarray(a), lambda a: np.broadcast_to(a[0], a.shape),
])  # fmt: skip
def test_arrays_that_are_not_contiguous(session, view):
    there_and_back(view(np.arange(640_000.0).reshape(800, 800)))


def test_views_on_the_server(session):
    a = np.arange(640_000.0).reshape(800, 800)
    x = torch.tensor(a)
    np.testing.assert_array_equal(x.t().numpy(), a.T)
    np.testing.assert_array_equal(x[1:, ::2].numpy(), a[1:, ::2])
    np.testing.assert_array_equal(x[0].expand(800, 800).numpy(), np.broadcast_to(a[0], a.shape))


def test_a_copy_is_a_copy(session):
    a = np.zeros(100_000)
    x = torch.tensor(a)
    a[:] = 1
    before = x.numpy()
    x.add_(2)
    assert (before == 0).all()
    assert before.flags.writeable
    before[:] = 7
    assert (x.numpy() == 2).all()


def test_many_that_nobody_waits_for(session):
    made = [torch.tensor(np.full(60_000, float(i))) for i in range(50)]
    assert [x[59_999].item() for x in made] == list(range(50))


def test_threads_share_a_session(session):
    def work(i: int) -> bool:
        return all((torch.tensor(np.full(50_000 + i, i + j / 10)) * 2).numpy().sum() == pytest.approx(
            2 * (50_000 + i) * (i + j / 10)) for j in range(5))  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_failures_come_instead_of_values(session):
    y = torch.linalg.inv(torch.zeros(300, 300))
    for _ in range(20):
        with pytest.raises(torch.LinAlgError):
            y.numpy()
    there_and_back(np.ones(100_000))


def test_requires_grad_travels_along(session):
    x = torch.tensor(np.ones(100_000), requires_grad=True)
    (x * 3).sum().backward()
    assert (x.grad.numpy() == 3).all()


def test_a_tensor_above_the_limit_is_refused_here():
    with connect() as s:
        s.max_bytes = s.limits.max_bytes = 1 << 20
        with pytest.raises(OutOfMemoryError, match="The session has a limit"):
            torch.tensor(np.ones(200_000))


def test_a_broken_connection_changes_nothing(session):
    x = torch.tensor(np.arange(100_000.0))
    for i in range(5):
        session.wire._replies.cancel()
        x = x + torch.tensor(np.full(100_000, float(i)))
        session.wire._replies.cancel()
        np.testing.assert_array_equal(x.numpy(), np.arange(100_000.0) + sum(range(i + 1)))


# ---- shared memory ----


def test_segments_are_used_again(near):
    a = np.zeros(1_000_000)
    for i in range(5):
        a[:] = i
        there_and_back(a)
    assert len(segments(near)) <= 2
    for i in range(100):
        torch.tensor(a[: 50_000 + 1000 * i])
    assert len(segments(near)) <= shared.MOST_SEGMENTS


def test_they_are_bounded(near, monkeypatch):
    monkeypatch.setattr(shared, "MOST_BYTES", 4 << 20)
    made = [torch.tensor(np.full(200_000, float(i))) for i in range(10)]
    assert sum(len(s.data) for s in near._segments._all) <= 4 << 20
    assert [x[-1].item() for x in made] == list(range(10))
    there_and_back(np.arange(1_000_000.0))  # above it: for itself, and not kept
    assert sum(len(s.data) for s in near._segments._all) <= 4 << 20


def test_without_room_tensors_go_by_the_streams(near, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    there_and_back(np.arange(100_000.0))
    assert segments(near) == []


def test_a_get_that_was_given_up_does_not_reach_another(near, monkeypatch):
    x, y = (torch.tensor(np.full(100_000, v)) for v in (1.0, 2.0))
    near.synchronize()
    with monkeypatch.context() as m:
        m.setattr(near.wire, "wait", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            x.numpy()
    z = torch.tensor(np.full(100_000, 3.0))
    assert [t.numpy()[0] for t in (x, y, z)] == [1, 2, 3]
    near.synchronize()


def test_gets_that_were_given_up_leave_nothing(session, monkeypatch):
    x = torch.tensor(np.ones(100_000))
    with monkeypatch.context() as m:
        m.setattr(session.wire, "wait", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        for _ in range(100):  # more than transfers at a time, and than segments
            with pytest.raises(KeyboardInterrupt):
                x.numpy()
    session.synchronize()
    there_and_back(np.ones(100_000))


def test_nothing_is_left_of_a_closed_session():
    with connect() as s:
        there_and_back(np.ones(100_000))
        directory = Path(s._segments._directory)
        assert len(list(directory.iterdir())) > 0
    assert not directory.exists()


def test_on_another_host_tensors_go_by_the_streams(tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    with serve(tmp_path, "--shared-memory", str(memory)) as server:
        [offered] = memory.iterdir()
        nonce = offered / "nonce"
        right = nonce.read_bytes()

        def segments_of_a_session() -> str:
            with connect(server.address) as s:
                there_and_back(np.arange(100_000.0))
                return s._segments._directory

        assert segments_of_a_session().startswith(str(offered))
        nonce.write_bytes(bytes(32))  # a directory of the same name, but other memory
        assert segments_of_a_session() == ""
        nonce.write_bytes(right + b"more")
        assert segments_of_a_session() == ""
        nonce.write_bytes(right)
        offered.chmod(0o755)  # others could write there
        assert segments_of_a_session() == ""
        offered.chmod(0o700)
        nonce.unlink()
        assert segments_of_a_session() == ""
        offered.rename(tmp_path / "elsewhere")
        assert segments_of_a_session() == ""


@pytest.mark.parametrize("directory", ["", "/", "/tmp", "/dev/shm/gradwire-x/../..", "/nowhere/s"])
def test_a_server_may_not_name_any_directory(directory):
    assert shared.beneath("/dev/shm/gradwire-x", directory) == ""


# ---- going on where it broke ----


class Flaky:
    """Uploads and downloads that break after every so many messages, with a code."""

    def __init__(self, data: bytes, code: grpc.StatusCode, every: int = 2):
        self.data, self.code, self.every = data, code, every
        self.came = b""
        self.tries: list[int] = []

    def upload(self, requests, context):
        header = pb.UploadRequest.FromString(next(requests)).header
        self.tries.append(header.attempt)
        yield pb.UploadResponse(received=len(self.came)).SerializeToString()
        for i, message in enumerate(requests):
            if i == self.every:
                context.abort(self.code, "broke")
            self.came += pb.UploadRequest.FromString(message).data
        yield pb.UploadResponse(received=len(self.came)).SerializeToString()

    def download(self, request, context):
        at = pb.DownloadRequest.FromString(request).offset
        self.tries.append(at)
        for i in range(at, len(self.data), 1 << 20):
            if i == at + (self.every << 20):
                context.abort(self.code, "broke")
            yield pb.DownloadResponse(data=self.data[i : i + (1 << 20)]).SerializeToString()


@pytest.fixture
def transfer(tmp_path):
    """A Bulk on a flaky server."""
    stop = []

    def make(flaky: Flaky, patience: float = 20.0) -> bulk.Bulk:
        server = grpc.server(ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("gradwire.v1.Gradwire", {
            "Upload": grpc.stream_stream_rpc_method_handler(flaky.upload),
            "Download": grpc.unary_stream_rpc_method_handler(flaky.download),
        }),))  # fmt: skip
        server.add_insecure_port(f"unix:{tmp_path}/s")
        server.start()
        channel = grpc.insecure_channel(f"unix:{tmp_path}/s")
        stop.extend([channel.close, lambda: server.stop(0).wait()])
        return bulk.Bulk(channel, [], pb.SessionKey(), patience, threading.Event())

    yield make
    for end in stop:
        end()


DATA = np.random.default_rng(0).bytes(7 * 2**20 + 5)


def test_an_upload_goes_on_where_it_broke(transfer):
    flaky = Flaky(DATA, grpc.StatusCode.UNAVAILABLE)
    transfer(flaky).upload(1, memoryview(DATA))
    assert flaky.came == DATA
    assert flaky.tries == [1, 2, 3, 4]


def test_a_download_goes_on_where_it_broke(transfer):
    flaky = Flaky(DATA, grpc.StatusCode.UNAVAILABLE)
    into = bytearray(len(DATA))
    transfer(flaky).download(1, memoryview(into))
    assert into == DATA
    assert flaky.tries == [0, 2 << 20, 4 << 20, 6 << 20]


def test_what_no_other_try_would_change_is_raised_at_once(transfer):
    flaky = Flaky(DATA, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(OutOfMemoryError, match="broke"):
        transfer(flaky).upload(1, memoryview(DATA))
    assert flaky.tries == [1]


def test_patience_ends(transfer):
    flaky = Flaky(DATA, grpc.StatusCode.UNAVAILABLE, every=0)
    with pytest.raises(ConnectionError, match="broke"):
        transfer(flaky, patience=0.1).download(1, memoryview(bytearray(len(DATA))))
    assert len(flaky.tries) > 1


def test_a_download_that_ends_early_is_an_error(transfer):
    with pytest.raises(ConnectionError, match="after 7340037"):
        transfer(Flaky(DATA, grpc.StatusCode.UNAVAILABLE, every=9), 0.1).download(1, memoryview(bytearray(2**23)))
