"""Random numbers inside ``vmap``: none, the same for each example, or other ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire_proto import batching, refusals
from gradwire_proto.catalog.declare import Op

if TYPE_CHECKING:
    from gradwire.func.batched import Level

NONE = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)
SAME = (
    "Vmap does not currently support same randomness with a batched tensor input. Please file an issue with functorch"
)
UNBATCHED = (
    "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same randomness. "
    "If this is necessary for your usage, please file an issue with functorch."
)


def draw(op: Op, seen: Sequence[Any], given: Sequence[Any], level: Level) -> Any:
    """Call a random op, given its arguments as an example has them and with batches, of which there are some unless
    the draws are to differ.

    Returns:
        The batch of results; None of an op that writes to its argument.

    Raises:
        RuntimeError: torch's, for what it does not draw.
    """
    batched = [x is not s for x, s in zip(given, seen, strict=True)]
    if op.writes and not batched[0]:
        if level.randomness == "same":
            raise RuntimeError(SAME)
        raise RuntimeError(refusals.unbatched_target(f"inplace {op.name[:-1]}") if any(batched) else UNBATCHED)
    if level.randomness == "different":
        if op.writes:
            batching.write(op, seen, given, level)
            return None
        return batching.run(op, seen, given, level)
    if op.writes and not any(batched[1:]):
        one = ops.clone(ops.select(given[0], 0, 0))
        level.invoke(op, [one, *given[1:]])
        ops.copy_(given[0], one)
        return None
    if op.name != "dropout":
        raise RuntimeError(SAME)
    scale, mask = level.invoke(op, [ops.full(tuple(seen[0].shape), 1, dtype=seen[0].dtype), *given[1:]])
    return ops.mul(given[0], scale), ops.expand(mask, (level.size, *mask.shape))
