"""Kernels. Normalization: batch, layer, group, RMS."""

from __future__ import annotations
