"""``x[key]`` and ``x[key] = value``: any Python index as the ops that read or write it.

Ints, slices, None and Ellipsis become views; what tensors, lists and arrays index is copied, as in torch. A boolean
mask's size is in its data, so reading through one costs a round trip; writing one number through a mask doesn't.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire.capture import note
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.construct import _array as as_array
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog.creation import check_number
from gradwire_proto.spec import spec

MASKS = (dtypes.bool_, dtypes.uint8)
MAX_LOOSE = 32
"""A list longer than this is never taken for a tuple of indices."""


def getitem(self: Tensor, key: Any) -> Tensor:
    """``self[key]``."""
    part, indices = _through(self, key)
    if any(t is not None for t in indices):
        return ops.index(part, tuple(_expand(part, indices)))
    if part is not self:
        return part
    return ops.slice(self, 0) if isinstance(key, slice) else ops.alias(self)


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """``self[key] = value``, written through a view, so that the history of ``self`` follows."""
    if not isinstance(value, Tensor):
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, (bool, int, float, complex)):
            raise TypeError(f"can't assign a {_type_name(value)} to a torch.{self.dtype.legacy}Tensor")
        check_number(value, self.dtype)
    if key is False:
        return
    part, indices = (ops.unsqueeze(self, 0), []) if key is True else _through(self, key)
    if all(t is None for t in indices):
        _store(part, value)
        return
    masks = [(d, t) for d, t in enumerate(indices) if t is not None]
    one = not isinstance(value, Tensor) or value.numel() == 1
    if one and len(masks) == 1 and masks[0][1].dtype is dtypes.bool_:
        d, mask = masks[0]
        _check_mask(part, d, mask)
        after = part.ndim - d - mask.ndim
        if isinstance(value, Tensor) and value.ndim:
            value = ops.to_dtype(ops.view(_dense(value), ()), part.dtype)
        ops.masked_fill_(part, ops.view(_dense(mask), (*mask.shape, *(1,) * after)) if after else mask, value)
        return
    if not isinstance(value, Tensor):
        value = ops.new_full(self, (), value)
    found = tuple(_expand(part, indices))
    ops.index_put_(part, found, _without_leading_ones(value), False)


def delitem(self: Tensor, key: Any) -> None:
    """``del self[key]``, which there isn't."""
    raise TypeError("Tensor does not support deleting items")


def _type_name(value: Any) -> str:
    t = type(value)
    return t.__name__ if t.__module__ == "builtins" else f"{t.__module__}.{t.__qualname__}"


def _dense(x: Tensor) -> Tensor:
    return x if x.is_contiguous() else ops.clone(x)


def _store(part: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        ops.fill_(part, value)
        return
    if value.shape != part.shape:
        value = ops.expand(_without_leading_ones(value), tuple(part.shape))
    ops.copy_(part, value)


def _without_leading_ones(value: Tensor) -> Tensor:
    shape = tuple(value.shape)
    lead = next((i for i, s in enumerate(shape) if s != 1), len(shape))
    return ops.squeeze(value, tuple(range(lead))) if lead else value


def _items(key: Any) -> tuple[Any, ...]:
    """The key as a tuple. A short list with anything but numbers in it counts as one, as in old NumPy."""
    if isinstance(key, tuple):
        return key
    if isinstance(key, list) and len(key) < MAX_LOOSE and any(_is_loose(v) for v in key):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in pytorch "
            "2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted as tensor index, "
            "x[torch.tensor(seq)], which will result either in an error or a different result",
            stacklevel=4,
        )
        return tuple(key)
    return (key,)


def _is_loose(v: Any) -> bool:
    return v is None or v is Ellipsis or isinstance(v, (slice, Tensor, list, tuple, np.ndarray, range))


def _index_of(v: Any, session: Any) -> Any:
    """One item of a key in one of its plain forms: int, bool, slice, None, Ellipsis or Tensor.

    Raises:
        IndexError: torch's, for what is none of them.
    """
    if v is None or v is Ellipsis or isinstance(v, (bool, int, slice)):
        return v
    if isinstance(v, Tensor):
        integral = not v.ndim and v.dtype.category <= 1 and v.dtype not in MASKS
        return int(v.item()) if integral and not v._is_batched else v
    if isinstance(v, np.bool_):
        return bool(v)
    if isinstance(v, (list, tuple, range, np.ndarray)):
        return _numbers(v if isinstance(v, np.ndarray) else list(v), session)
    if hasattr(v, "__index__"):
        return v.__index__()
    if isinstance(v, str):
        raise TypeError("new(): invalid data type 'str'")
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(v).__name__})"
    )


def _through(x: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """The view that the plain items of a key give, and for each of its dimensions the tensor that indexes it."""
    items = [_index_of(v, x._session) for v in _items(key)]
    taken = sum(_takes(v) for v in items)
    if taken > x.ndim:
        if not x.ndim and all(isinstance(v, int) for v in items):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                "convert a 0-dim tensor to a number"
            )
        if not x.ndim and any(isinstance(v, slice) for v in items):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    unnamed = x.ndim - taken
    indices: list[Tensor | None] = []
    dim = 0  # where we are in the view
    for place, v in enumerate(items):
        if v is Ellipsis:
            dim, unnamed = dim + unnamed, 0
        elif v is None:
            x, dim = ops.unsqueeze(x, dim), dim + 1
        elif isinstance(v, bool):
            x = ops.unsqueeze(x, dim)
            _put(indices, dim, _numbers([0] if v else [], x._session))
            dim += 1
        elif isinstance(v, int):
            size = x.shape[dim]
            if not -size <= v < size:
                raise IndexError(f"index {v} is out of bounds for dimension {place} with size {size}")
            x = ops.select(x, dim, v)
        elif isinstance(v, slice):
            x, dim = _sliced(x, dim, v), dim + 1
        elif v.dtype in MASKS and not v.ndim:
            x = ops.unsqueeze(x, dim)
            _put(indices, dim, ops.view(v, (1,)))
            dim += 1
        else:
            _put(indices, dim, v)
            dim += v.ndim if v.dtype in MASKS else 1
    return x, indices


def _numbers(data: Any, session: Any) -> Tensor:
    """A list or array of indices as a tensor beside the one it indexes."""
    array, dtype = as_array(data)
    if dtype.category > 1:
        if array.size:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        array, dtype = array.astype(np.int64), dtypes.int64
    s = spec(array.shape, dtype)
    return note(tensor_of(session, session.put(array, s, False), s))


def _takes(v: Any) -> int:
    """How many dimensions an item of a key uses up."""
    if isinstance(v, Tensor) and v.dtype in MASKS:
        return v.ndim
    return 0 if v is None or v is Ellipsis or isinstance(v, bool) else 1


def _put(indices: list[Tensor | None], dim: int, t: Tensor) -> None:
    indices += [None] * (dim + 1 - len(indices))
    indices[dim] = t


def _sliced(x: Tensor, dim: int, s: slice) -> Tensor:
    bounds = []
    for v in (s.start, s.stop, s.step):
        if v is not None and not hasattr(v, "__index__"):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
        bounds.append(None if v is None else v.__index__())
    start, stop, step = bounds[0], bounds[1], 1 if bounds[2] is None else bounds[2]
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise ValueError("step must be greater than zero")
    if s == slice(None):
        return x
    return ops.slice(x, dim, start, stop, step)


def _check_mask(x: Tensor, dim: int, mask: Tensor) -> None:
    if mask.dtype is dtypes.uint8:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.", stacklevel=4
        )
    for i, (size, have) in enumerate(zip(mask.shape, x.shape[dim:], strict=False)):
        if size != have:
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {i} does not match the shape of the indexed tensor "
                f"{list(x.shape)} at index {dim + i}"
            )


def _expand(x: Tensor, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The indices with each mask replaced by the indices of its elements that hold."""
    out: list[Tensor | None] = []
    skip = 0
    for d, t in enumerate(indices):
        if skip:
            skip -= 1
        elif t is None or t.dtype not in MASKS:
            out.append(t)
        else:
            _check_mask(x, d, t)
            out += nonzero_columns(t, refusals.BATCHED_MASK)
            skip = t.ndim - 1
    return out


def nonzero_columns(mask: Tensor, refusal: str = refusals.dynamic_shape("nonzero")) -> tuple[Tensor, ...]:
    """For each dimension, the indices of the elements that are not zero; inside vmap, where each example may have
    another number of them, a refusal."""
    return tuple(ops.unbind(counted_nonzero(mask, refusal), 1))


def counted_nonzero(x: Tensor, refusal: str = refusals.dynamic_shape("nonzero")) -> Tensor:
    """The indices of the elements that are not zero, one a row; asks the server how many there are."""
    if x._is_batched:
        raise RuntimeError(refusal)
    x = x.detach()  # type: ignore[attr-defined]
    count = int(ops.sum(x if x.dtype is dtypes.bool_ else ops.ne(x, 0)).item())
    return ops.nonzero(x, count)


@export("nonzero", "Tensor.nonzero", out=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, one a row, or a tensor for each dimension."""
    if not as_tuple:
        return counted_nonzero(input)
    return nonzero_columns(input if input.ndim else ops.view(input, (1,)))


@export("argwhere", "Tensor.argwhere")
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, one a row."""
    return counted_nonzero(input)
