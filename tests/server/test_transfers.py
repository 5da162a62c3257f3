"""Bulk transfers and shared memory, from the server's side: what fits, what is refused, what stays behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from gradwire_engine.tensor import Meter
from gradwire_proto import chunks
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from gradwire_server.shared import PREFIX, SharedMemory
from gradwire_server.transfers import Download, Transfers
from tests.server.conftest import LIMITS
from tests.server.raw import Raw, apply, put
from tests.system.processes import serve as run_server

VALUES = np.arange(100_000, dtype="f8")


@pytest.fixture
def transfers():
    return Transfers(Meter(4 * VALUES.nbytes), 3)


@pytest.fixture
def shared(tmp_path):
    return SharedMemory(str(tmp_path))


@pytest.fixture
def near(shared, tmp_path):
    """A client of a server that shares memory; one that read the nonce."""
    service = Service("cpu", LIMITS, 8, Metrics(), shared)
    server, address = serve(service, f"unix:{tmp_path}/s")
    raw = Raw(address, shared_memory_nonce=Path(shared.path, "nonce").read_bytes())
    yield raw
    raw.close()
    service.stop()
    server.stop(0).wait()
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def put_segment(name: str, shape: tuple[int, ...] = VALUES.shape) -> pb.Instruction:
    data = pb.TensorData(dtype=pb.DTYPE_FLOAT64, shape=shape)
    return pb.Instruction(put=pb.Put(result=1, segment=name, data=data))


def get_segment(name: str) -> pb.Instruction:
    return pb.Instruction(get=pb.Get(tensor=1, request=5, segment=name))


# ---- chunks ----


def contents(download: Download) -> np.ndarray:
    messages = [download.message(at) for at in range(0, download.nbytes, chunks.CHUNK)]
    return np.frombuffer(b"".join(chunks.unpack(chunks.DOWNLOAD_DATA, m) for m in messages), "f8")


FREE = pb.Instruction(free=pb.Free(downloads=[1]))


@pytest.mark.parametrize("view", [lambda a: a, lambda a: a.T, lambda a: a[:, ::2]])
def test_a_download_keeps_what_is_written_over_later(transfers, view):
    values = np.arange(200_000.0).reshape(400, 500)
    before = view(values).copy()
    transfers.offer(1, view(values), lend=False)
    transfers.offer(2, view(values), lend=True)
    transfers.keep([FREE])
    values[...] = 0
    for i in (1, 2):
        np.testing.assert_array_equal(contents(transfers.download(i)), before.reshape(-1))


def test_what_the_client_has_is_not_copied(transfers):
    values = np.arange(4.0)
    transfers.offer(1, values, lend=True)
    transfers.keep([put(3, [1.0]), FREE])
    values[...] = 0
    assert contents(transfers.download(1)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("together", [True, False])
def test_a_download_is_of_its_place_in_the_program(raw, together):
    get, change = pb.Instruction(get=pb.Get(tensor=1, request=5)), apply("mul_", 1, 2.0)
    raw.send(put(1, [1.0]), apply("expand", 1, [100_000], results=(2,)), apply("clone", 2, results=(3,)))
    get.get.tensor = change.apply.arguments[0].tensor = 3
    raw.send(*[get, change] if together else [get])
    value = raw.reply("value")
    if not together:
        raw.send(change)
        raw.send(pb.Instruction(synchronize=pb.Synchronize(request=6)))
        raw.reply("done")
    parts = raw.stub.Download(pb.DownloadRequest(key=raw.key, download=value.download), timeout=20)
    assert (np.frombuffer(b"".join(p.data for p in parts), "f8") == 1).all()


@pytest.mark.parametrize("end", [lambda t: t.end_download(1), lambda t: t.clear()])
def test_a_download_that_ended_is_unknown(transfers, end):
    transfers.offer(1, VALUES, lend=True)
    end(transfers)
    with pytest.raises(ValueError, match="download 1 is unknown in this session"):
        transfers.download(1)


def test_transfers_count_against_the_limit_until_they_end(transfers):
    for i in (1, 2):
        transfers.offer(i, VALUES, lend=False)
    with pytest.raises(MemoryError, match="Tried to allocate"):
        transfers.upload(3, 3 * VALUES.nbytes)
    transfers.upload(3, VALUES.nbytes)
    with pytest.raises(MemoryError, match="3 transfers at a time"):
        transfers.offer(4, np.zeros(1), lend=False)
    transfers.end_download(1)
    transfers.upload(4, 2 * VALUES.nbytes)


# ---- shared memory ----


def test_segments_carry_tensors_both_ways(near):
    directory = Path(near.opened.shared_memory)
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.joinpath("a").write_bytes(VALUES.tobytes() + b"more")
    near.send(put_segment("a"))
    directory.joinpath("b").write_bytes(bytes(VALUES.nbytes))
    near.send(get_segment("b"))
    value = near.reply("value")
    assert not value.data.data and not value.download
    assert list(value.data.shape) == [len(VALUES)]
    np.testing.assert_array_equal(np.fromfile(directory / "b"), VALUES)


@pytest.mark.parametrize("name", ["../nonce", "/etc/passwd", ".", "..", "A", "a/b", "a" * 33, "a\0", "a\n"])
def test_names_that_are_refused(near, name):
    near.send(put_segment(name))
    assert near.error(1).message == f"a segment's name is of a to z and 0 to 9, 32 at most, got {name!r}"


@pytest.mark.parametrize(("make", "text"), [
    (lambda p: None, "segment 'a' can't be opened: No such file or directory"),
    (lambda p: p.mkdir(), "segment 'a' is no file of 800000 bytes or more"),
    (lambda p: os.mkfifo(p), "segment 'a' is no file of 800000 bytes or more"),
    (lambda p: p.symlink_to("/dev/zero"), "segment 'a' can't be opened: Too many levels of symbolic links"),
    (lambda p: p.write_bytes(VALUES.tobytes()[:-1]), "segment 'a' is no file of 800000 bytes or more"),
])  # fmt: skip
def test_files_that_are_refused(near, make, text):
    make(Path(near.opened.shared_memory, "a"))
    near.send(put_segment("a"))
    assert near.error(1).message == text
    near.send(put(2, [1.0]))
    assert near.get(2).tolist() == [1.0]  # the session goes on


def test_a_segment_too_small_for_the_answer(near):
    path = Path(near.opened.shared_memory, "a")
    path.write_bytes(VALUES.tobytes())
    near.send(put_segment("a"))
    os.truncate(path, 8)
    near.send(get_segment("a"))
    error = near.reply("error")
    assert (error.request, error.message) == (5, "segment 'a' is no file of 800000 bytes or more")


def test_a_segment_cut_short_while_it_is_read(near, monkeypatch):
    path = Path(near.opened.shared_memory, "a")
    path.write_bytes(VALUES.tobytes())
    read = os.preadv

    def cut(fd: int, buffers: list[memoryview], at: int) -> int:
        os.truncate(path, 4096)
        return read(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", cut)
    near.send(put_segment("a"))
    assert near.error(1).message == "segment 'a' was cut short at 4096 of 800000 bytes"


def test_a_tensor_above_the_limit_is_refused_before_it_is_read(near):
    near.send(put_segment("a", (LIMITS.max_bytes,)))
    error = near.error(1)
    assert error.type == "OutOfMemoryError"
    assert "Tried to allocate 512.00 MiB" in error.message


@pytest.mark.parametrize("nonce", [b"", b"wrong", bytes(32)])
def test_who_has_not_read_the_nonce_gets_no_directory(near, nonce, tmp_path):
    far = Raw(f"unix:{tmp_path}/s", shared_memory_nonce=nonce)
    assert far.opened.shared_memory == ""
    far.send(put_segment("a"))
    assert far.error(1).message == "this session shares no memory with its client"
    far.close()


def test_a_directory_goes_with_its_session(near, shared, tmp_path):
    other = Raw(f"unix:{tmp_path}/s", shared_memory_nonce=Path(shared.path, "nonce").read_bytes())
    directory = Path(other.opened.shared_memory)
    directory.joinpath("a").write_bytes(b"left")
    other.close()
    assert not directory.exists()
    assert Path(near.opened.shared_memory).exists()


def test_a_server_without_shared_memory_offers_none(raw):
    assert raw.stub.GetServerInfo(pb.GetServerInfoRequest()).shared_memory == ""
    assert raw.opened.shared_memory == ""


def test_leftovers_of_dead_servers_are_swept_and_nothing_else(tmp_path, shared):
    dead = tmp_path / f"{PREFIX}dead" / "session"
    dead.mkdir(parents=True)
    dead.joinpath("segment").write_bytes(b"big")
    (tmp_path / "other").mkdir()
    another = SharedMemory(str(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"other", Path(shared.path).name, Path(another.path).name}
    another.close()
    assert Path(shared.path, "nonce").exists()


def test_servers_that_start_at_once_do_not_sweep_each_other(tmp_path):
    made: list[SharedMemory] = []
    threads = [threading.Thread(target=lambda: made.append(SharedMemory(str(tmp_path)))) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(made) == 16
    assert all(Path(s.path, "nonce").stat().st_size == 32 for s in made)
    for s in made:
        s.close()


def test_a_killed_server_leaves_what_the_next_one_removes(tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    option = ("--shared-memory", str(memory))
    with run_server(tmp_path, *option) as server:
        raw = Raw(server.address)
        [first] = memory.iterdir()
        server.process.kill()
        server.process.wait()
        raw.channel.close()
    assert first.exists()
    tmp_path.joinpath("s").unlink(missing_ok=True)
    with run_server(tmp_path, *option) as server:
        [second] = memory.iterdir()
        assert second != first
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert list(memory.iterdir()) == []
