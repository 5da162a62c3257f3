"""Derivatives of distances between rows; at a distance of 0 they are 0, as torch chooses."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.derivatives.arithmetic import unknown
from gradwire_engine.derivatives.products import column, mt
from gradwire_engine.registry import vjp


def towards(g: Any, x1: Any, x2: Any, distance: Any, p: float) -> Any:
    """The gradient of x1."""
    if p == 0:
        return F.zeros_like(x1)
    if p == 2:
        # sum of weight * (x1 - x2), with no tensor of all differences
        weight = F.where(distance == 0, 0, g / F.where(distance == 0, 1, distance))
        return x1 * F.sum(weight, -1, True) - F.matmul(weight, x2)
    difference = F.unsqueeze(x1, -2) - F.unsqueeze(x2, -3)
    size, sign = F.abs(difference), F.sgn(difference)
    if p == 1:
        slope = sign
    elif p == math.inf:
        slope = F.where(size == column(distance), sign, 0)
    else:
        far = F.where(distance == 0, 1, distance)
        slope = sign * (F.where(size == 0, 1, size) / column(far)) ** (p - 1)
    return F.sum(column(g) * slope, -2)


vjp(
    "cdist_forward",
    x1=lambda g, x1, x2, result, p: towards(g, x1, x2, result, p),
    x2=lambda g, x1, x2, result, p: towards(mt(g), x2, x1, mt(result), p),
)
vjp("pdist", input=lambda g, input, p, result: F.pdist_backward(g, input, p, result))
vjp("pdist_backward", grad=unknown("_pdist_backward"), input=unknown("_pdist_backward"),
                      pdist=unknown("_pdist_backward"))
