"""Kernels of indexing. Each checks its indices itself: NumPy's errors read otherwise, and CuPy wraps silently."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import DTYPE, NUMPY_DTYPE, looked_up
from gradwire_engine.masks import select
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_along, add_at, maximum_at, minimum_at, moved, multiply_at
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import join


@kernel("where")
def where(xp: Any, condition: Any, input: Any, other: Any) -> Any:
    a, b = getattr(input, "dtype", None), getattr(other, "dtype", None)
    if a is not None and b is not None and a != b:  # NumPy joins no other types with bfloat16
        common = NUMPY_DTYPE[join(DTYPE[a], DTYPE[b])]
        input, other = input.astype(common, copy=False), other.astype(common, copy=False)
    return select(xp, condition.astype(bool, copy=False), input, other)


def check(index: Any, size: int, text: str, error: type[Exception] = IndexError, wrap: bool = False) -> None:
    """Raise ``error`` where an index is outside of ``size``; ``text`` is filled in with the index and the size."""
    if not index.size:
        return
    low, high = int(index.min()), int(index.max())
    if high >= size or low < (-size if wrap else 0):
        raise error(text.format(index=high if high >= size else low, size=size))


def _written(xp: Any, input: Any, out: Any) -> Any:
    """Where a copy of ``input`` is to be changed: ``out``, which may be the input itself, or new memory."""
    if out is None:
        return xp.array(input, order="C")  # an array even where NumPy's arithmetic made a scalar of a 0-d one
    if out is not input:
        out[...] = input
    return out


def _value(value: Any, dtype: Any) -> Any:
    """A number or 0-d array in the form in which an array of the type takes it."""
    is_complex = isinstance(value, complex) or getattr(getattr(value, "dtype", None), "kind", "") == "c"
    return value.real if is_complex and dtype.kind != "c" else value


def _key(shape: tuple[int, ...], indices: list[Any]) -> tuple[Any, ...]:
    for d, t in enumerate(indices):
        if t is not None:
            check(t, shape[d], f"index {{index}} is out of bounds for dimension {d} with size {{size}}", wrap=True)
    return (*(slice(None) if t is None else t for t in indices), ...)


@kernel("index")
def index(xp: Any, input: Any, indices: list[Any]) -> Any:
    found = input[_key(input.shape, indices)]
    # Without a dimension among the indices this is a view, and an op's result must be memory of its own.
    return found if any(t is not None and t.ndim for t in indices) else found.copy()


@kernel("index_backward")
def index_backward(xp: Any, grad: Any, input_size: tuple[int, ...], indices: list[Any]) -> Any:
    out = xp.zeros(input_size, grad.dtype)
    add_at(xp, out, _key(input_size, indices), grad)
    return out


@kernel("index_put")
def index_put(xp: Any, input: Any, indices: list[Any], values: Any, accumulate: bool, out: Any = None) -> Any:
    key = _key(input.shape, indices)
    out = _written(xp, input, out)
    if accumulate:
        add_at(xp, out, key, values)
    else:
        out[key] = values
    return out


def _flat(a: Any) -> Any:
    return a if a.ndim else a.reshape(1)


def _check_along(shape: tuple[int, ...], dim: int, index: Any) -> int:
    """The dimension, where there are all the places along it."""
    dim = wrap_dim(dim, len(shape))
    check(index, shape[dim], f"index {{index}} is out of bounds for dimension {dim} with size {{size}}", RuntimeError)
    return dim


def _lined(whole: tuple[int, ...], part: tuple[int, ...], dim: int) -> tuple[int, int, int] | None:
    """The shapes as ``(outer, -1, inner)`` around the dimension, where all others are the same."""
    dim = wrap_dim(dim, len(whole))
    if whole[:dim] != part[:dim] or whole[dim + 1 :] != part[dim + 1 :]:
        return None
    return math.prod(whole[:dim]), -1, math.prod(whole[dim + 1 :])


def _along(xp: Any, shape: tuple[int, ...], dim: int, index: Any) -> tuple[Any, ...]:
    """The key by which gather reads and the scatters write: the index in one dimension, its own place in the others."""
    dim = _check_along(shape, dim, index)
    n = index.ndim
    key = [xp.arange(s).reshape((-1,) + (1,) * (n - 1 - d)) for d, s in enumerate(index.shape)]
    key[dim] = index
    return tuple(key)


def _places(shape: tuple[int, ...], key: tuple[Any, ...], dim: int) -> Any:
    """The key as indices of a dense array flattened, which takes NumPy half the time of several."""
    steps = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    others = [k if step == 1 else k * step for d, (k, step) in enumerate(zip(key, steps, strict=True)) if d != dim]
    at = key[dim] if steps[dim] == 1 else key[dim] * steps[dim]
    return at + sum(others[1:], others[0]) if others else at


@kernel("gather")
def gather(xp: Any, input: Any, dim: int, index: Any, sparse_grad: bool) -> Any:
    if not index.size:
        return xp.empty(index.shape, input.dtype)
    input, at = _flat(input), _flat(index)
    shape = _lined(input.shape, at.shape, dim)
    if shape is not None and loops.fit(xp, input):
        _check_along(input.shape, dim, at)
        found = xp.empty(index.shape, input.dtype)
        moved(xp, "gather", shape, input, at, found)
        return found
    key = _along(xp, input.shape, dim, at)
    found = looked_up(xp, input.reshape(-1), _places(input.shape, key, wrap_dim(dim, input.ndim)))
    return found.reshape(index.shape)


def _scattered(xp: Any, input: Any, dim: int, index: Any, src: Any, out: Any) -> tuple[Any, Any, Any, Any]:
    """What to return, it with a dimension at least, the key to write at, and the part of src that is written."""
    out = _written(xp, input, out)
    target, at = _flat(out), _flat(index)
    part = src
    if hasattr(src, "shape") and src.ndim:
        part = src[tuple(slice(s) for s in at.shape)]
    key = _along(xp, target.shape, dim, at)
    if target.flags.c_contiguous:
        return out, target.reshape(-1), (_places(target.shape, key, wrap_dim(dim, target.ndim)),), part
    return out, target, key, part


def _by_loop(xp: Any, input: Any, dim: int, index: Any, src: Any, out: Any, added: bool) -> Any:
    """What a scatter by a loop returns; None where there is none for it."""
    if not hasattr(src, "shape") or src.shape != index.shape or not index.ndim:
        return None
    shape = _lined(input.shape, index.shape, dim)
    if shape is None or not loops.fit(xp, input, src, out) or not (out is None or out.flags.c_contiguous):
        return None
    _check_along(input.shape, dim, index)
    out = _written(xp, input, out)
    moved(xp, "scatter", shape, src, index, out, added)
    return out


@kernel("scatter")
def scatter(xp: Any, input: Any, dim: int, index: Any, src: Any, out: Any = None) -> Any:
    if not index.size:
        return _written(xp, input, out)
    made = _by_loop(xp, input, dim, index, src, out, False)
    if made is not None:
        return made
    out, target, key, part = _scattered(xp, input, dim, index, src, out)
    target[key] = _value(part, target.dtype)
    return out


@kernel("scatter_add")
def scatter_add(xp: Any, input: Any, dim: int, index: Any, src: Any, out: Any = None) -> Any:
    if not index.size:
        return _written(xp, input, out)
    made = _by_loop(xp, input, dim, index, src, out, True)
    if made is not None:
        return made
    out, target, key, part = _scattered(xp, input, dim, index, src, out)
    add_at(xp, target, key, part)
    return out


def _identity(xp: Any, reduce: str, dtype: Any) -> Any:
    if reduce in ("amax", "amin"):
        least = reduce == "amax"
        if dtype.kind == "b":
            return not least
        if dtype.kind in "iu":
            info = xp.iinfo(dtype)
            return info.min if least else info.max
        return float("-inf") if least else float("inf")
    return 1 if reduce == "prod" else 0


@kernel("scatter_reduce")
def scatter_reduce(xp: Any, input: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool,
                   out: Any = None) -> Any:  # fmt: skip
    if not index.size:
        return _written(xp, input, out)
    out, target, key, part = _scattered(xp, input, dim, index, src, out)
    if not include_self:
        target[key] = _identity(xp, reduce, target.dtype)
    if reduce == "prod":
        multiply_at(xp, target, key, part, wrap_dim(dim, max(input.ndim, 1)))
    elif reduce == "amax":
        maximum_at(xp, target, key, part)
    elif reduce == "amin":
        minimum_at(xp, target, key, part)
    else:
        add_at(xp, target, key, part)
    if reduce == "mean":
        count = xp.full(target.shape, 1 if include_self else 0, target.real.dtype)
        add_at(xp, count, key, xp.ones(part.shape, count.dtype))
        count = xp.maximum(count, xp.asarray(1, count.dtype))
        if target.dtype.kind in "iu":
            target //= count
        else:
            target /= count
    return out


def _row(shape: tuple[int, ...], dim: int, index: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * wrap_dim(dim, len(shape)), index)


@kernel("index_select")
def index_select(xp: Any, input: Any, dim: int, index: Any) -> Any:
    source, at = _flat(input), _flat(index)
    dim = wrap_dim(dim, source.ndim)
    check(at, source.shape[dim], "index out of range in self")
    found = xp.take(source, at, dim)
    return found if input.ndim else found.reshape(())


@kernel("index_add")
def index_add(xp: Any, input: Any, dim: int, index: Any, source: Any, alpha: Any, out: Any = None) -> Any:
    dim, at = wrap_dim(dim, input.ndim), _flat(index)
    size = input.shape[dim] if input.ndim else 1
    check(at, size, f"index {{index}} is out of bounds for dimension {dim} with size {{size}}", RuntimeError)
    out = _written(xp, input, out)
    target = _flat(out)
    if alpha != 1:
        source = source * _value(alpha, source.dtype)
    add_along(xp, target, dim, at, source.reshape(_shape_at(target.shape, dim, at)))
    return out


def _shape_at(shape: tuple[int, ...], dim: int, index: Any) -> tuple[int, ...]:
    return (*shape[:dim], index.size, *shape[dim + 1 :])


@kernel("index_copy")
def index_copy(xp: Any, input: Any, dim: int, index: Any, source: Any, out: Any = None) -> Any:
    dim, at = wrap_dim(dim, input.ndim), _flat(index)
    size = input.shape[dim] if input.ndim else 1
    check(at, size, f"index_copy_(): index {{index}} is out of bounds for dimension {dim} with size {{size}}")
    out = _written(xp, input, out)
    target = _flat(out)
    target[_row(target.shape, dim, at)] = source.reshape(_shape_at(target.shape, dim, at))
    return out


@kernel("index_fill")
def index_fill(xp: Any, input: Any, dim: int, index: Any, value: Any, out: Any = None) -> Any:
    dim, at = wrap_dim(dim, input.ndim), _flat(index)
    size = input.shape[dim] if input.ndim else 1
    check(at, size, f"index {{index}} is out of bounds for dimension {dim} with size {{size}}", wrap=True)
    out = _written(xp, input, out)
    target = _flat(out)
    target[_row(target.shape, dim, at)] = _value(value, target.dtype)
    return out


@kernel("masked_fill")
def masked_fill(xp: Any, input: Any, mask: Any, value: Any, out: Any = None) -> Any:
    value = xp.asarray(_value(value, input.dtype)).astype(input.dtype)
    if out is None:
        return select(xp, mask, value, input)
    out = _written(xp, input, out)
    out[...] = select(xp, xp.broadcast_to(mask, out.shape), value, out)
    return out


@kernel("masked_scatter")
def masked_scatter(xp: Any, input: Any, mask: Any, source: Any, spec: Any) -> Any:
    key = xp.nonzero(xp.broadcast_to(mask, spec.shape)) if spec.shape else (xp.zeros(int(mask), int),)
    n = len(key[0])
    if source.size < n:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    out = xp.broadcast_to(input, spec.shape).copy()
    _flat(out)[key] = source.reshape(-1)[:n]
    return out


@kernel("masked_scatter_backward")
def masked_scatter_backward(xp: Any, grad: Any, mask: Any, sizes: tuple[int, ...]) -> Any:
    out = xp.zeros(sizes, grad.dtype)
    found = grad[xp.broadcast_to(mask, grad.shape)].reshape(-1)
    out.reshape(-1)[: len(found)] = found
    return out


_TAKEN = "out of range: tried to access index {index} on a tensor of {size} elements."


@kernel("take")
def take(xp: Any, input: Any, index: Any) -> Any:
    check(index, input.size, _TAKEN, wrap=True)
    return input.reshape(-1)[index] if index.size else xp.empty(index.shape, input.dtype)


@kernel("put")
def put(xp: Any, input: Any, index: Any, source: Any, accumulate: bool) -> Any:
    check(index, input.size, _TAKEN, wrap=True)
    out = _written(xp, input, None)
    flat, at = out.reshape(-1), index.reshape(-1)
    if accumulate:
        add_at(xp, flat, at, source.reshape(-1))
    else:
        flat[at] = source.reshape(-1)
    return out


@kernel("nonzero")
def nonzero(xp: Any, input: Any, count: int) -> Any:
    found = xp.stack(xp.nonzero(_flat(input)), 1)
    if len(found) != count:
        raise RuntimeError(f"nonzero: {count} elements were said not to be zero, but there are {len(found)}")
    return found if input.ndim else found[:, :0].copy()


@kernel("repeat_index")
def repeat_index(xp: Any, repeats: Any, size: int) -> Any:
    if repeats.size and int(repeats.min()) < 0:
        raise RuntimeError("repeats can not be negative")
    ends = xp.cumsum(repeats)
    total = int(ends[-1]) if ends.size else 0
    if total != size:
        raise RuntimeError(f"repeat_interleave: the repeats sum to {total}, but output_size is {size}")
    return xp.searchsorted(ends, xp.arange(size), side="right").astype(repeats.dtype)
