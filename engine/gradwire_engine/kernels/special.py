"""Kernels of special functions, which SciPy and CuPy have for 32 and 64 bits."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import special
from gradwire_engine.kernels.activation import along
from gradwire_engine.kernels.elementwise import sinc
from gradwire_engine.registry import kernel


def wide(xp: Any, x: Any) -> Any:
    """16-bit floats as 32-bit ones."""
    return x.astype(xp.float32) if hasattr(x, "dtype") and x.dtype.itemsize == 2 else x


@kernel("erf")
def erf(xp: Any, input: Any) -> Any:
    if loops.fit(xp, input, single=True):
        from gradwire_engine.loops import lines

        return along(xp, lines.erf, (input,))
    return special(xp).erf(wide(xp, input))


kernel("erfc", lambda xp, input: special(xp).erfc(wide(xp, input)))
kernel("erfinv", lambda xp, input: special(xp).erfinv(wide(xp, input)))
kernel("lgamma", lambda xp, input: special(xp).gammaln(wide(xp, input)))
kernel("digamma", lambda xp, input: special(xp).digamma(wide(xp, input)))
kernel("i0", lambda xp, input: special(xp).i0(wide(xp, input)))
kernel("special_erfcx", lambda xp, input: special(xp).erfcx(wide(xp, input)))
kernel("special_ndtr", lambda xp, input: special(xp).ndtr(wide(xp, input)))
kernel("special_ndtri", lambda xp, input: special(xp).ndtri(wide(xp, input)))
kernel("special_log_ndtr", lambda xp, input: special(xp).log_ndtr(wide(xp, input)))
kernel("special_entr", lambda xp, input: special(xp).entr(wide(xp, input)))
kernel("special_i0e", lambda xp, input: special(xp).i0e(wide(xp, input)))
kernel("special_i1", lambda xp, input: special(xp).i1(wide(xp, input)))
kernel("special_i1e", lambda xp, input: special(xp).i1e(wide(xp, input)))
kernel("special_bessel_j0", lambda xp, input: special(xp).j0(wide(xp, input)))
kernel("special_bessel_j1", lambda xp, input: special(xp).j1(wide(xp, input)))
kernel("special_bessel_y0", lambda xp, input: special(xp).y0(wide(xp, input)))
kernel("special_bessel_y1", lambda xp, input: special(xp).y1(wide(xp, input)))
kernel("special_modified_bessel_i0", lambda xp, input: special(xp).i0(wide(xp, input)))
kernel("special_modified_bessel_i1", lambda xp, input: special(xp).i1(wide(xp, input)))
kernel("special_modified_bessel_k0", lambda xp, input: special(xp).k0(wide(xp, input)))
kernel("special_modified_bessel_k1", lambda xp, input: special(xp).k1(wide(xp, input)))
kernel("special_scaled_modified_bessel_k0", lambda xp, input: special(xp).k0e(wide(xp, input)))
kernel("special_scaled_modified_bessel_k1", lambda xp, input: special(xp).k1e(wide(xp, input)))
kernel("igamma", lambda xp, input, other: special(xp).gammainc(wide(xp, input), wide(xp, other)))
kernel("igammac", lambda xp, input, other: special(xp).gammaincc(wide(xp, input), wide(xp, other)))
kernel("xlogy", lambda xp, input, other: special(xp).xlogy(wide(xp, input), wide(xp, other)))
kernel("special_xlog1py", lambda xp, input, other: special(xp).xlog1py(wide(xp, input), wide(xp, other)))
kernel("special_zeta", lambda xp, input, other: special(xp).zeta(wide(xp, input), wide(xp, other)))
kernel("polygamma", lambda xp, n, input: special(xp).polygamma(xp.asarray(n), wide(xp, input)))
kernel("special_spherical_bessel_j0", lambda xp, input: xp.where(xp.isinf(input), 0, sinc(xp, input / math.pi)))


@kernel("mvlgamma")
def mvlgamma(xp: Any, input: Any, p: int) -> Any:
    made = xp.full(input.shape, p * (p - 1) / 4 * math.log(math.pi), input.dtype)
    for i in range(p):
        made += special(xp).gammaln(wide(xp, input - i / 2))
    return made
