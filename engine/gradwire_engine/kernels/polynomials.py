"""Kernels of orthogonal polynomials, by their recurrences from one degree to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradwire_engine.registry import kernel


def polynomial(xp: Any, x: Any, n: Any, first: Callable[[Any], Any], step: Callable[[Any, int, Any, Any], Any]) -> Any:
    """Polynomials of degrees ``n``, cut to whole numbers, at ``x``; 0 where a degree is negative.

    Args:
        first: the polynomial of degree 1; that of degree 0 is 1.
        step: the polynomial of degree k + 1, of x, k, and those of degrees k - 1 and k.
    """
    x, n = xp.broadcast_arrays(xp.asarray(x), xp.asarray(n))
    n = xp.trunc(n)
    before, now = xp.ones_like(x), first(x)
    made = xp.where(n < 0, 0, xp.where(n == 0, before, now)).astype(x.dtype)
    for k in range(1, int(n.max()) if n.size else 0):
        before, now = now, step(x, k, before, now)
        made = xp.where(n == k + 1, now, made)
    return made


def _chebyshev(x: Any, k: int, before: Any, now: Any) -> Any:
    return 2 * x * now - before


for _kind, _first in (
    ("t", lambda x: x), ("u", lambda x: 2 * x), ("v", lambda x: 2 * x - 1), ("w", lambda x: 2 * x + 1),
):  # fmt: skip
    kernel(f"special_chebyshev_polynomial_{_kind}", lambda xp, x, n, first=_first:
        polynomial(xp, x, n, first, _chebyshev))
    kernel(f"special_shifted_chebyshev_polynomial_{_kind}", lambda xp, x, n, first=_first:
        polynomial(xp, 2 * x - 1, n, first, _chebyshev))

kernel("special_hermite_polynomial_h", lambda xp, x, n:
    polynomial(xp, x, n, lambda x: 2 * x, lambda x, k, before, now: 2 * (x * now - k * before)))
kernel("special_hermite_polynomial_he", lambda xp, x, n:
    polynomial(xp, x, n, lambda x: x, lambda x, k, before, now: x * now - k * before))
kernel("special_laguerre_polynomial_l", lambda xp, x, n:
    polynomial(xp, x, n, lambda x: 1 - x, lambda x, k, before, now: ((2 * k + 1 - x) * now - k * before) / (k + 1)))
kernel("special_legendre_polynomial_p", lambda xp, x, n:
    polynomial(xp, x, n, lambda x: x, lambda x, k, before, now: ((2 * k + 1) * x * now - k * before) / (k + 1)))
