"""Derivatives. Views and rearrangements: view, expand, permute, cat, pad."""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

vjp("view", input=lambda g, input_spec: F.reshape(g, input_spec.shape))
vjp("expand", input=lambda g: g)  # the engine sums a gradient to its input's shape
