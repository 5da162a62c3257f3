"""Views, joins and copies side by side."""

from __future__ import annotations

import math
from typing import Any

from gradwire_proto.batching.declare import Call, behind, lifted, rule, whole


@rule("view")
def view(c: Call) -> Any:
    return c.ops.view(c.given[0], (c.size, *c.want[0].shape))


@rule("expand")
def expand(c: Call) -> Any:
    shape = c.want[0].shape
    return c.ops.expand(c.raised(0, len(shape)), (c.size, *shape))


@rule("permute")
def permute(c: Call) -> Any:
    return c.ops.permute(c.given[0], (0, *[behind(d, c.seen[0].ndim) for d in c.seen[1]]))


@rule("t")
def t(c: Call) -> Any:
    return c.ops.transpose(c.given[0], 1, 2) if c.seen[0].ndim == 2 else c.ops.alias(c.given[0])


@rule("unsqueeze")
def unsqueeze(c: Call) -> Any:
    return c.ops.unsqueeze(c.given[0], behind(c.seen[1], c.seen[0].ndim + 1))


@rule("squeeze")
def squeeze(c: Call) -> Any:
    ndim, dims = c.seen[0].ndim, c.seen[1]
    if dims is None:
        dims = tuple(range(ndim))
    dims = tuple(behind(d, ndim) for d in dims if ndim and c.seen[0].shape[d] == 1)
    return c.ops.squeeze(c.given[0], dims) if dims else c.ops.alias(c.given[0])


@rule("cat", "stack")
def joined(c: Call) -> Any:
    seen, dim = c.seen
    pairs = list(zip(c.given[0], seen, strict=True))
    if c.op.name == "cat":  # torch passes over vectors of nothing, whatever the others are
        pairs = [(x, s) for x, s in pairs if s.shape != (0,)] or pairs
    ndim = pairs[0][1].ndim + (c.op.name == "stack")
    return c.run([tuple(whole(c, s, x) for x, s in pairs), behind(dim, ndim)])


@rule("repeat")
def repeat(c: Call) -> Any:
    return c.run([lifted(c, c.given[0], len(c.seen[1]) - c.seen[0].ndim), (1, *c.seen[1])])


@rule("as_strided", "as_strided_backward")
def window(c: Call) -> Any:
    """A window that goes on from each example to the next."""
    if c.op.name == "as_strided":
        size, stride, offset = c.seen[1:]
        room = math.prod(c.seen[0].shape)
        return c.run([c.given[0], (c.size, *size), (room, *stride), offset])
    room, stride, offset = c.seen[1:]
    return c.run([c.full(0), c.size * room, (room, *stride), offset])
