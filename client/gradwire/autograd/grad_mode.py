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

    def __init__(self, enabled: bool, inference: bool | None = None):
        self._enabled = enabled
        self._inference = inference
        """The inference mode; None to leave it as it is."""
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append((mode.grad, mode.inference))
        if self._inference is not None:
            mode.inference = self._inference
        mode.grad = self._enabled and not mode.inference

    def __exit__(self, *_: object) -> None:
        mode.grad, inference = self._before.pop()
        if self._inference is not None:
            mode.inference = inference

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        enabled, inference = self._enabled, self._inference
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
                return _steps(f(*args, **kwargs), lambda: _Mode(enabled, inference))

            return steps

        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _Mode(enabled, inference):
                return f(*args, **kwargs)

        return wrapped


def _steps(g: Generator[Any, Any, Any], inside: Callable[[], _Mode]) -> Generator[Any, Any, Any]:
    """A generator whose code runs in a grad mode, and whose caller's goes on in its own."""
    with inside():
        try:
            value = next(g)
        except StopIteration as e:
            return e.value
    while True:
        thrown = None
        try:
            sent = yield value
        except GeneratorExit:
            with inside():
                g.close()
            raise
        except BaseException as e:
            thrown = e
        with inside():
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
        self._before.append((_swap(mode), False))

    def __enter__(self) -> None:
        _swap(self._enabled)

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        mode.grad, _ = self._before.pop()
        return super().__call__(f)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"torch.autograd.grad_mode.set_grad_enabled(mode={self.mode})"


def _swap(value: bool) -> bool:
    before, mode.grad = mode.grad, value and not mode.inference
    return before


class inference_mode(_Mode):
    """As no_grad, and what is made inside can't be part of a graph outside, either: an op that would save it for its
    derivative raises, and so does writing to it. ``inference_mode(False)`` inside of another ends that for a block.

    >>> import gradwire as torch
    >>> with torch.inference_mode():
    ...     x = torch.ones(2)
    >>> x.is_inference(), x.clone().is_inference()
    (True, False)
    """

    def __new__(cls, mode: Any = True) -> Any:
        return _Mode(False, True)(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True):
        super().__init__(not mode, bool(mode))
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded."""
    return mode.grad
