"""Linear maps along single axes, which mean pooling and interpolation are made of.

A map is a tuple of taps ``(out, in, weight)``: ``result[out] += weight * x[in]`` along the axis, where no tap names
an element of the result twice. Its adjoint has the roles of result and input exchanged. Maps are plain Python, made
once for each geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gradwire_engine.maps import Map, Tap, Where, add, apply_in_pieces, worthwhile

Entry = tuple[int, int, float]
REMEMBERED = 256


def _run(at: Sequence[int]) -> Where:
    """Places as a slice where they are evenly spaced."""
    step = at[1] - at[0] if len(at) > 1 else 1
    if step > 0 and all(b - a == step for a, b in zip(at, at[1:], strict=False)):
        return slice(at[0], at[-1] + 1, step)
    return tuple(at)


def taps(entries: Sequence[Entry]) -> Map:
    """A sparse matrix given by its entries ``(row, column, weight)`` as taps."""
    rank: dict[int, int] = {}
    groups: list[list[Entry]] = []
    for e in entries:
        j = rank[e[0]] = rank.get(e[0], -1) + 1
        if j == len(groups):
            groups.append([])
        groups[j].append(e)
    return Map(
        (
            _run([o for o, _, _ in g]),
            _run([i for _, i, _ in g]),
            None if all(w == 1 for _, _, w in g) else tuple(w for _, _, w in g),
        )
        for g in groups
    )


@lru_cache(REMEMBERED)
def windows(size: int, out: int, kernel: int, stride: int, padding: int) -> tuple[Tap, ...]:
    """The sum of each window."""
    made: list[Tap] = []
    for k in range(kernel):
        low = max(0, -((k - padding) // stride))
        high = min(out - 1, (size - 1 + padding - k) // stride)
        if low <= high:
            first, last = low * stride - padding + k, high * stride - padding + k
            made.append((slice(low, high + 1), slice(first, last + 1, stride), None))
    return tuple(made)


def shares(size: int, out: int) -> list[tuple[int, int]]:
    """Start and end of each of the windows that share a line evenly, overlapping by one where they must."""
    return [(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]


@lru_cache(REMEMBERED)
def means(size: int, out: int, transposed: bool) -> Map:
    """The mean of each share."""
    return matrix(((o, i, 1 / (b - a)) for o, (a, b) in enumerate(shares(size, out)) for i in range(a, b)), transposed)


def matrix(entries: Any, transposed: bool) -> Map:
    """Entries ``(out, in, weight)`` as a map or its adjoint."""
    return taps([(i, o, w) for o, i, w in entries] if transposed else list(entries))


def smallest_first(sizes: Sequence[int], out: Sequence[int]) -> list[int]:
    """The order of axes in which the intermediate results are smallest."""
    return sorted(range(len(sizes)), key=lambda i: out[i] / max(1, sizes[i]))


def apply(xp: Any, x: Any, axis: int, size: int, made: Sequence[Tap], transposed: bool = False) -> Any:
    """A map along ``axis``, which gets ``size`` elements; ``transposed`` exchanges the roles of its taps."""
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    if worthwhile(xp, x, shape):
        return apply_in_pieces(x, axis, shape, made, transposed)
    out = xp.zeros(shape, x.dtype)
    add(xp, x, axis, made, transposed, out)
    return out
