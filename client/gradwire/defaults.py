"""What torch takes where nothing is named: the type of floating-point numbers, and the device of new tensors.

The type is the process's, the device the thread's. The server knows neither: it takes a Python float for float32, so
under another default an op that makes floats of integers is told so in full (:func:`in_full`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire_proto import dtypes
from gradwire_proto.catalog.declare import Op, check_written
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import spec

if TYPE_CHECKING:
    from gradwire.types import device

_dtype = [dtypes.DEFAULT_FLOAT]


class _Devices(threading.local):
    chosen: device | None = None
    inner: tuple[device, ...] = ()


devices = _Devices()
"""This thread's default device, and those of the ``with`` blocks that it is in, from the outermost."""


def default_dtype() -> DType:
    """The type of new floating-point tensors."""
    return _dtype[0]


def set_default_dtype(d: DType, /) -> None:
    """Set the type of new floating-point tensors, and of what becomes of integers among floats.

    >>> import gradwire as torch
    >>> torch.set_default_dtype(torch.float64)
    >>> torch.tensor([1, 2]) / 4, torch.tensor(0.5).dtype
    (tensor([0.2500, 0.5000]), torch.float64)
    >>> torch.set_default_dtype(torch.float32)

    Raises:
        TypeError: it is no floating-point type.
    """
    if not isinstance(d, DType):
        raise TypeError("invalid dtype object: only floating-point types are supported as the default type")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    from gradwire import dispatch

    _dtype[0] = d
    dispatch.forget()


def default_device() -> device | None:
    """The device of new tensors, None where it is the session's."""
    return devices.inner[-1] if devices.inner else devices.chosen


def set_default_device(device: Any) -> None:
    """Set the device of new tensors, which can only be that of the session; None for no default."""
    from gradwire.types import device as Device

    devices.chosen = None if device is None else Device(device)


def get_default_device() -> device:
    """The device of new tensors: the session's, where no other is set."""
    from gradwire import session
    from gradwire.types import device as Device

    return default_device() or Device(session.current().device)


def in_full(op: Op, values: Sequence[Any], tensor: type) -> list[Any] | None:
    """The arguments of an op with the default type in place of what only it decides: integers that become floats, and
    Python's floats among tensors of integers. None for an op whose types are the same under any default.

    Args:
        values: in signature order.
        tensor: the class of tensors.

    Raises:
        RuntimeError: torch's, where the op is to write such floats to integers.
    """
    default = default_dtype()
    if default is dtypes.DEFAULT_FLOAT or any(isinstance(v, DType) for v in values):
        return None
    specs = [v._spec if isinstance(v, tensor) else v for v in values]
    if any(type(v) is tuple and any(isinstance(x, tensor) for x in v) for v in values):
        return None  # what takes several tensors makes no floats of integers
    if any(isinstance(v, tensor) and s.dtype.category > Category.INT for v, s in zip(values, specs, strict=True)):
        return None
    made = (op.inplace_of or op).infer(specs)
    types = {made.compute, *(r.dtype for r in made.results)}
    if not types & {dtypes.DEFAULT_FLOAT, dtypes.DEFAULT_FLOAT.to_complex()}:
        return None
    takes_part = [p.is_tensor and p.name != "condition" for p in op.params]
    if op.inplace_of is not None:
        meant = [spec(s.shape, default) if part and isinstance(v, tensor) else s
                 for v, s, part in zip(values, specs, takes_part, strict=True)]  # fmt: skip
        check_written(specs[0], op.inplace_of.infer(meant).results[0])
        takes_part[0] = False
    return _converted(values, takes_part, default, tensor)


def _converted(values: Sequence[Any], takes_part: list[bool], default: DType, tensor: type) -> list[Any]:
    from gradwire.dispatch import ops

    made = [ops.to_dtype(v, default) if part and isinstance(v, tensor) else v
            for v, part in zip(values, takes_part, strict=True)]  # fmt: skip
    if all(a is b for a, b in zip(made, values, strict=True)):  # no tensor says it: a number must
        at = next(i for i, v in enumerate(values) if takes_part[i] and isinstance(v, (float, complex)))
        kind = default.to_complex() if isinstance(values[at], complex) else default
        made[at] = ops.full((), values[at], dtype=kind)
    return made
