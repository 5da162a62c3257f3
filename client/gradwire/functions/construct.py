"""Tensors from Python's and NumPy's values, and conversions of type."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire import session as sessions
from gradwire.capture import note
from gradwire.defaults import default_device, default_dtype
from gradwire.dispatch import check_device, finish, ops
from gradwire.export import export
from gradwire.session import numpy_dtype
from gradwire.tensor import Tensor
from gradwire.types import DTYPES, device
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType
from gradwire_proto.spec import spec


def _array(data: Any) -> tuple[np.ndarray[Any, Any], DType]:
    """Values as an array, and the type that torch gives them."""
    if isinstance(data, (np.ndarray, np.generic)):
        a = np.asarray(data)
    elif isinstance(data, (list, tuple)) and _has_tensors(data):
        a = np.array(_plain(data))
    else:
        try:
            a = np.array(data)
        except ValueError as e:
            raise ValueError(f"expected sequence of equal lengths at every dimension: {e}") from None
    if a.dtype.kind == "O":
        raise (TypeError if a.ndim == 0 else ValueError)(
            f"too many dimensions or unequal lengths, or not a number: {type(data).__name__}"
        )
    if a.dtype.kind in "USMm":
        raise TypeError(f"new(): invalid data type '{type(data).__name__ if not a.ndim else a.dtype.type.__name__}'")
    if isinstance(data, (np.ndarray, np.generic)):
        name = a.dtype.name
        if name not in dtypes.BY_NAME:
            raise TypeError(
                f"can't convert np.ndarray of type {a.dtype.type.__module__}.{a.dtype.type.__name__}. The only "
                "supported types are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, "
                "uint8, and bool."
            )
        return a, dtypes.BY_NAME[name]
    if not a.size and a.dtype == np.float64:
        return a, default_dtype()
    kind = a.dtype.kind
    if kind == "f":
        return a, default_dtype()
    if kind == "c":
        if default_dtype() is dtypes.bfloat16:
            raise RuntimeError("invalid default scalar type for complex")
        return a, default_dtype().to_complex()
    return a, dtypes.bool_ if kind == "b" else dtypes.int64


def _has_tensors(data: Any) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and _has_tensors(v)) for v in data)


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.detach().tolist()  # type: ignore[attr-defined]
    return [_plain(v) for v in data] if isinstance(data, (list, tuple)) else data


@export("tensor")
def tensor(
    data: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A leaf with a copy of ``data``: numbers, nested lists of them, or an array.

    >>> import gradwire as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum()
    tensor(10.)

    Raises:
        RuntimeError: ``requires_grad`` for integers.
        ValueError: nested lists of unequal lengths.
    """
    if isinstance(data, Tensor):
        made = data.detach().clone()  # type: ignore[attr-defined]
        return finish(made if dtype is None else to(made, dtype), requires_grad, device)
    array, natural = _array(data)
    wanted = dtype or natural
    session = sessions.current()
    device = device or default_device()
    if device is not None:
        check_device(device, session)
    if requires_grad and not wanted.differentiable:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    with np.errstate(all="ignore"):
        array = array.astype(numpy_dtype(wanted.number), copy=False)
    s = spec(array.shape, wanted)
    t = note(Tensor(session, session.put(array, s, requires_grad), s, requires_grad))
    if requires_grad:
        session.leaves[t._id] = t
    return t


@export("as_tensor", "asarray")
def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """``data`` itself where it is a tensor of this type already, else a tensor made from it."""
    if isinstance(data, Tensor):
        return data if dtype in (None, data.dtype) else to(data, dtype)
    return tensor(data, dtype=dtype, device=device)


@export("from_numpy")
def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor with a copy of an array: memory can't be shared over a network."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    return tensor(array)


@export("Tensor.new_tensor")
def new_tensor(self: Tensor, data: Any, *, dtype: DType | None = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@export("is_tensor")
def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


@export("Tensor.to")
def to(self: Tensor, *args: Any, dtype: DType | None = None, device: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor in another type; itself where it is of that type already, and not ``copy``."""
    for a in args:
        if isinstance(a, DType):
            dtype = a
        elif isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, (str, _Device)):
            device = a
    if device is not None:
        check_device(device, self._session)
    if dtype is None or dtype is self.dtype:
        return self.clone() if copy else self  # type: ignore[attr-defined, no-any-return]
    return ops.to_dtype(self, dtype)  # type: ignore[no-any-return]


_Device = device


@export("Tensor.type")
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another type."""
    if dtype is None:
        return f"torch.{self.dtype.legacy}Tensor"
    if isinstance(dtype, str):
        found = next((d for d in dtypes.ALL if dtype == f"torch.{d.legacy}Tensor"), None)
        if found is None:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = found
    return to(self, dtype)


@export("Tensor.type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    return to(self, other.dtype)


@export("Tensor.cpu")
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    return to(self, device="cpu")


def _conversion(d: DType) -> Any:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, d)

    convert.__doc__ = f"The tensor as {d.name}."
    return convert


for _name, _dtype in DTYPES.items():
    if _name not in dtypes.BY_NAME or _name in ("bool", "bfloat16"):
        export(f"Tensor.{_name}")(_conversion(_dtype))
export("Tensor.byte")(_conversion(dtypes.uint8))
export("Tensor.char")(_conversion(dtypes.int8))


@export("result_type")
def result_type(a: Any, b: Any) -> DType:
    """The type that an op of these two computes in."""
    from gradwire_proto.catalog.meta import common_dtype

    made = common_dtype([x._spec if isinstance(x, Tensor) else x for x in (a, b)])
    if any(isinstance(x, Tensor) and x.dtype.differentiable for x in (a, b)):
        return made
    return default_dtype() if made.is_floating_point else default_dtype().to_complex() if made.is_complex else made


@export("promote_types")
def promote_types(a: DType, b: DType) -> DType:
    return dtypes.join(a, b)


@export("can_cast")
def can_cast(from_: DType, to: DType) -> bool:
    return from_.category <= to.category


@export("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


@export("is_complex")
def is_complex(input: Tensor) -> bool:
    return input.is_complex()


@export("numel")
def numel(input: Tensor) -> int:
    return input.numel()


@export("is_nonzero")
def is_nonzero(input: Tensor) -> bool:
    return bool(input)


@export("cuda.is_available")
def cuda_is_available() -> bool:
    """Whether the current session is on a GPU."""
    return sessions.current().device.startswith("cuda")


@export("cuda.device_count")
def cuda_device_count() -> int:
    """How many GPUs the current session has: a session is on one device."""
    return int(cuda_is_available())
