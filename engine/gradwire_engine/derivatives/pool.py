"""Derivatives. Pooling and interpolation."""

from __future__ import annotations
