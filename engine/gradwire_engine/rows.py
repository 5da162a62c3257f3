"""Gradients of many rows in one pass: as vmap has it, by the batching rules of the ops that formulas are written in.

A :class:`Rows` goes through the graph in place of a gradient. To a node it is one tensor; the ops that meet it are done
on all rows at once. What the client's code has a part in is done row after row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradwire_engine import functional as F
from gradwire_engine.tensor import Tensor
from gradwire_proto import batching
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.spec import Spec, spec

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine


class Rows(Tensor):
    """One row of many, for all of them, which ``whole`` has along its first dimension."""

    __slots__ = ("whole",)

    def __init__(self, whole: Tensor):
        s = whole.spec
        super().__init__(whole.engine, None, spec(s.shape[1:], s.dtype, s.strides[1:]), whole.storage)
        self.whole = whole


class Level:
    """The rows that a pass is about."""

    def __init__(self, engine: Engine, size: int):
        self.engine = engine
        self.size = size
        self.ops = _Ops(engine)

    def invoke(self, op: Op, values: Sequence[Any]) -> Any:
        return self.engine.apply_values(op, [tuple(v) if type(v) is list else v for v in values])

    def spec(self, tensor: Any) -> Spec:
        return tensor.spec

    def apply(self, op: Op, values: list[Any]) -> Any:
        """As :meth:`Engine.apply_values`, of values with rows among them."""
        given = [tuple(map(_whole, v)) if type(v) is tuple else _whole(v) for v in values]
        with _plain(self.engine):
            if op.writes:
                batching.write(op, values, given, self)
                return values[op.writes[0]]
            made = batching.run(op, values, given, self)
        return [Rows(t) for t in made] if isinstance(made, tuple) else Rows(made)

    def full(self, t: Tensor) -> Tensor:
        """All rows of a tensor that may be the same in each."""
        return _whole(t) if type(t) is Rows else self.engine.call("expand", t, (self.size, *t.shape))


class _Ops:
    """Every op of the catalog as an attribute."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = CATALOG[name]

        def f(*args: Any, **kwargs: Any) -> Any:
            rest = [kwargs.get(p.name, p.default) for p in op.params[len(args) :]]
            return self._engine.apply_values(op, [*args, *rest])

        return f


def _whole(v: Any) -> Any:
    return v.whole if type(v) is Rows else v


def among(values: Sequence[Any]) -> bool:
    """Whether there are rows among an op's arguments."""
    return any(type(v) is Rows or (type(v) is tuple and any(type(x) is Rows for x in v)) for v in values)


@contextmanager
def _plain(engine: Engine) -> Iterator[None]:
    level, engine.level = engine.level, None
    try:
        yield
    finally:
        engine.level = level


def in_one_pass(engine: Engine, size: int, grads: list[Tensor | None],
                run: Callable[[list[Tensor | None]], list[Any]]) -> list[Tensor | None]:  # fmt: skip
    """What ``run`` makes of gradients each of which is a row of those given, for all rows at once."""
    level = Level(engine, size)
    engine.level = level
    try:
        found = run([None if g is None else Rows(g) for g in grads])
    finally:
        engine.level = None
    taken = {id(g.storage) for g in grads if g is not None}
    made: list[Tensor | None] = []
    for g in found:
        t = None if g is None else level.full(g)
        if t is not None and (not t.spec.contiguous or id(t.storage) in taken):
            t = F.clone(t)  # what the client is given is dense, and its own
        if t is not None:
            taken.add(id(t.storage))
        made.append(t)
    return made


def row_by_row(engine: Engine, size: int, grads: list[Tensor | None],
               run: Callable[[list[Tensor | None], bool], list[Any]]) -> list[Tensor | None]:  # fmt: skip
    """The same, one after the other; ``run`` is told of the last. Nothing, where there are no rows."""
    rows = [run([None if g is None else engine.call("select", g, 0, i) for g in grads], i == size - 1)
            for i in range(size)]  # fmt: skip
    return [None if c[0] is None else engine.call("stack", c) for c in zip(*rows, strict=True)]
