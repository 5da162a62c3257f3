"""Memory that tensors share: ``data``, ``set_``, ``resize_``, storages, and where in them a tensor begins."""

from __future__ import annotations

import math
from typing import Any

from gradwire.capture import forbid
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.inplace import set_data
from gradwire.functions.shape import sizes
from gradwire.functions.strided import as_strided, memory
from gradwire.memory import become
from gradwire.tensor import Tensor
from gradwire.types import device
from gradwire_proto.spec import row_major


def _data(self: Tensor) -> Tensor:
    """The same memory without history; what is assigned gives the tensor its memory, shape and type."""
    return ops.detach(self)  # type: ignore[no-any-return]


def _set_data(self: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    set_data(self, value)


export("property:Tensor.data")(property(_data, _set_data))


class UntypedStorage:
    """The memory of a tensor and its views, on the server: its size, and whether another's is the same."""

    def __init__(self, t: Tensor):
        self._tensor = t

    def nbytes(self) -> int:
        """Bytes of it."""
        return self._tensor._storage.nbytes

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """A number that no other memory has."""
        return _address(self._tensor) if self.nbytes() else 0

    @property
    def device(self) -> device:
        return self._tensor.device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._tensor._storage is self._tensor._storage

    def __hash__(self) -> int:
        return id(self._tensor._storage)


def _address(t: Tensor) -> int:
    return id(t._storage) << 12


@export("Tensor.untyped_storage")
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The tensor's memory."""
    return UntypedStorage(self)


@export("Tensor.storage_offset")
def storage_offset(self: Tensor) -> int:
    """Where in its memory the tensor begins, in elements."""
    return self._offset // self.itemsize


@export("Tensor.data_ptr", "Tensor.const_data_ptr")
def data_ptr(self: Tensor) -> int:
    """A number for the place in memory where the tensor begins, 0 where it has no elements."""
    return _address(self) + self._offset if self.numel() else 0


@export("Tensor.is_set_to")
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether another tensor is the same memory read the same way."""
    return self._storage is tensor._storage and self._offset == tensor._offset and self._spec is tensor._spec


@export("Tensor.set_")
def set_(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = ()) -> Tensor:
    """Have the memory of another tensor, or a window on a storage; none where there is no source."""
    if source is None:
        source = ops.new_full(self, (0,), 0)
    elif isinstance(source, UntypedStorage):
        whole = memory(source._tensor)
        size = (whole.numel() - storage_offset,) if size is None else sizes((size,))
        source = ops.as_strided(ops.detach(whole), size, tuple(stride) or row_major(size), storage_offset)
    elif size is not None:
        size = sizes((size,))
        source = as_strided(ops.detach(memory(source)), size, tuple(stride) or row_major(size), storage_offset)
    if source.dtype is not self.dtype:
        raise RuntimeError(
            f"Could not set tensor of type {_cpp(source)} to a tensor of type {_cpp(self)}"
        )
    if self.requires_grad and not self.is_leaf:
        raise RuntimeError("set_(): a tensor that is part of a graph can't be given other memory: detach() it first")
    set_data(self, source)
    return self


def _cpp(t: Tensor) -> str:
    from gradwire_proto.catalog.arithmetic import CPP_NAME

    return CPP_NAME.get(t.dtype.name, "bool")


@export("Tensor.resize_")
def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Another size in place, over the same memory as far as that goes, then zeros.

    Raises:
        RuntimeError: the tensor requires grad; a size is negative.
    """
    shape = sizes(size)
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if shape == tuple(self.shape):
        return self
    forbid("resizes a tensor", "do so outside")
    if any(s < 0 for s in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    n, room = math.prod(shape), (self._storage.nbytes - self._offset) // self.itemsize

    def make(t: Tensor) -> Tensor:
        if not room:
            return ops.new_full(t, shape, 0)
        old = ops.as_strided(memory(t), (min(n, room),), (1,), storage_offset(t))
        return ops.view(old if n <= room else ops.constant_pad_nd(old, (0, n - room), 0), shape)

    return become(self, make)


@export("resize_as_", "Tensor.resize_as_")
def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """The size of another tensor, in place, as by ``resize_``."""
    return resize_(input, *the_template.shape)
