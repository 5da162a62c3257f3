"""Capture: what a function sends is written down once, and becomes a program that the server runs again and again.

Here is what the rest of the package needs to know of it: whether this thread captures, and what can't be captured.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradwire.capture.program import Program
    from gradwire.capture.record import Capture
    from gradwire.tensor import Tensor


class _Here(threading.local):
    capture: Capture | None = None


here = _Here()
"""What this thread captures."""


def forbid(what: str, instead: str) -> None:
    """Say that the program can't be captured from here on, where one is.

    Args:
        what: the captured function does, as "reads the value of a tensor".
        instead: should be done.

    Raises:
        RuntimeError: names the line, where the function is to be captured whole.
    """
    if here.capture is not None:
        here.capture.forbid(what, instead)


def note(t: Tensor) -> Tensor:
    """Tell the capture, where there is one, of a tensor that an instruction makes which is no op."""
    if here.capture is not None:
        here.capture.note(t)
    return t


class Table:
    """The programs of a session. Use it with the wire's lock held."""

    def __init__(self, first: int, most: int):
        self.live: weakref.WeakValueDictionary[int, Program] = weakref.WeakValueDictionary()
        """By id."""
        self.dead: deque[int] = deque()
        """Ids of those that were dropped, which the server is to be told; may be added to anywhere."""
        self._first, self._most = first, most
        self._given = 0
        self._free: list[int] = []

    def told(self) -> list[int]:
        """The ids of those that were dropped, which may be given away again after the server is told."""
        made = [self.dead.popleft() for _ in range(len(self.dead))]
        self._free += made
        return made

    def take(self, tell: Any) -> int:
        """An id for a new program: another's, the one not called for longest, where there are too many; 0 if none.

        Args:
            tell: tells the server which were dropped.
        """
        if not self._free and self._given < self._most:
            self._given += 1
            return self._first + self._given - 1
        if not self._free and not self.dead:
            live = list(self.live.values())
            if live:
                min(live, key=lambda p: p.used).drop()
        tell()
        return self._free.pop() if self._free else 0


__all__ = ["Table", "forbid", "here", "note"]
