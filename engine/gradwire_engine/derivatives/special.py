"""Derivatives of special functions."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.derivatives.arithmetic import unknown
from gradwire_engine.registry import vjp

ROOT_PI, ROOT_2PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)

# Gamma functions.

vjp("lgamma", input=lambda g, input: g * F.digamma(input))
vjp("digamma", input=lambda g, input: g * F.polygamma(1, input))
vjp("polygamma", input=lambda g, n, input: g * F.polygamma(n + 1, input))
vjp("special_zeta", input=unknown("zeta"),
                    other=lambda g, input, other: -g * input * F.special_zeta(input + 1.0, other))


def mvlgamma(g: Any, input: Any, p: int) -> Any:
    slope = F.digamma(input)
    for i in range(1, p):
        slope = slope + F.digamma(input - i / 2)
    return g * slope


def gamma_density(input: Any, other: Any) -> Any:
    return F.exp((input - 1) * F.log(other) - other - F.lgamma(input))


vjp("mvlgamma", input=mvlgamma)
vjp("igamma", input=unknown("igamma: input"),
              other=lambda g, input, other: g * gamma_density(input, other))
vjp("igammac", input=unknown("igammac: input"),
               other=lambda g, input, other: -g * gamma_density(input, other))

# Error functions and the normal distribution.

vjp("erf", input=lambda g, input: g * (2 / ROOT_PI * F.exp(-input * input)))
vjp("erfc", input=lambda g, input: g * (-2 / ROOT_PI * F.exp(-input * input)))
vjp("erfinv", input=lambda g, result: g * (ROOT_PI / 2 * F.exp(result * result)))
vjp("special_erfcx", input=lambda g, input, result: g * (2 * input * result - 2 / ROOT_PI))
vjp("special_ndtr", input=lambda g, input: g * (F.exp(-0.5 * input * input) / ROOT_2PI))
vjp("special_ndtri", input=lambda g, result: g * (ROOT_2PI * F.exp(0.5 * result * result)))
vjp("special_log_ndtr", input=lambda g, input, result: g * (F.exp(-0.5 * input * input - result) / ROOT_2PI))

# Logarithms that know 0 log 0 is 0.

vjp("special_entr", input=lambda g, input: -g * (F.log(input) + 1))
vjp("xlogy", input=lambda g, input, other: F.where((input == 0) & (other <= 0), 0, F.xlogy(g, other)),
             other=lambda g, input, other: g * input / other)
vjp("special_xlog1py",
    input=lambda g, input, other: F.where((input == 0) & (other <= -1), 0, F.special_xlog1py(g, other)),
    other=lambda g, input, other: g * input / (other + 1))

# Bessel functions. i1(x) / x goes to 1/2 at 0.


def over_input(result: Any, input: Any) -> Any:
    zero = input == 0
    return F.where(zero, 0.5, result / F.where(zero, 1, input))


vjp("i0", input=lambda g, input: g * F.special_i1(input))
vjp("special_i0e", input=lambda g, input, result: g * (F.special_i1e(input) - F.sgn(input) * result))
vjp("special_i1", input=lambda g, input, result: g * (F.i0(input) - over_input(result, input)))
vjp("special_i1e", input=lambda g, input, result:
    g * (F.special_i0e(input) - F.sgn(input) * result - over_input(result, input)))
