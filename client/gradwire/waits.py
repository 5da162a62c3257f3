"""How long the client waits: deadlines, and what becomes of threads that wait when the program ends."""

from __future__ import annotations

import _signal  # signal without its enumerations, which take longer than all that a wait does besides
import math
import queue
import signal
import threading
import time
from collections.abc import Callable


class _Due(threading.local):
    at = math.inf
    given = False


_due = _Due()


class deadline:
    """A context manager: no wait within it goes on for longer than ``seconds`` after it was entered.

    A wait that would raises TimeoutError. The server goes on with its work, and the session with it; the answer is
    dropped when it comes. It takes the place of the deadline that the session was opened with; None is for none.

    >>> import gradwire as torch
    >>> with torch.deadline(20):
    ...     torch.ones(2).sum().item()
    2.0
    """

    def __init__(self, seconds: float | None):
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = _due.at, _due.given
        at = math.inf if self._seconds is None else time.monotonic() + self._seconds
        _due.at, _due.given = min(at, _due.at), True

    def __exit__(self, *_: object) -> None:
        _due.at, _due.given = self._before


def due(seconds: float | None) -> float:
    """When a wait that begins now must end; after ``seconds`` where no deadline was set around it."""
    if _due.given:
        return _due.at
    return math.inf if seconds is None else time.monotonic() + seconds


class Alarm:
    """Calls a function when a wait has gone on for too long, or Ctrl-C was pressed in it, on a thread of its own.

    Args:
        ring: the function; called perhaps once more than needed.
    """

    def __init__(self, ring: Callable[[], object]):
        self._ring = ring
        self._at = math.inf
        self._asleep = -math.inf
        """Until when the thread sleeps."""
        self._calls: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
        """Wakes the thread: to ring, to look what the time is that was set, or to end. May be put to anywhere."""
        self._thread: threading.Thread | None = None
        self.pressed = False
        """Ctrl-C was."""

    def set(self, at: float) -> None:
        """Ring then, rather than when it was set to before."""
        if at == self._at:
            return
        self._at = at
        if at < self._asleep or self._thread is None:  # else the thread finds it when it wakes
            self._start()
            self._calls.put(False)

    def guard(self) -> bool:
        """Have Ctrl-C in this thread ring, until :meth:`unguard`, rather than raise; whether it would have raised.

        Raised in the middle of gRPC it could leave a lock held for good.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        if _signal.getsignal(signal.SIGINT) is not _signal.default_int_handler:
            return False  # the program has its own way
        self._start()
        _signal.signal(signal.SIGINT, self._press)
        return True

    def guarding(self) -> bool:
        """Whether it does, in this thread."""
        mine = threading.current_thread() is threading.main_thread()
        return mine and _signal.getsignal(signal.SIGINT) == self._press

    def unguard(self) -> None:
        """Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
        """
        _signal.signal(signal.SIGINT, _signal.default_int_handler)
        if self.pressed:
            self.pressed = False
            raise KeyboardInterrupt from None

    def stop(self) -> None:
        """End the thread."""
        self._calls.put(None)

    def _press(self, *_: object) -> None:
        self.pressed = True
        self._calls.put(True)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gradwire-alarm", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        rung = math.inf
        while True:
            self._asleep = math.inf  # whoever sets a time from here on says so
            at = self._at if self._at != rung else math.inf
            self._asleep = at
            try:
                call = self._calls.get(timeout=None if at == math.inf else max(at - time.monotonic(), 0.0))
            except queue.Empty:
                rung, call = at, True
            if call is None:
                return
            if call:
                self._ring()


exiting = False
"""The program is ending."""


def freeze() -> None:
    """Keep a daemon thread from failing on a session that was closed because the program ends: Python itself stops such
    a thread without a word a moment later."""
    if exiting and threading.current_thread().daemon:
        threading.Event().wait()
