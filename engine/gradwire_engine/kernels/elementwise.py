"""Kernels. Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from gradwire_engine.registry import kernel

kernel("exp", lambda xp, input, out=None: xp.exp(input, out=out))
kernel("log", lambda xp, input, out=None: xp.log(input, out=out))
kernel("real", lambda xp, input: xp.real(input))
kernel("conj_physical", lambda xp, input, out=None: xp.conjugate(input, out=out))
