"""Derivatives. Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp

vjp("exp", input=lambda g, result: g * conj(result))
vjp("log", input=lambda g, input: g / conj(input))
vjp("real", input=lambda g: g)
vjp("conj_physical", input=lambda g: F.conj_physical(g))
