"""Normalization: by what the examples share, then scaled and shifted by what each has of its own."""

from __future__ import annotations

from typing import Any

from gradwire_proto.batching.declare import Call, folded, lifted, reshaped, rule
from gradwire_proto.batching.planes import beside, channels, from_channels


def _affine(c: Call, x: Any, own: list[tuple[Any, str]], spread: Any) -> Any:
    """``x`` times a weight and plus a bias, spread so that they broadcast."""
    for v, name in own:
        if v is not None:
            x = (c.ops.mul if name == "weight" else c.ops.add)(x, spread(v))
    return x


def _parameters(c: Call) -> list[tuple[Any, str]]:
    """Weight and bias, with examples."""
    return [(None if c.seen[i] is None else c.full(i), p.name)
            for i, p in enumerate(c.op.params) if p.name in ("weight", "bias")]  # fmt: skip


def _shared(c: Call) -> bool:
    """Whether all examples have the parameters, or there are none."""
    return not any(c.batched(i) for i, p in enumerate(c.op.params) if p.name in ("weight", "bias"))


def _without(c: Call, x: Any) -> list[Any]:
    """The arguments with ``x`` first, and without parameters."""
    return [x, *[None if p.name in ("weight", "bias") else v
                 for p, v in zip(c.op.params[1:], c.seen[1:], strict=True)]]  # fmt: skip


@rule("layer_norm", "rms_norm")
def layer_norm(c: Call) -> Any:
    if _shared(c):
        return c.run(c.given)
    output, *rest = c.run(_without(c, c.full(0)))
    rank = c.seen[0].ndim - len(c.seen[1])
    return _affine(c, output, _parameters(c), lambda v: lifted(c, v, rank)), *rest


@rule("group_norm")
def group_norm(c: Call) -> Any:
    x = folded(c, c.full(0))
    if _shared(c):
        return c.run([x, *c.given[1:]])
    output, *rest = c.run(_without(c, x))
    output = reshaped(c, output, (c.size, *c.seen[0].shape))
    return _affine(c, output, _parameters(c), lambda v: beside(c, v, c.seen[0].ndim)), *rest


@rule("batch_norm", "batch_norm_eval")
def batch_norm(c: Call) -> Any:
    """Channels are normalized each by itself, so that the examples' are as well one after the other."""
    args = _without(c, channels(c, c.full(0)))
    if c.op.name == "batch_norm_eval":
        args[1:3] = folded(c, c.full(1)), folded(c, c.full(2))
    made = c.run(args)
    output, *rest = made if isinstance(made, (tuple, list)) else (made,)
    output = _affine(c, from_channels(c, output), _parameters(c), lambda v: beside(c, v, c.seen[0].ndim))
    return (output, *rest) if rest else output


@rule("batch_norm_update_")
def update(c: Call) -> Any:
    return c.run([c.full(i) if i < 4 else v for i, v in enumerate(c.seen)])
