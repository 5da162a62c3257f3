"""``grid_sample`` and ``affine_grid``: images read at places that a tensor tells.

Composed of differentiable ops, so that derivatives of every order exist.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire_proto import dtypes

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
UNTOLD = (
    "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
    "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details."
)


def _within(x: Any, size: int) -> Any:
    return ops.clamp(x, 0, size - 1)


def _reflected(x: Any, size: int, align_corners: bool) -> Any:
    """Coordinates mirrored at the edges, or at the middles of the outermost elements, as often as it takes."""
    low, span = (0.0, size - 1) if align_corners else (-0.5, size)
    if not span:
        return x * 0
    far = ops.abs(x - low)
    extra, flips = ops.fmod(far, span), ops.floor(far / span)
    return _within(ops.where(ops.eq(ops.fmod(flips, 2), 0), extra + low, span - extra + low), size)


def _padded(x: Any, size: int, padding: str, align_corners: bool) -> Any:
    if padding == "border":
        return _within(x, size)
    return _reflected(x, size, align_corners) if padding == "reflection" else x


def _look_up(input: Tensor, at: Sequence[Any]) -> Any:
    """``[N, C, *out]``: the elements at whole coordinates ``[N, *out]``, 0 outside."""
    sizes = input.shape[2:]
    index: Any = 0
    inside: Any = True
    for x, size in zip(at, sizes, strict=True):
        # An integer first: what is no number becomes one that is moved inside, and counts as outside.
        index = index * size + ops.clamp(ops.to_dtype(x, dtypes.int64), 0, size - 1)
        inside = (x >= 0) & (x <= size - 1) & inside
    shape = (input.shape[0], input.shape[1], *index.shape[1:])
    found = ops.gather_planes(input, ops.expand(ops.unsqueeze(index, 1), shape), len(sizes))
    return found * ops.to_dtype(ops.unsqueeze(inside, 1), input.dtype)


def _linear(x: Any) -> list[tuple[Any, Any]]:
    """Coordinates to look at along a dimension, and their weights."""
    first = ops.detach(ops.floor(x))
    t = x - first
    return [(first, 1 - t), (first + 1, t)]


def _cubic(x: Any) -> list[tuple[Any, Any]]:
    a = -0.75
    first = ops.detach(ops.floor(x))
    t = x - first

    def near(d: Any) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Any) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(first - 1, far(t + 1)), (first, near(t)), (first + 1, near(1 - t)), (first + 2, far(2 - t))]


def _nearest(x: Any) -> list[tuple[Any, Any]]:
    """The weight is 1 and varies with the place by nothing, for torch gives a gradient of zeros that has a graph."""
    return [(ops.detach(ops.round(x)), ops.clamp(x, 0, 1) * 0 + 1)]


WEIGHTS: dict[str, Callable[[Any], list[tuple[Any, Any]]]] = {
    "bilinear": _linear, "nearest": _nearest, "bicubic": _cubic,
}  # fmt: skip


def _check(input: Tensor, grid: Tensor, mode: str) -> None:
    n = input.ndim - 2
    if input.dtype is not grid.dtype:
        raise RuntimeError(f"expected scalar type {input.dtype.legacy} but found {grid.dtype.legacy}")
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != n or grid.ndim != input.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    for i, size in enumerate(input.shape[2:]):
        if size == 0:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                f"{list(input.shape)} with dimension {i + 2} being empty"
            )
    if n not in (2, 3):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if mode == "bicubic" and n == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _sample(input: Tensor, grid: Tensor, mode: str, padding: str, align_corners: bool) -> Tensor:
    _check(input, grid, mode)
    n, sizes = input.ndim - 2, input.shape[2:]
    lines = []
    for i, size in enumerate(sizes):
        x: Any = ops.select(grid, -1, n - 1 - i)  # a grid has the last dimension's coordinate first
        x = (x + 1) * ((size - 1) / 2) if align_corners else ((x + 1) * size - 1) / 2
        # Cubic weights are for where the place was; it is what they look at that is moved inside.
        line = WEIGHTS[mode](x if mode == "bicubic" else _padded(x, size, padding, align_corners))
        if mode == "bicubic":
            line = [(_padded(at, size, padding, align_corners), w) for at, w in line]
        lines.append(line)
    total: Any = 0
    for corner in product(*lines):
        found = _look_up(input, [at for at, _ in corner])
        weight: Any = math.prod([w for _, w in corner], start=1)
        total = total + found * ops.unsqueeze(weight, 1)
    made: Tensor = total
    return made


@export("nn.functional.grid_sample")
def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """``input`` read at the places in ``grid``, where -1 and 1 are its edges."""
    if mode not in MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        warnings.warn(UNTOLD, stacklevel=2)
    return _sample(input, grid, mode, padding_mode, bool(align_corners))


@export("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int,
                 align_corners: bool) -> Tensor:  # fmt: skip
    """``grid_sample`` with its modes as numbers."""
    return _sample(input, grid, MODES[interpolation_mode], PADDINGS[padding_mode], align_corners)


def _steps(theta: Tensor, size: int, align_corners: bool) -> Any:
    if size <= 1:
        return ops.new_full(theta, (size,), 0)
    edge = 1.0 if align_corners else (size - 1) / size
    return ops.linspace(-edge, edge, size, dtype=theta.dtype)


@export("nn.functional.affine_grid")
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid that ``grid_sample`` needs for a batch of affine maps, to images of this size."""
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{_size(size)}."
        )
    if theta.ndim != 3 or tuple(theta.shape[-2:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {_size(size)}. Got "
            f"{theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {_size(size)}")
    if align_corners is None:
        warnings.warn(UNTOLD, stacklevel=2)
    spatial = tuple(size[2:])
    columns = [ops.new_full(theta, spatial, 1)]
    for i, s in enumerate(spatial):
        line = _steps(theta, s, bool(align_corners)).reshape((s, *(1,) * (n - i - 1)))
        columns.insert(0, ops.expand(line, spatial))
    base = ops.stack(columns, -1).reshape((1, math.prod(spatial), n + 1))
    base = ops.expand(base, (size[0], *base.shape[1:]))
    made: Tensor = ops.bmm(base, ops.transpose(theta, 1, 2)).reshape((size[0], *spatial, n))
    return made


def _size(size: Sequence[int]) -> str:
    return f"({', '.join(map(str, size))})"


@export("affine_grid_generator")
def affine_grid_generator(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """``affine_grid`` under the name that torch's own op has."""
    return affine_grid(theta, size, align_corners)
