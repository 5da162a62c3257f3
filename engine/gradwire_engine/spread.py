"""Work that the cores share, and keeping the threads that do it on cores of their own.

After a pause Linux may wake several threads on one core, and take tens of milliseconds to find that the others are
idle: a replay would take twice its time. Where a thread is about to have others work beside it, it looks where these
ran last, which is where they will wake, and moves if that is where it is itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import perf_counter_ns

import numpy as np

try:
    _core: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    _blas = [t for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    """The threads of NumPy's matrix products, by the system's number: those there are when this is imported."""
except (AttributeError, OSError, TypeError):  # not Linux
    _core, _blas = lambda: -1, []
_last: dict[int, int] = {}
"""Where each of our own threads ended what it did last."""


def cores() -> set[int]:
    """Those that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def ended() -> None:
    """Note where this thread ended its share of some work."""
    _last[threading.get_ident()] = _core()


def make_way(products: bool = False) -> None:
    """Leave a core that a thread will wake on which is to work beside this one.

    Args:
        products: look for the threads of matrix products, too, which takes some 20 us each.
    """
    taken = set(_last.values())
    if products:
        taken.update(_of_blas())
    if _core() in taken:
        allowed = cores()
        if allowed - taken:
            os.sched_setaffinity(0, allowed - taken)
            os.sched_setaffinity(0, allowed)


def _of_blas() -> Iterator[int]:
    for t in _blas:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/self/task/{t}/stat") as f:
            yield int(f.read().rpartition(")")[2].split()[36])  # proc(5): "processor"


@cache
def pool() -> ThreadPoolExecutor:
    """Threads beside the sessions' own: NumPy lets go of the interpreter within a kernel."""
    return ThreadPoolExecutor(max(len(cores()) - 1, 1), "gradwire-blocks", lambda: np.seterr(all="ignore"))


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
    left = -(-length // step) - 1
    starts = iter(range(step, length, step))  # one thread at a time takes the next

    def take() -> None:
        for a in starts:
            run(a, min(a + step, length))

    def take_there() -> None:
        take()
        ended()

    others = []
    if left > 1 and (perf_counter_ns() - began) * left > WAKING:
        make_way()
        others = [pool().submit(take_there) for _ in range(min(len(cores()) - 1, left - 1))]
    try:
        take()
    finally:
        for _ in starts:  # after a failure there is nothing more to do
            pass
        for other in others:
            if not other.cancel():
                other.result()
