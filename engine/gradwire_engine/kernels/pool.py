"""Kernels of pooling."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import filled, handed, looked_up, room
from gradwire_engine.kernels import axes
from gradwire_engine.kernels.conv import offsets, padded, wide
from gradwire_engine.lines import large
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at, moved
from gradwire_engine.spread import PIECE, share
from gradwire_proto.catalog.pool import ints


def _largest(xp: Any, pieces: Iterable[Any], first: Any = 0, most: int = 2**16, out: Any = None) -> tuple[Any, Any]:
    """The largest of several arrays element by element, and the number of the one it is from.

    The first of equals wins, and the last NaN. Written without masked assignment, which stumbles over random masks.

    Args:
        first: the number where nothing is larger than the first piece.
        most: as many pieces as there may be.
    """
    best: Any = None
    number: Any = None
    for i, values in enumerate(pieces):
        if best is None:
            best = xp.empty(values.shape, values.dtype) if out is None else out
            best[...] = values
            number = xp.empty(values.shape, dtype="uint8" if most <= 2**8 else "int32")
            number[...] = first
            continue
        values = xp.ascontiguousarray(values)  # which takes less time than to read windows four times
        better = values > best
        if values.dtype.kind not in "iu":
            better |= values != values
        xp.maximum(best, values, out=best)
        xp.maximum(number, better.view(xp.uint8) * number.dtype.type(i), out=number)  # numbers only grow
    return best, number


def _flat(xp: Any, each: list[Any], shape: tuple[int, ...]) -> Any:
    """Flat indices into planes of this shape from the indices along each dimension."""
    n = len(shape)
    total: Any = 0
    for i, at in enumerate(each):
        total = total + xp.asarray(at).reshape(-1, *(1,) * (n - i - 1)) * math.prod(shape[i + 1 :])
    return total


def _moves(xp: Any, places: Iterable[tuple[int, ...]], shape: tuple[int, ...]) -> Any:
    """How far each place of a window is from its first, in a flat plane of this shape."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return xp.asarray([sum(a * b for a, b in zip(at, strides, strict=True)) for at in places])


def _lowest(xp: Any, dtype: Any) -> Any:
    return xp.iinfo(dtype).min if dtype.kind in "iu" else -math.inf


def _by_planes(xp: Any, pool: Any, n: int, input: Any, spec: Any, out: Any) -> tuple[Any, Any]:
    """What ``pool(planes, out)`` makes of a large array, some planes at a time, which the cores share."""
    size, pooled = input.shape[-n:], spec[0].shape
    values = room(xp, out[0], pooled, input.dtype)
    indices = room(xp, out[1], pooled, xp.dtype("int64"))
    flat = input.reshape(-1, *size)
    made = [a.reshape(-1, *pooled[-n:]) for a in (values, indices)]

    def some(start: int, stop: int) -> None:
        parts = tuple(a[start:stop] for a in made)
        for part, found in zip(parts, pool(flat[start:stop], parts), strict=True):
            filled(part, found)

    share(some, len(flat), min(len(flat) - 1, max(1, PIECE // math.prod(size))))
    return filled(out[0], values), filled(out[1], indices)


def _by_loop(xp: Any, n: int, input: Any, geometry: Any, shape: tuple[int, ...], out: Any) -> tuple[Any, Any]:
    """Maxima and their places by a loop over planes."""
    from gradwire_engine.loops import windows

    missing = (1,) * (3 - n)
    x = xp.ascontiguousarray(input).reshape(-1, *missing, *input.shape[-n:])
    values, indices = room(xp, out[0], shape, input.dtype), room(xp, out[1], shape, xp.dtype("int64"))
    made = (a.reshape(-1, *missing, *shape[-n:]) for a in (values, indices))
    how = tuple((*([fill] * (3 - n)), *map(int, v)) for fill, v in zip((1, 1, 0, 1), geometry, strict=True))
    work = math.prod(shape[-n:]) * math.prod(geometry[0])
    loops.over(windows.max_pool, len(x), work, x, how, *made)
    return handed(out[0], values, shape), handed(out[1], indices, shape)


def _max_pool(n: int) -> None:
    def run(xp: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
            spec: Any, out: Any = (None, None)) -> tuple[Any, Any]:  # fmt: skip
        k = ints("", "", kernel_size, n)
        s = ints("", "", stride, n) if len(stride) else k
        p, d = ints("", "", padding, n), ints("", "", dilation, n)
        if spec[0].numel and loops.fit(xp, input, out[0]):
            return _by_loop(xp, n, input, (k, s, p, d), spec[0].shape, out)
        size, pooled = input.shape[-n:], spec[0].shape[-n:]
        reach = [(o - 1) * c + b * (a - 1) + 1 for o, c, b, a in zip(pooled, s, d, k, strict=True)]
        # With ceil_mode the last window may need more room on the right than the padding gives.
        room = [max(b, r - i - b) for b, r, i in zip(p, reach, size, strict=True)]
        x = _widened(xp, input, p, room)
        starts = [xp.arange(m) * b - c for m, b, c in zip(pooled, s, p, strict=True)]
        # Where padding comes first in a window, so that a window of -inf has an index of its own.
        valid = [xp.maximum(-(line // step), 0) for line, step in zip(starts, d, strict=True)]
        pieces = (x[(..., *where)] for _, where in offsets(k, s, d, pooled))
        values, number = _largest(xp, pieces, _flat(xp, valid, k), math.prod(k), out[0])
        each = product(*(range(0, a * b, b) for a, b in zip(k, d, strict=True)))
        indices = looked_up(xp, _moves(xp, each, size), number, out[1])
        indices += _flat(xp, starts, size)
        return values, indices

    kernel(f"max_pool{n}d_with_indices", run)


def _widened(xp: Any, input: Any, left: Any, right: Any) -> Any:
    if not any(left) and not any(right):
        return input
    if tuple(left) == tuple(right):
        return padded(xp, input, left, _lowest(xp, input.dtype))
    n = len(left)
    size = input.shape[-n:]
    shape = (*input.shape[:-n], *(a + i + b for a, i, b in zip(left, size, right, strict=True)))
    out = xp.full(shape, _lowest(xp, input.dtype), dtype=input.dtype)
    out[(..., *(slice(a, a + i) for a, i in zip(left, size, strict=True)))] = input
    return out


def _each_window(xp: Any, lines: Any, windows: list[tuple[int, int]], out: tuple[Any, Any]) -> tuple[Any, Any]:
    """The largest of each of a few long windows of lines, and its index, into ``out``."""
    values, indices = (a.reshape(len(lines), -1) for a in out)
    for i, (start, stop) in enumerate(windows):
        part = lines[:, start:stop]
        at = part.argmax(axis=1)
        best = xp.take_along_axis(part, at[:, None], axis=1)[:, 0]
        if part.dtype.kind == "f" and bool(xp.isnan(best).any()):  # the last one of them, not the first
            at = xp.where(xp.isnan(best), part.shape[1] - 1 - xp.isnan(part[:, ::-1]).argmax(axis=1), at)
        values[:, i], indices[:, i] = best, at + start
    return out


def _adaptive_max_pool(n: int) -> None:
    def run(xp: Any, input: Any, output_size: Any, spec: Any) -> tuple[Any, Any]:
        size, out = input.shape[-n:], spec[0].shape[-n:]
        if 0 in spec[0].shape:
            return xp.empty(spec[0].shape, dtype=input.dtype), xp.empty(spec[0].shape, dtype="int64")
        shares = [axes.shares(i, o) for i, o in zip(size, out, strict=True)]
        if n == 1 and large(xp, input) and out[0] ** 2 < size[0]:
            return _by_planes(xp, lambda x, made: _each_window(xp, x, shares[0], made), n, input, spec, (None, None))
        flat = input.reshape(*input.shape[:-n], -1)
        # A window shorter than others looks at its last element again, which is never larger.
        indices = [
            _flat(xp, [[min(a + j, b - 1) for a, b in line] for j, line in zip(at, shares, strict=True)], size)
            for at in product(*(range(max(b - a for a, b in line)) for line in shares))
        ]
        values, number = _largest(xp, (flat[..., i] for i in indices))
        plane = xp.arange(indices[0].size).reshape(indices[0].shape)
        return values, xp.stack(indices).reshape(-1)[number * indices[0].size + plane]

    kernel(f"adaptive_max_pool{n}d", run)


def _avg_pool(n: int) -> None:
    def geometry(size: Any, out: Any, kernel_size: Any, stride: Any, padding: Any) -> list[tuple[int, ...]]:
        k = ints("", "", kernel_size, n)
        s = ints("", "", stride, n) if len(stride) else k
        return list(zip(size, out, k, s, ints("", "", padding, n), strict=True))

    def divided(xp: Any, x: Any, lines: list[tuple[int, ...]], include: bool, divisor: int | None) -> Any:
        """``x``, of the pooled shape, divided by how many elements each window has."""
        if divisor is not None:
            return x / divisor
        counts: Any = 1
        for i, (size, out, k, s, p) in enumerate(lines):
            starts = [o * s - p for o in range(out)]
            # torch counts padding, but not what a window of ceil_mode has beyond it.
            each = [min(a + k, size + p) - a if include else min(a + k, size) - max(a, 0) for a in starts]
            counts = counts * (each[0] if len(set(each)) == 1 else
                               xp.asarray(each, dtype="float64").reshape(-1, *(1,) * (n - i - 1)))  # fmt: skip
        return x / (counts if isinstance(counts, int) else counts.astype(x.real.dtype if x.dtype.kind in "fc" else "d"))

    def run(xp: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
            count_include_pad: bool, divisor_override: int | None, spec: Any) -> Any:  # fmt: skip
        lines = geometry(input.shape[-n:], spec.shape[-n:], kernel_size, stride, padding)
        x = wide(input)
        for i in axes.smallest_first(input.shape[-n:], spec.shape[-n:]):
            x = axes.apply(xp, x, x.ndim - n + i, lines[i][1], axes.windows(*lines[i]))
        return divided(xp, x, lines, count_include_pad, divisor_override)

    def back(xp: Any, grad: Any, input_size: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
             count_include_pad: bool, divisor_override: int | None) -> Any:  # fmt: skip
        lines = geometry(input_size, grad.shape[-n:], kernel_size, stride, padding)
        x = divided(xp, wide(grad), lines, count_include_pad, divisor_override)
        for i in axes.smallest_first(grad.shape[-n:], input_size):
            x = axes.apply(xp, x, x.ndim - n + i, lines[i][0], axes.windows(*lines[i]), transposed=True)
        return x

    kernel(f"avg_pool{n}d", run)
    kernel(f"avg_pool{n}d_backward", back)


def _adaptive_avg_pool(n: int) -> None:
    def along(xp: Any, x: Any, size: Any, out: Any, transposed: bool) -> Any:
        x = wide(x)
        to, at = (size, x.ndim - n) if transposed else (out, x.ndim - n)
        for i in axes.smallest_first(x.shape[-n:], to):
            if size[i] != out[i]:
                x = axes.apply(xp, x, at + i, to[i], axes.means(size[i], out[i], transposed))
        return x

    kernel(f"adaptive_avg_pool{n}d", lambda xp, input, output_size, spec: along(
        xp, input, input.shape[-n:], spec.shape[-n:], False))  # fmt: skip
    kernel(f"adaptive_avg_pool{n}d_backward", lambda xp, grad, input_size, output_size: along(
        xp, grad, input_size, grad.shape[-n:], True))  # fmt: skip


for _n in (1, 2, 3):
    _max_pool(_n)
    _adaptive_max_pool(_n)
    _avg_pool(_n)
    _adaptive_avg_pool(_n)


def _placed(xp: Any, indices: Any, planes: int, inner: int) -> Any:
    """Indices within planes as indices into all of them, flat."""
    return (indices.reshape(planes, -1) + xp.arange(planes)[:, None] * inner).reshape(-1)


@kernel("scatter_planes")
def scatter_planes(xp: Any, input: Any, indices: Any, size: Any, unique: bool, spec: Any, out: Any = None) -> Any:
    if out is None:
        out = xp.empty(spec.shape, dtype=input.dtype)
    planes = spec.numel // max(1, math.prod(size))
    flat = out.reshape(-1)
    flat[...] = 0
    if input.size and loops.fit(xp, input, out):
        moved(xp, "scatter", (planes, -1, 1), input, indices, out, not unique)
    elif input.size:
        at = _placed(xp, indices, planes, math.prod(size))
        if unique:
            flat[at] = input.reshape(-1)
        else:
            add_at(xp, flat, at, input.reshape(-1))
    return out


@kernel("gather_planes")
def gather_planes(xp: Any, input: Any, indices: Any, dims: int) -> Any:
    if not indices.size:
        return xp.empty(indices.shape, dtype=input.dtype)
    inner = math.prod(input.shape[input.ndim - dims :])
    if loops.fit(xp, input):
        made = xp.empty(indices.shape, input.dtype)
        moved(xp, "gather", (input.size // inner, -1, 1), input, indices, made)
        return made
    return input.reshape(-1)[_placed(xp, indices, input.size // inner, inner)].reshape(indices.shape)


@kernel("max_unpool")
def max_unpool(xp: Any, input: Any, indices: Any, output_size: Any, spec: Any) -> Any:
    inner = math.prod(output_size)
    wrong = (indices < 0) | (indices >= inner)
    if bool(wrong.any()):
        volume = "x".join(map(str, output_size if len(output_size) > 1 else (*output_size, 1)))
        raise RuntimeError(
            f"Found an invalid max index: {int(indices[wrong][0])} (output volumes are of size {volume})"
        )
    return scatter_planes(xp, input, indices, output_size, True, spec)


@kernel("fractional_max_pool")
def fractional_max_pool(xp: Any, input: Any, kernel_size: Any, output_size: Any, random_samples: Any,
                        spec: Any) -> tuple[Any, Any]:  # fmt: skip
    n = len(output_size)
    size, planes = input.shape[-n:], math.prod(input.shape[:-n])
    # torch draws a number for each dimension, the last one first.
    draws = random_samples.reshape(planes, n)[:, ::-1] if n == 2 else random_samples.reshape(planes, n)
    start: Any = 0
    for i, (m, o, k) in enumerate(zip(size, output_size, kernel_size, strict=True)):
        u = draws[:, i, None]
        alpha = (m - k) / (o - 1) if o > 1 else 0.0
        line = (xp.floor((xp.arange(o) + u) * alpha) - xp.floor(u * alpha)).astype("int64")
        line[:, -1] = m - k
        line = line.reshape(planes, *(o if j == i else 1 for j in range(n)))
        start = start + line * math.prod(size[i + 1 :])
    flat = input.reshape(planes, -1)
    moves = [int(m) for m in _moves(xp, product(*map(range, kernel_size)), size)]
    values, number = _largest(
        xp, (xp.take_along_axis(flat, (start + m).reshape(planes, -1), axis=1) for m in moves)
    )
    index = xp.asarray(moves)[number] + start.reshape(planes, -1)
    return values.reshape(spec[0].shape), index.reshape(spec[0].shape)
