"""Many calls of a compiled function in one go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gradwire.capture import here
from gradwire.capture.key import Build, take_apart
from gradwire.capture.program import Program
from gradwire.dispatch import _outside, mode, ops
from gradwire.tensor import Tensor

if TYPE_CHECKING:
    from gradwire.capture.compiled import Compiled

ROWS = 128
"""Results that are stacked at a time, so that what they take is free again."""


def run_steps(compiled: Compiled, batches: Iterable[Any]) -> Any:
    """See :meth:`Compiled.steps`."""
    stacks: list[Stack] = []
    build: Build | None = None
    f = _outside(sys._getframe(2))
    for batch in batches:
        args = batch if isinstance(batch, tuple) else (batch,)
        if here.capture is not None:
            made = compiled(*args)
        else:
            made = _one(compiled, args, f)
        found: list[Tensor] = []
        fresh = take_apart(made, found)
        if build is None:
            build, stacks = fresh, [Stack() for _ in found]
            if not found:
                raise TypeError(f"steps() stacks tensors, {compiled._name}() returned {type(made).__name__}")
        if len(found) != len(stacks):
            raise RuntimeError(f"{compiled._name}() returned {len(found)} tensors, and before {len(stacks)}")
        for stack, t in zip(stacks, found, strict=True):
            stack.add(t)
    if build is None:
        raise ValueError("steps() takes at least one batch")
    return build([s.whole() for s in stacks])


def _one(compiled: Compiled, args: tuple[Any, ...], f: Any) -> Any:
    return compiled(*args)


class Stack:
    """Tensors that are stacked some at a time."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._parts: list[Tensor] = []

    def add(self, t: Tensor) -> None:
        """Add one, as it is now."""
        self._rows.append(t)
        if len(self._rows) >= ROWS:
            self._end()

    def _end(self) -> None:
        self._parts.append(_without_history(ops.stack, self._rows))
        self._rows = []

    def whole(self) -> Tensor:
        """All of them."""
        if self._rows:
            self._end()
        return self._parts[0] if len(self._parts) == 1 else _without_history(ops.cat, self._parts)


def _without_history(op: Callable[..., Any], tensors: list[Tensor]) -> Tensor:
    before, mode.grad = mode.grad, False
    try:
        made: Tensor = op(tensors)
    finally:
        mode.grad = before
    return made


__all__ = ["Program", "run_steps"]
