"""Modules whose parameters and buffers are to be of another type, or elsewhere: these are methods of ``Module``."""

from __future__ import annotations

import warnings
from typing import Any

from gradwire.functions.creation import empty_like
from gradwire.tensor import Tensor
from gradwire_proto.dtypes import DType


def to(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Have floating-point parameters and buffers in another type; a device must be the session's."""
    dtype = kwargs.get("dtype", next((a.dtype if isinstance(a, Tensor) else a for a in args
                                      if isinstance(a, (Tensor, DType))), None))  # fmt: skip
    if dtype is not None and not dtype.differentiable:
        raise TypeError(
            f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype!r}"
        )
    if dtype is not None and dtype.is_complex:
        warnings.warn(
            "Complex modules are a new feature under active development whose design may change, and some modules "
            "might not work as expected when using complex tensors as parameters or buffers.",
            stacklevel=2,
        )
    places = (a for a in args if a is not None and not isinstance(a, (Tensor, DType, bool)))
    device = kwargs.get("device", next(places, None))

    def convert(t: Any) -> Any:
        return t.to(device=device, dtype=dtype if t.is_floating_point() or t.is_complex() else None)

    return self._apply(convert)


def to_empty(self: Any, *, device: Any, recurse: bool = True) -> Any:
    """Have all parameters and buffers on a device, with any values."""
    return self._apply(lambda t: empty_like(t, device=device), recurse=recurse)


def share_memory(self: Any) -> Any:
    """The module as it is: its tensors are the session's, which other processes attach to, or have their own of."""
    return self


def type(self: Any, dst_type: Any) -> Any:
    """Have all parameters and buffers in another type."""
    return self._apply(lambda t: t.type(dst_type))


def cpu(self: Any) -> Any:
    """As ``to("cpu")``."""
    return self.to("cpu")


def cuda(self: Any, device: Any = None) -> Any:
    """As ``to("cuda")``."""
    return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)


def float(self: Any) -> Any:
    """Have floating-point parameters and buffers as float32."""
    return _floating(self, "float")


def double(self: Any) -> Any:
    """Have floating-point parameters and buffers as float64."""
    return _floating(self, "double")


def half(self: Any) -> Any:
    """Have floating-point parameters and buffers as float16."""
    return _floating(self, "half")


def bfloat16(self: Any) -> Any:
    """Have floating-point parameters and buffers as bfloat16."""
    return _floating(self, "bfloat16")


def _floating(self: Any, name: str) -> Any:
    return self._apply(lambda t: getattr(t, name)() if t.is_floating_point() else t)


__all__ = [
    "bfloat16",
    "cpu",
    "cuda",
    "double",
    "float",
    "half",
    "share_memory",
    "to",
    "to_empty",
    "type",
]
