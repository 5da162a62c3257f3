"""Derivatives. Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.derivatives.reduction import select_back, share_all
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


def logcumsumexp_back(g: Any, input: Any, result: Any, dim: int) -> Any:
    if not g.ndim:
        return g
    # The share of each element in the sum up to it, and that of what came before. With the shares, which lie between
    # 0 and 1, the gradient obeys a linear recurrence from the end; exp(-result) alone would overflow.
    share = conj(F.where(F.eq(input, -math.inf), 0, F.exp(input - result)))
    before = 1 - share
    return share * (g + F.linear_scan(before, before * g, dim, True))


vjp("logcumsumexp", input=logcumsumexp_back)

# ---- order

vjp("sort", input=lambda gs, indices, input_spec, dim: select_back(gs, indices, input_spec, dim))
vjp("topk", input=lambda gs, indices, input_spec, dim: select_back(gs, indices, input_spec, dim))
for _name in ("cummax", "cummin"):
    vjp(_name, input=lambda gs, indices, input_spec, dim: F.scatter_along(gs[0], indices, dim, input_spec.shape, False))
for _name in ("kthvalue", "median_dim", "nanmedian_dim", "mode"):
    vjp(_name, input=select_back)
for _name in ("median_all", "nanmedian_all"):
    vjp(_name, input=share_all)
