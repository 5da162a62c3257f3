"""Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

from gradwire_proto.catalog.declare import op
from gradwire_proto.catalog.meta import reduction

op("sum(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None) -> Tensor", meta=reduction("sum"),
   doc="Sum over the given dims, or over all.")
