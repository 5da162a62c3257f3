"""Tensors from and to other programs' memory: buffers and DLPack, both by copies, since a tensor is elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire.export import export
from gradwire.functions.construct import tensor
from gradwire.session import numpy_dtype
from gradwire.tensor import Tensor
from gradwire_proto.dtypes import DType

_CPU = (1, 0)
"""DLPack's words for the host's memory, to which values come."""


@export("frombuffer")
def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor of what a buffer holds.

    Args:
        buffer: anything with Python's buffer protocol.
        count: elements to read; all where negative.
        offset: bytes to skip.

    >>> import gradwire as torch
    >>> torch.frombuffer(bytearray([1, 0, 2, 0]), dtype=torch.int16)
    tensor([1, 2], dtype=torch.int16)

    Raises:
        ValueError: it is no buffer, or doesn't hold that.
    """
    try:
        data = memoryview(buffer).cast("B")
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size, left = dtype.itemsize, data.nbytes - offset
    if not data.nbytes or not count:
        raise ValueError(f"both buffer length ({data.nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < data.nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({data.nbytes} bytes) "
            "minus 1"
        )
    if count < 0:
        if left % size:
            raise ValueError(
                f"buffer length ({left} bytes) after offset ({offset} bytes) must be a multiple of element size "
                f"({size})"
            )
        count = left // size
    elif count * size > left:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({data.nbytes} bytes)"
        )
    array = np.frombuffer(data, numpy_dtype(dtype.number), count, offset)
    return tensor(array, dtype=dtype, requires_grad=requires_grad)


@export("from_dlpack")
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor with what another library's tensor or array holds, which must be in the host's memory.

    Raises:
        ValueError: ``copy`` is False: tensors here are always copies.
        RuntimeError: it has no ``__dlpack__``.
    """
    if copy is False:
        raise ValueError("from_dlpack(): a tensor lives in its session, so that it is always a copy")
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.detach().clone()  # type: ignore[attr-defined, no-any-return]
    if not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(
            f"from_dlpack(): expected an object with __dlpack__ and __dlpack_device__, got {type(ext_tensor).__name__}"
        )
    return tensor(np.from_dlpack(ext_tensor), device=device)


@export("Tensor.__dlpack__")
def dlpack(self: Tensor, **options: Any) -> Any:
    """A capsule with a copy of the values, for a library that reads DLPack.

    Raises:
        BufferError: the tensor requires grad, or NumPy can't export its type.
    """
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    options.pop("copy", None)
    return self.numpy().__dlpack__(**options)


@export("Tensor.__dlpack_device__")
def dlpack_device(self: Tensor) -> tuple[int, int]:
    """Where ``__dlpack__`` puts the values."""
    return _CPU


@export("to_dlpack")
def to_dlpack(tensor: Tensor) -> Any:
    """A capsule with a copy of the values, for a library that reads DLPack."""
    return dlpack(tensor)
