"""Samplers: in which order the samples of a dataset are taken."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from gradwire.random import Generator

T_co = TypeVar("T_co", covariant=True)
AT_ONCE = 4096
"""Numbers that are drawn, and waited for, at a time."""


def positive(name: str, n: Any) -> None:
    """Raises:
    ValueError: it is no positive integer.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={n}")


def _order(n: int, generator: Generator | None) -> list[int]:
    import gradwire

    made: list[int] = gradwire.randperm(n, generator=generator).tolist()  # type: ignore[attr-defined]
    return made


class Sampler(Generic[T_co]):
    """Base of samplers: ``__iter__`` gives the numbers of samples, or lists of them; ``__len__`` is how many."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """All samples in order."""

    def __init__(self, data_source: Sized):
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All samples in random order, again and again; or with ``replacement``, each time any of them.

    Args:
        num_samples: how many; by default as many as there are.
    """

    def __init__(self, data_source: Sized, replacement: bool = False, num_samples: int | None = None,
                 generator: Generator | None = None):  # fmt: skip
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._endless(len(self.data_source)), self.num_samples)

    def _endless(self, n: int) -> Iterator[int]:
        import gradwire

        while True:
            if self.replacement:
                some = min(AT_ONCE, self.num_samples)
                drawn = gradwire.randint(n, (some,), generator=self.generator)  # type: ignore[attr-defined]
                yield from drawn.tolist()
            else:
                yield from _order(n, self.generator)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Some samples, by their numbers, in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None):
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in _order(len(self.indices), self.generator))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Samples drawn with a weight each, with or without replacement.

    Args:
        weights: one for each sample; they need not add up to 1.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None):
        import gradwire

        positive("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = gradwire.as_tensor(weights, dtype=gradwire.double)  # type: ignore[attr-defined]
        if self.weights.ndim != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self.weights.shape)}"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = self.weights.multinomial(self.num_samples, self.replacement, generator=self.generator)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of what another sampler gives.

    Args:
        drop_last: leave out a last list that would be shorter.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool):
        positive("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return batches(iter(self.sampler), self.batch_size, self.drop_last)

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def batches(given: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    """What comes, in lists of a size; the last may be shorter."""
    while batch := list(itertools.islice(given, size)):
        if len(batch) == size or not drop_last:
            yield batch


__all__ = [
    "BatchSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler", "WeightedRandomSampler",
    "batches", "positive",
]  # fmt: skip
