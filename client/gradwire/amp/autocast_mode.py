"""torch.autocast: products and convolutions in 16 bits, and what needs more in 32."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from gradwire import session as sessions
from gradwire.amp.rules import cast_to
from gradwire.dispatch import mode
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType

DEVICES = ("cpu", "cuda")
LOW = (dtypes.bfloat16, dtypes.float16)


class _Lower(threading.local):
    def __init__(self) -> None:
        self.dtypes = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}


_lower = _Lower()
"""The type that autocast has in this thread for each kind of device, where it is on."""


def _known(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if not is_autocast_available(device_type):
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    return device_type in DEVICES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on in this thread, for a kind of device."""
    return _known(device_type) in mode.casting


def get_autocast_dtype(device_type: str) -> DType:
    """The type that autocast has in this thread, where it is on, for a kind of device."""
    return _lower.dtypes[_known(device_type)]


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    others = {name: dtype for name, dtype in mode.casting.items() if name != _known(device_type)}
    mode.casting = others | ({device_type: get_autocast_dtype(device_type)} if enabled else {})


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    _lower.dtypes[_known(device_type)] = dtype
    set_autocast_enabled(device_type, is_autocast_enabled(device_type))


class autocast:
    """A context manager and decorator. Inside, matrix products and convolutions are done, and recorded, in ``dtype``,
    whatever floats of 16 or 32 bits they are given, and losses and others that need it in float32. Leave backward
    passes outside; they go by what was recorded.

    Args:
        device_type: of the tensors that it is for: ``"cpu"`` or ``"cuda"``.
        dtype: bfloat16 or float16; by default bfloat16 on CPU and float16 on CUDA.
        enabled: False for a block without it.
        cache_enabled: torch's. It changes nothing: a weight is cast each time that it is used.

    Raises:
        RuntimeError: another kind of device.

    >>> import gradwire as torch
    >>> x, w = torch.ones(2, 3), torch.ones(3, 2, requires_grad=True)
    >>> with torch.autocast("cpu"):
    ...     y = x @ w
    >>> y.dtype
    torch.bfloat16
    >>> y.sum().backward()
    >>> w.grad.dtype
    torch.float32
    """

    def __init__(self, device_type: str, dtype: DType | None = None, enabled: bool = True,
                 cache_enabled: bool | None = None):  # fmt: skip
        self.device = _known(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        if enabled and device_type == "cuda" and not sessions.current().device.startswith("cuda"):
            warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and self.fast_dtype not in LOW:
            name = device_type.upper()
            warnings.warn(
                f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n{name} Autocast only "
                f"supports dtypes of {', '.join(map(str, LOW))} currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple[bool, DType]] = []

    def __enter__(self) -> autocast:
        self._before.append((is_autocast_enabled(self.device), get_autocast_dtype(self.device)))
        self._set(self._enabled, self.fast_dtype)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(*self._before.pop())

    def _set(self, enabled: bool, dtype: DType) -> None:
        _lower.dtypes[self.device] = dtype
        set_autocast_enabled(self.device, enabled)

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return f(*args, **kwargs)

        return wrapped


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: DType | None = None) -> Any:
    """Decorates the ``forward`` of a custom function: with ``cast_inputs`` it is given floats of that type, and runs
    without autocast, where autocast is on."""
    _known(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx._dtype, ctx._fwd_used_autocast = get_autocast_dtype(device_type), on and cast_inputs is None
        if not on or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *cast_to(args, cast_inputs), **cast_to(kwargs, cast_inputs))

    return wrapped


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """Decorates the ``backward`` of a custom function, which runs with autocast as its ``forward`` did."""
    _known(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return wrapped


__all__ = [
    "autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled",
    "set_autocast_dtype", "set_autocast_enabled",
]  # fmt: skip
