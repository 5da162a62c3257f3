"""Loops. Normalization: of rows, which layers and groups of channels are, and of channels over a batch.

The variance is that of what is left when the mean is taken off. Sums are those of pieces, in double precision.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire_engine.loops.compiling import loop

PIECE = 1024
"""Elements that are summed as they come, in the lanes of vectors."""


@loop
def total(line: Any) -> Any:
    made = 0.0
    for a in range(0, len(line), PIECE):
        part, sub = line[a : a + PIECE], line.dtype.type(0)
        for j in range(len(part)):
            sub += part[j]
        made += np.float64(sub)
    return made


@loop
def squares(line: Any, middle: Any) -> Any:
    """The sum of the squares of distances from the middle."""
    made = 0.0
    for a in range(0, len(line), PIECE):
        part, sub = line[a : a + PIECE], line.dtype.type(0)
        for j in range(len(part)):
            d = part[j] - middle
            sub += d * d
        made += np.float64(sub)
    return made


@loop
def dots(grad: Any, line: Any, middle: Any) -> Any:
    """The sum of a gradient, and of its products with distances from the middle."""
    made = also = 0.0
    for a in range(0, len(line), PIECE):
        g, part = grad[a : a + PIECE], line[a : a + PIECE]
        sub = other = line.dtype.type(0)
        for j in range(len(part)):
            sub += g[j]
            other += g[j] * (part[j] - middle)
        made += np.float64(sub)
        also += np.float64(other)
    return made, also


@loop
def rows(x: Any, weight: Any, bias: Any, centered: bool, eps: float, out: Any, mean: Any, var: Any, start: int,
         stop: int) -> None:  # fmt: skip
    """Of rows ``x[rows, n]`` with the parameters ``[n]``; ``mean`` and ``var`` get a number a row.

    Not ``centered``, the mean counts as 0.
    """
    n = x.shape[1]
    for i in range(start, stop):
        row, to = x[i], out[i]
        m = x.dtype.type(total(row) / n if centered else 0)
        square = squares(row, m) / n
        mean[i], var[i] = m, square
        r = x.dtype.type(1 / math.sqrt(square + eps))
        for j in range(len(row)):
            to[j] = (row[j] - m) * r * weight[j] + bias[j]


@loop
def rows_back(grad: Any, x: Any, mean: Any, r: Any, weight: Any, centered: bool, some: int, out: Any, sums: Any,
              start: int, stop: int) -> None:  # fmt: skip
    """The gradient, ``r`` being one over the root of the variance; ``sums[2, pieces, n]``, zeros at first, get what
    each ``some`` rows give for weight and bias."""
    n = x.dtype.type(x.shape[1])
    for i in range(start, stop):
        g, row, to, m, s = grad[i], x[i], out[i], mean[i], r[i]
        to_weight, to_bias = sums[0, i // some], sums[1, i // some]
        for j in range(len(g)):
            to_bias[j] += g[j]
        for j in range(len(g)):
            to_weight[j] += g[j] * ((row[j] - m) * s)
        for j in range(len(g)):
            to[j] = g[j] * weight[j]
        shift, slope = dots(to, row, m)
        a, b = x.dtype.type(slope) * s * s / n, x.dtype.type(shift if centered else 0) / n
        for j in range(len(to)):
            to[j] = (to[j] - (row[j] - m) * a - b) * s


@loop
def groups(x: Any, weight: Any, bias: Any, centered: bool, eps: float, out: Any, mean: Any, var: Any, start: int,
           stop: int) -> None:  # fmt: skip
    """Of rows ``x[rows, channels, inner]``, each with the next of the parameters ``[groups, channels]``."""
    count, channels, inner = x.shape
    n = channels * inner
    flat = x.reshape(count, n)
    for i in range(start, stop):
        m = x.dtype.type(total(flat[i]) / n if centered else 0)
        square = squares(flat[i], m) / n
        mean[i], var[i] = m, square
        r = x.dtype.type(1 / math.sqrt(square + eps))
        for c in range(channels):
            line, to = x[i, c], out[i, c]
            scale, shift = r * weight[i % len(weight), c], bias[i % len(bias), c]
            for j in range(len(line)):
                to[j] = (line[j] - m) * scale + shift


@loop
def groups_back(grad: Any, x: Any, mean: Any, r: Any, weight: Any, centered: bool, some: int, out: Any, sums: Any,
                start: int, stop: int) -> None:  # fmt: skip
    """The gradient; ``sums[2, pieces, groups, channels]``, as in :func:`rows_back`."""
    _, channels, inner = x.shape
    n = x.dtype.type(channels * inner)
    for i in range(start, stop):
        m, s, group = mean[i], r[i], i % len(weight)
        shift = slope = 0.0
        for c in range(channels):
            given, product = dots(grad[i, c], x[i, c], m)
            sums[0, i // some, group, c] += product * s
            sums[1, i // some, group, c] += given
            slope += product * weight[group, c]
            shift += given * weight[group, c]
        a, b = x.dtype.type(slope) * s * s / n, x.dtype.type(shift if centered else 0) / n
        for c in range(channels):
            g, line, to, scale = grad[i, c], x[i, c], out[i, c], weight[group, c]
            for j in range(len(g)):
                to[j] = (g[j] * scale - (line[j] - m) * a - b) * s


@loop
def channels(x: Any, weight: Any, bias: Any, eps: float, out: Any, mean: Any, var: Any, start: int, stop: int) -> None:
    """Of the channels ``start`` to ``stop`` of ``x[batch, channels, inner]``, which have a number each in the rest."""
    batch, _, inner = x.shape
    size = batch * inner
    for c in range(start, stop):
        made = 0.0
        for n in range(batch):
            made += total(x[n, c])
        m = x.dtype.type(made / size)
        made = 0.0
        for n in range(batch):
            made += squares(x[n, c], m)
        mean[c], var[c] = m, made / size
        scale, shift = x.dtype.type(1 / math.sqrt(made / size + eps)) * weight[c], bias[c]
        for n in range(batch):
            part, to = x[n, c], out[n, c]
            for j in range(len(part)):
                to[j] = (part[j] - m) * scale + shift


@loop
def channels_back(grad: Any, x: Any, mean: Any, r: Any, weight: Any, fixed: bool, out: Any, sums: Any, start: int,
                  stop: int) -> None:  # fmt: skip
    """The gradient, and ``sums[2, channels]`` for weight and bias; ``fixed``: mean and variance are not the input's."""
    batch, _, inner = x.shape
    for c in range(start, stop):
        m, s, scale = mean[c], r[c], r[c] * weight[c]
        p = q = 0.0
        for n in range(batch):
            given, product = dots(grad[n, c], x[n, c], m)
            p += product * s
            q += given
        sums[0, c], sums[1, c] = p, q
        size = 1.0 if fixed else np.float64(batch * inner)
        a, b = x.dtype.type(0 if fixed else p / size) * s, x.dtype.type(0 if fixed else q / size)
        for n in range(batch):
            g, row, to = grad[n, c], x[n, c], out[n, c]
            for j in range(len(g)):
                to[j] = (g[j] - (row[j] - m) * a - b) * scale
