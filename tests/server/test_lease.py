"""Who keeps a session, and who does not."""

from __future__ import annotations

import dataclasses

import pytest

from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from tests.server.conftest import LIMITS
from tests.server.raw import Raw, put


@pytest.fixture
def service(tmp_path):
    made = Service("cpu", dataclasses.replace(LIMITS, lease_seconds=0.2), 8, Metrics())
    server, made.address = serve(made, f"unix:{tmp_path}/s")  # type: ignore[attr-defined]
    yield made
    made.stop()
    server.stop(0).wait()


def test_an_idle_client_is_kept_and_one_that_is_gone_is_not(service):
    """The one has nothing to say for as long as the other, after it, takes to expire; twice."""
    idle = Raw(service.address)
    idle.send(put(1, [1.0]))
    next(idle.replies)
    for _ in range(2):
        gone = Raw(service.address)
        gone.send(put(1, [1.0] * 1000))
        next(gone.replies)
        session = service.sessions[gone.key.session_id]
        gone.channel.close()
        session._thread.join(20)
        assert not session._thread.is_alive()
        assert session.engine.meter.used == 0  # what it held is free
        assert session.id not in service.sessions
    assert idle.get(1).tolist() == [1.0]
    idle.close()
