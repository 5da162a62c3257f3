"""Kernels of distances between rows: block by block, so that no tensor of all differences is ever made."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import matmul
from gradwire_engine.registry import kernel

BLOCK = 1 << 16
"""Differences held at a time, in elements."""


def norm(xp: Any, difference: Any, p: float) -> Any:
    """The p-norm along the last dimension."""
    size = abs(difference)
    if p == 0:
        return (size != 0).sum(axis=-1).astype(size.dtype)
    if p == 1:
        return size.sum(axis=-1)
    if p == 2:
        return xp.sqrt((size * size).sum(axis=-1))
    if p == math.inf:
        return size.max(axis=-1) if size.shape[-1] else size.sum(axis=-1)
    return (size**p).sum(axis=-1) ** (1 / p)


@kernel("cdist_forward")
def cdist(xp: Any, x1: Any, x2: Any, p: float, products: bool, spec: Any) -> Any:
    if products and p == 2:
        squares = (x1 * x1).sum(axis=-1)[..., :, None] + (x2 * x2).sum(axis=-1)[..., None, :]
        squares = squares - 2 * matmul(xp, x1, x2.swapaxes(-1, -2))
        return xp.sqrt(xp.maximum(squares, 0))
    out = xp.empty(spec.shape, x1.dtype)
    rows = max(1, BLOCK // max(1, x2.size))
    for i in range(0, x1.shape[-2], rows):
        out[..., i : i + rows, :] = norm(xp, x1[..., i : i + rows, None, :] - x2[..., None, :, :], p)
    return out


@kernel("pdist")
def pdist(xp: Any, input: Any, p: float = 2.0, *, spec: Any) -> Any:
    n = len(input)
    out = xp.empty(spec.shape, input.dtype)
    at = 0
    for i in range(n - 1):
        out[at : at + n - 1 - i] = norm(xp, input[i] - input[i + 1 :], p)
        at += n - 1 - i
    return out


@kernel("pdist_backward")
def pdist_backward(xp: Any, grad: Any, input: Any, p: float, pdist: Any) -> Any:
    n = len(input)
    out = xp.zeros_like(input)
    at = 0
    for i in range(n - 1):
        end = at + n - 1 - i
        moved = slope(xp, input[i] - input[i + 1 :], pdist[at:end, None], p) * grad[at:end, None]
        out[i] += moved.sum(axis=0)
        out[i + 1 :] -= moved
        at = end
    return out


def slope(xp: Any, difference: Any, distance: Any, p: float) -> Any:
    """The derivative of the p-norm; 0 where the distance is 0, as torch chooses."""
    if p == 0:
        return xp.zeros_like(difference)
    if p == 1:
        return xp.sign(difference)
    if p == math.inf:
        return xp.sign(difference) * (abs(difference) == distance)
    safe = xp.where(distance == 0, 1, distance)
    size = abs(difference) / safe
    return xp.where(difference == 0, 0, xp.sign(difference) * xp.where(size == 0, 1, size) ** (p - 1))
