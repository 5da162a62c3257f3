"""Kernels of views, and of the gradients that put a view's part back."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.catalog.shape import slice_range, split_sizes, squeezed_dims

kernel("view", lambda xp, input, size: input.reshape(size))
kernel("view_dtype", lambda xp, input, dtype: input.view(NUMPY_DTYPE[dtype]))
kernel("alias", lambda xp, input: input)
kernel("expand", lambda xp, input, size: expand(xp, input, _expanded(input.shape, size)))
kernel("permute", lambda xp, input, dims: input.transpose(dims))
kernel("transpose", lambda xp, input, dim0, dim1: input.swapaxes(dim0, dim1) if input.ndim else input)
kernel("t", lambda xp, input: input.T)
kernel("unsqueeze", lambda xp, input, dim: xp.expand_dims(input, dim))
kernel("squeeze", lambda xp, input, dim: xp.squeeze(input, squeezed_dims(input.shape, dim)))
kernel("select", lambda xp, input, dim, index: input[_at(input.ndim, dim, index)])
kernel("slice", lambda xp, input, dim, start, end, step: input[_window(input.shape, dim, start, end, step)])
kernel("diagonal", lambda xp, input, offset, dim1, dim2: diagonal(xp, input, offset, dim1, dim2))


def expand(xp: Any, a: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast to a shape; a view whose parts one may write to (NumPy's own is read-only)."""
    lead = len(shape) - a.ndim
    strides = [a.strides[i - lead] if i >= lead and a.shape[i - lead] == n else 0 for i, n in enumerate(shape)]
    return xp.lib.stride_tricks.as_strided(a, shape, strides)


def _expanded(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(size) - len(shape)
    return tuple(shape[i - lead] if s == -1 else s for i, s in enumerate(size))


def _at(ndim: int, dim: int, index: Any) -> tuple[Any, ...]:
    # The ellipsis keeps NumPy from making a scalar, which shares no memory.
    return (*(slice(None),) * wrap_dim(dim, ndim), index, ...)


def _window(shape: tuple[int, ...], dim: int, start: int | None, end: int | None, step: int) -> tuple[Any, ...]:
    dim = wrap_dim(dim, len(shape))
    low, high = slice_range(shape[dim], start, end)
    return _at(len(shape), dim, slice(low, high, step))


def diagonal(xp: Any, a: Any, offset: int, dim1: int, dim2: int) -> Any:
    """A diagonal as a view one may write to (NumPy's own is read-only)."""
    dim1, dim2 = wrap_dim(dim1, a.ndim), wrap_dim(dim2, a.ndim)
    rows, columns = a.shape[dim1], a.shape[dim2]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    rest = [d for d in range(a.ndim) if d not in (dim1, dim2)]
    first = [slice(None)] * a.ndim
    if length:
        first[dim2 if offset >= 0 else dim1] = slice(abs(offset), None)
    strides = a.strides
    return xp.lib.stride_tricks.as_strided(
        a[tuple(first)],
        (*(a.shape[d] for d in rest), length),
        (*(strides[d] for d in rest), strides[dim1] + strides[dim2]),
    )


@kernel("unfold")
def unfold(xp: Any, input: Any, dimension: int, size: int, step: int) -> Any:
    if not input.ndim:
        return input.reshape(1)[:size]
    dim = wrap_dim(dimension, input.ndim)
    shape, strides = [*input.shape, size], [*input.strides, input.strides[dim]]
    shape[dim] = (input.shape[dim] - size) // step + 1
    strides[dim] *= step
    return xp.lib.stride_tricks.as_strided(input, shape, strides)


@kernel("unbind")
def unbind(xp: Any, input: Any, dim: int) -> list[Any]:
    return [input[_at(input.ndim, dim, i)] for i in range(input.shape[dim])]


@kernel("split")
def split(xp: Any, input: Any, split_size: int, dim: int) -> list[Any]:
    return split_with_sizes(xp, input, split_sizes(input.shape[dim], split_size), dim)


@kernel("split_with_sizes")
def split_with_sizes(xp: Any, input: Any, split_sizes: tuple[int, ...], dim: int) -> list[Any]:
    pieces, at = [], 0
    for s in split_sizes:
        pieces.append(input[_at(input.ndim, dim, slice(at, at + s))])
        at += s
    return pieces


def zeros(xp: Any, shape: tuple[int, ...], dtype: Any, out: Any) -> Any:
    if out is None:
        return xp.zeros(shape, dtype)
    out[...] = 0
    return out


@kernel("select_backward")
def select_backward(xp: Any, grad: Any, input_size: tuple[int, ...], dim: int, index: int, out: Any = None) -> Any:
    out = zeros(xp, input_size, grad.dtype, out)
    out[_at(len(input_size), dim, index)] = grad
    return out


@kernel("slice_backward")
def slice_backward(xp: Any, grad: Any, input_size: tuple[int, ...], dim: int, start: int | None, end: int | None,
                   step: int, out: Any = None) -> Any:  # fmt: skip
    out = zeros(xp, input_size, grad.dtype, out)
    out[_window(input_size, dim, start, end, step)] = grad
    return out


@kernel("diagonal_backward")
def diagonal_backward(xp: Any, grad: Any, input_size: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Any:
    out = xp.zeros(input_size, grad.dtype)
    diagonal(xp, out, offset, dim1, dim2)[...] = grad
    return out


@kernel("unfold_backward")
def unfold_backward(xp: Any, grad: Any, input_size: tuple[int, ...], dim: int, size: int, step: int) -> Any:
    out = xp.zeros(input_size, grad.dtype)
    if not input_size:
        return grad.reshape(()) if size else out
    windows = unfold(xp, out, dim, size, step)
    for i in range(size):  # windows overlap, but the i-th elements of all of them don't
        windows[..., i] += grad[..., i]
    return out
