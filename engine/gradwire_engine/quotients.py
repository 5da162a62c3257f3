"""Remainders and whole quotients of float32 on the CPU, by way of float64, for which NumPy has vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire_engine.masks import FEW

MOST = 2.0**24
"""Quotients up to which this is exact: a quotient of 24-bit numbers that is not whole is further from a whole one than
float64 rounds, and a whole one times the divisor takes 48 bits."""


def exactly(whole: Callable[..., Any], x: Any, y: Any) -> tuple[Any, Any, Any] | None:
    """The quotients of large arrays made whole by ``whole``, and both arrays, in float64; None where it takes NumPy's
    own way: of other types, few numbers, large quotients, and what is not finite."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.size <= FEW:
        return None
    if np.ndim(y) and y.shape != x.shape:
        return None
    a, b = x.astype(np.float64), np.float64(y) if np.ndim(y) == 0 else y.astype(np.float64)
    quotient = a / b
    if not (np.abs(quotient).max() < MOST and np.abs(b).max() < np.inf):
        return None
    return whole(quotient, out=quotient), a, b


def remainder(x: Any, y: Any, whole: Callable[..., Any], like: Any) -> Any:
    """What is left of ``x``, with the sign of ``like``, if of nothing; None as :func:`exactly`."""
    found = exactly(whole, x, y)
    if found is None:
        return None
    quotient, a, b = found
    quotient *= b
    np.subtract(a, quotient, out=quotient)
    return np.copysign(quotient.astype(np.float32), like)
