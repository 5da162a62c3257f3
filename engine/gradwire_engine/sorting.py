"""Indices that sort, on the CPU: each number with its index as one integer, which NumPy sorts by vectors, ten times as
fast as it finds a stable order of the numbers themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire_engine.spread import share

LEAST = 512
"""Elements from which on this is faster."""
LOW = 0xFFFFFFFF
"""The index's part of a key."""


def _ordered(a: Any) -> Any:
    """The numbers as integers of 32 bits in the same order, nan the largest; None where these don't hold them."""
    if a.dtype == np.float32:
        bits = (a + np.float32(0)).view(np.int32)  # -0 equals 0
        key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        bad = np.isnan(a)
        if bad.any():
            key[bad] = 0x7FFFFFFF
        return key
    if a.dtype.kind in "iu":
        low = int(a.min())
        if int(a.max()) - low < 2**31:
            return (a - a.dtype.type(low)).astype(np.int32)
    return None


def _keys(a: Any, dim: int, descending: bool) -> Any:
    """A key for each element, along the last dimension: in their order, equals by index; None where there are none."""
    if a.size < LEAST or a.shape[dim] >= LOW:
        return None
    order = _ordered(a)
    if order is None:
        return None
    order = np.moveaxis(~order if descending else order, dim, -1)
    keys = np.empty(order.shape, np.int64)
    np.left_shift(order, 32, out=keys, dtype=np.int64)
    keys |= np.arange(order.shape[-1])
    return keys.reshape(-1, order.shape[-1])


def ranked(a: Any, dim: int, descending: bool, start: int, stop: int) -> Any:
    """The indices along ``dim`` of the elements at ``start`` to ``stop`` of its stable order, nan being the largest;
    None where only a search of the numbers themselves tells."""
    keys = _keys(a, dim, descending)
    if keys is None:
        return None
    n = keys.shape[-1]
    some = stop - start < n // 8

    def run(first: int, last: int) -> None:
        rows = keys[first:last]
        if some:
            rows.partition(stop - 1 if not start else [start, stop - 1], axis=-1)
            rows[:, start:stop].sort(axis=-1)
        else:
            rows.sort(axis=-1)

    share(run, len(keys), max(1, (1 << 16) // n))
    found = keys[:, start:stop] & LOW
    shape = [s for i, s in enumerate(a.shape) if i != dim % a.ndim]
    return np.ascontiguousarray(np.moveaxis(found.reshape(*shape, stop - start), -1, dim))
