"""Many calls of a compiled function in one go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradwire.capture import here
from gradwire.capture.key import Build, take_apart
from gradwire.capture.program import Program
from gradwire.dispatch import _outside, mode, ops
from gradwire.tensor import Tensor, tensor_of

if TYPE_CHECKING:
    from gradwire.capture.compiled import Compiled

ROWS = 128
"""Results that are stacked at a time, so that what they take is free again."""


class Steps:
    """The calls, and what they returned so far.

    Args:
        alone: no code of the program's runs in between.
        f: the frame that asked.
    """

    def __init__(self, compiled: Compiled, alone: bool, f: FrameType):
        self._compiled, self._alone, self._f = compiled, alone, f
        self._build: Build | None = None
        self._columns: list[Column] = []
        self._last: Program | None = None
        """What the last call was of, where its effects on the mirror wait for more of the same."""
        self._key: list[Any] = []
        self._times = 0

    def call(self, args: tuple[Any, ...]) -> None:
        """One call."""
        key: list[Any] = []
        tensors: list[Tensor] = []
        self._compiled._describe(args, {}, key, tensors)
        program = self._last
        if program is None or not self._alone or key != self._key or program.dropped:
            self.settle()
            program = self._compiled._find(tuple(key), tensors)
        if program is None or not program.steady or program.calls_back(tensors):
            self._plain(args)
            return
        ids = program.send(tensors, self._f)
        if ids is None:
            self._plain(args)
            return
        self._last, self._key = program, key
        self._times += 1
        session = program.session
        new = [tensor_of(session, i, m.spec) for i, m in zip(ids, program.made, strict=True)]
        rows = [new[i] if i >= 0 else program.outer[-1 - i](tensors) for i in program.returned]
        if self._build is None:
            self._begin(program.build, len(rows))
        for column, i, t in zip(self._columns, program.returned, rows, strict=True):
            if t is not None:
                column.add(t, i < 0 or program.made[i].alias)
        session.wire.relieve()

    def _plain(self, args: tuple[Any, ...]) -> None:
        """One call as any other."""
        self.settle()
        found: list[Tensor] = []
        made = self._compiled(*args)
        build = take_apart(made, found)
        if not found:
            raise TypeError(f"steps() stacks tensors, {self._compiled._name}() returned {type(made).__name__}")
        if self._build is None:
            self._begin(build, len(found))
        for column, t in zip(self._columns, found, strict=True):
            column.add(t, True)

    def _begin(self, build: Build, n: int) -> None:
        self._build, self._columns = build, [Column() for _ in range(n)]

    def settle(self) -> None:
        """Do to the mirror what is yet to be done."""
        program, self._last = self._last, None
        if program is not None:
            program.repeat(self._times)
            self._times = 0

    def whole(self) -> Any:
        """What all of them returned."""
        self.settle()
        if self._build is None:
            raise ValueError("steps() takes at least one batch")
        return self._build([c.whole() for c in self._columns])


class Column:
    """Tensors that are stacked some at a time."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._parts: list[Tensor] = []

    def add(self, t: Tensor, copy: bool) -> None:
        """Add one; a copy, where later calls may write to it."""
        self._rows.append(_without_history(ops.clone, t) if copy else t)
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


def _without_history(op: Callable[..., Any], v: Any) -> Tensor:
    before, mode.grad = mode.grad, False
    try:
        made: Tensor = op(v)
    finally:
        mode.grad = before
    return made


def run_steps(compiled: Compiled, batches: Iterable[Any]) -> Any:
    """See :meth:`Compiled.steps`."""
    alone = isinstance(batches, (list, tuple)) and here.capture is None
    steps = Steps(compiled, alone, _outside(sys._getframe(1)))
    try:
        for batch in batches:
            args = batch if isinstance(batch, tuple) else (batch,)
            if here.capture is None:
                steps.call(args)
            else:
                steps._plain(args)
    finally:
        steps.settle()
    return steps.whole()


__all__ = ["run_steps"]
