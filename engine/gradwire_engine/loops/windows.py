"""Loops. Windows of images: for convolutions they are laid out as columns, which BLAS multiplies, all without the
interpreter.

Columns are made and used in blocks ``(samples, depth, rows)`` of windows that stay in the cache. A block is a part of
one sample's windows, or several samples' windows side by side where these are small. All images have three
dimensions; geometry is ``(kernel, stride, padding, dilation)``, each of three numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire_engine.loops.compiling import exact, loop

U = np.uint64
"""What an index is that the compiler may take for one from zero on."""


@exact
def reach(offset: int, stride: int, size: int, count: int) -> tuple[int, int]:
    """The first of ``count`` windows that meets a line with its element at ``offset``, and the one after the last."""
    first = 0 if offset >= 0 else (-offset + stride - 1) // stride
    last = (size - 1 - offset) // stride + 1 if size > offset else 0
    return max(0, min(first, count)), max(0, min(max(last, first), count))


@loop
def lay(x: Any, n: int, geometry: Any, d: int, r: int, laid: Any, back: bool) -> None:
    """Lay out windows ``laid[channels, kd, kh, kw, samples, depth, rows, count]`` of samples from the ``n``-th of
    ``x[samples, channels, ...]``, from the ``d``-th along depth and the ``r``-th along height; or add what is laid
    ``back`` to where it came from."""
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw), (dd, dh, dw) = geometry
    channels, _, _, _, samples, outer, rows, count = laid.shape
    _, _, depth, height, width = x.shape
    for c in range(channels):
        for t in range(kd):
            z = d * sd - pd + t * dd
            front, end = reach(z, sd, depth, outer)
            for u in range(kh):
                h = r * sh - ph + u * dh
                top, bottom = reach(h, sh, height, rows)
                for v in range(kw):
                    w = v * dw - pw
                    low, high = reach(w, sw, width, count)
                    if not back and (end - front) * (bottom - top) * (high - low) < outer * rows * count:
                        laid[c, t, u, v] = 0
                    for m in range(samples):
                        i = U(n + m)
                        for a in range(front, end):
                            at, left = U(z + a * sd), U(low + w)
                            for y in range(top, bottom):
                                row = U(h + y * sh)
                                if sw == 1 and back:
                                    for j in range(high - low):
                                        x[i, c, at, row, U(j) + left] += laid[c, t, u, v, m, a, y, U(j) + U(low)]
                                elif sw == 1:
                                    for j in range(high - low):
                                        laid[c, t, u, v, m, a, y, U(j) + U(low)] = x[i, c, at, row, U(j) + left]
                                elif back:
                                    for j in range(low, high):
                                        x[i, c, at, row, U(w + j * sw)] += laid[c, t, u, v, m, a, y, j]
                                else:
                                    for j in range(low, high):
                                        laid[c, t, u, v, m, a, y, j] = x[i, c, at, row, U(w + j * sw)]


@loop
def take(a: Any, n: int, d: int, r: int, made: Any) -> None:
    """Lay filters of ``a[samples, filters, depth, rows, count]`` out as ``made[filters, samples, ...]``."""
    filters, samples, outer, rows, count = made.shape
    for f in range(filters):
        for m in range(samples):
            for z in range(outer):
                for y in range(rows):
                    for j in range(count):
                        made[f, m, z, y, j] = a[U(n + m), f, U(d + z), U(r + y), j]


@loop
def put(laid: Any, n: int, d: int, r: int, a: Any) -> None:
    """The reverse of :func:`take`."""
    filters, samples, outer, rows, count = laid.shape
    for f in range(filters):
        for m in range(samples):
            for z in range(outer):
                for y in range(rows):
                    for j in range(count):
                        a[U(n + m), f, U(d + z), U(r + y), j] = laid[f, m, z, y, j]


@loop
def forward(x: Any, weight: Any, geometry: Any, block: Any, out: Any, start: int, stop: int) -> None:
    """``out[samples, filters, ...]``, the convolution of ``x[samples, channels, ...]`` by ``weight[groups, filters of
    a group, elements of a window]``, for samples ``start`` to ``stop``."""
    kd, kh, kw = geometry[0]
    groups, filters, width = weight.shape
    channels, (outer, rows, count) = x.shape[1], out.shape[2:]
    whole = block[1] == outer and block[2] == rows
    for n in range(start, stop, block[0]):
        some = min(block[0], stop - n)
        for d in range(0, outer, block[1]):
            deep = min(block[1], outer - d)
            for r in range(0, rows, block[2]):
                high = min(block[2], rows - r)
                laid = np.empty((channels, kd, kh, kw, some, deep, high, count), x.dtype)
                lay(x, n, geometry, d, r, laid, False)
                columns = laid.reshape(groups, width, some * deep * high * count)
                if whole and some == 1:
                    made = out[n].reshape(groups, filters, columns.shape[2])
                    for g in range(groups):
                        np.dot(weight[g], columns[g], made[g])
                else:
                    made = np.empty((groups, filters, columns.shape[2]), x.dtype)
                    for g in range(groups):
                        np.dot(weight[g], columns[g], made[g])
                    put(made.reshape(groups * filters, some, deep, high, count), n, d, r, out)


@loop
def transposed(grad: Any, weight: Any, geometry: Any, block: Any, x: Any, start: int, stop: int) -> None:
    """The adjoint in ``x`` of :func:`forward`, of ``grad`` of the form of ``out``."""
    kd, kh, kw = geometry[0]
    groups, filters, width = weight.shape
    channels, (outer, rows, count) = x.shape[1], grad.shape[2:]
    whole = block[1] == outer and block[2] == rows
    x[start:stop] = 0
    for n in range(start, stop, block[0]):
        some = min(block[0], stop - n)
        for d in range(0, outer, block[1]):
            deep = min(block[1], outer - d)
            for r in range(0, rows, block[2]):
                high = min(block[2], rows - r)
                size = some * deep * high * count
                if whole and some == 1:
                    given = grad[n].reshape(groups, filters, size)
                else:
                    parts = np.empty((groups * filters, some, deep, high, count), x.dtype)
                    take(grad, n, d, r, parts)
                    given = parts.reshape(groups, filters, size)
                columns = np.empty((groups, width, size), x.dtype)
                for g in range(groups):
                    np.dot(weight[g].T, given[g], columns[g])
                laid = columns.reshape(channels, kd, kh, kw, some, deep, high, count)
                lay(x, n, geometry, d, r, laid, True)


@loop
def of_weight(grad: Any, x: Any, geometry: Any, block: Any, step: int, sums: Any, start: int, stop: int) -> None:
    """The adjoint in ``weight``: ``sums[parts, groups, elements of a window, filters of a group]``, each of ``step``
    samples, from part ``start`` to part ``stop``."""
    kd, kh, kw = geometry[0]
    _, groups, width, filters = sums.shape
    channels, (outer, rows, count) = x.shape[1], grad.shape[2:]
    whole = block[1] == outer and block[2] == rows
    product = np.empty((width, filters), x.dtype)
    for p in range(start, stop):
        sums[p] = 0
        end = min((p + 1) * step, len(x))
        for n in range(p * step, end, block[0]):
            some = min(block[0], end - n)
            for d in range(0, outer, block[1]):
                deep = min(block[1], outer - d)
                for r in range(0, rows, block[2]):
                    high = min(block[2], rows - r)
                    size = some * deep * high * count
                    if whole and some == 1:
                        given = grad[n].reshape(groups, filters, size)
                    else:
                        parts = np.empty((groups * filters, some, deep, high, count), x.dtype)
                        take(grad, n, d, r, parts)
                        given = parts.reshape(groups, filters, size)
                    laid = np.empty((channels, kd, kh, kw, some, deep, high, count), x.dtype)
                    lay(x, n, geometry, d, r, laid, False)
                    columns = laid.reshape(groups, width, size)
                    for g in range(groups):
                        np.dot(columns[g], given[g].T, product)
                        sums[p, g] += product


@loop
def max_pool(x: Any, geometry: Any, values: Any, indices: Any, start: int, stop: int) -> None:
    """The largest of each window of planes ``x[planes, depth, height, width]``, and its place in its plane.

    The first of equals wins, and the last NaN.
    """
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw), (dd, dh, dw) = geometry
    _, depth, height, width = x.shape
    _, outer, rows, count = values.shape
    low, high = -(-pw // sw), (width - 1 + pw - (kw - 1) * dw) // sw + 1  # windows in between are whole
    for p in range(start, stop):
        for a in range(outer):
            z = a * sd - pd
            t0, t1 = reach(z, dd, depth, kd)
            for b in range(rows):
                y = b * sh - ph
                u0, u1 = reach(y, dh, height, kh)
                for c in range(count):
                    w = c * sw - pw
                    v0, v1 = (0, kw) if low <= c < high else reach(w, dw, width, kw)
                    best = x.dtype.type(-np.inf)
                    at = ((z + t0 * dd) * height + y + u0 * dh) * width + w + v0 * dw
                    for t in range(t0, t1):
                        for u in range(u0, u1):
                            line = ((z + t * dd) * height + y + u * dh) * width
                            for v in range(v0, v1):
                                value = x[p, U(z + t * dd), U(y + u * dh), U(w + v * dw)]
                                if value > best or value != value:
                                    best, at = value, line + w + v * dw
                    values[p, a, b, c] = best
                    indices[p, a, b, c] = at
