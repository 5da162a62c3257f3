"""A server in this process, for the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.faults import Local, local


@pytest.fixture(scope="module")
def server() -> Iterator[Local]:
    with local() as made:
        yield made
