"""Convolution, pooling and interpolation: ops on batches of images, which examples make longer."""

from __future__ import annotations

from typing import Any

from gradwire_proto.batching.declare import Call, folded, moved, reshaped, rule
from gradwire_proto.catalog import CATALOG

_POOLS = ("max_pool{}d_with_indices", "adaptive_max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d")
CORES = {
    name: n + 1
    for n in (1, 2, 3)
    for name in CATALOG
    if name.removesuffix("_backward") in [p.format(n) for p in _POOLS]
    or (name.startswith("upsample_") and name.removesuffix("_backward").endswith(f"{n}d"))
}
CORES |= {"im2col": 3, "col2im": 2}
"""Of how many dimensions what an op works on is, where there may be one of them, or a batch."""


@rule(*CORES)
def planes(c: Call) -> Any:
    return c.run([_batch(c, i, CORES[c.op.name]) if i in c.tensors() else v for i, v in enumerate(c.seen)])


def _batch(c: Call, i: int, core: int) -> Any:
    x = c.full(i)
    return folded(c, x) if c.seen[i].ndim > core else x


@rule("max_unpool")
def max_unpool(c: Call) -> Any:
    size = c.seen[2]
    return c.run([_batch(c, 0, len(size) + 1), _batch(c, 1, len(size) + 1), size])


@rule("fractional_max_pool")
def fractional_max_pool(c: Call) -> Any:
    return c.run([_batch(c, 0, len(c.seen[2]) + 1), *c.seen[1:3], folded(c, c.full(3))])


@rule("scatter_planes", "gather_planes")
def at_indices(c: Call) -> Any:
    return c.run([c.full(0), c.full(1), *c.seen[2:]])


def channels(c: Call, x: Any) -> Any:
    """A batch of batches as one whose channels are the examples', one after the other."""
    return reshaped(c, moved(c, x, 0, 1), (x.shape[1], c.size * x.shape[2], *x.shape[3:]))


def from_channels(c: Call, x: Any) -> Any:
    """The reverse of :func:`channels`."""
    split = reshaped(c, x, (x.shape[0], c.size, x.shape[1] // c.size, *x.shape[2:]))
    return moved(c, split, 1, 0)


def beside(c: Call, v: Any, ndim: int) -> Any:
    """A number a channel of each example, so that it broadcasts against batches of ``ndim`` dimensions."""
    return reshaped(c, v, (c.size, 1, v.shape[1], *[1] * (ndim - 2)))


@rule("convolution")
def convolution(c: Call) -> Any:
    """Examples go to the batch where they share the weight, and to the groups where each has its own."""
    x, weight, bias = c.seen[:3]
    own = bias is not None and c.batched(2)
    shared = None if own else bias
    if c.batched(1):
        if shared is not None:
            shared = c.ops.repeat(shared, (c.size,))
        args = [channels(c, c.full(0)), folded(c, c.given[1]), shared, *c.seen[3:8], c.seen[8] * c.size]
        made = from_channels(c, c.run(args))
    else:
        made = c.run([folded(c, c.full(0)), weight, shared, *c.seen[3:]])
        made = reshaped(c, made, (c.size, x.shape[0], *made.shape[1:]))
    return c.ops.add(made, beside(c, c.given[2], x.ndim)) if own else made


@rule("convolution_weight")
def convolution_weight(c: Call) -> Any:
    return c.run([channels(c, c.full(0)), channels(c, c.full(1)), *c.seen[2:6], c.seen[6] * c.size])
