"""An op that takes as long as a test wants."""

from __future__ import annotations

import threading
from typing import Any

from gradwire_engine import Tensor
from gradwire_engine.case import Case
from gradwire_server.session import Session


class Gate:
    """Holds up a session's ops of one name until it is opened."""

    def __init__(self, session: Session, op: str):
        self.reached = threading.Event()
        self.open = threading.Event()
        run = session.engine.run

        def held(case: Case, values: list[Any]) -> list[Tensor]:
            if case.op.name == op:
                self.reached.set()
                assert self.open.wait(20)
            return run(case, values)

        session.engine.run = held  # type: ignore[method-assign]
