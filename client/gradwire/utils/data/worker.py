"""Workers: threads that get batches ready before they are asked for."""

from __future__ import annotations

import copy
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[Any, Any], Any]
"""A batch, or END, from what a :class:`Worker` goes over and what the loader asks for."""
END = object()
"""There are no more."""


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this is, of how many; the seed it was given, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Here(threading.local):
    info: WorkerInfo | None = None


_here = _Here()


def get_worker_info() -> WorkerInfo | None:
    """Which of a loader's workers the calling thread is; None where it is none."""
    return _here.info


class Worker:
    """A thread, and what it makes batches of.

    Args:
        start: makes that of the worker's dataset, in its thread.
        init: is called there before, with the worker's number.
    """

    def __init__(self, info: WorkerInfo, start: Callable[[Any], Any], init: Callable[[int], Any] | None):
        self._thread = ThreadPoolExecutor(1, f"gradwire-data-{info.id}")
        self._ready = self._thread.submit(self._start, info, start, init)

    def _start(self, info: WorkerInfo, start: Callable[[Any], Any], init: Callable[[int], Any] | None) -> Any:
        _here.info = info
        if init is not None:
            init(info.id)
        return start(info.dataset)

    def submit(self, fetch: Fetch, asked: Any) -> Future[Any]:
        return self._thread.submit(lambda: fetch(self._ready.result(), asked))

    def stop(self) -> None:
        """What it has not begun is never done, and what it is doing is waited for by nobody."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def ahead(dataset: Any, start: Callable[[Any], Any], fetch: Fetch, asked: Iterator[Any], workers: int, each: int,
          timeout: float, seed: int, init: Callable[[int], Any] | None) -> Iterator[Any]:  # fmt: skip
    """What is asked for, in order, from workers that take turns, as long as they have more.

    Args:
        each: how many batches each worker makes ahead.
        timeout: seconds to wait for a batch; 0 for ever.

    Raises:
        RuntimeError: a batch took longer.
    """
    infos = [WorkerInfo(k, workers, seed + k, copy.copy(dataset)) for k in range(workers)]
    everyone = [Worker(info, start, init) for info in infos]
    turns, coming = deque(everyone), deque[tuple[Worker, Future[Any]]]()
    try:
        while True:
            for a in itertools.islice(asked, each * workers - len(coming) if turns else 0):
                coming.append((turns[0], turns[0].submit(fetch, a)))
                turns.rotate(-1)
            if not coming:
                return
            worker, future = coming.popleft()
            if not wait([future], timeout or None).done:
                raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
            batch = future.result()
            if batch is not END:
                yield batch
            elif worker in turns:
                turns.remove(worker)
    finally:
        for w in everyone:
            w.stop()


__all__ = ["END", "WorkerInfo", "ahead", "get_worker_info"]
