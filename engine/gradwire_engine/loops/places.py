"""Loops. Numbers taken from places along a dimension, and put there: of arrays ``[outer, size, inner]``.

``at[outer, n, inner]`` are the places; ``wrong[0]`` becomes True where there is no such place.
"""

from __future__ import annotations

from typing import Any

from gradwire_engine.loops.compiling import loop


@loop
def gather(x: Any, at: Any, wrong: Any, out: Any, start: int, stop: int) -> None:
    """``out[outer, n, inner]`` from ``x``."""
    size = x.shape[1]
    _, n, inner = at.shape
    for o in range(start, stop):
        for j in range(n):
            for i in range(inner):
                place = at[o, j, i]
                if 0 <= place < size:
                    out[o, j, i] = x[o, place, i]
                else:
                    wrong[0] = True


@loop
def scatter(x: Any, at: Any, added: bool, wrong: Any, out: Any, start: int, stop: int) -> None:
    """``x[outer, n, inner]`` put into ``out``, or added to what is there; where a place comes twice, in order."""
    size = out.shape[1]
    _, n, inner = at.shape
    for o in range(start, stop):
        for j in range(n):
            for i in range(inner):
                place = at[o, j, i]
                if not 0 <= place < size:
                    wrong[0] = True
                elif added:
                    out[o, place, i] += x[o, j, i]
                else:
                    out[o, place, i] = x[o, j, i]
