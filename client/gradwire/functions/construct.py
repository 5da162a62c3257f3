"""Tensors from Python's and NumPy's values."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire import session as sessions
from gradwire.capture import note
from gradwire.defaults import default_device, default_dtype
from gradwire.dispatch import check_device, finish, mode
from gradwire.export import export
from gradwire.functions.convert import as_dtype, to
from gradwire.session import numpy_dtype
from gradwire.tensor import Tensor, infer, tensor_of
from gradwire.types import device as device_type
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
    wanted = as_dtype("tensor", dtype) or natural
    session = sessions.current()
    device = device or default_device()
    if device is not None:
        check_device(device, session)
    if requires_grad and not wanted.differentiable:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    with np.errstate(all="ignore"):
        array = array.astype(numpy_dtype(wanted.number), copy=False)
    s = spec(array.shape, wanted)
    t = note(tensor_of(session, session.put(array, s, requires_grad), s, requires_grad))
    if requires_grad:
        session.leaves[t._id] = t
    return infer(t) if mode.inference else t


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


@export("cuda.is_available", "accelerator.is_available", "backends.cuda.is_built", "backends.cudnn.is_available")
def cuda_is_available() -> bool:
    """Whether the current session is on a GPU."""
    return sessions.current().device.startswith("cuda")


@export("cuda.device_count", "accelerator.device_count")
def cuda_device_count() -> int:
    """How many GPUs the current session has: a session is on one device."""
    return int(cuda_is_available())


@export("accelerator.current_accelerator")
def current_accelerator(check_available: bool = False) -> device_type | None:
    """The kind of device that the current session's GPU is of, None without one."""
    return device_type("cuda") if cuda_is_available() else None


@export("backends.mps.is_available", "backends.mps.is_built")
def mps_is_available() -> bool:
    """Sessions are on CPUs and CUDA's GPUs."""
    return False
