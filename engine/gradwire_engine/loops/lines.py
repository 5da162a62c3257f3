"""Loops. Exponentials of single precision: gelu, softmax, cross-entropy, what attention does with scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire_engine.backend import NORMAL_LOGIT
from gradwire_engine.loops.compiling import exact, loop

f4, i4 = np.float32, np.int32
ZERO, HALF, ONE, TWO, THREE = f4(0), f4(0.5), f4(1), f4(2), f4(3)
# (exp(r) - 1 - r) / r ** 2 where abs(r) <= log(2) / 2, a Chebyshev fit: right to 1e-9.
_E4, _E3, _E2, _E1, _E0 = f4(0.0013926184), f4(0.008363179), f4(0.041666556), f4(0.16666576), f4(0.5)
_LOG2E, _LN2_HIGH, _LN2_LOW = f4(1 / math.log(2)), f4(0.693359375), f4(math.log(2) - 0.693359375)
_LOWEST, _HIGHEST, INF = f4(-86.6), f4(88.72283), f4(np.inf)


@exact
def exp(x: Any) -> Any:
    """``e ** x`` to 1.1 ulp, in vectors, as the C library's is not; 0 where it is less than 2.5e-38.

    No number on the way is too small to be normal, which would take some hundred times as long.

    x is k log(2) and a rest r, as Cody and Waite take it off in two parts; 2 ** k is what k is in the exponent's bits.
    """
    a = x if x > _LOWEST else _LOWEST
    a = a if a < _HIGHEST else _HIGHEST
    k = np.floor(a * _LOG2E + HALF)
    r = a - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    p = (((_E4 * r + _E3) * r + _E2) * r + _E1) * r + _E0
    made = (p * r * r + r + ONE) * i4((i4(k) + i4(126)) << i4(23)).view(f4) * TWO  # k may be one too large for it
    made = made if x >= _LOWEST else ZERO
    made = made if x <= _HIGHEST else INF
    return made if x == x else x


_N0, _N1, _N2, _N3, _N4, _N5, _N6 = (f4(c) for c in NORMAL_LOGIT)
_T0, _T1 = f4(2 * math.sqrt(2 / math.pi)), f4(2 * math.sqrt(2 / math.pi) * 0.044715)
_DENSITY = f4(1 / math.sqrt(2 * math.pi))


PIECE = 1024
"""Elements that are made beside what they are made from, which may be where they go to: vectors want to know."""


@loop
def gelu(x: Any, tanh: bool, out: Any, start: int, stop: int) -> None:
    """Of a line: x over one and the odds that a normal number, or one of the distribution near it, is larger."""
    made = np.empty(PIECE, x.dtype)
    for at in range(start, stop, PIECE):
        line = x[at : min(stop, at + PIECE)]
        if tanh:
            for i in range(len(line)):
                v = line[i]
                made[i] = v / (ONE + exp(-v * (_T0 + _T1 * v * v)))
        else:
            for i in range(len(line)):
                v = line[i]
                s = v * v
                logit = ((((((_N6 * s + _N5) * s + _N4) * s + _N3) * s + _N2) * s + _N1) * s + _N0) * v
                made[i] = v / (ONE + exp(-logit))
        to = out[at : at + len(line)]
        for i in range(len(to)):
            to[i] = made[i]


@loop
def gelu_back(grad: Any, x: Any, y: Any, tanh: bool, out: Any, start: int, stop: int) -> None:
    made = np.empty(PIECE, x.dtype)
    for at in range(start, stop, PIECE):
        end = min(stop, at + PIECE)
        g, line, values = grad[at:end], x[at:end], y[at:end]
        if tanh:
            for i in range(len(line)):
                v = line[i]
                p = values[i] / v if v != ZERO else HALF
                made[i] = g[i] * (p + v * p * (ONE - p) * (_T0 + THREE * _T1 * v * v))
        else:
            for i in range(len(line)):
                v = line[i]
                p = values[i] / v if v != ZERO else HALF
                made[i] = g[i] * (p + v * _DENSITY * exp(-HALF * v * v))
        to = out[at:end]
        for i in range(len(to)):
            to[i] = made[i]


# erf(x) / x as a polynomial in x ** 2 where abs(x) < 1, and log(erfc(x)) as one in x from there to 4: Chebyshev fits.
_S0, _S1, _S2, _S3, _S4, _S5, _S6 = (f4(c) for c in (
    1.12837917, -0.376126269, 0.112835975, -0.0268543288, 0.00518931194, -0.000801885499, 7.88249711e-05,
))  # fmt: skip
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (f4(c) for c in (
    0.000303212966, -1.13016668, -0.631937094, -0.109978245, 0.0263647173, -0.00474022234, 0.000592769536,
    -4.55906223e-05, 1.61406159e-06,
))  # fmt: skip
FOUR = f4(4)


@loop
def erf(x: Any, out: Any, start: int, stop: int) -> None:
    """Of lines, to 2.5 ulp. What is made far from zero first: of a choice of two expressions in one loop the compiler
    makes branches, and no vectors."""
    made = np.empty(PIECE, x.dtype)
    for at in range(start, stop, PIECE):
        line, to = x[at : min(stop, at + PIECE)], out[at : min(stop, at + PIECE)]
        for i in range(len(line)):
            a = abs(line[i])
            a = FOUR if a > FOUR else a
            log = (((((((_L8 * a + _L7) * a + _L6) * a + _L5) * a + _L4) * a + _L3) * a + _L2) * a + _L1) * a + _L0
            made[i] = ONE - exp(log)
        for i in range(len(line)):
            v = line[i]
            s = v * v
            small = ((((((_S6 * s + _S5) * s + _S4) * s + _S3) * s + _S2) * s + _S1) * s + _S0) * v
            large = made[i] if v > ZERO else -made[i]
            made[i] = small if s < ONE else large
        for i in range(len(to)):
            to[i] = made[i]


@loop
def threshold_back(grad: Any, x: Any, threshold: Any, out: Any, start: int, stop: int) -> None:
    """Of lines: the gradient where x is not at or below the threshold."""
    made = np.empty(PIECE, x.dtype)
    for at in range(start, stop, PIECE):
        end = min(stop, at + PIECE)
        g, line, to = grad[at:end], x[at:end], out[at:end]
        for i in range(len(line)):
            made[i] = x.dtype.type(0) if line[i] <= threshold else g[i]
        for i in range(len(to)):
            to[i] = made[i]


@loop
def largest(row: Any) -> Any:
    """The largest number of a row that is not empty; which one if there is a NaN is not told."""
    n = len(row)
    a = b = c = d = row[0]
    for i in range(n // 4):  # as vectors, which are not found where one number is compared after the other
        j = 4 * i
        a, b, c, d = max(a, row[j]), max(b, row[j + 1]), max(c, row[j + 2]), max(d, row[j + 3])
    for j in range(n // 4 * 4, n):
        a = max(a, row[j])
    return max(max(a, b), max(c, d))


@loop
def softmax(x: Any, out: Any, start: int, stop: int) -> None:
    """Of rows ``[rows, n]``."""
    n = x.shape[1]
    for i in range(start, stop):
        top = largest(x[i])
        total = ZERO
        for j in range(n):
            e = exp(x[i, j] - top)
            out[i, j] = e
            total += e
        scale = ONE / total
        for j in range(n):
            out[i, j] *= scale


@loop
def softmax_back(grad: Any, y: Any, out: Any, start: int, stop: int) -> None:
    n = y.shape[1]
    for i in range(start, stop):
        total = ZERO
        for j in range(n):
            total += grad[i, j] * y[i, j]
        for j in range(n):
            out[i, j] = (grad[i, j] - total) * y[i, j]


@loop
def log_softmax(x: Any, out: Any, start: int, stop: int) -> None:
    n = x.shape[1]
    for i in range(start, stop):
        top = largest(x[i])
        total = ZERO
        for j in range(n):
            total += exp(x[i, j] - top)
        low = f4(math.log(total))
        for j in range(n):
            out[i, j] = x[i, j] - top - low


@loop
def log_softmax_back(grad: Any, y: Any, out: Any, start: int, stop: int) -> None:
    n = y.shape[1]
    for i in range(start, stop):
        total = ZERO
        for j in range(n):
            total += grad[i, j]
        for j in range(n):
            out[i, j] = grad[i, j] - exp(y[i, j]) * total


@loop
def cross_entropy(x: Any, target: Any, weight: Any, ignored: int, losses: Any, logs: Any, weights: Any, start: int,
                  stop: int) -> None:  # fmt: skip
    """Of scores ``[rows, classes]``: each row's loss, the log of its sum, and the weight its loss has.

    Args:
        weight: of each class, or of none where all have 1.
        ignored: the target whose rows have a loss and a weight of 0. Another that is no class has a weight below 0.
    """
    classes = x.shape[1]
    for i in range(start, stop):
        top = largest(x[i])
        total = ZERO
        for j in range(classes):
            total += exp(x[i, j] - top)
        low = f4(math.log(total))
        logs[i] = low + top
        t = target[i]
        if t == ignored:
            losses[i] = weights[i] = ZERO
        elif 0 <= t < classes:
            w = weight[t] if len(weight) else ONE
            losses[i], weights[i] = (low - (x[i, t] - top)) * w, w
        else:
            losses[i], weights[i] = ZERO, -ONE


@loop
def cross_entropy_back(grad: Any, x: Any, target: Any, weight: Any, ignored: int, logs: Any, mean: bool, wrong: Any,
                       out: Any, start: int, stop: int) -> None:  # fmt: skip
    """The gradient; ``grad`` has one for each row's loss, or one for what all together make. ``wrong[0]`` becomes True
    where a target is no class."""
    rows, classes = x.shape
    whole = 0.0
    if mean:
        for i in range(rows):
            t = target[i]
            if t != ignored and 0 <= t < classes:
                whole += np.float64(weight[t]) if len(weight) else 1.0
    for i in range(start, stop):
        t = target[i]
        if t == ignored or not 0 <= t < classes:
            out[i] = ZERO
            wrong[0] |= t != ignored
            continue
        share = grad[i % len(grad)] * (weight[t] if len(weight) else ONE)
        if mean:
            share /= f4(whole)
        low = logs[i]
        for j in range(classes):
            out[i, j] = exp(x[i, j] - low) * share
        out[i, t] -= share


@loop
def squared_difference(x: Any, y: Any, sums: Any, start: int, stop: int) -> None:
    """``sums[lines]`` of lines ``[lines, n]``."""
    for i in range(start, stop):
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            d = x[i, j] - y[i, j]
            total += d * d
        sums[i] = total


@loop
def _weights(scores: Any, first: int, low: Any) -> None:
    """Softmax of rows ``[rows, keys]`` in place, and the logs of the sums.

    Args:
        first: the number of the first row, row r attending to the keys up to r; -1: all attend to all.

    A row in which all is masked attends to nothing: its sum of 0 counts as infinite, now and in the gradient.
    """
    keys = scores.shape[1]
    for i in range(len(scores)):
        n = keys if first < 0 else min(keys, first + i + 1)
        row = scores[i, : min(keys, (n + 15) & -16)]  # whole vectors, and 0 in what is too much
        top = largest(row[:n])
        if top == -np.inf:
            top = ZERO
        for j in range(len(row)):
            row[j] = exp(row[j] - top)
        scores[i, n:] = ZERO
        total = ZERO
        for j in range(len(row)):
            total += row[j]
        if total == ZERO:
            total = INF
        scale = ONE / total
        for j in range(len(row)):
            row[j] *= scale
        low[i] = top + f4(math.log(total))


@loop
def _slopes(scores: Any, grads: Any, first: int, low: Any, means: Any) -> None:
    """Scores become weights again, and the gradients of weights those of scores, in place; ``means`` has each row's
    mean gradient by weight."""
    keys = scores.shape[1]
    for i in range(len(scores)):
        n = keys if first < 0 else min(keys, first + i + 1)
        row, grad = scores[i, : min(keys, (n + 15) & -16)], grads[i]
        log, mean = low[i], means[i]
        for j in range(len(row)):
            p = exp(row[j] - log)
            row[j] = p
            grad[j] = (grad[j] - mean) * p
        scores[i, n:] = ZERO
        grads[i, n:] = ZERO


@loop
def _add_mask(scores: Any, mask: Any, first: int) -> None:
    """``mask[rows, keys]``, one row for all or each its own."""
    for i in range(len(scores)):
        line = mask[0] if len(mask) == 1 else mask[first + i]
        for j in range(len(line)):
            scores[i, j] += line[j]


@loop
def _scaled(a: Any, scale: Any, made: Any) -> None:
    for i in range(len(a)):
        for j in range(a.shape[1]):
            made[i, j] = a[i, j] * scale


@loop
def attend(q: Any, k: Any, v: Any, masks: Any, of: Any, causal: bool, scale: Any, step: int, out: Any, logs: Any,
           start: int, stop: int) -> None:  # fmt: skip
    """Attention of samples ``start`` to ``stop``: ``q[samples, rows, e]``, ``k[samples, keys, e]``, ``v[samples, keys,
    n]``.

    Args:
        masks: ``[masks, rows or 1, keys]``, to be added; none: there is nothing to add.
        of: which mask is a sample's.
        step: of a sample's rows, how many are done at a time.
        out: ``[samples, rows, n]``.
        logs: ``[samples, rows]``, of the sums of exponentials.
    """
    rows, keys = q.shape[1], k.shape[1]
    scaled, scores = np.empty((step, q.shape[2]), q.dtype), np.empty((step, keys), q.dtype)
    for n in range(start, stop):
        columns = np.ascontiguousarray(k[n].T)
        for r in range(0, rows, step):
            some = min(step, rows - r)
            s = scores[:some]
            _scaled(q[n, r : r + some], scale, scaled)
            np.dot(scaled[:some], columns, s)
            if len(masks):
                _add_mask(s, masks[of[n]], r)
            _weights(s, r if causal else -1, logs[n, r : r + some])
            np.dot(s, v[n], out[n, r : r + some])


@loop
def attend_back(grad: Any, q: Any, k: Any, v: Any, out: Any, logs: Any, masks: Any, of: Any, causal: bool, scale: Any,
                step: int, dq: Any, dk: Any, dv: Any, start: int, stop: int) -> None:  # fmt: skip
    """The gradients in ``q``, ``k`` and ``v``."""
    rows, keys = q.shape[1], k.shape[1]
    scaled, scores = np.empty((step, q.shape[2]), q.dtype), np.empty((step, keys), q.dtype)
    slopes, means = np.empty((step, keys), q.dtype), np.empty(step, q.dtype)
    more_k, more_v = np.empty((keys, q.shape[2]), q.dtype), np.empty((keys, v.shape[2]), q.dtype)
    for n in range(start, stop):
        columns, values = np.ascontiguousarray(k[n].T), np.ascontiguousarray(v[n].T)
        for r in range(0, rows, step):
            some = min(step, rows - r)
            s, ds, here, g, o = scores[:some], slopes[:some], scaled[:some], grad[n, r : r + some], out[n, r : r + some]
            _scaled(q[n, r : r + some], scale, here)
            np.dot(here, columns, s)
            if len(masks):
                _add_mask(s, masks[of[n]], r)
            np.dot(g, values, ds)
            for i in range(some):
                line, other, mean = g[i], o[i], ZERO
                for j in range(len(line)):
                    mean += line[j] * other[j]
                means[i] = mean
            _slopes(s, ds, r if causal else -1, logs[n, r : r + some], means)
            if r == 0:
                np.dot(s.T, g, dv[n])
                np.dot(ds.T, here, dk[n])
            else:
                np.dot(s.T, g, more_v)
                np.dot(ds.T, here, more_k)
                dv[n] += more_v
                dk[n] += more_k
            np.dot(ds, k[n], here)
            _scaled(here, scale, dq[n, r : r + some])
