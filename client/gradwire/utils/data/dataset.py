"""Datasets: what has samples by number, or one after the other, and what is made of several."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from gradwire.random import Generator, default_generator
from gradwire.tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Base of datasets whose samples are asked for by number, or key: ``__getitem__``, and ``__len__`` where that is
    known. One that can get many samples at once has ``__getitems__``, too, which takes a list and returns one."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Base of datasets whose samples come one after the other: ``__iter__``."""

    def __add__(self, other: Dataset[T_co]) -> Any:
        return ChainDataset([self, other])


def several(dataset: Any, indices: list[Any]) -> list[Any]:
    """Samples of a dataset, in one go where it has a way for that."""
    many = getattr(dataset, "__getitems__", None)
    return many(indices) if callable(many) else [dataset[i] for i in indices]


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """The rows of tensors of the same length.

    Raises:
        AssertionError: they are not.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor):
        if any(t.size(0) != tensors[0].size(0) for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> Any:
        return tuple([t[index] for t in self.tensors])  # type: ignore[index]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Two ops a tensor, where one by one would be one for each sample."""
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return [self[i] for i in indices]
        return list(zip(*[t[indices].unbind(0) for t in self.tensors], strict=True))  # type: ignore[index]

    def __len__(self) -> int:
        return self.tensors[0].size(0)  # type: ignore[no-any-return]


class StackDataset(Dataset[Any]):
    """Samples that are tuples of those of several datasets of the same length, or dicts where these are given by name.

    Raises:
        ValueError: they are of different lengths, or given both ways, or there is none.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like input/output, but both "
                "types are given."
            )
        self.datasets: Any = args or kwargs
        if not self.datasets:
            raise ValueError("At least one dataset should be passed")
        lengths = {len(d) for d in self._each()}
        if len(lengths) > 1:
            raise ValueError("Size mismatch between datasets")
        (self._length,) = lengths

    def _each(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, parts: Iterable[Any]) -> Any:
        return dict(zip(self.datasets, parts, strict=True)) if isinstance(self.datasets, dict) else tuple(parts)

    def __getitem__(self, index: Any) -> Any:
        return self._sample([d[index] for d in self._each()])

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        columns = [several(d, indices) for d in self._each()]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError(
                    f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(column)}"
                )
        return [self._sample(row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """The samples of several datasets, one dataset after the other.

    Raises:
        AssertionError: there is none, or one without numbers.
    """

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, idx: int) -> T_co:
        if idx < 0:
            if -idx > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            idx += len(self)
        at = bisect.bisect_right(self.cumulative_sizes, idx)
        return self.datasets[at][idx - (self.cumulative_sizes[at - 1] if at else 0)]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class ChainDataset(IterableDataset[Any]):
    """The samples of several iterable datasets, one dataset after the other."""

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = datasets

    def _each(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield d

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._each())

    def __len__(self) -> int:
        return sum(len(d) for d in self._each())


class Subset(Dataset[T_co]):
    """Some samples of a dataset, by their numbers there."""

    def __init__(self, dataset: Any, indices: Sequence[Any]):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, idx: Any) -> Any:
        return self.dataset[[self.indices[i] for i in idx] if isinstance(idx, list) else self.indices[idx]]

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        if type(self).__getitem__ is not Subset.__getitem__:
            return [self[i] for i in indices]
        return several(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = default_generator) -> list[Any]:
    """Parts of a dataset, drawn at random, that have no sample in common.

    Args:
        lengths: of the parts; or their shares, which add up to 1. What is left over by rounding down goes to the first
            parts, one sample each.

    Raises:
        ValueError: the lengths don't add up to the dataset's.
    """
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, share in enumerate(lengths):
            if not 0 <= share <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        whole = [math.floor(len(dataset) * share) for share in lengths]
        for i in range(len(dataset) - sum(whole)):
            whole[i % len(whole)] += 1
        for i, n in enumerate(whole):
            if not n:
                says = f"Length of split at index {i} is 0. This might result in an empty dataset."
                warnings.warn(says, stacklevel=2)
        lengths = whole
    if sum(lengths) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    import gradwire

    order = iter(gradwire.randperm(len(dataset), generator=generator).tolist())  # type: ignore[attr-defined]
    return [Subset(dataset, list(itertools.islice(order, int(n)))) for n in lengths]


__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset", "TensorDataset",
    "random_split", "several",
]  # fmt: skip
