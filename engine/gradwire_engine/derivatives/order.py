"""Derivatives. Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations
