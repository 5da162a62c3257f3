"""Kernels. Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

from typing import Any

from gradwire_engine.kernels.reduction import wide
from gradwire_engine.registry import kernel


def _running(find: Any, input: Any, dim: int, dtype: Any) -> Any:
    a = wide(input, dtype)
    return find(a, axis=dim) if a.ndim else a.copy()


kernel("cumsum", lambda xp, input, dim, dtype=None: _running(xp.cumsum, input, dim, dtype))
kernel("cumprod", lambda xp, input, dim, dtype=None: _running(xp.cumprod, input, dim, dtype))


@kernel("exclusive_cumprod")
def exclusive_cumprod(xp: Any, input: Any, dim: int, reverse: bool) -> Any:
    a = xp.moveaxis(wide(input), dim, 0)
    out = xp.ones(a.shape, a.dtype)
    if len(a):
        if reverse:
            out[:-1] = xp.cumprod(a[:0:-1], axis=0)[::-1]
        else:
            out[1:] = xp.cumprod(a[:-1], axis=0)
    return xp.moveaxis(out, 0, dim)


@kernel("linear_scan")
def linear_scan(xp: Any, a: Any, b: Any, dim: int, reverse: bool) -> Any:
    """In log2(n) steps over whole arrays: after each, a and b stand for twice as many elements composed."""
    kind = xp.result_type(a, b)
    a, b = (xp.moveaxis(wide(v), dim, 0) for v in (a, b))
    if reverse:
        a, b = a[::-1], b[::-1]
    y = xp.zeros(b.shape, kind)
    if len(b):
        a, y[1:] = a[:-1], b[:-1]
        a, span, n = a.copy(), 1, len(b) - 1
        while span < n:
            # The right-hand sides are new arrays before anything is written: source and target overlap.
            y[1 + span :] += a[span:] * y[1:-span]
            a[span:] = a[span:] * a[:-span]
            span *= 2
    return xp.moveaxis(y[::-1] if reverse else y, 0, dim)
