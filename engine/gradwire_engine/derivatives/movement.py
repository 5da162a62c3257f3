"""Derivatives of copies and conversions: the engine converts each gradient to its input's type."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp


def nothing(g: Any) -> Any:
    """Zeros rather than None: what was overwritten is still part of the graph."""
    return F.new_full(g, g.shape, 0)


vjp("clone", input=lambda g: g)
vjp("to_dtype", input=lambda g: g)
vjp("copy_", input=nothing, src=lambda g: g)
vjp("fill", input=nothing, value=lambda g: F.sum(g))
vjp("zero_", input=nothing)
vjp("require", input=lambda g: g)
