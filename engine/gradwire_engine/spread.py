"""Work that the cores share, and keeping the threads that do it on cores of their own.

After a pause Linux may wake several threads on one core, and take tens of milliseconds to find that the others are
idle: a replay would take twice its time. So the threads that work for others, ours and those of BLAS, may run wherever
the one that they are to work beside does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import perf_counter_ns
from typing import Any

import numpy as np

try:
    _core: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    _helpers = [int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    """Threads that work beside others, by the system's number: those of BLAS are there when this is imported."""
except (AttributeError, OSError, TypeError):  # not Linux
    _core, _helpers = lambda: -1, []
_left = -1
"""The core that they leave to another."""


def cores() -> set[int]:
    """Those that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def keep_apart() -> None:
    """Have the threads that are to work beside this one do so on other cores."""
    global _left
    core = _core()
    if core != _left:
        _left = core
        others = cores() - {core}
        for t in list(_helpers) if others else ():
            with contextlib.suppress(OSError):
                if os.path.exists(f"/proc/self/task/{t}"):  # else it has ended, and the number may be another's
                    os.sched_setaffinity(t, others)


def _enlist() -> None:
    global _left
    np.seterr(all="ignore")
    if hasattr(os, "sched_setaffinity"):
        _helpers.append(threading.get_native_id())
        _left = -1


@cache
def pool() -> ThreadPoolExecutor:
    """Threads beside the sessions' own: NumPy lets go of the interpreter within a kernel."""
    return ThreadPoolExecutor(max(len(cores()) - 1, 1), "gradwire-blocks", _enlist)


PIECE = 1 << 17
"""Elements that are done at a time: with a few arrays in between they fit a core's second-level cache."""

WAKING = 100_000
"""Nanoseconds of work that are worth another thread, which takes half of that to wake."""




def share(run: Callable[[int, int], None], length: int, step: int) -> None:
    """Call ``run(a, b)`` for each range of ``step`` in 0 to ``length``; the cores share them where what is left after
    the first one takes longer than to wake another thread.

    Each range must be work of its own: which thread does it, and when, is not told.
    """
    if length <= step:
        run(0, length)
        return
    began = perf_counter_ns()
    run(0, step)
    left = (perf_counter_ns() - began) * (length - step) // step
    _take(run, step, length, step, left > WAKING)


PIECES = 4
"""Ranges of a loop for each core at most: one that is late leaves some of its own to the others."""
WORTH = 1.2
"""How much sooner cores together must be done with a loop than one of them, for it to be shared."""
SOLO = 4
"""Steps that are never worth sharing."""
AGAIN = 64
"""Of loops that were not worth it so many go by until one is tried again."""
_sooner: dict[Any, tuple[float, int]] = {}


def share_loop(loop: Callable[..., None], args: Sequence[Any], length: int, step: int) -> None:
    """Call ``loop(*args, a, b)`` for ranges that are 0 to ``length`` together, as :func:`share` does, but as few as
    keep the cores busy once ``step`` of them are done. All start at multiples of that: what its rows add up to in one
    place is added by one thread.

    A compiled loop may take all that a core has, unlike NumPy's functions: where that is but half of one, having
    hardware threads, or others are busy there, a second is no help. So it is measured how much sooner it was done.
    """
    if length <= SOLO * step:
        loop(*args, 0, length)
        return
    began = perf_counter_ns()
    loop(*args, 0, step)
    start = perf_counter_ns()
    left = (start - began) * (length - step) // step
    sooner, skipped = _sooner.get(loop, (2.0, 0))
    if left < 2 * WAKING:
        loop(*args, step, length)
    elif sooner < WORTH and skipped < AGAIN:
        loop(*args, step, length)
        _sooner[loop] = sooner, skipped + 1
    else:
        ranges = max(len(cores()), min(PIECES * len(cores()), left // max(1, WAKING)))
        each = -(-(length - step) // (ranges * step)) * step
        _take(lambda a, b: loop(*args, a, b), step, length, each, True)
        _sooner[loop] = (sooner + left / (perf_counter_ns() - start)) / 2, 0


def _take(run: Callable[[int, int], None], start: int, length: int, step: int, together: bool) -> None:
    starts = iter(range(start, length, step))  # one thread at a time takes the next
    left = -(-(length - start) // step)

    def take() -> None:
        for a in starts:
            run(a, min(a + step, length))

    others = []
    if left > 1 and together:
        keep_apart()
        others = [pool().submit(take) for _ in range(min(len(cores()) - 1, left - 1))]
    try:
        take()
    finally:
        for _ in starts:  # after a failure there is nothing more to do
            pass
        for other in others:
            if not other.cancel():
                other.result()
