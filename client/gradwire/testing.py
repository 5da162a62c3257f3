"""``torch.testing``: values that should be close, and random tensors to try things on."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import gradwire as torch
from gradwire_proto import dtypes
from gradwire_proto.dtypes import Category, DType

__all__ = ["assert_close", "make_tensor"]

TOLERANCES: dict[DType, tuple[float, float]] = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
    dtypes.complex64: (1.3e-6, 1e-5),
    dtypes.complex128: (1e-7, 1e-7),
}
"""Relative and absolute tolerance of each type; whole numbers have none."""

Path = tuple[Any, ...]


class _Mismatch(Exception):
    def __init__(self, kind: type[Exception], text: str, path: Path):
        self.kind = kind
        self.text = text + (f"\n\nThe failure occurred for item {''.join(f'[{p!r}]' for p in path)}" if path else "")


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Assert that tensors, numbers, or sequences and mappings of them agree.

    Tolerances default to those of the types, the wider where they differ.

    Raises:
        AssertionError: saying how many elements differ, and where most.
    """
    try:
        pairs = list(_pairs(actual, expected, allow_subclasses, ()))
    except _Mismatch as e:
        raise e.kind(e.text) from None
    try:
        for a, b, path in pairs:
            if a is None or b is None:
                if a is not b:
                    raise _Mismatch(AssertionError, f"None mismatch: {a} is not {b}", path)
            elif isinstance(a, bool):
                if a is not b:
                    raise _Mismatch(AssertionError, f"Booleans mismatch: {a} is not {b}", path)
            elif isinstance(a, torch.Tensor):
                tolerances = _tolerances((a.dtype, b.dtype), rtol, atol, path)
                _compare_attributes(a, b, check_device, check_dtype, check_stride, path)
                _compare_tensors(a, b, *tolerances, equal_nan, path)
            else:
                kinds = [{int: dtypes.int64, float: dtypes.float64}.get(type(n), dtypes.complex128) for n in (a, b)]
                _compare_numbers(a, b, *_tolerances(kinds, rtol, atol, path), equal_nan, check_dtype, path)
    except _Mismatch as e:
        raise e.kind(msg(e.text) if callable(msg) else e.text if msg is None else msg) from None


def _pairs(a: Any, b: Any, allow_subclasses: bool, path: Path) -> Iterator[tuple[Any, Any, Path]]:
    """What is to be compared, with its place in the structure: pairs of None, bools, numbers or tensors."""
    if _is(Sequence, a, b) and not isinstance(a, str) and not isinstance(b, str):
        if len(a) != len(b):
            text = f"The length of the sequences mismatch: {len(a)} != {len(b)}"
            raise _Mismatch(AssertionError, text, path)
        for i in range(len(a)):
            yield from _pairs(a[i], b[i], allow_subclasses, (*path, i))
    elif _is(Mapping, a, b):
        if a.keys() != b.keys():
            text = (
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {sorted(b.keys() - a.keys())}\n"
                f"Additional keys in the actual mapping: {sorted(a.keys() - b.keys())}"
            )
            raise _Mismatch(AssertionError, text, path)
        for key in _sorted(a):
            yield from _pairs(a[key], b[key], allow_subclasses, (*path, key))
    elif a is None or b is None:
        yield a, b, path
    elif _is((bool, np.bool_), a, b):
        yield bool(a), bool(b), path
    elif _is((int, float, complex, np.number), a, b):
        yield _plain(a), _plain(b), path
    else:
        same_kind = type(a) is type(b) or (allow_subclasses and (isinstance(a, type(b)) or isinstance(b, type(a))))
        tensors = [_as_tensor(x) if same_kind else None for x in (a, b)]
        if any(t is None for t in tensors):
            text = f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}."
            raise _Mismatch(TypeError, text, path)
        yield *tensors, path


def _is(kinds: Any, a: Any, b: Any) -> bool:
    return isinstance(a, kinds) and isinstance(b, kinds)


def _plain(number: Any) -> Any:
    return number.item() if isinstance(number, np.number) else number


def _sorted(keys: Mapping[Any, Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:
        return list(keys)


def _as_tensor(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        return None


def _tolerances(types: Sequence[DType], rtol: float | None, atol: float | None, path: Path) -> tuple[float, float]:
    if rtol is not None and atol is not None:
        return rtol, atol
    if rtol is not None or atol is not None:
        which = "rtol" if rtol is None else "atol"
        text = f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {which}."
        raise _Mismatch(ValueError, text, path)
    rtols, atols = zip(*(TOLERANCES.get(d, (0.0, 0.0)) for d in types), strict=True)
    return max(rtols), max(atols)


def _compare_attributes(a: Any, b: Any, device: bool, dtype: bool, stride: bool, path: Path) -> None:
    checks = [
        (True, "shape", a.shape, b.shape),
        (stride, "stride()", a.stride(), b.stride()),
        (device, "device", a.device, b.device),
        (dtype, "dtype", a.dtype, b.dtype),
    ]
    for wanted, name, mine, other in checks:
        if wanted and mine != other:
            text = f"The values for attribute '{name}' do not match: {mine} != {other}."
            raise _Mismatch(AssertionError, text, path)


def _compare_numbers(
    a: Any, b: Any, rtol: float, atol: float, equal_nan: bool, check_type: bool, path: Path
) -> None:
    if check_type and type(a) is not type(b):
        raise _Mismatch(AssertionError, f"The (d)types do not match: {type(a)} != {type(b)}.", path)
    if a == b or (equal_nan and cmath.isnan(a) and cmath.isnan(b)):
        return
    difference = abs(a - b)
    if not (cmath.isfinite(difference) and difference <= atol + rtol * abs(b)):
        raise _Mismatch(AssertionError, _scalars(a, b, rtol, atol), path)


def _compare_tensors(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool, path: Path) -> None:
    a, b = a.detach(), b.detach()
    if a.device != b.device:
        a, b = a.cpu(), b.cpu()
    if a.dtype is not b.dtype:
        common = dtypes.join(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    matches = torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(matches.all()):
        return
    if not a.shape:
        raise _Mismatch(AssertionError, _scalars(a.item(), b.item(), rtol, atol), path)
    if not a.dtype.differentiable:
        a, b = a.to(dtypes.int64), b.to(dtypes.int64)
    total = matches.numel()
    wrong = total - int(matches.sum())
    absolute = (a - b).abs().masked_fill(matches, 0)
    relative = (absolute / b.abs()).masked_fill(matches, 0)
    head = _head("Tensor-likes", f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})", rtol, atol)
    lines = [
        _difference(name, *_greatest(d), tol, rtol == atol == 0)
        for name, d, tol in (("absolute", absolute, atol), ("relative", relative, rtol))
    ]
    raise _Mismatch(AssertionError, "\n".join([head, *lines]), path)


def _greatest(differences: Any) -> tuple[Any, tuple[int, ...]]:
    flat = differences.reshape(-1)
    at = int(flat.argmax())
    return flat[at].item(), tuple(int(i) for i in np.unravel_index(at, tuple(differences.shape)))


def _scalars(a: Any, b: Any, rtol: float, atol: float) -> str:
    absolute = abs(a - b)
    relative = math.inf if b == 0 else absolute / abs(b)
    exact = rtol == atol == 0
    return "\n".join(
        [
            _head("Scalars", f"Expected {b} but got {a}.", rtol, atol),
            _difference("absolute", absolute, None, atol, exact),
            _difference("relative", relative, None, rtol, exact),
        ]
    )


def _head(what: str, summary: str, rtol: float, atol: float) -> str:
    return f"{what} are not {'equal' if rtol == atol == 0 else 'close'}!\n\n{summary}"


def _difference(name: str, size: Any, at: tuple[int, ...] | None, tolerance: float, exact: bool) -> str:
    start = f"{name.title()} difference: {size}" if at is None else f"Greatest {name} difference: {size} at index {at}"
    return start if exact else f"{start} (up to {tolerance} allowed)"


def make_tensor(
    *shape: Any,
    dtype: DType,
    device: Any,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor of random numbers, uniform in ``[low, high)``; by default about from -9 to 9."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    whole = not dtype.differentiable
    if requires_grad and whole:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype!r}"
        )
    low, high = _bounds(dtype, low, high)
    noncontiguous = noncontiguous and math.prod(sizes) > 1
    if noncontiguous:
        sizes = (*sizes[:-1], 2 * sizes[-1])
    if whole:
        made = torch.randint(math.ceil(low), math.ceil(high), sizes, dtype=dtype, device=device)
    else:
        # halves, because the distance between the bounds may be more than the largest number
        made = torch.empty(sizes, dtype=dtype, device=device)
        parts = torch.view_as_real(made) if dtype.is_complex else made
        parts.uniform_(low / 2, high / 2).mul_(2)
    if noncontiguous:
        made = made[..., 1::2]
    if exclude_zero:
        made.masked_fill_(made == 0, 1 if whole else torch.finfo(dtype).tiny)
    return made.requires_grad_(requires_grad) if requires_grad else made


def _bounds(dtype: DType, low: float | None, high: float | None) -> tuple[float, float]:
    least, beyond, default_low, default_high = _range(dtype)
    low = default_low if low is None else low
    high = default_high if high is None else high
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low!r} and high={high!r}")
    if low > high or (low == high and not dtype.differentiable):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    if high < least or low >= beyond:
        raise ValueError(
            f"The value interval specified by `low` and `high` is [{low}, {high}), "
            f"but {dtype} only supports [{least}, {beyond})"
        )
    return min(max(low, least), beyond), min(max(high, least), beyond)


def _range(dtype: DType) -> tuple[float, float, float, float]:
    """The least number of a type, the first beyond it, and the default bounds."""
    if dtype.category is Category.BOOL:
        return 0, 2, 0, 2
    if dtype.category is Category.INT:
        limits = torch.iinfo(dtype)
        return limits.min, limits.max + (dtype is not dtypes.int64), -9, 10
    limits = torch.finfo(dtype)
    return limits.min, limits.max, -9, 9
