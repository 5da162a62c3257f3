"""Kernels of rearrangements that copy."""

from __future__ import annotations

from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.registry import kernel
from gradwire_engine.scatter import add_at
from gradwire_proto.catalog.arrange import cat_skips

kernel("flip", lambda xp, input, dims: xp.flip(input, dims if input.ndim else ()).copy(order="C"))
kernel("roll", lambda xp, input, shifts, dims: xp.roll(input, shifts, dims) if dims else xp.roll(input, shifts[0]))
kernel("repeat", lambda xp, input, repeats: xp.tile(input, repeats))
kernel("tril", lambda xp, input, diagonal: xp.tril(input, diagonal))
kernel("triu", lambda xp, input, diagonal: xp.triu(input, diagonal))


@kernel("cat")
def cat(xp: Any, tensors: list[Any], dim: int, spec: Any, out: Any = None) -> Any:
    parts = [t for t in tensors if not cat_skips(t.shape)] or tensors[:1]
    dtype = NUMPY_DTYPE[spec.dtype]
    return xp.concatenate([t.astype(dtype, copy=False) for t in parts], dim, out=out)


@kernel("stack")
def stack(xp: Any, tensors: list[Any], dim: int, spec: Any, out: Any = None) -> Any:
    dtype = NUMPY_DTYPE[spec.dtype]
    return xp.stack([t.astype(dtype, copy=False) for t in tensors], dim, out=out)


@kernel("constant_pad_nd")
def constant_pad_nd(xp: Any, input: Any, pad: tuple[int, ...], value: Any, spec: Any) -> Any:
    out = xp.full(spec.shape, value, input.dtype)
    source, target = [slice(None)] * input.ndim, [slice(None)] * input.ndim
    for i in range(len(pad) // 2):
        d, left, right = input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1]
        source[d] = slice(max(-left, 0), input.shape[d] - max(-right, 0))
        target[d] = slice(max(left, 0), spec.shape[d] - max(right, 0))
    out[tuple(target)] = input[tuple(source)]
    return out


def _sources(xp: Any, size: int, left: int, right: int, mode: str) -> Any:
    """For each place of a padded dimension, the index that it repeats."""
    if mode == "circular":  # what is cut off does not come back at the other end
        first, last = max(-left, 0), size - max(-right, 0)
        return xp.arange(-max(left, 0), last - first + max(right, 0)) % max(last - first, 1) + first
    at = xp.arange(-left, size + right)
    if mode == "replicate":
        return xp.clip(at, 0, size - 1)
    at = xp.abs(at)
    return xp.where(at >= size, 2 * (size - 1) - at, at)


@kernel("pad_edges")
def pad_edges(xp: Any, input: Any, pad: tuple[int, ...], mode: str) -> Any:
    for i in range(len(pad) // 2):
        d = input.ndim - 1 - i
        input = xp.take(input, _sources(xp, input.shape[d], pad[2 * i], pad[2 * i + 1], mode), d)
    return input if pad else input.copy()


@kernel("pad_edges_backward")
def pad_edges_backward(xp: Any, grad: Any, input: Any, pad: tuple[int, ...], mode: str) -> Any:
    for i in range(len(pad) // 2):
        d = grad.ndim - 1 - i
        shape = list(grad.shape)
        shape[d] = input.shape[d]
        out = xp.zeros(shape, grad.dtype)
        at = _sources(xp, input.shape[d], pad[2 * i], pad[2 * i + 1], mode)
        add_at(xp, out, (*(slice(None),) * d, at), grad)
        grad = out
    return grad
