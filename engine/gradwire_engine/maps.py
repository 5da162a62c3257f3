"""Linear maps along one axis, given by taps (see kernels/axes.py), of large arrays: some lines at a time, which the
cores share, and by products with what of the map's matrix is not zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradwire_engine.backend import matmul
from gradwire_engine.spread import PIECE, share

Where = slice | tuple[int, ...]
Tap = tuple[Where, Where, tuple[float, ...] | None]
BAND = 64
"""Elements of the result that are made by one product, or of the input that it takes, whichever are fewer."""
Band = tuple[slice, slice, Any]


class Map(tuple[Tap, ...]):
    """Taps, where they have weights also as :attr:`bands`."""

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Pieces of the matrix: its rows, the columns that these have entries in, and all that is there."""
        parts = [[np.arange(0, p.stop)[p] if isinstance(p, slice) else np.asarray(p) for p in t[:2]] for t in self]
        o, i = (np.concatenate(p) for p in zip(*parts, strict=True))
        weights = [np.ones(len(p[0])) if t[2] is None else np.asarray(t[2])
                   for p, t in zip(parts, self, strict=True)]  # fmt: skip
        w = np.concatenate(weights)
        made = []
        rows = BAND * max(1, int(o.max() + 1) // int(2 * i.max() + 2))
        for start in range(0, int(o.max()) + 1, rows):
            here = (o >= start) & (o < start + rows)
            if here.any():
                low = int(i[here].min())
                band = np.zeros((int(o[here].max()) + 1 - start, int(i[here].max()) + 1 - low))
                np.add.at(band, (o[here] - start, i[here] - low), w[here])
                made.append((slice(start, start + len(band)), slice(low, low + band.shape[1]), band))
        return tuple(made)


def worthwhile(xp: Any, x: Any, shape: tuple[int, ...]) -> bool:
    """Whether a map of ``x`` to this shape is made in pieces."""
    return xp is np and x.dtype.kind == "f" and max(x.size, math.prod(shape)) >= 2 * PIECE


def apply_in_pieces(x: Any, axis: int, shape: tuple[int, ...], made: Sequence[Tap], transposed: bool) -> Any:
    """What the taps make of ``x`` along ``axis``, which gets the result's shape."""
    size = shape[axis]
    lines, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    flat, out = np.ascontiguousarray(x).reshape(lines, x.shape[axis], inner), np.empty((lines, size, inner), x.dtype)
    picked = None if transposed or len(made) != 1 else _picked(made[0], size)
    bands = [] if picked is not None or not isinstance(made, Map) or all(w is None for _, _, w in made) else [
        (o, i, band.astype(x.dtype)) for o, i, band in made.bands]  # fmt: skip

    def some(start: int, stop: int) -> None:
        part, to = flat[start:stop], out[start:stop]
        if picked is not None:
            np.take(part, picked, 1, out=to, mode="clip")
            return
        to[...] = 0
        if not bands or not _multiplied(part, bands, to):
            add(np, part, 1, made, transposed, to)

    share(some, lines, max(1, PIECE // (max(size, x.shape[axis]) * inner)))
    return out.reshape(shape)


def add(xp: Any, x: Any, axis: int, made: Sequence[Tap], transposed: bool, out: Any) -> None:
    """Add what the taps make of ``x`` to ``out``; ``transposed`` exchanges their roles."""
    lead = (slice(None),) * axis
    after = (1,) * (x.ndim - axis - 1)
    for o, i, w in made:
        if transposed:
            o, i = i, o
        part = x[(*lead, _index(xp, i))]
        if w is not None:
            part = part * xp.asarray(w, dtype=x.real.dtype).reshape(-1, *after)
        out[(*lead, _index(xp, o))] += part


def _picked(tap: Tap, size: int) -> Any:
    """Which element each one of the result is, where it is one of the input's."""
    o, i, w = tap
    if w is not None or o != slice(0, size, 1):
        return None
    return np.arange(0, i.stop)[i] if isinstance(i, slice) else np.asarray(i)


def _multiplied(x: Any, bands: Sequence[Band], out: Any) -> bool:
    """Whether the products are right: what is infinite or NaN gets into sums that it has no part in."""
    single = x.shape[2] == 1
    for o, i, band in bands:
        if single:
            matmul(np, x[:, i, 0], band.T, out=out[:, o, 0])
        else:
            matmul(np, band, x[:, i], out=out[:, o])
    if np.isfinite(np.add.reduce(out, None)):
        return True
    out[...] = 0
    return False


def _index(xp: Any, where: Where) -> Any:
    return where if isinstance(where, slice) else xp.asarray(where)
