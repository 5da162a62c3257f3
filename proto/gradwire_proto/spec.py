"""What is known of a tensor before it exists: shape, element type and strides. Interned, so equal means identical."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto.dtypes import DType

MAX_DIMS = 64
MAX_ELEMENTS = 2**62
_MAX_INTERNED = 65536


class Spec:
    """Shape, dtype and strides (in elements) of a tensor. Make one with :func:`spec`; compare with ``is``."""

    __slots__ = ("__weakref__", "dtype", "nbytes", "ndim", "number", "numel", "shape", "strides")

    def __init__(self, shape: tuple[int, ...], dtype: DType, strides: tuple[int, ...], number: type | None):
        self.shape = shape
        self.dtype = dtype
        self.strides = strides
        self.ndim = len(shape)
        self.numel = math.prod(shape)
        self.nbytes = self.numel * dtype.itemsize
        self.number = number
        """The Python type where this stands for a Python number (0-d, lowest in promotion), else None."""

    @property
    def reach(self) -> int:
        """Elements from the first to the last in memory: fewer than there are where some share a place."""
        return 1 + sum((s - 1) * abs(a) for s, a in zip(self.shape, self.strides, strict=True)) if self.numel else 0

    @property
    def contiguous(self) -> bool:
        return self.numel == 0 or all(
            s == 1 or a == b for s, a, b in zip(self.shape, self.strides, row_major(self.shape), strict=True)
        )

    def __repr__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a dense tensor whose last dimension varies fastest (sizes of 0 count as 1)."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


_interned: dict[tuple[tuple[int, ...], DType, tuple[int, ...] | None], Spec] = {}


def spec(shape: tuple[int, ...], dtype: DType, strides: tuple[int, ...] | None = None) -> Spec:
    """The spec of this shape, dtype and strides (row-major where None).

    Raises:
        RuntimeError: a negative size, more than 64 dimensions, or more elements than any memory holds.
    """
    key = (shape, dtype, strides)
    found = _interned.get(key)
    if found is None:
        if any(s < 0 for s in shape):
            raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
        if len(shape) > MAX_DIMS:
            raise RuntimeError(f"a tensor has at most {MAX_DIMS} dimensions, got {len(shape)}")
        if math.prod(shape) > MAX_ELEMENTS:
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
        if len(_interned) >= _MAX_INTERNED:
            _interned.clear()  # specs in use live on; only their identity with later ones is lost
        dense = row_major(shape)
        if strides is None or strides == dense:
            found = _interned.get((shape, dtype, None)) or Spec(shape, dtype, dense, None)
            _interned[(shape, dtype, None)] = found
        else:
            found = Spec(shape, dtype, strides, None)
        _interned[key] = found
    return found
