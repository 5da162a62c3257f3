"""Combining values into places of an array where one may come several times: on a GPU by atomic operations.

CuPy has those of a few types only, and its extremes of doubles go through single precision (as of 14.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from gradwire_engine import loops

_WIDE = {"b1": "i4", "i1": "i4", "u1": "i4", "i2": "i4", "u2": "i4", "V2": "f4", "f2": "f4"}
"""Types without atomic operations, each with one of the same numbers that has them."""


def add_at(xp: Any, target: Any, index: Any, values: Any) -> None:
    """``target[index] += values``."""
    if xp is np:
        np.add.at(target, *_lined(target, index, values))
        return
    room, values = _widened(xp, target, values)
    if target.dtype.kind == "c":
        xp.add.at(_parts(xp, room), index, _parts(xp, values))
    else:
        xp.add.at(room, index, values)
    _put_back(target, room)


def add_along(xp: Any, target: Any, dim: int, index: Any, values: Any) -> None:
    """``target[..., index, ...] += values`` along a dimension, where an index may come several times.

    Long rows of floats are added by SciPy's product of a matrix that has a 1 for each, and nothing else, and in order.
    """
    width = values.size // max(index.size, 1)
    if xp is not np or width < 8 or target.dtype != values.dtype or target.dtype.name not in ("float32", "float64"):
        add_at(xp, target, (*(slice(None),) * dim, index), values)
        return
    rows = np.ascontiguousarray(np.moveaxis(values, dim, 0)).reshape(index.size, width)
    one = (np.ones(index.size, values.dtype), index.astype(np.int64), np.arange(index.size + 1))
    made = scipy.sparse.csc_array(one, shape=(target.shape[dim], index.size)) @ rows
    moved = np.moveaxis(target, dim, 0)
    moved += made.reshape(moved.shape)


def moved(xp: Any, loop: str, shape: tuple[int, int, int], x: Any, at: Any, out: Any, *options: bool) -> None:
    """Run a loop that moves numbers to places, or from there, with arrays in the form ``shape``, of which one size is
    each one's own.

    Raises:
        IndexError: there is no such place.
    """
    from gradwire_engine.loops import places

    wrong = xp.zeros(1, bool)
    x, at = (xp.ascontiguousarray(a).reshape(shape) for a in (x, at))
    loops.over(getattr(places, loop), shape[0], at.size // shape[0], x, at, *options, wrong, out.reshape(shape))
    if wrong[0]:
        size = (x if loop == "gather" else out.reshape(shape)).shape[1]
        raise IndexError(f"index out of bounds for a dimension with size {size}")


def maximum_at(xp: Any, target: Any, index: Any, values: Any) -> None:
    """``target[index] = maximum(target[index], values)``."""
    if xp is np:
        np.maximum.at(target, *_lined(target, index, values))
    else:
        _extreme_at(xp, xp.maximum, 1, target, index, values)


def minimum_at(xp: Any, target: Any, index: Any, values: Any) -> None:
    """``target[index] = minimum(target[index], values)``."""
    if xp is np:
        np.minimum.at(target, *_lined(target, index, values))
    else:
        _extreme_at(xp, xp.minimum, -1, target, index, values)


def multiply_at(xp: Any, target: Any, index: tuple[Any, ...], values: Any, axis: int) -> None:
    """``target[index] *= values`` where no place comes twice at one place of ``axis``."""
    if xp is np:
        np.multiply.at(target, *_lined(target, index, values))
        return
    index = xp.broadcast_arrays(*index)
    values = xp.broadcast_to(values, index[0].shape)
    for i in range(values.shape[axis]):  # CuPy has no atomic product
        at = (slice(None),) * axis + (i,)
        target[tuple(k[at] for k in index)] *= values[at]


def _lined(target: Any, index: Any, values: Any) -> tuple[Any, Any]:
    """Index and values of a line as lines themselves, where NumPy is three times as fast."""
    if type(index) is tuple and len(index) == 1 and target.ndim == 1:
        (index,) = index
        values = values if np.ndim(values) == 0 else np.broadcast_to(values, index.shape).reshape(-1)
        return index.reshape(-1), values
    return index, values


def _widened(xp: Any, target: Any, values: Any) -> tuple[Any, Any]:
    """Both in a type with atomic operations, the target dense; the target itself where it is so."""
    dtype = target.dtype
    wide = _WIDE.get(f"{dtype.kind}{dtype.itemsize}", dtype)
    return xp.ascontiguousarray(target.astype(wide, copy=False)), xp.asarray(values).astype(dtype).astype(wide)


def _put_back(target: Any, room: Any) -> None:
    if room is not target:
        target[...] = room.astype(target.dtype)


def _parts(xp: Any, a: Any) -> Any:
    """The real and the imaginary parts of complex numbers, along one more axis."""
    return xp.ascontiguousarray(a).view(f"f{a.itemsize // 2}").reshape(*a.shape, 2)


def _extreme_at(xp: Any, combine: Any, sign: int, target: Any, index: Any, values: Any) -> None:
    """Floats as the unsigned numbers that come in the same order, where a NaN comes last, or first of all."""
    room, values = _widened(xp, target, values)
    if room.dtype.kind != "f":
        combine.at(room, index, values)
        _put_back(target, room)
        return
    bits = xp.dtype(f"u{room.itemsize}")
    top = bits.type(1 << (8 * room.itemsize - 1))

    def ordered(x: Any) -> Any:
        x = xp.where(xp.isnan(x), xp.copysign(x, sign), x).view(bits)
        return xp.where(x & top, ~x, x | top)

    made = ordered(room)
    combine.at(made, index, ordered(values))
    target[...] = xp.where(made & top, made ^ top, ~made).view(room.dtype).astype(target.dtype)
