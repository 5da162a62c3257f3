"""Whether ops are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode. Each a context manager and, all but
set_grad_enabled's immediate effect, a decorator."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Generator
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
        if inspect.isclass(f):
            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                "functions or methods. To preserve the current behavior of class decoration, you can directly decorate "
                "the `__init__` method and nothing else.",
                FutureWarning,
                stacklevel=2,
            )
        if inspect.isgeneratorfunction(f):

            @functools.wraps(f)
            def steps(*args: Any, **kwargs: Any) -> Any:
                return _steps(f(*args, **kwargs), enabled)

            return steps

        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _Mode(enabled):
                return f(*args, **kwargs)

        return wrapped


def _steps(g: Generator[Any, Any, Any], enabled: bool) -> Generator[Any, Any, Any]:
    """A generator whose code runs in a grad mode, and whose caller's goes on in its own."""
    with _Mode(enabled):
        try:
            value = next(g)
        except StopIteration as e:
            return e.value
    while True:
        thrown = None
        try:
            sent = yield value
        except GeneratorExit:
            with _Mode(enabled):
                g.close()
            raise
        except BaseException as e:
            thrown = e
        with _Mode(enabled):
            try:
                value = g.send(sent) if thrown is None else g.throw(thrown)
            except StopIteration as e:
                return e.value


class no_grad(_Mode):
    """Ops inside are not recorded."""

    def __new__(cls, f: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if f is None else _Mode(False)(f)

    def __init__(self) -> None:
        super().__init__(False)

    def clone(self) -> no_grad:
        return type(self)()


class enable_grad(_Mode):
    """Ops inside are recorded, also within no_grad."""

    def __new__(cls, f: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if f is None else _Mode(True)(f)

    def __init__(self) -> None:
        super().__init__(True)

    def clone(self) -> enable_grad:
        return type(self)()


class set_grad_enabled(_Mode):
    """Turn recording on or off, from here on or for a block."""

    def __init__(self, mode: bool):
        if not isinstance(mode, bool):
            raise TypeError(
                f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}"
            )
        super().__init__(mode)
        self.mode = mode
        self._before.append(_swap(mode))

    def __enter__(self) -> None:
        mode.grad = self._enabled

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        mode.grad = self._before.pop()
        return super().__call__(f)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"torch.autograd.grad_mode.set_grad_enabled(mode={self.mode})"


def _swap(value: bool) -> bool:
    before, mode.grad = mode.grad, value
    return before


class inference_mode(_Mode):
    """no_grad, for now without the restrictions that inference tensors have in torch."""

    def __new__(cls, mode: Any = True) -> Any:
        return _Mode(False)(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True):
        super().__init__(not mode)
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded."""
    return mode.grad
