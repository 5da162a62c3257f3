"""Kernels. Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, add_at
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.meta import wrap_dim, wrap_dims

Axes = tuple[int, ...]


def axes(dim: Any, ndim: int) -> Axes:
    """The axes that ``dim`` names: one, several, or all where None or empty."""
    return wrap_dims((dim,) if isinstance(dim, int) else dim, ndim)


def wide(a: Any, dtype: Any = None) -> Any:
    """The array in the type asked for; 16-bit floats as float32, in which torch accumulates them."""
    if dtype is not None:
        a = a.astype(NUMPY_DTYPE[dtype], copy=False)
    return a.astype("float32") if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else a


def count(a: Any, along: Axes) -> int:
    return math.prod(a.shape[d] for d in along)


def put(xp: Any, array: Any, along: Axes, keepdim: bool) -> Any:
    """A result that was computed with its reduced axes kept, without them unless wanted."""
    return array if keepdim else xp.squeeze(array, axis=along)


@kernel("sum")
def sum(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return xp.sum(wide(input, dtype), axis=axes(dim, input.ndim), keepdims=keepdim)


@kernel("nansum")
def nansum(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return xp.nansum(wide(input, dtype), axis=axes(dim, input.ndim), keepdims=keepdim)


@kernel("mean")
def mean(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    along = axes(dim, input.ndim)
    # xp.mean would warn of an empty mean, and costs more than the sum of a small array.
    return xp.true_divide(xp.sum(wide(input, dtype), axis=along, keepdims=keepdim), count(input, along))


@kernel("prod")
def prod(xp: Any, input: Any, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return xp.prod(wide(input, dtype), axis=axes(dim, input.ndim), keepdims=keepdim)


def moments(xp: Any, input: Any, dim: Any, correction: float | None) -> tuple[Any, Any, Axes]:
    """Variance and mean, with the reduced axes kept, and these axes."""
    along = axes(dim, input.ndim)
    a = wide(input)
    n = count(a, along)
    m = xp.true_divide(xp.sum(a, axis=along, keepdims=True), n)
    d = a - m
    square = xp.square(d.real) + xp.square(d.imag) if d.dtype.kind == "c" else xp.square(d)
    left = max(n - (1 if correction is None else correction), 0)
    return xp.true_divide(xp.sum(square, axis=along, keepdims=True), left), m, along


@kernel("var_mean")
def var_mean(xp: Any, input: Any, dim: Any = None, correction: float | None = 1, keepdim: bool = False) -> Any:
    v, m, along = moments(xp, input, dim, correction)
    return put(xp, v, along, keepdim), put(xp, m, along, keepdim)


@kernel("std_mean")
def std_mean(xp: Any, input: Any, dim: Any = None, correction: float | None = 1, keepdim: bool = False) -> Any:
    v, m, along = moments(xp, input, dim, correction)
    return put(xp, xp.sqrt(v), along, keepdim), put(xp, m, along, keepdim)


kernel("var", lambda xp, input, dim=None, correction=1, keepdim=False:
       var_mean(xp, input, dim, correction, keepdim)[0])  # fmt: skip
kernel("std", lambda xp, input, dim=None, correction=1, keepdim=False:
       std_mean(xp, input, dim, correction, keepdim)[0])  # fmt: skip

kernel("amax", lambda xp, input, dim=(), keepdim=False: xp.amax(input, axis=axes(dim, input.ndim), keepdims=keepdim))
kernel("amin", lambda xp, input, dim=(), keepdim=False: xp.amin(input, axis=axes(dim, input.ndim), keepdims=keepdim))
kernel("max_all", lambda xp, input: xp.amax(input))
kernel("min_all", lambda xp, input: xp.amin(input))
kernel("aminmax", lambda xp, input, dim=None, keepdim=False: (
    xp.amin(input, axis=axes(dim, input.ndim), keepdims=keepdim),
    xp.amax(input, axis=axes(dim, input.ndim), keepdims=keepdim)))  # fmt: skip


def _arg(xp: Any, find: Any, input: Any, dim: int | None, keepdim: bool) -> Any:
    if dim is None or not input.ndim:
        at = find(input)
        return at.reshape((1,) * input.ndim) if keepdim else at
    if not input.size:  # the meta rule has seen to it that the dim is not the empty one
        return xp.empty([1 if i == dim % input.ndim else s for i, s in enumerate(input.shape)
                         if keepdim or i != dim % input.ndim], "int64")  # fmt: skip
    at = find(input, axis=dim)
    return xp.expand_dims(at, dim) if keepdim else at


kernel("argmax", lambda xp, input, dim=None, keepdim=False: _arg(xp, xp.argmax, input, dim, keepdim))
kernel("argmin", lambda xp, input, dim=None, keepdim=False: _arg(xp, xp.argmin, input, dim, keepdim))


def _with_index(xp: Any, find: Any, input: Any, dim: int, keepdim: bool) -> Any:
    if not input.ndim:
        return input.copy(), xp.zeros((), "int64")
    at = _arg(xp, find, input, dim, True)
    along = (wrap_dim(dim, input.ndim),)
    return put(xp, xp.take_along_axis(input, at, dim), along, keepdim), put(xp, at, along, keepdim)


kernel("max_dim", lambda xp, input, dim, keepdim=False: _with_index(xp, xp.argmax, input, dim, keepdim))
kernel("min_dim", lambda xp, input, dim, keepdim=False: _with_index(xp, xp.argmin, input, dim, keepdim))


def _logical(find: Any, input: Any, dim: Any, keepdim: bool) -> Any:
    return find(input, axis=() if dim is not None and not len(dim) else axes(dim, input.ndim), keepdims=keepdim)


kernel("any", lambda xp, input, dim=None, keepdim=False: _logical(xp.any, input, dim, keepdim))
kernel("all", lambda xp, input, dim=None, keepdim=False: _logical(xp.all, input, dim, keepdim))
kernel("count_nonzero", lambda xp, input, dim=None: xp.count_nonzero(input, axis=axes(dim, input.ndim)))


@kernel("logsumexp")
def logsumexp(xp: Any, input: Any, dim: Any, keepdim: bool = False) -> Any:
    along = axes(dim, input.ndim)
    a = wide(input if input.dtype.kind not in "biu" else input.astype("float32"))
    if not a.size:
        return xp.log(xp.sum(a, axis=along, keepdims=keepdim))
    top = xp.amax(a.real, axis=along, keepdims=True)
    # Taking an infinite maximum off would leave nan; what is left of it overflows or vanishes as it should.
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return put(xp, xp.log(xp.sum(xp.exp(a - top), axis=along, keepdims=True)) + top, along, keepdim)


@kernel("linalg_vector_norm")
def vector_norm(xp: Any, input: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    along = axes(dim, input.ndim)
    a = wide(input, dtype)
    if ord == 2:
        square = xp.square(a.real) + xp.square(a.imag) if a.dtype.kind == "c" else xp.square(a)
        return xp.sqrt(xp.sum(square, axis=along, keepdims=keepdim))
    if ord == 0:
        return xp.sum(a != 0, axis=along, keepdims=keepdim)
    a = xp.abs(a)
    if ord == math.inf:
        return xp.amax(a, axis=along, keepdims=keepdim)
    if ord == -math.inf:
        return xp.amin(a, axis=along, keepdims=keepdim)
    if ord == 1:
        return xp.sum(a, axis=along, keepdims=keepdim)
    return xp.power(xp.sum(xp.power(a, ord), axis=along, keepdims=keepdim), 1 / ord)


@kernel("scatter_along")
def scatter_along(xp: Any, grad: Any, indices: Any, dim: int, size: tuple[int, ...], unique: bool) -> Any:
    out = xp.zeros(size, grad.dtype)
    if not size:
        return out + grad
    if unique:
        xp.put_along_axis(out, indices, grad, dim)
        return out
    index = list(xp.ogrid[tuple(slice(s) for s in indices.shape)])
    index[dim] = indices
    add_at(xp, out, tuple(index), grad)
    return out
