"""Kernels of Fourier transforms, in the precision of their input."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, fft
from gradwire_engine.registry import kernel
from gradwire_proto.spec import Spec


@kernel("fft_c2c")
def fft_c2c(xp: Any, input: Any, dim: tuple[int, ...], norm: str, forward: bool) -> Any:
    if not input.size:
        return input
    transform = fft(xp, input).fftn if forward else fft(xp, input).ifftn
    return transform(input, axes=dim, norm=norm)


@kernel("fft_r2c")
def fft_r2c(xp: Any, input: Any, dim: tuple[int, ...], norm: str, onesided: bool, spec: Spec) -> Any:
    if not input.size:
        return xp.empty(spec.shape, NUMPY_DTYPE[spec.dtype])
    transform = fft(xp, input).rfftn if onesided else fft(xp, input).fftn
    return transform(input, axes=dim, norm=norm)


@kernel("fft_c2r")
def fft_c2r(xp: Any, input: Any, dim: tuple[int, ...], norm: str, last_dim_size: int, spec: Spec) -> Any:
    if not input.size:
        return xp.empty(spec.shape, NUMPY_DTYPE[spec.dtype])
    # One dim at a time: cuFFT takes several for the half of something Hermitian, which input need not be.
    if len(dim) > 1:
        input = fft(xp, input).ifftn(input, axes=dim[:-1], norm=norm)
    return fft(xp, input).irfft(input, last_dim_size, dim[-1], norm)


@kernel("fft_scale_pairs")
def fft_scale_pairs(xp: Any, input: Any, dim: int, size: int, factor: float) -> Any:
    out = input.copy()
    out[(slice(None),) * (dim % input.ndim) + (slice(1, (size + 1) // 2),)] *= factor
    return out
