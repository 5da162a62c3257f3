"""Real server processes for tests, ended whatever happens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_proto.v1.gradwire_pb2_grpc import GradwireStub


@dataclass
class Server:
    process: subprocess.Popen[str]
    address: str
    metrics: str
    health: str


@contextlib.contextmanager
def serve(folder: Path, *options: str) -> Iterator[Server]:
    """``gradwire serve`` on Unix sockets in ``folder``, metrics on a port of loopback."""
    health = f"unix:{folder}/health"
    process = subprocess.Popen(
        [sys.executable, "-m", "gradwire_server", "serve", "--listen", f"unix:{folder}/s", "--health-listen", health,
         "--metrics-listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        metrics = process.stdout.readline().split()[-1]
        line = process.stdout.readline()
        assert line.startswith("gradwire listening on "), line
        yield Server(process, line.split()[-1], metrics, health)
    finally:
        process.kill()
        process.communicate()


def open_session(address: str) -> tuple[grpc.Channel, GradwireStub, pb.SessionKey]:
    channel = grpc.insecure_channel(address)
    stub = GradwireStub(channel)
    opened = stub.OpenSession(pb.OpenSessionRequest(protocol_version=1), timeout=20, wait_for_ready=True)
    return channel, stub, pb.SessionKey(session_id=opened.session_id, secret=opened.secret)
