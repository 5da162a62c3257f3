"""Ops that take batches as they are, and those that make or overwrite something."""

from __future__ import annotations

from typing import Any

from gradwire_proto.batching.declare import Call, lifted, rule


@rule("clone", "detach", "alias", "to_dtype", "real", "imag", "view_as_real", "view_as_complex", "view_dtype", "frexp",
      "polygamma", "constant_pad_nd", "pad_edges", "one_hot", "zero_")  # fmt: skip
def as_it_is(c: Call) -> Any:
    """Ops of one tensor that work on its elements, or count its dimensions from the last."""
    return c.run(c.given)


@rule("tril", "triu", "require", "attach", "pad_edges_backward", "dropout_backward")
def both(c: Call) -> Any:
    """The same of tensors that go together."""
    return c.run([c.full(i) if i in c.tensors() else v for i, v in enumerate(c.given)])


@rule("copy_")
def copy(c: Call) -> Any:
    return c.run([c.given[0], c.raised(1, c.seen[0].ndim)])


@rule("masked_fill")
def masked_fill(c: Call) -> Any:
    """A value for each example is one to choose from."""
    rank = max(c.seen[0].ndim, c.seen[1].ndim)
    x, mask = c.raised(0, rank), c.raised(1, rank)
    if not c.batched(2):
        return c.run([x, mask, c.seen[2]])
    return c.ops.where(mask, c.ops.to_dtype(c.raised(2, rank), c.seen[0].dtype), x)


@rule("fill")
def fill(c: Call) -> Any:
    if not c.batched(1):
        return c.run(c.given)
    shape = c.seen[0].shape
    return c.ops.clone(c.ops.expand(lifted(c, c.given[1], len(shape)), (c.size, *shape)))


@rule("new_full")
def new_full(c: Call) -> Any:
    return c.run([c.given[0], (c.size, *c.seen[1]), *c.seen[2:]])
