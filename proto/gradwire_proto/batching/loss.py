"""Losses: of every element, then summed or averaged within each example."""

from __future__ import annotations

import math
from typing import Any

from gradwire_proto.batching.declare import Call, folded, reshaped, rule
from gradwire_proto.dtypes import int64


def _reduced(c: Call, losses: Any, weights: Any = None) -> Any:
    """The sum or the mean, or what there is; of the mean, ``weights`` add up to what it is divided by."""
    reduction, dims = c.seen[c.at("reduction")], tuple(range(1, losses.ndim))
    if reduction == "none" or not dims:
        return losses if weights is None or reduction != "mean" else c.ops.div(losses, weights)
    if reduction == "sum" or weights is not None:
        total = c.ops.sum(losses, dims)
        return total if reduction == "sum" else c.ops.div(total, c.ops.sum(weights, dims))
    return c.ops.mean(losses, dims)


@rule("mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy",
      "binary_cross_entropy_with_logits")  # fmt: skip
def pairs(c: Call) -> Any:
    at = c.at("reduction")
    together = c.seen[0].shape == c.seen[1].shape
    rank = max(c.seen[i].ndim for i in c.tensors())
    args = [v if i not in c.tensors() else c.full(i) if i < 2 and together else c.raised(i, rank)
            for i, v in enumerate(c.seen)]  # fmt: skip
    args[at] = "none"
    return _reduced(c, c.run(args))


@rule("nll_loss", "nll_loss2d", "cross_entropy")
def classes(c: Call) -> Any:
    """Each class index's loss, times its weight, which is 0 where it is to be ignored."""
    x, target, weight, _, ignored = c.seen
    batch, numbers = c.full(0), reshaped(c, c.full(1), (c.size, *_each(x)))
    numbers = numbers if target.dtype is int64 else c.ops.to_dtype(numbers, int64)
    made = c.run([*([folded(c, batch), folded(c, numbers)] if x.ndim > 1 else [batch, numbers]), None, "none", ignored])
    losses, *rest = made if isinstance(made, (tuple, list)) else (made,)
    losses = reshaped(c, losses, numbers.shape)
    counted = c.ops.ne(numbers, ignored)
    weights = c.ops.to_dtype(counted, x.dtype)
    if weight is not None:
        known = c.ops.where(counted, numbers, 0)
        if c.batched(2):
            row = reshaped(c, known, (c.size, math.prod(_each(x))))
            found = reshaped(c, c.ops.gather(c.given[2], 1, row), numbers.shape)
        else:
            found = c.ops.take(weight, known)
        weights = c.ops.mul(weights, found)
        losses = c.ops.mul(losses, weights)
    found = _reduced(c, losses, weights)
    return (found, *rest) if rest else found


def _each(x: Any) -> tuple[int, ...]:
    """The shape of an example's class indices."""
    return () if x.ndim == 1 else (x.shape[0], *x.shape[2:])
