"""What stops a session's work between two instructions, or two nodes of a backward pass: its client, or a limit.

The session's thread looks at ``engine.halt``, and nowhere else; who sets it does so from other threads.
"""

from __future__ import annotations

import math
import threading
import time

from gradwire_engine import Engine

CANCELLED = "cancelled by the client before it was done"


class Brake:
    """Sets ``engine.halt`` while a frame runs that was cancelled, or a backward pass that takes too long.

    Args:
        seconds: what a backward pass may take; what its callbacks take in the client does not count.
    """

    def __init__(self, engine: Engine, seconds: float):
        self._engine = engine
        self._seconds = seconds
        self._lock = threading.Lock()
        self._frame = 0
        """Whose instruction runs."""
        self._cancelled = 0
        """Frames up to this one are."""
        self._since = math.inf
        """When the backward pass under way began."""

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._seconds < math.inf

    @property
    def cancelled(self) -> bool:
        """Whether the frame that runs is."""
        return self._engine.halt is CANCELLED

    def enter(self, frame: int) -> None:
        """What runs from now on is of this frame."""
        with self._lock:
            self._frame = frame
            self._engine.halt = CANCELLED if frame <= self._cancelled else None

    def cancel(self, last: int) -> None:
        """Stop what runs, or will run, of the frames up to this one."""
        with self._lock:
            self._cancelled = max(self._cancelled, last)
            if self._frame <= last:
                self._engine.halt = CANCELLED

    def start(self, since: float | None = None) -> float:
        """A backward pass begins, now if not said otherwise; when the one around it did."""
        before, self._since = self._since, time.monotonic() if since is None else since
        return before

    def pause(self) -> tuple[int, float]:
        """The client's turn; for :meth:`resume`."""
        return self._frame, time.monotonic() - self.start(math.inf)

    def resume(self, paused: tuple[int, float]) -> None:
        """Go on with what was paused."""
        frame, spent = paused
        self.start(time.monotonic() - spent)
        self.enter(frame)

    def stop(self, before: float, frame: int) -> None:
        """The backward pass is over; what runs now is of this frame."""
        self.start(before)
        self.enter(frame)

    def watch(self) -> None:
        """Stop a backward pass that has taken too long."""
        with self._lock:
            if self._engine.halt is None and time.monotonic() - self._since > self._seconds:
                self._engine.halt = f"backward took longer than the limit of {self._seconds:g} seconds an instruction"
