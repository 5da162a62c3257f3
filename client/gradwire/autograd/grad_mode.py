"""Whether ops are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode. Each a context manager and, all but
set_grad_enabled's immediate effect, a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from gradwire.dispatch import mode


class _Mode:
    """A context manager and decorator that sets the grad mode."""

    def __init__(self, enabled: bool):
        self._enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.grad)
        mode.grad = self._enabled

    def __exit__(self, *_: object) -> None:
        mode.grad = self._before.pop()

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        enabled = self._enabled
        if inspect.isgeneratorfunction(f):

            @functools.wraps(f)
            def steps(*args: Any, **kwargs: Any) -> Any:
                g = f(*args, **kwargs)
                while True:
                    with _Mode(enabled):
                        try:
                            value = next(g)
                        except StopIteration as e:
                            return e.value
                    yield value

            return steps

        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _Mode(enabled):
                return f(*args, **kwargs)

        return wrapped


class no_grad(_Mode):
    """Ops inside are not recorded."""

    def __new__(cls, f: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if f is None else _Mode(False)(f)

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Mode):
    """Ops inside are recorded, also within no_grad."""

    def __new__(cls, f: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if f is None else _Mode(True)(f)

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_Mode):
    """Turn recording on or off, from here on or for a block."""

    def __init__(self, mode: bool):
        super().__init__(mode)
        self._before.append(_swap(mode))

    def __enter__(self) -> None:
        mode.grad = self._enabled

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        mode.grad = self._before.pop()
        return super().__call__(f)


def _swap(value: bool) -> bool:
    before, mode.grad = mode.grad, value
    return before


class inference_mode(_Mode):
    """no_grad, for now without the restrictions that inference tensors have in torch."""

    def __new__(cls, mode: Any = True) -> Any:
        return _Mode(False)(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True):
        super().__init__(not mode)


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded."""
    return mode.grad
