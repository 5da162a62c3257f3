"""Indexing: what has indices of its own for each example also has the example's number among them."""

from __future__ import annotations

import math
from typing import Any

from gradwire_proto.batching.declare import Call, behind, folded, is_tensor, lifted, moved, numbers, reshaped, rule
from gradwire_proto.catalog.index import index_layout


@rule("gather", "scatter", "scatter_add", "scatter_reduce")
def along(c: Call) -> Any:
    args = [c.full(i) if is_tensor(v) else v for i, v in enumerate(c.seen)]
    for i in (0, 2, 3):
        if is_tensor(args[i]) and args[i].ndim == 1:
            args[i] = c.ops.unsqueeze(args[i], 1)
    args[1] = behind(c.seen[1], max(c.seen[0].ndim, 1))
    return c.run(args)


def _like(c: Call, index: int, shape: tuple[int, ...], dim: int) -> Any:
    """The indices of each example, a vector along ``dim``, for every element of a shape."""
    at = c.full(index)
    n = math.prod(c.seen[index].shape)
    return c.ops.expand(reshaped(c, at, [c.size, *[n if d == dim else 1 for d in range(len(shape))]]),
                        (c.size, *[n if d == dim else s for d, s in enumerate(shape)]))  # fmt: skip


@rule("index_select", "index_add", "index_copy", "index_fill")
def vector(c: Call) -> Any:
    """A vector of indices along one dim: the same for all examples, or as gather and scatter have them."""
    x = c.seen[0]
    if not x.ndim:
        return None
    dim, name = c.seen[1] % x.ndim, c.op.name
    batch, extra = c.full(0), c.given[3:]
    if name in ("index_add", "index_copy"):
        source = c.full(3) if c.seen[3].ndim else c.ops.unsqueeze(c.full(3), 1)
        extra = [source, *c.given[4:]]
    if not c.batched(2) and not (name == "index_fill" and c.batched(3)):
        return c.run([batch, dim + 1, c.seen[2], *extra])
    at = _like(c, 2, x.shape, dim)
    if name == "index_select":
        return c.ops.gather(batch, dim + 1, at)
    if name == "index_fill":
        value = extra[0]
        if is_tensor(value):
            value = c.ops.to_dtype(c.ops.expand(c.raised(3, x.ndim), at.shape), x.dtype)
        return c.ops.scatter(batch, dim + 1, at, value)
    if name == "index_copy":
        return c.ops.scatter(batch, dim + 1, at, source)
    return c.ops.scatter_add(batch, dim + 1, at, source if extra[1] == 1 else c.ops.mul(source, extra[1]))


class _Places:
    """The indices of ``x[indices]`` with the examples' own, and where in an example's result they show.

    ``indices`` begin with the examples' numbers where any index is an example's; then the result has the indices'
    common shape after the first dimension, and an example that has it further behind gets it moved there.
    """

    def __init__(self, c: Call, at: int):
        seen, given = c.seen[at], c.given[at]
        used = [i for i, t in enumerate(seen) if t is not None]
        self.rank = max([seen[i].ndim for i in used], default=0)
        self.own = any(x is not s for x, s in zip(given, seen, strict=True))
        raised = [x if x is s else lifted(c, x, self.rank - s.ndim) for x, s in zip(given, seen, strict=True)]
        adjacent = bool(used) and used[-1] - used[0] == len(used) - 1
        place = used[0] if adjacent else 0
        if self.own:
            self.indices = (numbers(c, self.rank + 1), *raised)
            self.shift = place
        else:
            self.indices = (None, *raised)
            self.shift = 0 if adjacent or not used else -1
        """How many dimensions of an example's result come before the indices' shape that now come after it; -1 where
        the examples do, too."""

    def result(self, c: Call, x: Any) -> Any:
        """What indexing gives, as examples have it."""
        if self.shift < 0:
            return moved(c, x, self.rank, 0)
        for _ in range(self.rank if self.shift else 0):
            x = moved(c, x, 1, self.rank + self.shift)
        return x

    def value(self, c: Call, x: Any) -> Any:
        """The reverse of :meth:`result`."""
        if self.shift < 0:
            return moved(c, x, 0, self.rank)
        for _ in range(self.rank if self.shift else 0):
            x = moved(c, x, self.rank + self.shift, 1)
        return x


@rule("index")
def index(c: Call) -> Any:
    places = _Places(c, 1)
    x = c.full(0) if places.own else c.given[0]
    return places.result(c, c.run([x, places.indices]))


@rule("index_backward")
def index_backward(c: Call) -> Any:
    places = _Places(c, 2)
    return c.run([places.value(c, c.full(0)), (c.size, *c.seen[1]), places.indices])


@rule("index_put")
def index_put(c: Call) -> Any:
    places = _Places(c, 1)
    shape = _indexed(c)
    values = c.ops.expand(c.raised(2, len(shape)), (c.size, *shape))
    return c.run([c.full(0), places.indices, places.value(c, values), c.seen[3]])


def _indexed(c: Call) -> tuple[int, ...]:
    """The shape of an example's ``x[indices]``."""
    return index_layout(tuple(c.seen[0].shape), [None if t is None else c.level.spec(t) for t in c.seen[1]])


@rule("take", "put")
def take(c: Call) -> Any:
    """Indices into the example's elements in one row."""
    n, m = math.prod(c.seen[0].shape), math.prod(c.seen[1].shape)
    x = reshaped(c, c.full(0), (c.size, n))
    at = numbers(c, 2), reshaped(c, c.full(1), (c.size, m))
    if c.op.name == "take":
        return c.ops.index(x, at)
    return c.ops.index_put(x, at, reshaped(c, c.full(2), (c.size, m)), c.seen[3])


def _offset(c: Call, at: Any, rows: int) -> Any:
    """Indices of rows that go on from example to example."""
    return c.ops.add(at, c.ops.mul(numbers(c, at.ndim), rows))


@rule("embedding")
def embedding(c: Call) -> Any:
    """Tables of their own are one long table; rows for padding, which get no gradient, are then one in each."""
    weight, _, padding, *rest = c.seen
    if not c.batched(0):
        return c.run(c.given)
    rows, at = weight.shape[0], c.full(1)
    within = c.ops.logical_and(c.ops.ge(at, 0), c.ops.lt(at, rows))  # what goes over would be another example's
    at = c.ops.require(at, within, "index out of range in self")
    made = c.run([folded(c, c.given[0]), _offset(c, at, rows), -1, *rest])
    if padding < 0:
        return made
    idle = c.ops.unsqueeze(c.ops.eq(at, padding), -1)
    return c.ops.where(idle, c.ops.detach(made), made)


@rule("embedding_dense_backward")
def embedding_backward(c: Call) -> Any:
    rows, padding = c.seen[2:4]
    grad, at = c.full(0), c.full(1)
    if padding >= 0:
        grad = c.ops.masked_fill(grad, c.ops.unsqueeze(c.ops.eq(at, padding), -1), 0)
    return c.run([grad, _offset(c, at, rows), c.size * rows, -1, c.seen[4]])


@rule("searchsorted")
def searchsorted(c: Call) -> Any:
    """One row for all examples takes values of any shape; rows of their own take a row of values each."""
    if not is_tensor(c.seen[1]):
        return None
    args = list(c.given)
    if c.seen[0].ndim == 1 and (c.batched(0) or (c.seen[5] is not None and c.batched(5))):
        args[1] = reshaped(c, c.full(1), (c.size, math.prod(c.seen[1].shape)))
    elif c.seen[0].ndim > 1:
        args[1] = c.full(1)
    else:
        return c.run(args)
    args[0] = c.full(0)
    args[5] = None if c.seen[5] is None else c.full(5)
    return c.run(args)
