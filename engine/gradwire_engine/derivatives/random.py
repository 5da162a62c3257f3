"""Derivatives. Random numbers, from the session's counter-based generator.

Draws don't depend on their parameters in torch's eyes, nor on what they overwrite.
"""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

for _name in ("bernoulli", "poisson", "uniform_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_",
              "random_"):  # fmt: skip
    vjp(_name, input=lambda: None)
vjp("bernoulli_", input=lambda: None, p=lambda: None)
vjp("binomial", count=lambda: None, prob=lambda: None)
vjp("normal", mean=lambda: None, std=lambda: None)
vjp("dropout", input=lambda g, mask, p: F.dropout_backward(g, mask, p))
vjp("dropout_backward", grad=lambda g, mask, p: F.dropout_backward(g, mask, p))
