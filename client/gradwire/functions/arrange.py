"""Rearrangements: stacks, flips, tiles, grids and padding."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.shape import sizes, viewed
from gradwire_proto import dtypes
from gradwire_proto.catalog.meta import broadcast_shapes as _broadcast
from gradwire_proto.catalog.meta import wrap_dim

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def _several(tensors: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """``f(a, b)`` and ``f([a, b])`` alike."""
    return tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors


def _nonempty(name: str, tensors: Sequence[Tensor]) -> None:
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@export("atleast_1d")
def atleast_1d(*tensors: Any) -> Any:
    """Views with one dimension at least."""
    return _atleast(tensors, lambda t: t if t.ndim else ops.view(t, (1,)))


@export("atleast_2d")
def atleast_2d(*tensors: Any) -> Any:
    """Views with two dimensions at least."""
    return _atleast(tensors, _two)


@export("atleast_3d")
def atleast_3d(*tensors: Any) -> Any:
    """Views with three dimensions at least."""
    return _atleast(tensors, _three)


def _two(t: Tensor) -> Tensor:
    return t if t.ndim > 1 else ops.unsqueeze(t, 0) if t.ndim else ops.view(t, (1, 1))


def _three(t: Tensor) -> Tensor:
    return t if t.ndim > 2 else ops.unsqueeze(_two(t), -1)


def _atleast(tensors: tuple[Any, ...], f: Any) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
        return f(tensors[0])
    return tuple(f(t) for t in _several(tensors))


@export("hstack", out=True)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side."""
    _nonempty("hstack", tensors)
    tensors = atleast_1d(*tensors) if len(tensors) > 1 else (atleast_1d(tensors[0]),)
    return ops.cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@export("vstack", "row_stack", out=True)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one above the other."""
    _nonempty("vstack", tensors)
    return ops.cat([_two(t) for t in tensors], 0)


@export("dstack", out=True)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one behind the other."""
    _nonempty("dstack", tensors)
    return ops.cat([_three(t) for t in tensors], 2)


@export("column_stack", out=True)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side, vectors as columns."""
    _nonempty("column_stack", tensors)
    return ops.cat([t if t.ndim > 1 else ops.view(_flat(t), (t.numel(), 1)) for t in tensors], 1)


def _flat(t: Tensor) -> Tensor:
    return viewed(t, (t.numel(),))


@export("block_diag")
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the tensors along its diagonal."""
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} dimensions"
            )
    blocks = [_two(t) for t in tensors]
    width = sum(b.shape[1] for b in blocks)
    rows, at = [], 0
    for b in blocks:
        rows.append(ops.constant_pad_nd(b, (at, width - at - b.shape[1])))
        at += b.shape[1]
    return ops.cat(rows, 0)


@export("Tensor.repeat")
def repeat(self: Tensor, *repeats: Any, **kwargs: Any) -> Tensor:
    """Copies side by side."""
    return ops.repeat(self, *repeats, **kwargs)


@export("tile")
def tile(input: Tensor, dims: Any) -> Tensor:
    """Copies side by side; repeats that are missing in front are 1."""
    dims = sizes((dims,))
    return ops.repeat(input, (1,) * (input.ndim - len(dims)) + dims)


@export("Tensor.tile")
def tile_method(self: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Copies side by side; repeats that are missing in front are 1."""
    return tile(self, sizes(args if dims is None else (dims,)))


@export("repeat_interleave", "Tensor.repeat_interleave")
def repeat_interleave(input: Any = None, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:  # fmt: skip
    """Each element, or part of a dimension, several times in a row."""
    if repeats is None or input is None:
        return _repeated(repeats if input is None else input, output_size)
    if dim is None:
        input, dim = _flat(input), 0
    dim = wrap_dim(dim, input.ndim)
    if not isinstance(repeats, int) and repeats.numel() == 1:
        repeats = int(repeats.item())
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        if not input.ndim:
            return ops.repeat(input, (repeats,))
        shape = tuple(input.shape)
        one = ops.unsqueeze(input, dim + 1)
        many = ops.expand(one, (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
        return ops.view(ops.clone(many), (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))
    if repeats.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    size = input.shape[dim] if input.ndim else 1
    if repeats.numel() != size:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.numel()} and input.size({dim}) = {size}"
        )
    return ops.index_select(input, dim, _repeated(repeats, output_size))


def _repeated(repeats: Tensor, output_size: int | None) -> Tensor:
    """Index 0 as often as the first number says, then index 1 and so on."""
    if repeats.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if repeats.dtype not in (dtypes.int64, dtypes.int32):
        raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{repeats.dtype.legacy}'")
    size = int(ops.sum(repeats).item()) if output_size is None else output_size
    if size < 0:
        raise RuntimeError("repeats can not be negative")
    return ops.repeat_index(repeats, size)


@export("fliplr", "Tensor.fliplr")
def fliplr(input: Tensor) -> Tensor:
    """Left and right exchanged."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return ops.flip(input, (1,))


@export("flipud", "Tensor.flipud")
def flipud(input: Tensor) -> Tensor:
    """Up and down exchanged."""
    if not input.ndim:
        raise RuntimeError("Input must be >= 1-d.")
    return ops.flip(input, (0,))


@export("rot90", "Tensor.rot90")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A plane turned by quarters, from the first dim towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = dims
    if a == b or abs(a - b) == input.ndim:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    for i, d in enumerate((a, b)):
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dim{i} out of range, dim{i} = {d}")
    k %= 4
    if k == 0:
        return ops.clone(input)
    if k == 2:
        return ops.flip(input, (a, b))
    return ops.clone(ops.transpose(ops.flip(input, (b if k == 1 else a,)), a, b))


@export("meshgrid")
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Grids of coordinates from vectors of them, expanded without copying."""
    vectors = list(_several(tensors))
    if not vectors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", stacklevel=3
        )
    elif indexing not in ("ij", "xy"):
        raise RuntimeError(
            'torch.meshgrid: indexing must be one of "xy" or "ij", ' f"but received: {indexing}"
        )
    for t in vectors:
        if t.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t!r}")
        if t.dtype is not vectors[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[:2] = vectors[1::-1]
    shape = tuple(t.numel() for t in vectors)
    grids = [
        ops.expand(viewed(t, (1,) * i + (shape[i],) + (1,) * (len(shape) - 1 - i)), shape)
        for i, t in enumerate(vectors)
    ]
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


@export("cartesian_prod")
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of the vectors' elements, one a row."""
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return ops.stack([_flat(g) for g in meshgrid(*tensors, indexing="ij")], 1)


@export("combinations", "Tensor.combinations")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` of a vector's elements, one a row."""
    import itertools

    import numpy as np

    from gradwire.functions.indexing import _numbers

    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    n = input.shape[0]
    chosen = (itertools.combinations_with_replacement if with_replacement else itertools.combinations)(range(n), r)
    count = math.comb(n + r - 1, r) if with_replacement and n else math.comb(n, r)
    rows = np.fromiter(itertools.chain.from_iterable(chosen), np.int64, count * r).reshape(count, r)
    if not r:
        return ops.new_full(input, (0,), 0)
    return viewed(ops.index_select(input, 0, _numbers(rows.reshape(-1), input._session)), (count, r))


@export("broadcast_shapes")
def broadcast_shapes(*shapes: Any) -> Any:
    """The common shape of several, aligned at the last dimension."""
    from gradwire.types import Size

    return Size(_broadcast(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes])) if shapes else Size(())


@export("broadcast_tensors")
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    several = _several(tensors)
    shape = _broadcast(*[tuple(t.shape) for t in several])
    return tuple(ops.expand(t, shape) for t in several)


@export("nn.functional.pad")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Dimensions made longer, from the last one on, with a value or with their own elements."""
    pad = sizes((pad,))
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {input.ndim}"
        )
    if mode == "constant":
        return ops.constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if (len(pad), input.ndim) not in ((2, 2), (2, 3), (4, 3), (4, 4), (6, 4), (6, 5)):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    return ops.pad_edges(input, pad, mode)
