"""Derivatives of interpolation, which is linear."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.resize import MODES
from gradwire_proto.spec import Spec


def _pair(name: str) -> None:
    forward, backward = getattr(F, name), getattr(F, f"{name}_backward")

    def to_input(g: Any, input_spec: Spec, output_size: Any, align_corners: bool, scale_factors: Any) -> Any:
        return backward(g, input_spec.shape[2:], output_size, align_corners, scale_factors)

    def to_grad(g: Any, output_size: Any, align_corners: bool, scale_factors: Any) -> Any:
        return forward(g, output_size, align_corners, scale_factors)

    vjp(name, input=to_input)
    vjp(f"{name}_backward", grad=to_grad)


for _mode, _dims in MODES.items():
    for _n in _dims:
        _pair(f"upsample_{_mode}{_n}d")
