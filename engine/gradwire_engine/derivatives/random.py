"""Derivatives. Random numbers, from the session's counter-based generator.

Draws don't depend on their parameters in torch's eyes, nor on what they overwrite: both get gradients of zero.
"""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.derivatives.arithmetic import unknown
from gradwire_engine.registry import vjp

for _name in ("bernoulli", "poisson", "uniform_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_",
              "random_"):  # fmt: skip
    vjp(_name, input=lambda g: F.zeros_like(g))
vjp("bernoulli_", input=lambda g: F.zeros_like(g), p=lambda g: F.zeros_like(g))
vjp("binomial", count=unknown("binomial", listed=False), prob=unknown("binomial", listed=False))
vjp("normal", mean=lambda g: F.zeros_like(g), std=lambda g: F.zeros_like(g))
vjp("dropout", input=lambda g, mask, p: F.dropout_backward(g, mask, p))
vjp("dropout_backward", grad=lambda g, mask, p: F.dropout_backward(g, mask, p))
