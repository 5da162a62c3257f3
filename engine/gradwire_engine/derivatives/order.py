"""Derivatives. Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp

# ---- scans


def from_end(g: Any, dim: int) -> Any:
    """For each element the sum of g from it on."""
    return F.flip(F.cumsum(F.flip(g, (dim,)), dim), (dim,)) if g.ndim else g


def cumprod_back(g: Any, input: Any, dim: int) -> Any:
    if not g.ndim:
        return g
    a = conj(input)
    # Each output is the one before times its element, so the gradient obeys a linear recurrence from the end,
    # which needs no division and so minds no zero.
    return conj(F.exclusive_cumprod(input, dim, False)) * (g + F.linear_scan(a, a * g, dim, True))


def scan_back_a(g: Any, a: Any, result: Any, dim: int, reverse: bool) -> Any:
    """Of a recurrence in a: the same recurrence the other way, times what a was multiplied with."""
    return F.linear_scan(conj(a), g, dim, not reverse) * conj(result)


vjp("cumsum", input=lambda g, dim: from_end(g, dim))
vjp("cumprod", input=cumprod_back)
vjp("exclusive_cumprod", input=lambda g, input, result, dim, reverse: scan_back_a(g, input, result, dim, reverse))
vjp("linear_scan", a=scan_back_a, b=lambda g, a, dim, reverse: F.linear_scan(conj(a), g, dim, not reverse))
