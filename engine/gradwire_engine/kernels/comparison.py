"""Kernels. Comparisons, logic and bits."""

from __future__ import annotations

from gradwire_engine.registry import kernel

kernel("eq", lambda xp, input, other: xp.equal(input, other))
kernel("ne", lambda xp, input, other: xp.not_equal(input, other))
kernel("lt", lambda xp, input, other: xp.less(input, other))
kernel("le", lambda xp, input, other: xp.less_equal(input, other))
kernel("gt", lambda xp, input, other: xp.greater(input, other))
kernel("ge", lambda xp, input, other: xp.greater_equal(input, other))
kernel("bitwise_and", lambda xp, input, other, out=None: xp.bitwise_and(input, other, out=out))
kernel("bitwise_or", lambda xp, input, other, out=None: xp.bitwise_or(input, other, out=out))
kernel("bitwise_xor", lambda xp, input, other, out=None: xp.bitwise_xor(input, other, out=out))
kernel("bitwise_not", lambda xp, input, out=None: xp.bitwise_not(input, out=out))
