"""Kernels of convolution: windows of the input laid out as columns, and one matrix product a group.

The columns are made and used in blocks, so that they stay in the cache and never take more than a few megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from gradwire_engine.registry import kernel
from gradwire_proto.catalog.conv import expand_ints

BLOCK = 2**18
"""Elements of the columns that are made at a time (less only where one row of output needs more)."""


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


def _blocks(batch: int, rows: int, row: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of a batch of outputs: some samples whole or, where one is too big, some of its rows."""
    some = max(1, BLOCK // max(1, rows * row))
    for n in range(0, batch, some):
        step = max(1, rows if some > 1 else BLOCK // max(1, row))
        for r in range(0, rows, step):
            yield slice(n, min(batch, n + some)), slice(r, min(rows, r + step))


def wide(x: Any) -> Any:
    """Half precision as float32, in which sums are taken."""
    return x.astype("float32") if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


kernel("attach", lambda xp, input, other: input)


@kernel("convolution")
def convolution(xp: Any, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
                transposed: bool, output_padding: Any, groups: int, spec: Any) -> Any:  # fmt: skip
    n = weight.ndim - 2
    s, p, d = (expand_ints("", v, n) for v in (stride, padding, dilation))
    input, weight = wide(input), wide(weight)
    run = _transposed if transposed else _forward
    out = run(xp, input, weight, s, p, d, groups, spec.shape)
    if bias is not None:
        out += bias.reshape(-1, *[1] * n)
    return out


def _forward(xp: Any, input: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int,
             shape: tuple[int, ...]) -> Any:  # fmt: skip
    kernel, size = weight.shape[2:], shape[2:]
    out = xp.empty(shape, dtype=input.dtype)
    if not out.size or not weight.size:
        out[...] = 0
        return out
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    if math.prod(kernel) == 1 and max(stride) == 1 and not any(padding):
        cols = input.reshape(shape[0], groups, -1, math.prod(size))
        xp.matmul(matrix, cols, out=out.reshape(shape[0], groups, -1, cols.shape[-1]))
        return out
    view = windows(xp, padded(xp, input, padding), kernel, stride, dilation, size)
    rest = math.prod(size[1:])
    taken = weight.shape[1] * groups * math.prod(kernel)
    grouped = out.reshape(shape[0], groups, -1, size[0], rest)
    at = len(kernel) + 2
    for b, r in _blocks(shape[0], size[0], taken * rest):
        part = view[(b, *[slice(None)] * (at - 1), r)]
        cols = part.reshape(part.shape[0], groups, matrix.shape[2], -1)  # the copy: overlapping windows aren't a view
        here = grouped[b, :, :, r]
        if here.shape[3] == size[0]:
            xp.matmul(matrix, cols, out=here.reshape(*here.shape[:3], -1))
        else:
            here[...] = xp.matmul(matrix, cols).reshape(here.shape)
    return out


def _transposed(xp: Any, input: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int,
                shape: tuple[int, ...]) -> Any:  # fmt: skip
    kernel, size = weight.shape[2:], input.shape[2:]
    whole = xp.zeros((*shape[:2], *(o + 2 * p for o, p in zip(shape[2:], padding, strict=True))), dtype=input.dtype)
    if not input.size or not weight.size:
        return xp.zeros(shape, dtype=input.dtype)
    matrix = xp.swapaxes(weight.reshape(groups, weight.shape[0] // groups, -1), 1, 2)
    data = input.reshape(shape[0], groups, -1, size[0], math.prod(size[1:]))
    for b, r in _blocks(shape[0], size[0], shape[1] * math.prod(kernel) * math.prod(size[1:])):
        part = data[b, :, :, r]
        rows = part.shape[3]
        cols = xp.matmul(matrix, part.reshape(*part.shape[:3], -1))
        cols = cols.reshape(part.shape[0], shape[1], *kernel, rows, *size[1:])
        here = whole[b, :, r.start * stride[0] :]
        for k, where in offsets(kernel, stride, dilation, (rows, *size[1:])):
            here[(slice(None), slice(None), *where)] += cols[(slice(None), slice(None), *k)]
    # A stride leaves up to stride - 1 lines at the end that no window reached; output_padding asks for them.
    return whole[(..., *(slice(p, p + o) for p, o in zip(padding, shape[2:], strict=True)))]


@kernel("convolution_weight")
def convolution_weight(xp: Any, grad: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                       groups: int) -> Any:  # fmt: skip
    n = input.ndim - 2
    s, p, d = (expand_ints("", v, n) for v in (stride, padding, dilation))
    grad, input = wide(grad), wide(input)
    size, channels = grad.shape[2:], input.shape[1]
    shape = (grad.shape[1], channels // groups, *kernel_size)
    out = xp.zeros((groups, grad.shape[1] // groups, math.prod(shape[1:])), dtype=grad.dtype)
    if not out.size or not grad.size:
        return out.reshape(shape)
    view = xp.moveaxis(windows(xp, padded(xp, input, p), kernel_size, s, d, size), 0, n + 1)
    right = xp.swapaxes(grad, 0, 1)
    for b, r in _blocks(grad.shape[0], size[0], channels * math.prod(kernel_size) * math.prod(size[1:])):
        cols = view[(slice(None), *[slice(None)] * n, b, r)].reshape(groups, out.shape[2], -1)
        part = right[:, b, r].reshape(groups, out.shape[1], -1)
        out += xp.matmul(part, xp.swapaxes(cols, 1, 2))
    return out.reshape(shape)


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
