"""Kernels of interpolation: for each axis a table of what each element of the result is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import c_float
from functools import lru_cache
from typing import Any

from gradwire_engine.kernels import axes
from gradwire_engine.kernels.conv import wide
from gradwire_engine.maps import Map
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.resize import MODES

Entries = Callable[[int, int, bool, float], list[axes.Entry]]


def _single(x: float) -> float:
    """In float32, in which torch finds the nearest neighbour: elsewhere it would at times be the other one."""
    return c_float(x).value


def _scale(size: int, out: int, align_corners: bool, factor: float) -> float:
    """How far apart two elements of the result are in the input."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor > 0 else size / out


def _nearest(shift: float) -> Entries:
    def entries(size: int, out: int, align_corners: bool, factor: float) -> list[axes.Entry]:
        scale = _single(_scale(size, out, False, factor))
        return [(o, min(int(_single((o + shift) * scale)), size - 1), 1.0) for o in range(out)]

    return entries


def _linear(size: int, out: int, align_corners: bool, factor: float) -> list[axes.Entry]:
    scale = _scale(size, out, align_corners, factor)
    entries = []
    for o in range(out):
        at = o * scale if align_corners else max(0.0, (o + 0.5) * scale - 0.5)
        first = min(int(at), size - 1)
        entries += [(o, first, 1 - (at - first)), (o, min(first + 1, size - 1), at - first)]
    return entries


def _cubic_weight(x: float, a: float) -> float:
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _cubic(size: int, out: int, align_corners: bool, factor: float) -> list[axes.Entry]:
    scale = _scale(size, out, align_corners, factor)
    entries = []
    for o in range(out):
        at = o * scale if align_corners else (o + 0.5) * scale - 0.5
        first = math.floor(at)
        for j in range(first - 1, first + 3):
            entries.append((o, min(max(j, 0), size - 1), _cubic_weight(at - j, -0.75)))
    return entries


def _lanczos_weight(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 < x < 3 else 0.0


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def _filtered(weight: Callable[[float], float], reach: float) -> Entries:
    """Interpolation with a filter as wide as what it shrinks (PIL's antialiasing)."""

    def entries(size: int, out: int, align_corners: bool, factor: float) -> list[axes.Entry]:
        scale = _scale(size, out, align_corners, factor)
        width = max(scale, 1.0)
        made = []
        for o in range(out):
            center = scale * (o + 0.5)
            low = max(int(center - reach * width + 0.5), 0)
            high = min(int(center + reach * width + 0.5), size)
            each = [weight((i - center + 0.5) / width) for i in range(low, high)]
            total = sum(each) or 1.0
            made += [(o, low + i, w / total) for i, w in enumerate(each)]
        return made

    return entries


ENTRIES: dict[str, Entries] = {
    "nearest": _nearest(0.0),
    "nearest_exact": _nearest(0.5),
    "linear": _linear,
    "bilinear": _linear,
    "trilinear": _linear,
    "bicubic": _cubic,
    "bilinear_aa": _filtered(lambda x: max(0.0, 1 - abs(x)), 1),
    "bicubic_aa": _filtered(lambda x: _cubic_weight(x, -0.5), 2),
    "lanczos_aa": _filtered(_lanczos_weight, 3),
}


@lru_cache(axes.REMEMBERED)
def _taps(mode: str, size: int, out: int, align_corners: bool, factor: float, transposed: bool) -> Map:
    return axes.matrix(ENTRIES[mode](size, out, align_corners, factor), transposed)


def _along(xp: Any, x: Any, mode: str, size: Any, out: Any, align_corners: bool, factors: Any,
           transposed: bool) -> Any:  # fmt: skip
    x = wide(x)
    to = size if transposed else out
    for i in axes.smallest_first(x.shape[2:], to):
        taps = _taps(mode, size[i], out[i], align_corners, factors[i] if factors else 0.0, transposed)
        x = axes.apply(xp, x, 2 + i, to[i], taps)
    return x


def _pair(name: str, mode: str) -> None:
    kernel(name, lambda xp, input, output_size, align_corners, scale_factors: _along(
        xp, input, mode, input.shape[2:], output_size, align_corners, scale_factors, False))  # fmt: skip
    kernel(f"{name}_backward", lambda xp, grad, input_size, output_size, align_corners, scale_factors: _along(
        xp, grad, mode, input_size, grad.shape[2:], align_corners, scale_factors, True))  # fmt: skip


for _mode, _dims in MODES.items():
    for _n in _dims:
        _pair(f"upsample_{_mode}{_n}d", _mode)
