"""Derivatives. Indexing: where, gather, scatter, index, masks."""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

vjp("where", input=lambda g, condition: F.where(condition, g, 0), other=lambda g, condition: F.where(condition, 0, g))
