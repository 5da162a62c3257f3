"""Histograms: how many values, or what weights, fall into each bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.creation import full, zeros
from gradwire.return_types import named
from gradwire.tensor import Tensor
from gradwire_proto.catalog.arithmetic import CPP_NAME

HISTOGRAM = named("histogram", "hist", "bin_edges")
HISTOGRAMDD = named("histogramdd", "hist", "bin_edges")


@export("histogram", "Tensor.histogram", out=True)
def histogram(input: Tensor, bins: int | Tensor = 100, *, range: Sequence[float] | None = None,
              weight: Tensor | None = None, density: bool = False) -> Any:  # fmt: skip
    """How many values fall into each bin; the last has its upper end, too, and what is in none does not count.

    Args:
        bins: as many of equal width, or their edges in order.
        range: the ends of the first and last bin; by default the smallest and the largest value, for which the server
            is asked.
        weight: what each value counts.
        density: whether the counts are divided so that the integral is 1.

    >>> import gradwire as torch
    >>> torch.histogram(torch.tensor([1.0, 2.0, 1.0]), bins=4, range=(0.0, 3.0)).hist
    tensor([0., 2., 1., 0.])

    Raises:
        RuntimeError: bins, range or weight do not fit.
        NotImplementedError: the values are no real floating-point numbers.
    """
    given = [bins] if isinstance(bins, Tensor) else bins
    if isinstance(bins, int) and bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    made, (edges,) = _count(input.reshape(-1, 1), given, range, weight, density)  # type: ignore[attr-defined]
    return HISTOGRAM(made, edges)


@export("histogramdd")
def histogramdd(input: Tensor, bins: int | Sequence[int] | Sequence[Tensor], *, range: Sequence[float] | None = None,
                weight: Tensor | None = None, density: bool = False) -> Any:  # fmt: skip
    """How many points fall into each bin of a grid.

    Args:
        input: points, coordinates in the last dimension.
        bins: for each coordinate, or for all, as for :func:`histogram`.
        range: the ends for each coordinate, one pair behind another.
    """
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    if not isinstance(bins, int) and len(bins) != input.shape[-1]:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    return HISTOGRAMDD(*_count(input, bins, range, weight, density))


def _count(input: Tensor, bins: Any, range: Sequence[float] | None, weight: Tensor | None,
           density: bool) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    _check(input, bins, range, weight)
    dims = input.shape[-1]
    points = ops.detach(input).reshape(-1, dims)
    columns = [ops.select(points, 1, i) for i in _range(dims)]
    if isinstance(bins, int) or not isinstance(bins[0], Tensor):
        counts = [bins] * dims if isinstance(bins, int) else list(bins)
        ends = _ends(columns, range)
        edges = [_edges(low, high, n, input) for (low, high), n in zip(ends, counts, strict=True)]
    else:
        edges = list(bins)
        counts = [e.numel() - 1 for e in edges]
    place: Any = 0
    inside: Any = None
    for column, e, n in zip(columns, edges, counts, strict=True):
        found = ops.searchsorted(e, column.contiguous(), right=True) - 1
        found = ops.where(column == ops.select(e, 0, -1), n - 1, found)
        here = (found >= 0) & (found < n)
        inside = here if inside is None else inside & here
        place = place * n + found
    total = math.prod(counts)
    weights = full((points.shape[0],), 1.0, dtype=input.dtype) if weight is None else ops.detach(weight).reshape(-1)
    made = zeros(total + 1, dtype=input.dtype).index_add(0, ops.where(inside, place, total), weights)  # type: ignore[attr-defined]
    made = made[:total].reshape(counts)
    if density:
        for i, e in enumerate(edges):
            made = made / (e[1:] - e[:-1]).reshape([-1 if i == d else 1 for d in _range(dims)])  # type: ignore[index, operator]
        made = made / weights[:].mul(inside).sum()
    return made, tuple(edges)


_range = range


def _check(input: Tensor, bins: Any, range: Sequence[float] | None, weight: Tensor | None) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{input.dtype.legacy}'")
    dims = input.shape[-1]
    for i, e in enumerate(() if isinstance(bins, int) else bins):
        if not isinstance(e, Tensor):
            continue
        if e.dtype is not input.dtype:
            raise RuntimeError(
                "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input with dtype "
                f"{CPP_NAME[input.dtype.name]} and bins for dimension {i} with dtype {CPP_NAME.get(e.dtype.name)}"
            )
        if e.ndim != 1:
            raise RuntimeError(
                f"torch.histogramdd: bins tensor should have one dimension, but got {e.ndim} dimensions in the bins "
                f"tensor for dimension {i}"
            )
        if e.numel() < 2:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {e.numel() - 1} for dimension {i}")
    if range is not None and len(range) != 2 * dims:
        raise RuntimeError(
            f"torch.histogramdd: for a {dims}-dimensional histogram range should have {2 * dims} elements, but got "
            f"{len(range)}"
        )
    if weight is not None and weight.shape != input.shape[:-1] and weight.numel() != math.prod(input.shape[:-1]):
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
            f"excluding its innermost dimension, but got input with shape {list(input.shape)} and weight with shape "
            f"{list(weight.shape)}"
        )
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided, input tensor and weight tensor should have the same "
            f"dtype, but got input({CPP_NAME[input.dtype.name]}), and weight({CPP_NAME.get(weight.dtype.name)})"
        )


def _ends(columns: list[Tensor], range: Sequence[float] | None) -> list[tuple[float, float]]:
    """For each coordinate, where its bins begin and end."""
    if range is not None:
        ends = [(float(range[2 * i]), float(range[2 * i + 1])) for i in _range(len(columns))]
    elif not columns[0].numel():
        ends = [(0.0, 1.0)] * len(columns)
    else:
        ends = [(c.amin().item(), c.amax().item()) for c in columns]  # type: ignore[attr-defined]
    for i, (low, high) in enumerate(ends):
        if not math.isfinite(low) or not math.isfinite(high):
            raise RuntimeError(f"torch.histogramdd: dimension {i}'s range [{low:g}, {high:g}] is not finite")
        if low > high:
            raise RuntimeError(
                f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for dimension {i}"
            )
    return [(low - 0.5, high + 0.5) if low == high else (low, high) for low, high in ends]


def _edges(low: float, high: float, n: int, like: Tensor) -> Tensor:
    return ops.linspace(low, high, n + 1, dtype=like.dtype)  # type: ignore[no-any-return]
