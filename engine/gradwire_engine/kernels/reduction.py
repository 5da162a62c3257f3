"""Kernels. Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, filled, on_cpu
from gradwire_engine.masks import FEW
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at
from gradwire_proto.catalog.meta import reduced_shape, wrap_dims

Axis = int | tuple[int, ...] | None


def over(dim: Any, ndim: int) -> Axis:
    """What ``dim`` means as an axis argument: one, several, or all where None or empty."""
    if dim is None or not ndim:
        return None
    return dim if isinstance(dim, int) else tuple(dim) or None


def wide(a: Any, dtype: Any = None) -> Any:
    """The array in the type asked for; 16-bit floats as float32, in which torch accumulates them."""
    if dtype is not None:
        a = a.astype(NUMPY_DTYPE[dtype], copy=False)
    return a.astype("float32") if a.dtype.itemsize == 2 and a.dtype.kind not in "iu" else a


def count(a: Any, axis: Axis) -> int:
    if axis is None:
        return int(a.size)
    return int(a.shape[axis]) if isinstance(axis, int) else math.prod(a.shape[d] for d in axis)


def put(array: Any, axis: Axis, keepdim: bool) -> Any:
    """A result that was computed with its reduced axes kept, without them unless wanted."""
    return array if keepdim else array.squeeze(axis)


def size2(xp: Any, a: Any) -> Any:
    """The squares of the elements' sizes."""
    return xp.square(a.real) + xp.square(a.imag) if a.dtype.kind == "c" else xp.square(a)


# The arrays' own methods cost half of what the library's functions do on a small array.


@kernel("sum")
def sum(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None, out: Any = None) -> Any:
    a, axis = wide(input, dtype), over(dim, input.ndim)
    if out is None or out.dtype != a.dtype:
        return filled(out, a.sum(axis=axis, keepdims=keepdim))
    return a.sum(axis=axis, keepdims=keepdim, out=out)


@kernel("nansum")
def nansum(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    a, axis = wide(input, dtype), over(dim, input.ndim)
    # To look costs less than a copy, but on a GPU it would have to be waited for.
    if on_cpu(a) and a.size > FEW and not (a != a).any():
        return a.sum(axis=axis, keepdims=keepdim)
    return xp.nansum(a, axis=axis, keepdims=keepdim)


@kernel("mean")
def mean(xp: Any, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None, out: Any = None) -> Any:
    axis = over(dim, input.ndim)
    # The library's own mean would warn where there is nothing to take it of.
    made = xp.true_divide(wide(input, dtype).sum(axis=axis, keepdims=keepdim), count(input, axis))
    return filled(out, made)


@kernel("prod")
def prod(xp: Any, input: Any, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Any:
    a, axis = wide(input, dtype), None if dim is None or not input.ndim else dim
    if a.dtype.kind in "fc" and a.size > FEW and (axis is None or axis % a.ndim == a.ndim - 1):
        line = a.reshape(-1) if axis is None else a
        while line.shape[-1] > 16:  # NumPy takes a product of a line one number after the other
            half = line.shape[-1] // 2
            made = line[..., :half] * line[..., half : 2 * half]
            if line.shape[-1] % 2:
                made[..., 0] *= line[..., -1]
            line = made
        dims = wrap_dims(None if axis is None else (axis,), a.ndim)
        return line.prod(axis=-1).reshape(reduced_shape(a.shape, dims, keepdim))
    return a.prod(axis=axis, keepdims=keepdim)


def moments(xp: Any, input: Any, dim: Any, correction: float | None) -> tuple[Any, Any, Axis]:
    """Variance and mean, with the reduced axes kept, and these axes."""
    axis = over(dim, input.ndim)
    a = wide(input)
    n = count(a, axis)
    m = xp.true_divide(a.sum(axis=axis, keepdims=True), n)
    left = max(n - (1 if correction is None else correction), 0)
    return xp.true_divide(size2(xp, a - m).sum(axis=axis, keepdims=True), left), m, axis


@kernel("var_mean")
def var_mean(xp: Any, input: Any, dim: Any = None, correction: float | None = 1, keepdim: bool = False) -> Any:
    v, m, axis = moments(xp, input, dim, correction)
    return put(v, axis, keepdim), put(m, axis, keepdim)


@kernel("std_mean")
def std_mean(xp: Any, input: Any, dim: Any = None, correction: float | None = 1, keepdim: bool = False) -> Any:
    v, m, axis = moments(xp, input, dim, correction)
    return put(xp.sqrt(v), axis, keepdim), put(m, axis, keepdim)


kernel("var", lambda xp, input, dim=None, correction=1, keepdim=False:
       var_mean(xp, input, dim, correction, keepdim)[0])  # fmt: skip
kernel("std", lambda xp, input, dim=None, correction=1, keepdim=False:
       std_mean(xp, input, dim, correction, keepdim)[0])  # fmt: skip

kernel("amax", lambda xp, input, dim=(), keepdim=False: input.max(axis=over(dim, input.ndim), keepdims=keepdim))
kernel("amin", lambda xp, input, dim=(), keepdim=False: input.min(axis=over(dim, input.ndim), keepdims=keepdim))
kernel("max_all", lambda xp, input: input.max())
kernel("min_all", lambda xp, input: input.min())
kernel("aminmax", lambda xp, input, dim=None, keepdim=False: (
    input.min(axis=over(dim, input.ndim), keepdims=keepdim),
    input.max(axis=over(dim, input.ndim), keepdims=keepdim)))  # fmt: skip


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
    return put(xp.take_along_axis(input, at, dim), dim, keepdim), put(at, dim, keepdim)


kernel("max_dim", lambda xp, input, dim, keepdim=False: _with_index(xp, xp.argmax, input, dim, keepdim))
kernel("min_dim", lambda xp, input, dim, keepdim=False: _with_index(xp, xp.argmin, input, dim, keepdim))


def _logical(find: Any, input: Any, dim: Any, keepdim: bool) -> Any:
    return find(input, axis=() if dim is not None and not len(dim) else over(dim, input.ndim), keepdims=keepdim)


kernel("any", lambda xp, input, dim=None, keepdim=False: _logical(xp.any, input, dim, keepdim))
kernel("all", lambda xp, input, dim=None, keepdim=False: _logical(xp.all, input, dim, keepdim))
kernel("count_nonzero", lambda xp, input, dim=None: xp.count_nonzero(input, axis=over(dim, input.ndim)))


@kernel("logsumexp")
def logsumexp(xp: Any, input: Any, dim: Any, keepdim: bool = False) -> Any:
    axis = over(dim, input.ndim)
    a = wide(input if input.dtype.kind not in "biu" else input.astype("float32"))
    if not a.size:
        return xp.log(a.sum(axis=axis, keepdims=keepdim))
    top = a.real.max(axis=axis, keepdims=True)
    # Taking an infinite maximum off would leave nan; what is left of it overflows or vanishes as it should.
    top = xp.where(xp.isfinite(top), top, 0)
    return put(xp.log(xp.exp(a - top).sum(axis=axis, keepdims=True)) + top, axis, keepdim)


@kernel("linalg_vector_norm")
def vector_norm(xp: Any, input: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    axis = over(dim, input.ndim)
    a = wide(input, dtype)
    if ord == 2 and a.dtype.kind == "f" and a.size > FEW and axis in (a.ndim - 1, -1, (a.ndim - 1,), (-1,)):
        rows = a.reshape(-1, a.shape[-1])
        made = xp.sqrt(xp.einsum("ij,ij->i", rows, rows)).reshape(a.shape[:-1])
        return made[..., None] if keepdim else made
    if ord == 2:
        return xp.sqrt(size2(xp, a).sum(axis=axis, keepdims=keepdim))
    if ord == 0:
        return (a != 0).sum(axis=axis, keepdims=keepdim)
    a = xp.abs(a)
    if ord == math.inf:
        return a.max(axis=axis, keepdims=keepdim)
    if ord == -math.inf:
        return a.min(axis=axis, keepdims=keepdim)
    if ord == 1:
        return a.sum(axis=axis, keepdims=keepdim)
    return xp.power(xp.power(a, ord).sum(axis=axis, keepdims=keepdim), 1 / ord)


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
