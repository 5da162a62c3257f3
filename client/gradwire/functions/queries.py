"""Questions that are answered without the server: what kind a tensor is, where it is, where an element is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.shape import sizes
from gradwire.functions.storage import UntypedStorage
from gradwire.memory import moved
from gradwire.nn.module import Module
from gradwire.tensor import Tensor
from gradwire.words import type_name
from gradwire_proto.dtypes import Category, int64

for _name in ("is_mkldnn", "is_mps", "is_xpu", "is_xla", "is_mtia", "is_nested", "is_sparse_csr", "is_vulkan"):
    export(f"property:Tensor.{_name}")(lambda self: False)
export("property:Tensor.name")(lambda self: None)


@export("is_same_size", "Tensor.is_same_size")
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of the same shape."""
    return bool(input.shape == other.shape)


@export("is_signed")
def is_signed(input: Tensor) -> bool:
    """Whether the tensor's type has negative numbers."""
    return input.dtype.is_signed


@export("Tensor.is_nonzero")
def is_nonzero(self: Tensor) -> bool:
    """Whether the one element is not zero."""
    return bool(self)


@export("Tensor.is_shared", "Tensor.is_pinned")
def is_shared(self: Tensor, device: Any = None) -> bool:
    """Whether the memory is of a special kind here: it is elsewhere."""
    return False


@export("get_device", "Tensor.get_device")
def get_device(input: Tensor) -> int:
    """The number of the tensor's GPU, -1 on a CPU."""
    return -1 if input.is_cpu else input.device.index or 0


@export("is_inference")
def is_inference(input: Tensor) -> bool:
    """Whether inference mode made the tensor."""
    return input.is_inference()


@export("is_storage")
def is_storage(obj: Any, /) -> bool:
    return isinstance(obj, UntypedStorage)


@export("typename")
def typename(obj: Any, /) -> str:
    """torch's name for the type of an object; of a tensor, with that of its elements."""
    if isinstance(obj, Tensor):
        return str(obj.type())  # type: ignore[attr-defined]
    if isinstance(obj, Module):
        return f"{type(obj).__module__}.{type(obj).__qualname__}".replace("gradwire.", "torch.", 1)
    return f"{obj.__module__}.{obj.__qualname__}" if hasattr(obj, "__qualname__") else type_name(obj)


@export("Tensor.dim_order")
def dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions from the outermost to the innermost, as they lie in memory."""
    steps = self.stride()
    return tuple(sorted(range(self.ndim), key=lambda d: -steps[d]))


@export("Tensor.as_subclass")
def as_subclass(self: Tensor, cls: type) -> Tensor:
    """The tensor as an object of a class of one's own, over the same memory.

    Raises:
        TypeError: the class is no subclass of Tensor.
    """
    if not issubclass(cls, Tensor):
        raise TypeError(
            "Creating a Tensor subclass from a class that does not inherit from Tensor is not possible. Make sure your "
            "class inherits from Tensor."
        )
    return moved(ops.alias(self), object.__new__(cls))


@export("Tensor.resize")
def resize(self: Tensor, *size: Any) -> Tensor:
    """The tensor in another shape of as many elements; ``reshape`` has taken its place.

    Raises:
        RuntimeError: it would have more elements, or fewer.
    """
    warnings.warn("non-inplace resize is deprecated", UserWarning, stacklevel=2)
    shape = sizes(size)
    if math.prod(shape) != self.numel():
        shown = ["x".join(map(str, s)) for s in (shape, self.shape)]
        raise RuntimeError(
            f"requested resize to {shown[0]} ({math.prod(shape)} elements in total), but the given tensor has a size "
            f"of {shown[1]} ({self.numel()} elements). autograd's resize can only change the shape of a given tensor, "
            "while preserving the number of elements. "
        )
    return self.reshape(shape)  # type: ignore[attr-defined, no-any-return]


@export("Tensor.resize_as")
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """The tensor in the shape of another, as by ``resize``."""
    return resize(self, *tensor.shape)


@export("unravel_index")
def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Where elements are in a tensor of a shape, by their places in the flattened one: an index a dimension.

    >>> import gradwire as torch
    >>> torch.unravel_index(torch.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))

    Raises:
        TypeError: ``indices`` are no integers, or ``shape`` no sizes.
        ValueError: a size is negative.
    """
    if not isinstance(indices, Tensor) or indices.dtype.category is not Category.INT:
        got = indices.dtype if isinstance(indices, Tensor) else type(indices)
        raise TypeError(f"expected 'indices' to be integer dtype, but got {got}")
    if not isinstance(shape, (int, Sequence)):
        raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(not isinstance(d, int) for d in dims):
        raise TypeError(f"expected 'shape' sequence to only contain ints, but got {dims}")
    if any(d < 0 for d in dims):
        raise ValueError(f"'shape' cannot have negative values, but got {dims}")
    steps = [math.prod(dims[i + 1 :]) for i in range(len(dims))]
    indices = ops.to_dtype(indices, int64)
    return tuple(indices // step % d for step, d in zip(steps, dims, strict=True))  # type: ignore[operator]
