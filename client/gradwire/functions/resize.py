"""Interpolation, and pixels and channels in another order, as ``nn.functional`` has them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from gradwire.tensor import Tensor

AREAS = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)
DIMS = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2, "lanczos": 2}
"""The modes that are made for one number of dimensions."""
SMOOTH = "linear | bilinear | bicubic | trilinear"
ALL_MODES = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"


def _sizes(input: Tensor, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[tuple[int, ...], Any]:
    """The size of the result, and the factors where the op is to use these."""
    n = input.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    spatial = list(input.shape[2:])
    if size is not None:
        if isinstance(size, (list, tuple)):
            if len(size) != n:
                raise ValueError(
                    "Input and output must have the same number of spatial dimensions, but got input with spatial "
                    f"dimensions of {spatial} and output size of {size}. Please provide input tensor in (N, C, d1, d2, "
                    "...,dK) format and output size in (o1, o2, ...,oK) format."
                )
            given = tuple(size)
        else:
            given = (size,) * n
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return given, ()
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if isinstance(scale_factor, (list, tuple)):
        if len(scale_factor) != n:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {spatial} and scale_factor of shape {scale_factor}. Please provide input tensor in "
                "(N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) format."
            )
        factors = tuple(float(f) for f in scale_factor)
    else:
        factors = (float(scale_factor),) * n
    made = tuple(math.floor(s * f) for s, f in zip(spatial, factors, strict=True))
    return made, () if recompute else factors


@export("nn.functional.interpolate")
def interpolate(input: Tensor, size: int | Sequence[int] | None = None,
                scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:  # fmt: skip
    """A batch of signals, images or volumes in another size."""
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(f"align_corners option can only be set with the interpolating modes: {SMOOTH}")
    n = input.ndim - 2
    output_size, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if n in (1, 2, 3):
        if mode == "area":
            made: Tensor = AREAS[n - 1](input, output_size)
            return made
        if mode in ("nearest", "nearest-exact"):
            return getattr(ops, f"upsample_{mode.replace('-', '_')}{n}d")(input, output_size, False, factors)
        if mode in DIMS and DIMS[mode] == n and (mode != "lanczos" or antialias):
            return getattr(ops, f"upsample_{mode}{'_aa' if antialias else ''}{n}d")(
                input, output_size, bool(align_corners), factors
            )
        if mode in ("linear", "bilinear", "trilinear"):
            raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {DIMS[mode] + 2}D input")
    raise NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: {ALL_MODES} (got "
        f"{mode})"
    )


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3
    )


@export("nn.functional.upsample")
def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """The older name of ``interpolate``."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@export("nn.functional.upsample_nearest")
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` to the nearest neighbour."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


@export("nn.functional.upsample_bilinear")
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Bilinear ``interpolate`` that keeps the corners."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


def _check_image(name: str, input: Tensor, what: str, factor: int) -> None:
    if input.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {what}, but got {factor}")


@export("pixel_shuffle", "nn.functional.pixel_shuffle")
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Every ``upscale_factor ** 2`` channels as one image so many times finer."""
    r = upscale_factor
    _check_image("pixel_shuffle", input, "upscale_factor", r)
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    n = len(lead)
    split: Any = input.reshape((*lead, c // (r * r), r, r, h, w))  # type: ignore[attr-defined]
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    made: Tensor = split.permute(order).reshape((*lead, c // (r * r), h * r, w * r))
    return made


@export("pixel_unshuffle", "nn.functional.pixel_unshuffle")
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of ``pixel_shuffle``."""
    r = downscale_factor
    _check_image("pixel_unshuffle", input, "downscale_factor", r)
    *lead, c, h, w = input.shape
    for side, size, at in (("height", h, -2), ("width", w, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {side} to be divisible by downscale_factor, but input.size({at})={size} is "
                f"not divisible by {r}"
            )
    n = len(lead)
    split: Any = input.reshape((*lead, c, h // r, r, w // r, r))  # type: ignore[attr-defined]
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    made: Tensor = split.permute(order).reshape((*lead, c * r * r, h // r, w // r))
    return made


@export("channel_shuffle", "nn.functional.channel_shuffle", "native_channel_shuffle",
        "nn.functional.native_channel_shuffle")  # fmt: skip
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels in turn from each of the groups."""
    if input.ndim <= 2:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups."
        )
    split: Any = input.reshape((n, groups, c // groups, *rest))  # type: ignore[attr-defined]
    made: Tensor = split.transpose(1, 2).reshape(input.shape)
    return made
