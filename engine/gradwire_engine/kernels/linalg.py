"""Kernels. Linear algebra: products, inverses, decompositions."""

from __future__ import annotations
