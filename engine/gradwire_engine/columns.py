"""Convolutions on the CPU by the loops of :mod:`gradwire_engine.loops.windows`: what blocks they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire_engine import loops
from gradwire_engine.backend import use_threads

BLOCK = 2**18
"""Elements of the columns that are made at a time (more only where it takes more to have :data:`SIDE` of them)."""
SIDE = 64
"""Columns that a product should have at least: samples that have fewer lie side by side."""
SUMMED = 256
"""The same where columns are what is summed over: each product is added to a sum of the weight's size."""
PARTS, ROOM = 8, 2**22
"""Into how many parts the sum over samples is taken apart, at most, and how many elements all of them may have."""
Ints = Sequence[int]


class Windows:
    """The windows of images ``[samples, channels, ...]`` of 1 to 3 dimensions.

    Args:
        size: how many there are along each dimension.
        channels: the images'.
        groups: of the channels, and the filters.
    """

    def __init__(self, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, channels: int,
                 groups: int):  # fmt: skip
        fill = (1,) * (3 - len(kernel))
        self.size, self.groups = (*fill, *size), groups
        given = ((1, kernel), (1, stride), (0, padding), (1, dilation))
        self.geometry = tuple((*(n * m for m in fill), *map(int, v)) for n, v in given)
        self.work = channels * math.prod((*kernel, *size))
        depth, rows, count = self.size
        line = self.work // (depth * rows)
        high = min(rows, max(1, BLOCK // line))
        deep = min(depth, max(1, BLOCK // (line * high))) if high == rows else 1
        self.part = deep, high
        self.columns = deep * high * count

    def block(self, columns: int) -> tuple[int, int, int]:
        """How many samples, and how much of their depth and rows, are done at a time to have so many columns."""
        whole = self.part == self.size[:2]
        return -(-columns // self.columns) if whole else 1, *self.part

    def images(self, a: Any) -> Any:
        """Dense images with three dimensions."""
        return np.ascontiguousarray(a).reshape(*a.shape[:2], *(1,) * (5 - a.ndim), *a.shape[2:])

    def matrices(self, weight: Any) -> Any:
        """``weight[filters, channels / groups, ...]`` as a dense matrix for each group."""
        return np.ascontiguousarray(weight).reshape(self.groups, len(weight) // self.groups, -1)


def forward(x: Any, weight: Any, windows: Windows, out: Any) -> None:
    """``out[samples, filters, ...]``, the convolution of ``x`` by ``weight[filters, channels / groups, ...]``."""
    from gradwire_engine.loops import windows as loop

    _run(loop.forward, x, weight, windows, out)


def transposed(grad: Any, weight: Any, windows: Windows, out: Any) -> None:
    """The adjoint in ``x``: ``out[samples, channels, ...]`` of ``grad[samples, filters, ...]``."""
    from gradwire_engine.loops import windows as loop

    _run(loop.transposed, grad, weight, windows, out)


def _run(loop: Any, given: Any, weight: Any, windows: Windows, out: Any) -> None:
    given, made = windows.images(given), windows.images(out)
    use_threads(len(given) == 1)  # samples are what cores share
    loops.over(loop, len(given), windows.work, given, windows.matrices(weight), windows.geometry,
               windows.block(SIDE), made)  # fmt: skip
    if not np.may_share_memory(made, out):
        out[...] = made.reshape(out.shape)


def of_weight(grad: Any, x: Any, windows: Windows, shape: tuple[int, ...]) -> Any:
    """The adjoint in ``weight``, in its shape. The sum over samples is that of a few parts."""
    from gradwire_engine.loops import windows as loop

    grad, x = windows.images(grad), windows.images(x)
    step = -(-len(x) // max(1, min(PARTS, ROOM // math.prod(shape))))
    parts = -(-len(x) // step)
    sums = np.empty((parts, windows.groups, math.prod(shape[1:]), shape[0] // windows.groups), x.dtype)
    use_threads(parts == 1)
    loops.over(loop.of_weight, parts, windows.work * step, grad, x, windows.geometry, windows.block(SUMMED), step,
               sums)  # fmt: skip
    return sums.sum(axis=0).swapaxes(1, 2).reshape(shape)
