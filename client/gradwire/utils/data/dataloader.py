"""The loader: samples of a dataset in batches, epoch by epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from gradwire.random import Generator
from gradwire.utils.data.collate import default_collate, default_convert
from gradwire.utils.data.dataset import IterableDataset, several
from gradwire.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler, batches, positive
from gradwire.utils.data.worker import END, Fetch, ahead, get_worker_info

T_co = TypeVar("T_co", covariant=True)
FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
"""What can't be set later."""


class DataLoader(Generic[T_co]):
    """Goes through a dataset in batches, each time that it is iterated over.

    A dataset of tensors is one of the server's, as its batches are: only the order is waited for, once an epoch.

    Args:
        dataset: with ``__getitem__`` and ``__len__``, or an :class:`IterableDataset`.
        batch_size: samples a batch; None for samples one by one, as they are.
        shuffle: in random order.
        sampler: in which order instead.
        batch_sampler: which samples are together instead: lists of numbers.
        collate_fn: makes a batch of a list of samples: :func:`default_collate`.
        drop_last: leave out a last batch that would be smaller.
        generator: of random orders; by default the session's.
        num_workers: how many threads get batches ready ahead, for another process can't use this one's session. Each
            has a shallow copy of the dataset (:func:`get_worker_info`), and what fails there is raised here. Batches
            come in order, but the session's random numbers go to whoever is first to draw one.
        prefetch_factor: batches that each of them makes ahead; by default 2.
        timeout: seconds to wait for a batch of theirs; 0 for ever.
        worker_init_fn: called in each thread first, with its number.
        pin_memory, pin_memory_device, multiprocessing_context, persistent_workers, in_order: PyTorch's. They change
            nothing: tensors are the server's, and threads are quick to start.

    Raises:
        ValueError: the arguments don't go together.

    >>> import gradwire as torch
    >>> from gradwire.utils.data import DataLoader, TensorDataset
    >>> x, y = torch.arange(5.0), torch.arange(5)
    >>> for batch in DataLoader(TensorDataset(x, y), batch_size=2):
    ...     print(batch)
    [tensor([0., 1.]), tensor([0, 1])]
    [tensor([2., 3.]), tensor([2, 3])]
    [tensor([4.]), tensor([4])]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None, batch_sampler: Iterable[list[Any]] | None = None, num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None, multiprocessing_context: Any = None,
        generator: Generator | None = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ):  # fmt: skip
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset, self.generator, self.drop_last, self.num_workers = dataset, generator, drop_last, num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.timeout, self.worker_init_fn, self.persistent_workers = timeout, worker_init_fn, persistent_workers
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.multiprocessing_context = multiprocessing_context
        self.batch_size = None if batch_sampler is not None else batch_size
        self.sampler, self.batch_sampler = sampler, batch_sampler
        if isinstance(dataset, IterableDataset):
            self.sampler = None
        elif sampler is None:
            self.sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if self.batch_size is not None:
            positive("batch_size", self.batch_size)
            if self.sampler is not None:
                self.batch_sampler = BatchSampler(self.sampler, self.batch_size, drop_last)
        alone = self.batch_sampler is None and self.batch_size is None
        self.collate_fn: Callable[[Any], Any] = collate_fn or (default_convert if alone else default_collate)
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and hasattr(self, "_made"):
            raise ValueError(f"{name} attribute should not be set after DataLoader is initialized")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        start, fetch, asked = self._ways()
        if not self.num_workers:
            source = start(self.dataset)
            return itertools.takewhile(lambda batch: batch is not END, (fetch(source, a) for a in asked))
        import gradwire

        seed = gradwire.randint(2**63 - 1, (), generator=self.generator).item()  # type: ignore[attr-defined]
        return ahead(self.dataset, start, fetch, asked, self.num_workers, self.prefetch_factor or 2, self.timeout, seed,
                     self.worker_init_fn)  # fmt: skip

    def _ways(self) -> tuple[Callable[[Any], Any], Fetch, Iterator[Any]]:
        """What batches are made of, of a dataset; how each is made; and what is asked for one after the other."""
        collate = self.collate_fn
        if isinstance(self.dataset, IterableDataset):
            size, drop_last = self.batch_size, self.drop_last

            def following(source: Iterator[Any], _: None) -> Any:
                return END if (some := next(source, END)) is END else collate(some)

            return (
                lambda dataset: iter(dataset) if size is None else batches(iter(dataset), size, drop_last),
                following,
                itertools.repeat(None),
            )
        if self.batch_sampler is not None:
            return lambda dataset: dataset, lambda d, indices: collate(several(d, indices)), iter(self.batch_sampler)
        return lambda dataset: dataset, lambda d, index: collate(d[index]), iter(self.sampler or ())

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            n = len(self.dataset)  # type: ignore[arg-type]  # where it has one
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]


def _check_workers(n: int, timeout: float, prefetch: int | None, persistent: bool, context: Any) -> None:
    for wrong, says in (
        (n < 0, "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."),
        (timeout < 0, "timeout option should be non-negative"),
        (
            n == 0 and prefetch is not None,
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None.",
        ),
        (prefetch is not None and prefetch < 0, "prefetch_factor option should be non-negative"),
        (n == 0 and persistent, "persistent_workers option needs num_workers > 0"),
        (
            n == 0 and context is not None,
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
            "num_workers=0",
        ),
    ):
        if wrong:
            raise ValueError(says)


def _check_order(dataset: Any, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any,
                 drop_last: bool) -> None:  # fmt: skip
    if isinstance(dataset, IterableDataset):
        for name, v in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
            if v is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={v}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


__all__ = ["DataLoader", "get_worker_info"]
