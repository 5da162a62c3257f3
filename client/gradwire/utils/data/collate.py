"""Batches of samples: tensors stacked, numbers made tensors, and containers taken apart and put together again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from gradwire.tensor import Tensor
from gradwire_proto import dtypes

NONE_OF_THESE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples that are alike as one of their kind: tensors and arrays stacked along a new first dimension, numbers as
    a tensor, and dicts, lists and tuples (which become lists) with batches in place of what they hold. Strings stay
    lists.

    >>> from gradwire.utils.data import default_collate
    >>> default_collate([{"x": 1, "y": 0.5}, {"x": 2, "y": 1.5}])
    {'x': tensor([1, 2]), 'y': tensor([0.5000, 1.5000], dtype=torch.float64)}

    Raises:
        TypeError: they hold something else.
        RuntimeError: they are not alike.
    """
    import gradwire as torch

    first = batch[0]
    if isinstance(first, Tensor):
        return torch.stack(list(batch))  # type: ignore[attr-defined]
    if isinstance(first, (np.ndarray, np.generic)) and not isinstance(first, (str, bytes)):
        if first.dtype.kind in "SUO":
            raise TypeError(NONE_OF_THESE.format(first.dtype))
        if len({a.shape for a in batch}) == 1:
            return torch.from_numpy(np.stack(batch))  # type: ignore[attr-defined]
        return torch.stack([torch.as_tensor(a) for a in batch])  # type: ignore[attr-defined]  # which says what differs
    if isinstance(first, float):
        return torch.tensor(list(batch), dtype=dtypes.float64)  # type: ignore[attr-defined]
    if isinstance(first, int):
        return torch.tensor(list(batch))  # type: ignore[attr-defined]
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _mapping(first, ((key, default_collate([d[key] for d in batch])) for key in first))
    if not isinstance(first, Sequence):
        raise TypeError(NONE_OF_THESE.format(type(first)))
    if hasattr(first, "_fields"):
        return type(first)(*map(default_collate, zip(*batch, strict=False)))
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    return columns if isinstance(first, tuple) else _sequence(first, columns)


def default_convert(data: Any) -> Any:
    """What a sample holds, with tensors in place of NumPy's arrays and numbers."""
    import gradwire

    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        plain = data.dtype.kind in "SUO"
        return data if plain else gradwire.as_tensor(data)  # type: ignore[attr-defined]
    if isinstance(data, Mapping):
        return _mapping(data, ((key, default_convert(v)) for key, v in data.items()))
    if isinstance(data, tuple):
        made = [default_convert(v) for v in data]
        return type(data)(*made) if hasattr(data, "_fields") else made
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _sequence(data, [default_convert(v) for v in data])
    return data


def _mapping(like: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    """A mapping of the same kind, with all else that it has, where there is a way to make one."""
    made = dict(items)

    def copied() -> Any:
        clone = copy.copy(like)
        clone.update(made)
        return clone

    return _of_kind(copied if isinstance(like, MutableMapping) else lambda: type(like)(made), made)


def _sequence(like: Any, values: list[Any]) -> Any:
    def copied() -> Any:
        clone = copy.copy(like)
        for i, v in enumerate(values):
            clone[i] = v
        return clone

    return _of_kind(copied if isinstance(like, MutableSequence) else lambda: type(like)(values), values)


def _of_kind(make: Callable[[], Any], plain: Any) -> Any:
    try:
        return make()
    except TypeError:
        return plain


__all__ = ["default_collate", "default_convert"]
