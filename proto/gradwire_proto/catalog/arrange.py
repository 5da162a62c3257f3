"""Rearrangements that copy: cat, stack, flip, roll, repeat, triangles, padding."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import common_dtype, wrap_dim
from gradwire_proto.spec import Spec, spec


def cat_skips(shape: tuple[int, ...]) -> bool:
    """Whether ``cat`` leaves a tensor out: one of shape [0] joins anything."""
    return shape == (0,)


def _cat(op: Op, tensors: Sequence[Spec], dim: int) -> Spec:
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not t.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    dtype = common_dtype(tensors)
    real = [(i, t) for i, t in enumerate(tensors) if not cat_skips(t.shape)]
    if not real:
        wrap_dim(dim, 1)
        return spec((0,), dtype)
    first = real[0][1]
    dim = wrap_dim(dim, first.ndim)
    total = 0
    for i, t in real:
        if t.ndim != first.ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.ndim} and {t.ndim}")
        for d in range(t.ndim):
            if d != dim and t.shape[d] != first.shape[d]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {first.shape[d]} but got "
                    f"size {t.shape[d]} for tensor number {i} in the list."
                )
        total += t.shape[dim]
    return spec((*first.shape[:dim], total, *first.shape[dim + 1 :]), dtype)


def _stack(op: Op, tensors: Sequence[Spec], dim: int) -> Spec:
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0]
    dim = wrap_dim(dim, first.ndim + 1)
    for i, t in enumerate(tensors):
        if t.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 and "
                f"{list(t.shape)} at entry {i}"
            )
    return spec((*first.shape[:dim], len(tensors), *first.shape[dim:]), common_dtype(tensors))


def _flip(op: Op, input: Spec, dims: Sequence[int]) -> Spec:
    _distinct([wrap_dim(d, input.ndim) for d in dims])
    return spec(input.shape, input.dtype)


def _distinct(dims: Sequence[int]) -> None:
    if len(set(dims)) != len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")


def _roll(op: Op, input: Spec, shifts: Sequence[int], dims: Sequence[int]) -> Spec:
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return spec(input.shape, input.dtype)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if not input.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    for d in dims:
        wrap_dim(d, input.ndim)
    return spec(input.shape, input.dtype)


def _repeat(op: Op, input: Spec, repeats: Sequence[int]) -> Spec:
    lead = len(repeats) - input.ndim
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    shape = tuple(r * s for r, s in zip(repeats, (1,) * lead + input.shape, strict=True))
    if any(s < 0 for s in shape):
        first = next(s for s in shape if s < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {first}: {list(shape)}")
    return spec(shape, input.dtype)


def _triangle(op: Op, input: Spec, diagonal: int) -> Spec:
    if input.ndim < 2:
        raise RuntimeError(f"{op.name}: input tensor must have at least 2 dimensions")
    return spec(input.shape, input.dtype)


def _constant_pad(op: Op, input: Spec, pad: Sequence[int], value: object) -> Spec:
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(
            f"Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
            f"{len(pad)} while the input has {input.ndim} dimensions."
        )
    shape = list(input.shape)
    for i in range(len(pad) // 2):
        d = input.ndim - 1 - i
        shape[d] += pad[2 * i] + pad[2 * i + 1]
        if shape[d] < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
    return spec(tuple(shape), input.dtype)


def _pad_edges(op: Op, input: Spec, pad: Sequence[int], mode: str) -> Spec:
    n = len(pad) // 2
    shape = list(input.shape)
    for i in range(n):
        d, left, right = input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1]
        size = shape[d]
        if mode == "reflect" and (left >= size or right >= size):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({left}, {right}) at dimension {d} of input {list(input.shape)}"
            )
        if mode == "circular" and (left > size or right > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        shape[d] += left + right
        if shape[d] < 0 or (mode != "circular" and shape[d] < 1):
            raise RuntimeError(f"input (W: {size}) is too small. Calculated output W: {shape[d]}")
    return spec(tuple(shape), input.dtype)


def _pad_edges_backward(op: Op, grad: Spec, input: Spec, pad: Sequence[int], mode: str) -> Spec:
    return spec(input.shape, grad.dtype)


op("cat(Tensor[] tensors, int dim=0) -> Tensor", meta=_cat, method=False, alias=("concat", "concatenate"),
   doc="Tensors one after the other along a dimension.")
op("stack(Tensor[] tensors, int dim=0) -> Tensor", meta=_stack, method=False,
   doc="Tensors of one shape along a new dimension.")
op("flip(Tensor input, int[] dims) -> Tensor", meta=_flip, doc="The order of some dimensions reversed.")
op("roll(Tensor input, int[] shifts, int[] dims=[]) -> Tensor", meta=_roll,
   doc="Elements shifted, those that fall off coming in at the other end.")
op("repeat(Tensor input, int[] repeats) -> Tensor", meta=_repeat, public=False, doc="Copies side by side.")
op("tril(Tensor input, int diagonal=0) -> Tensor", meta=_triangle, inplace=True,
   doc="Zeros above a diagonal of each matrix.")
op("triu(Tensor input, int diagonal=0) -> Tensor", meta=_triangle, inplace=True,
   doc="Zeros below a diagonal of each matrix.")
op("constant_pad_nd(Tensor input, int[] pad, Scalar value=0) -> Tensor", meta=_constant_pad, method=False,
   doc="Dimensions made longer with a value, or shorter, from the last one on.")
op("pad_edges(Tensor input, int[] pad, str mode) -> Tensor", meta=_pad_edges, method=False, public=False,
   doc="Dimensions made longer with their own elements: mode reflect, replicate or circular.")
op("pad_edges_backward(Tensor grad, Tensor input, int[] pad, str mode) -> Tensor", meta=_pad_edges_backward,
   method=False, public=False, doc="Sums the copies that pad_edges made.")
