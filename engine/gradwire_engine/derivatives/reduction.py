"""Derivatives. Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.meta import reduced_shape, wrap_dims
from gradwire_proto.spec import Spec


def restore(g: Any, input_spec: Spec, dim: Any, keepdim: bool) -> Any:
    """A reduced tensor with the reduced dims back as 1, ready to broadcast against the input."""
    if keepdim or not input_spec.ndim:
        return g
    dims = wrap_dims((dim,) if isinstance(dim, int) else dim, input_spec.ndim)
    return F.reshape(g, reduced_shape(input_spec.shape, dims, True))


vjp("sum", input=lambda g, input_spec, dim, keepdim: F.expand(restore(g, input_spec, dim, keepdim), input_spec.shape))
