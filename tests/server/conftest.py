"""A server in this process, on a Unix socket, and raw clients of it."""

from __future__ import annotations

import pytest

from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from tests.server.raw import Raw

LIMITS = Limits(max_bytes=64 * 2**20, max_tensors=1000, max_callback_depth=3)


@pytest.fixture(scope="module")
def service():
    made = Service("cpu", LIMITS, 8, Metrics())
    yield made
    made.stop()


@pytest.fixture(scope="module")
def address(service, tmp_path_factory):
    server, listening = serve(service, f"unix:{tmp_path_factory.mktemp('s')}/s")
    yield listening
    server.stop(0).wait()


@pytest.fixture
def raw(address):
    client = Raw(address)
    yield client
    client.close()
