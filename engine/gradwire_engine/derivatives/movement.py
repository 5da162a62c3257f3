"""Derivatives of copies and conversions: the engine converts each gradient to its input's type."""

from __future__ import annotations

from gradwire_engine.registry import vjp

vjp("clone", input=lambda g: g)
vjp("to_dtype", input=lambda g: g)
vjp("copy_", src=lambda g: g)
vjp("zero_")
