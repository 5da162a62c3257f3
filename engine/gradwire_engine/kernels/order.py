"""Kernels. Order statistics and scans: sort, topk, median, cumulative sums."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import accumulate, on_cpu
from gradwire_engine.kernels.reduction import put, wide
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at
from gradwire_engine.sorting import ranked
from gradwire_proto.spec import Spec

# ---- order


def ranking(xp: Any, a: Any, dim: int, descending: bool = False) -> Any:
    """Indices that sort along dim: nan counts as the largest, equal elements keep their order."""
    return ranks(xp, a, dim, descending, 0, a.shape[dim])


def ranks(xp: Any, a: Any, dim: int, descending: bool, start: int, stop: int) -> Any:
    """Those of the elements at ``start`` to ``stop`` in this order."""
    found = ranked(a, dim, descending, start, stop) if on_cpu(a) else None
    return window(_argsort(xp, a, dim, descending), dim, start, stop) if found is None else found


def _argsort(xp: Any, a: Any, dim: int, descending: bool) -> Any:
    if not descending:
        return xp.argsort(a, axis=dim, kind="stable")
    return a.shape[dim] - 1 - xp.flip(xp.argsort(xp.flip(a, dim), axis=dim, kind="stable"), dim)


def picked(xp: Any, a: Any, at: Any, dim: int, keepdim: bool = True) -> Any:
    """The elements at indices along dim, and the indices."""
    return put(xp.take_along_axis(a, at, dim), dim, keepdim), put(at, dim, keepdim)


def window(a: Any, dim: int, start: int, stop: int) -> Any:
    index = [slice(None)] * a.ndim
    index[dim] = slice(start, stop)
    return a[tuple(index)]


def itself(xp: Any, a: Any) -> Any:
    """What every selection makes of a 0-d tensor: its element, at index 0."""
    return a.copy(), xp.zeros((), "int64")


@kernel("sort")
def sort(xp: Any, input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    if not input.ndim:
        return itself(xp, input)
    return picked(xp, input, ranking(xp, input, dim, descending), dim)


@kernel("topk")
def topk(xp: Any, input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not input.ndim:
        return itself(xp, input)
    return picked(xp, input, ranks(xp, input, dim, largest, 0, k), dim)


@kernel("kthvalue")
def kthvalue(xp: Any, input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if not input.ndim:
        return itself(xp, input)
    return picked(xp, input, ranks(xp, input, dim, False, k - 1, k), dim, keepdim)


def middle(xp: Any, a: Any, dim: int, skip_nan: bool, keepdim: bool) -> Any:
    """The lower of the middle elements; a row with nan gives its first nan, unless these are skipped."""
    if not a.ndim:
        return itself(xp, a)
    bad = a != a
    if not bad.any():
        at = (a.shape[dim] - 1) // 2
        return picked(xp, a, ranks(xp, a, dim, False, at, at + 1), dim, keepdim)
    order = ranking(xp, a, dim)
    rank = xp.full_like(window(order, dim, 0, 1), (a.shape[dim] - 1) // 2)
    numbers = xp.sum(~bad, axis=dim, keepdims=True)
    if skip_nan:
        rank = xp.maximum((numbers - 1) // 2, 0)
    else:
        rank = xp.where(numbers < a.shape[dim], xp.minimum(numbers, a.shape[dim] - 1), rank)
    return picked(xp, a, xp.take_along_axis(order, rank, dim), dim, keepdim)


def middle_all(xp: Any, a: Any, skip_nan: bool) -> Any:
    if not a.size:
        return xp.asarray(xp.nan if a.dtype.kind not in "iu" else xp.iinfo(a.dtype).min)
    return middle(xp, a.reshape(-1), 0, skip_nan, False)[0]


kernel("median_dim", lambda xp, input, dim, keepdim=False: middle(xp, input, dim, False, keepdim))
kernel("nanmedian_dim", lambda xp, input, dim, keepdim=False: middle(xp, input, dim, True, keepdim))
kernel("median_all", lambda xp, input: middle_all(xp, input, False))
kernel("nanmedian_all", lambda xp, input: middle_all(xp, input, True))


@kernel("mode")
def mode(xp: Any, input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    if not input.ndim:
        return itself(xp, input)
    order = ranking(xp, input, dim)
    a = xp.moveaxis(xp.take_along_axis(input, order, dim), dim, 0)
    place = xp.arange(len(a)).reshape((-1,) + (1,) * (a.ndim - 1))
    starts = xp.zeros(a.shape, "int64")
    starts[1:] = xp.where(a[1:] != a[:-1], place[1:], 0)
    run = place - accumulate(xp, xp.maximum, starts)  # how many equals lie before, in sorted order
    last = xp.moveaxis(xp.argmax(run, axis=0)[None], 0, dim)
    return picked(xp, input, xp.take_along_axis(order, last, dim), dim, keepdim)


# ---- scans


def _running(find: Any, input: Any, dim: int, dtype: Any) -> Any:
    a = wide(input, dtype)
    return find(a, axis=dim) if a.ndim else a.copy()


kernel("cumsum", lambda xp, input, dim, dtype=None: _running(xp.cumsum, input, dim, dtype))
kernel("cumprod", lambda xp, input, dim, dtype=None: _running(xp.cumprod, input, dim, dtype))


def _running_extreme(xp: Any, combine: Any, input: Any, dim: int) -> Any:
    if not input.ndim:
        return itself(xp, input)
    a = xp.moveaxis(input, dim, 0)
    values = accumulate(xp, combine, a)
    place = xp.arange(len(a)).reshape((-1,) + (1,) * (a.ndim - 1))
    here = xp.where((a == values) | (a != a), place, 0)
    return xp.moveaxis(values, 0, dim), xp.moveaxis(accumulate(xp, xp.maximum, here), 0, dim)


kernel("cummax", lambda xp, input, dim: _running_extreme(xp, xp.maximum, input, dim))
kernel("cummin", lambda xp, input, dim: _running_extreme(xp, xp.minimum, input, dim))


@kernel("logcumsumexp")
def logcumsumexp(xp: Any, input: Any, dim: int) -> Any:
    if not input.ndim:
        return input.copy()
    a = xp.moveaxis(wide(input), dim, 0)
    if a.dtype.kind != "c":
        return xp.moveaxis(accumulate(xp, xp.logaddexp, a), 0, dim)
    # One after another: the larger of two lends the sum its imaginary part, so that the order decides on which sheet
    # of the logarithm it ends.
    out = a.copy()
    for i in range(1, len(a)):
        x, y = out[i - 1], a[i]
        top = xp.where(x.real > y.real, x, y)
        low = xp.where(x.real > y.real, y, x)
        out[i] = xp.where(xp.isfinite(top.real), top + xp.log(1 + xp.exp(low - top)), top)
    return xp.moveaxis(out, 0, dim)


@kernel("exclusive_cumprod")
def exclusive_cumprod(xp: Any, input: Any, dim: int, reverse: bool) -> Any:
    a = xp.moveaxis(wide(input), dim, 0)
    out = xp.ones(a.shape, a.dtype)
    if len(a):
        if reverse:
            out[:-1] = xp.cumprod(a[:0:-1], axis=0)[::-1]
        else:
            out[1:] = xp.cumprod(a[:-1], axis=0)
    return xp.moveaxis(out, 0, dim)


@kernel("linear_scan")
def linear_scan(xp: Any, a: Any, b: Any, dim: int, reverse: bool) -> Any:
    """In log2(n) steps over whole arrays: after each, a and b stand for twice as many elements composed."""
    kind = xp.result_type(a, b)
    a, b = (xp.moveaxis(wide(v), dim, 0) for v in (a, b))
    if reverse:
        a, b = a[::-1], b[::-1]
    y = xp.zeros(b.shape, kind)
    if len(b):
        y[1:] = b[:-1]
        a, span, n = a[:-1].copy(), 1, len(b) - 1
        while span < n:
            # The right-hand sides are new arrays before anything is written: source and target overlap.
            y[1 + span :] += a[span:] * y[1:-span]
            a[span:] = a[span:] * a[:-span]
            span *= 2
    return xp.moveaxis(y[::-1] if reverse else y, 0, dim)


# ---- search and counts


@kernel("searchsorted")
def searchsorted(xp: Any, sorted_sequence: Any, input: Any, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Any = None) -> Any:  # fmt: skip
    edges, values, right = sorted_sequence, xp.asarray(input), right or side == "right"
    n = edges.shape[-1]
    if sorter is not None:
        if sorter.size and (int(sorter.min()) < 0 or int(sorter.max()) >= n):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = xp.take_along_axis(edges, sorter, -1)
    if edges.ndim == 1:
        return xp.searchsorted(edges, values, side="right" if right else "left")
    low = xp.zeros(values.shape, "int64")
    high = xp.full(values.shape, n, "int64")
    for _ in range(n.bit_length()):
        mid = (low + high) // 2
        edge = xp.take_along_axis(edges, xp.minimum(mid, n - 1), -1)
        beyond = ~(edge > values if right else edge >= values) & (low < high)  # so that nan comes last
        low, high = xp.where(beyond, mid + 1, low), xp.where(beyond, high, mid)
    return low


@kernel("histc")
def histc(xp: Any, input: Any, bins: int, min: float, max: float) -> Any:
    a = wide(input).reshape(-1)
    low, high = float(min), float(max)
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    if low == high:
        low, high = low - 1, high + 1
    return xp.histogram(a, bins=bins, range=(low, high))[0]


@kernel("bincount_sized")
def bincount(xp: Any, input: Any, weights: Any, size: int, spec: Spec) -> Any:
    if input.size and (int(input.min()) < 0 or int(input.max()) >= size):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    out = xp.zeros(size, spec.dtype.name)
    add_at(xp, out, input.astype("int64"), 1 if weights is None else weights.astype(out.dtype))
    return out
