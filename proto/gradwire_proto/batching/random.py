"""Random numbers, other ones for each example."""

from __future__ import annotations

from typing import Any

from gradwire_proto.batching.declare import Call, folded, is_tensor, rule
from gradwire_proto.catalog import CATALOG


@rule("rand", "randn", "randint")
def sized(c: Call) -> Any:
    at = c.at("size")
    return c.run([(c.size, *v) if i == at else v for i, v in enumerate(c.seen)])


@rule("bernoulli", "poisson", "binomial", "normal", "dropout")
def each_element(c: Call) -> Any:
    """A draw for each element."""
    rank = max(c.seen[i].ndim for i in c.tensors())
    args = [c.raised(i, rank) if is_tensor(v) else v for i, v in enumerate(c.given)]
    i = next(i for i in c.tensors() if c.seen[i].ndim == rank)
    args[i] = c.full(i)
    return c.run(args)


@rule("multinomial")
def multinomial(c: Call) -> Any:
    rows = c.full(0)
    return c.run([folded(c, rows) if rows.ndim > 2 else rows, *c.seen[1:]])


@rule(*[name for name, op in CATALOG.items() if op.random and op.writes])
def in_place(c: Call) -> Any:
    return c.run([c.raised(i, c.seen[0].ndim) if is_tensor(v) else v for i, v in enumerate(c.given)])
