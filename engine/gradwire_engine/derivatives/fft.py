"""Derivatives of Fourier transforms: what is linear has its adjoint, the transform in the other direction."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

ADJOINT = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The norm by which the other direction has the same factor."""


def real_input(g: Any, input_spec: Any, dim: tuple[int, ...], norm: str, onesided: bool) -> Any:
    if not onesided:
        return F.real(F.fft_c2c(g, dim, ADJOINT[norm], False))
    # The inverse counts each frequency for its conjugate, too; here it is there once.
    size = input_spec.shape[dim[-1]]
    return F.fft_c2r(F.fft_scale_pairs(g, dim[-1], size, 0.5), dim, ADJOINT[norm], size)


def half_input(g: Any, dim: tuple[int, ...], norm: str, last_dim_size: int) -> Any:
    return F.fft_scale_pairs(F.fft_r2c(g, dim, ADJOINT[norm], True), dim[-1], last_dim_size, 2.0)


vjp("fft_c2c", input=lambda g, dim, norm, forward: F.fft_c2c(g, dim, ADJOINT[norm], not forward))
vjp("fft_r2c", input=real_input)
vjp("fft_c2r", input=half_input)
vjp("fft_scale_pairs", input=lambda g, dim, size, factor: F.fft_scale_pairs(g, dim, size, factor))
