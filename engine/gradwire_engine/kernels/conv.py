"""Kernels of convolution: windows of the input laid out as columns, and one matrix product a group.

The columns are made and used in blocks, so that they stay in the cache and never take more than a few megabytes. In a
block of narrow images the samples come last, so that what is copied and added lies in long runs nevertheless.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from gradwire_engine import columns, loops
from gradwire_engine.backend import filled, matmul
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.conv import expand_ints

BLOCK = 2**19
"""Elements of the columns that are made at a time (more only where one row of output needs more)."""
NARROW = 16
"""Up to this width of the output, samples come last."""


def padded(xp: Any, x: Any, padding: Sequence[int], value: Any = 0) -> Any:
    """``x`` with its last dimensions widened on both sides."""
    if not any(padding):
        return x
    lead = x.ndim - len(padding)
    shape = (*x.shape[:lead], *(s + 2 * p for s, p in zip(x.shape[lead:], padding, strict=True)))
    out = xp.full(shape, value, dtype=x.dtype)
    out[(..., *(slice(p, p + s) for s, p in zip(x.shape[lead:], padding, strict=True)))] = x
    return out


def windows(xp: Any, x: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
            size: Sequence[int]) -> Any:  # fmt: skip
    """A view ``[..., *kernel, *size]`` of ``x`` (padded already): each element of each window."""
    n = len(kernel)
    lead, steps = x.shape[: x.ndim - n], x.strides[x.ndim - n :]
    return xp.lib.stride_tricks.as_strided(
        x,
        (*lead, *kernel, *size),
        (*x.strides[: x.ndim - n], *(d * b for d, b in zip(dilation, steps, strict=True)),
         *(s * b for s, b in zip(stride, steps, strict=True))),
    )  # fmt: skip


def offsets(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
            size: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:  # fmt: skip
    """For each position in the kernel, the slices of the padded input that it meets."""
    for k in product(*map(range, kernel)):
        yield k, tuple(
            slice(i * d, i * d + s * (o - 1) + 1, s) for i, d, s, o in zip(k, dilation, stride, size, strict=True)
        )


def _blocks(batch: int, rows: int, row: int) -> Iterator[tuple[slice, list[slice]]]:
    """Pieces of a batch of outputs, and of their rows: some samples whole or, where one is too big, a part of it."""
    some = max(1, BLOCK // max(1, rows * row))
    some = -(-batch // -(-batch // some)) if batch else 1  # pieces of about one size
    step = max(1, rows if some > 1 else BLOCK // max(1, row))
    parts = [slice(r, min(rows, r + step)) for r in range(0, rows, step)]
    for n in range(0, batch, some):
        yield slice(n, min(batch, n + some)), parts


def wide(x: Any) -> Any:
    """Half precision as float32, in which sums are taken."""
    return x.astype("float32") if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


kernel("attach", lambda xp, input, other: input)


def _laid(xp: Any, x: Any, narrow: bool) -> Any:
    """Samples ``[batch, channels, ...]`` as ``[batch, channels, ..., 1]``; where narrow, ``[1, ..., batch]``."""
    return xp.ascontiguousarray(xp.moveaxis(x, 0, -1))[None] if narrow else x[..., None]


def _samples(xp: Any, x: Any) -> Any:
    """Samples in their usual layout again."""
    return xp.moveaxis(x, -1, 0).reshape(-1, *x.shape[1:-1])


def _columns(xp: Any, x: Any, kernel: Any, stride: Any, dilation: Any, size: Any, groups: int, rows: slice) -> Any:
    """The windows of some rows of outputs, of samples as laid: ``[..., groups, channels * kernel, rows * ...]``."""
    view = windows(xp, x, (*kernel, 1), (*stride, 1), (*dilation, 1), (*size, x.shape[-1]))
    part = view[(slice(None), slice(None), *[slice(None)] * (len(kernel) + 1), rows)]
    return part.reshape(len(x), groups, x.shape[1] // groups * math.prod(kernel), -1)  # a copy, since windows overlap


@kernel("convolution")
def convolution(xp: Any, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
                transposed: bool, output_padding: Any, groups: int, spec: Any, out: Any = None) -> Any:  # fmt: skip
    n = weight.ndim - 2
    s, p, d = (expand_ints("", v, n) for v in (stride, padding, dilation))
    input, weight = wide(input), wide(weight)
    made = out if out is not None and out.dtype == input.dtype else xp.empty(spec.shape, dtype=input.dtype)
    if not input.size or not weight.size:
        made[...] = 0
    elif made.size and loops.fit(xp, input, weight):
        size, channels = (input.shape[2:], made.shape[1]) if transposed else (made.shape[2:], input.shape[1])
        windows = columns.Windows(size, weight.shape[2:], s, p, d, channels, groups)
        (columns.transposed if transposed else columns.forward)(input, weight, windows, made)
    elif made.size:
        (_transposed if transposed else _forward)(xp, input, weight, s, p, d, groups, made)
    if bias is not None:
        made += bias.reshape(-1, *[1] * n)
    return filled(out, made)


def _forward(xp: Any, input: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int,
             out: Any) -> None:  # fmt: skip
    kernel, size, batch = weight.shape[2:], out.shape[2:], out.shape[0]
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    rest, narrow = math.prod(size[1:]), size[-1] <= NARROW
    if math.prod(kernel) == 1 and max(stride) == 1 and not any(padding):
        cols = input.reshape(batch, groups, -1, size[0] * rest)
        matmul(xp, matrix, cols, out=out.reshape(batch, groups, -1, size[0] * rest))
        return
    for b, parts in _blocks(batch, size[0], groups * matrix.shape[2] * rest):
        x = padded(xp, _laid(xp, input[b], narrow), (*padding, 0))
        for r in parts:
            cols = _columns(xp, x, kernel, stride, dilation, size, groups, r)
            if not narrow and len(parts) == 1:
                matmul(xp, matrix, cols, out=out[b].reshape(*cols.shape[:2], -1, cols.shape[3]))
                continue
            made = matmul(xp, matrix, cols)
            out[b, :, r] = _samples(xp, made.reshape(len(x), out.shape[1], -1, *size[1:], x.shape[-1]))


def _transposed(xp: Any, input: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int,
                out: Any) -> None:  # fmt: skip
    kernel, size, batch = weight.shape[2:], input.shape[2:], out.shape[0]
    channels, filters = out.shape[1], weight.shape[0]
    # One row of the kernel at a time, which leaves the products in the cache until they are added.
    lines = xp.moveaxis(weight, 2, 0).reshape(kernel[0], groups, filters // groups, -1)
    # A stride leaves up to stride - 1 lines at the end that no window reaches; output_padding asks for them.
    whole = [o + 2 * p for o, p in zip(out.shape[2:], padding, strict=True)]
    inner = (..., *(slice(p, p + o) for p, o in zip(padding, out.shape[2:], strict=True)), slice(None))
    for b, parts in _blocks(batch, size[0], channels * math.prod(kernel[1:]) * math.prod(size[1:])):
        x = _laid(xp, input[b], size[-1] <= NARROW)
        total = xp.zeros((len(x), channels, *whole, x.shape[-1]), dtype=out.dtype)
        for r in parts:
            shape = x[:, :, r].shape[2:]
            part = x[:, :, r].reshape(len(x), groups, filters // groups, -1)
            for i, line in enumerate(lines):
                cols = matmul(xp, xp.swapaxes(line, 1, 2), part).reshape(len(x), channels, *kernel[1:], *shape)
                here = total[:, :, r.start * stride[0] + i * dilation[0] :]
                for k, where in offsets((1, *kernel[1:]), stride, dilation, shape[:-1]):
                    here[(slice(None), slice(None), *where)] += cols[(slice(None), slice(None), *k[1:])]
        out[b] = _samples(xp, total[inner])


@kernel("convolution_weight")
def convolution_weight(xp: Any, grad: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                       groups: int, out: Any = None) -> Any:  # fmt: skip
    n = input.ndim - 2
    s, p, d = (expand_ints("", v, n) for v in (stride, padding, dilation))
    grad, input = wide(grad), wide(input)
    size, channels, filters = grad.shape[2:], input.shape[1], grad.shape[1]
    shape = (filters, channels // groups, *kernel_size)
    if grad.size and input.size and loops.fit(xp, grad, input):
        windows = columns.Windows(size, kernel_size, s, p, d, channels, groups)
        return filled(out, columns.of_weight(grad, input, windows, shape))
    taken = math.prod(shape[1:])
    total = xp.zeros((groups, taken, filters // groups), dtype=grad.dtype)
    narrow = size[-1] <= NARROW
    for b, parts in _blocks(grad.shape[0], size[0], groups * taken * math.prod(size[1:])) if grad.size else ():
        x, g = padded(xp, _laid(xp, input[b], narrow), (*p, 0)), _laid(xp, grad[b], narrow)
        for r in parts:
            cols = _columns(xp, x, kernel_size, s, d, size, groups, r)
            part = g[:, :, r].reshape(len(g), groups, filters // groups, -1)
            total += matmul(xp, cols, xp.swapaxes(part, 2, 3)).sum(axis=0)
    return filled(out, xp.swapaxes(total, 1, 2).reshape(shape))


def _pair(v: Sequence[int]) -> tuple[int, ...]:
    return tuple(v) * (3 - len(v))


@kernel("im2col")
def im2col(xp: Any, input: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any, spec: Any) -> Any:
    kernel, d, p, s = (_pair(v) for v in (kernel_size, dilation, padding, stride))
    size = tuple((i + 2 * c - b * (k - 1) - 1) // a + 1
                 for i, k, b, c, a in zip(input.shape[-2:], kernel, d, p, s, strict=True))  # fmt: skip
    return windows(xp, padded(xp, input, p), kernel, s, d, size).reshape(spec.shape)


@kernel("col2im")
def col2im(xp: Any, input: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any,
           spec: Any) -> Any:  # fmt: skip
    kernel, d, p, s = (_pair(v) for v in (kernel_size, dilation, padding, stride))
    full = tuple(o + 2 * c for o, c in zip(spec.shape[-2:], p, strict=True))
    size = tuple((i - b * (k - 1) - 1) // a + 1 for i, k, b, a in zip(full, kernel, d, s, strict=True))
    cols = input.reshape(*spec.shape[:-2], *kernel, *size)
    out = xp.zeros((*spec.shape[:-2], *full), dtype=input.dtype)
    for k, where in offsets(kernel, s, d, size):
        out[(..., *where)] += cols[(..., *k, slice(None), slice(None))]
    return out[..., p[0] : full[0] - p[0], p[1] : full[1] - p[1]]
