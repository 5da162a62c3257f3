"""What a batching rule is, and how an op is done by its rule.

    @rule("matrix_exp", "det")
    def as_it_is(c): return c.run(c.given)

A rule is given a :class:`Call`: an op's arguments as one example sees them, and the same with whole batches, which have
the examples along a first dimension of their own. It returns the batch of results, or None where it has no answer: then
the op is done on one example after the other. What an example's arguments can't be is refused before, so that a rule
need not look; and a result of another shape or type than the examples', such as a vector of one in place of a number,
is made what it should be after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradwire_proto.catalog.declare import Op
from gradwire_proto.dtypes import int64
from gradwire_proto.spec import Spec

Rule = Callable[["Call"], Any]
RULES: dict[str, Rule] = {}


class Level(Protocol):
    """A batch that ops are done on: how many examples it has, and the ops that its tensors are given to."""

    size: int
    ops: Any
    """Every op of the catalog by name, as a function of tensors."""

    def invoke(self, op: Op, values: Sequence[Any]) -> Any:
        """The op on values in signature order: one tensor where it has one result, else a tuple."""

    def spec(self, tensor: Any) -> Spec: ...


class Call:
    """A call of an op on a batch."""

    __slots__ = ("given", "level", "op", "ops", "seen", "size", "want")

    def __init__(self, op: Op, seen: Sequence[Any], given: Sequence[Any], level: Level, want: Sequence[Spec]):
        self.op = op
        self.seen = seen
        """The arguments in signature order, as an example has them."""
        self.given = given
        """The same, with whole batches."""
        self.level = level
        self.ops = level.ops
        self.size = level.size
        self.want = want
        """The specs of an example's results."""

    def run(self, values: Sequence[Any]) -> Any:
        return self.level.invoke(self.op, values)

    def batched(self, i: int) -> bool:
        """Whether argument ``i`` has examples."""
        return self.given[i] is not self.seen[i]

    def full(self, i: int) -> Any:
        """Argument ``i`` with examples: of a tensor that has none, the same one for each."""
        return whole(self, self.seen[i], self.given[i])

    def raised(self, i: int, rank: int) -> Any:
        """Argument ``i`` so that it broadcasts against examples of this rank, with dimensions of 1 in front."""
        return lifted(self, self.given[i], rank - self.seen[i].ndim) if self.batched(i) else self.given[i]

    def tensors(self) -> list[int]:
        """Which arguments are tensors."""
        return [i for i, v in enumerate(self.seen) if is_tensor(v)]

    def at(self, name: str) -> int:
        """The place of an argument."""
        return next(i for i, p in enumerate(self.op.params) if p.name == name)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of some ops."""

    def keep(f: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, f))
        return f

    return keep


def is_tensor(v: Any) -> bool:
    return hasattr(v, "ndim")


def each_tensor(v: Any, seen: Any, f: Callable[[Any, Any], Any]) -> Any:
    """``f`` of a tensor argument and its example, of each in a list, and nothing of anything else."""
    if type(seen) is tuple:
        return tuple(each_tensor(x, s, f) for x, s in zip(v, seen, strict=True))
    return f(v, seen) if is_tensor(seen) else v


def whole(c: Call, seen: Any, given: Any) -> Any:
    return given if given is not seen else c.ops.expand(given, (c.size, *given.shape))


def lifted(c: Call, batch: Any, n: int) -> Any:
    """A batch of examples with ``n`` more dimensions in front."""
    for _ in range(n):
        batch = c.ops.unsqueeze(batch, 1)
    return batch


def behind(dim: int, ndim: int) -> int:
    """A dimension of examples as one of the batch."""
    return dim + 1 if dim >= 0 else dim + ndim + 1


def reshaped(c: Call, x: Any, shape: Sequence[int]) -> Any:
    """The tensor in another shape, through a copy unless it is dense."""
    if tuple(x.shape) == tuple(shape):
        return x
    return c.ops.view(x if c.level.spec(x).contiguous else c.ops.clone(x), tuple(shape))


def folded(c: Call, batch: Any) -> Any:
    """The first two dimensions as one."""
    return reshaped(c, batch, (batch.shape[0] * batch.shape[1], *batch.shape[2:]))


def moved(c: Call, x: Any, source: int, to: int) -> Any:
    """One dimension in another place."""
    order = [d for d in range(x.ndim) if d != source]
    order.insert(to, source)
    return c.ops.permute(x, tuple(order))


def numbers(c: Call, rank: int = 1) -> Any:
    """The examples' numbers, along the first of so many dimensions."""
    made = c.ops.arange(0, c.size, 1, dtype=int64)
    return c.ops.view(made, (c.size,) + (1,) * (rank - 1)) if rank > 1 else made


def run(op: Op, seen: Sequence[Any], given: Sequence[Any], level: Level) -> Any:
    """Do an op that makes something of what it is given on a batch.

    Args:
        seen: the arguments in signature order, as one example has them.
        given: the same, with batches in place of those that have examples, which ``seen`` has not.

    Returns:
        The batch of results, or a tuple of them.

    Raises:
        RuntimeError, IndexError, TypeError, ValueError: torch's, about an example's arguments.
    """
    want = op.infer(_specs(seen, level)).results
    c = Call(op, seen, given, level, want)
    known = RULES.get(op.name) or (_pointwise if op.pointwise else None)
    found = None if known is None else known(c)
    if found is None:
        found = _each(c)
    several = found if isinstance(found, (tuple, list)) else (found,)
    results = tuple([_fitted(c, t, s) for t, s in zip(several, want, strict=True)])
    return results if op.returns_list or len(op.results) != 1 else results[0]


def write(op: Op, seen: Sequence[Any], given: Sequence[Any], level: Level) -> None:
    """Do an op that writes to its arguments, which must have examples, on a batch; as :func:`run`."""
    want = op.infer(_specs(seen, level)).results
    c = Call(op, seen, given, level, want)
    base = op.inplace_of
    if base is not None and base.name in RULES:
        level.ops.copy_(given[0], run(base, seen, given, level))
    else:
        known = RULES.get(op.name) or (_pointwise if base is not None and base.pointwise else _each_in_place)
        known(c)


def _specs(values: Sequence[Any], level: Level) -> list[Any]:
    return [each_tensor(v, v, lambda t, _: level.spec(t)) for v in values]


def _fitted(c: Call, t: Any, s: Spec) -> Any:
    """A batch of results as the examples' spec says."""
    shape = (c.size, *s.shape)
    if tuple(t.shape) != shape:
        same = math.prod(t.shape) == math.prod(shape)
        t = reshaped(c, t, shape) if same else c.ops.expand(t, shape)
    # A number among tensors says less of the type than a batch of numbers.
    return t if t.dtype is s.dtype else c.ops.to_dtype(t, s.dtype)


def _pointwise(c: Call) -> Any:
    """Shapes are aligned at the right, so the batch goes left of the longest."""
    rank = max(c.seen[i].ndim for i in c.tensors())
    return c.run([c.raised(i, rank) if is_tensor(v) else v for i, v in enumerate(c.seen)])


def _example(c: Call, i: int) -> list[Any]:
    def one(x: Any, seen: Any) -> Any:
        return c.ops.select(x, 0, i) if x is not seen else x

    return [each_tensor(x, s, one) for x, s in zip(c.given, c.seen, strict=True)]


def _each(c: Call) -> Any:
    """The op on one example after the other."""
    if not c.size:
        return tuple(c.ops.full((0, *s.shape), 0, dtype=s.dtype) for s in c.want)
    made = [c.run(_example(c, i)) for i in range(c.size)]
    if isinstance(made[0], (tuple, list)):
        return tuple(c.ops.stack(tuple(column)) for column in zip(*made, strict=True))
    return c.ops.stack(tuple(made))


def _each_in_place(c: Call) -> None:
    for i in range(c.size):
        c.run(_example(c, i))
