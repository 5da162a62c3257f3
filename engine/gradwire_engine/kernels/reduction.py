"""Kernels. Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.meta import wrap_dims


@kernel("sum")
def sum(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return xp.sum(input, axis=wrap_dims(dim, input.ndim), keepdims=keepdim, dtype=dtype and NUMPY_DTYPE[dtype])
