"""A tensor as torch prints it.

Only the edges of a big tensor are shown, so only these need to come from the server: :func:`edges` says which.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gradwire import defaults
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType


@dataclass(frozen=True, slots=True)
class Options:
    """What ``set_printoptions`` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES: dict[str, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}

_options = Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed. As in torch, a call that does not name ``sci_mode`` makes it automatic again."""
    global _options
    named = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changes: dict[str, Any] = {**PROFILES.get(profile or "", {})}
    changes |= {name: value for name, value in named.items() if value is not None}
    _options = replace(_options, **changes, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The options in force, as ``set_printoptions`` takes them."""
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**changes: Any) -> Iterator[None]:
    """Other options within a ``with`` block; takes what ``set_printoptions`` takes."""
    global _options
    before = _options
    set_printoptions(**changes)
    try:
        yield
    finally:
        _options = before


def edges(shape: Sequence[int]) -> dict[int, int]:
    """Of a tensor that is too big to be shown whole, ``{dim: n}``: of ``dim`` only the first and last ``n`` are shown.

    Dimensions that are shown whole are left out; nothing is in it where the whole tensor is shown. The array that
    :func:`tensor_str` wants is then what is left when each of these dimensions is cut to its two ends.
    """
    if math.prod(shape) <= _options.threshold:
        return {}
    return {dim: _options.edgeitems for dim, size in enumerate(shape) if size > 2 * _options.edgeitems}


def tensor_str(
    array: np.ndarray[Any, Any],
    dtype: DType,
    *,
    shape: Sequence[int] | None = None,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    device: str = "cpu",
    default_dtype: DType | None = None,
    name: str = "tensor",
) -> str:
    """``repr`` of a tensor.

    Args:
        array: its elements, all of them or what :func:`edges` leaves.
        dtype: its type; ``array`` may be of any type that holds the same numbers.
        shape: its full shape, where ``array`` holds only the edges.
        requires_grad, grad_fn, device: shown behind the elements; ``grad_fn`` is the node's name.
        default_dtype: the type that needs no mention; None for the one in force.
        name: what stands before the bracket.
    """
    default_dtype = default_dtype or defaults.default_dtype()
    shape = array.shape if shape is None else tuple(shape)
    for dim, n in edges(shape).items():
        if array.shape[dim] == shape[dim]:
            array = array.take([*range(n), *range(shape[dim] - n, shape[dim])], dim)
    indent = len(name) + 1
    empty = math.prod(shape) == 0
    suffixes = []
    if device != "cpu":
        suffixes.append(f"device='{device}'")
    if (len(shape) != 1) if empty else (_options.edgeitems == 0):
        suffixes.append(f"size={tuple(shape)}")
    understood = (default_dtype,) if empty else (default_dtype, default_dtype.to_complex(), dtypes.int64, dtypes.bool_)
    if dtype not in understood:
        suffixes.append(f"dtype={dtype}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn.rsplit('::', 1)[-1]}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    text = f"{name}({'[]' if empty else _elements(array, dtype, shape, indent)}"
    return _with_suffixes(text, suffixes, indent) + ")"


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text


def _elements(array: np.ndarray[Any, Any], dtype: DType, shape: Sequence[int], indent: int) -> str:
    if dtype.is_complex:
        real, real_width = _column(array.real)
        imag, imag_width = _column(array.imag)
        texts = [_join_complex(r, i) for r, i in zip(real, imag, strict=True)]
        width = real_width + imag_width + 1
    elif dtype.is_floating_point:
        texts, width = _column(array)
    else:
        texts = [str(v) for v in array.ravel().tolist()]
        width = max(map(len, texts), default=1)
        texts = [t.rjust(width) for t in texts]
    if not shape:
        return texts[0]
    per_line = max(1, (_options.linewidth - indent - (len(shape) - 1)) // (width + 2))
    return _nested(np.array(texts, object).reshape(array.shape), shape, set(edges(shape)), indent, per_line)


def _nested(cells: np.ndarray[Any, Any], shape: Sequence[int], cut: set[int], indent: int, per_line: int) -> str:
    dim = len(shape) - cells.ndim
    if cells.ndim == 1:
        items = cells.tolist()
        between, gap = ", ", " ..." if _options.edgeitems else "..."
    else:
        items = [_nested(row, shape, cut, indent + 1, per_line) for row in cells]
        between, gap = "," + "\n" * (cells.ndim - 1) + " " * (indent + 1), "..."
    if dim in cut:
        half = len(items) // 2
        items = [*items[:half], gap, *items[half:]]
    if cells.ndim == 1:
        lines = [between.join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    return "[" + between.join(items) + "]"


def _join_complex(real: str, imag: str) -> str:
    imag = imag.lstrip() + "j"
    return real + (imag if imag[0] in "+-" else "+" + imag)


def _column(array: np.ndarray[Any, Any]) -> tuple[list[str], int]:
    """Real numbers as right-justified texts, and the width that the finite ones have."""
    numbers = array.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers) & (numbers != 0)]
    whole = bool((finite == np.ceil(finite)).all())
    scientific, width = False, 1
    if finite.size:
        sizes = np.abs(finite)
        low, high = float(sizes.min()), float(sizes.max())
        scientific = high / low > 1000 or high > 1e8 or low < 1e-4
        if _options.sci_mode is not None:
            scientific = _options.sci_mode
    form = f".{_options.precision}e" if scientific else ".0f" if whole else f".{_options.precision}f"
    dotted = whole and not scientific

    def text(v: float) -> str:
        return format(v, form) + ("." if dotted and math.isfinite(v) else "")

    if finite.size:
        width = max(len(text(v)) for v in finite.tolist())
    return [text(v).rjust(width) for v in numbers.tolist()], width
