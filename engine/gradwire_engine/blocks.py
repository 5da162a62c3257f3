"""Chains of element-wise kernels on large arrays, and sums of these, run block by block: what one kernel makes is still
in the cache when the next one wants it, what only the chain needs takes a block's memory, and the cores share the
blocks. A sum is that of the blocks' sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from gradwire_engine.backend import NUMPY_DTYPE, aligned
from gradwire_engine.groups import Group, bound, is_total, simple
from gradwire_engine.spread import cores, keep_apart, pool
from gradwire_engine.trace import Memory, Step, Value
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan

BLOCK = 1 << 16
"""Elements in a block: a chain touches a few arrays at a time, which a core's second-level cache holds. Half as many
take a tenth longer, for Python's part."""
SHARED = 1 << 18
"""Elements from which on the cores share the blocks; waking another one takes some 50 us."""


class Block(Group):
    """Steps that are run together on one block after another. Their results all have one shape."""

    def scratch(self) -> int:
        """Each core has a block of each array, and a block is at least a row."""
        spec = in_blocks_of(self.steps[0])
        block = max(BLOCK, spec.numel // spec.shape[0])
        return len(cores()) * block * sum(dtype.itemsize for dtype in self._slots(spec)[1])

    def bind(self, plan: Plan) -> Callable[[], None]:
        """What runs it on the arrays that the plan has for its values."""
        spec = in_blocks_of(self.steps[0])
        flat = all(v.spec.numel in (1, spec.numel) for s in self.steps for v in (*s.inputs(), *s.outs))
        length = spec.numel if flat else spec.shape[0]
        rows = max(BLOCK * length // spec.numel, 1)
        spans = [(a, min(a + rows, length)) for a in range(0, length, rows)]
        workers = min(len(cores()), len(spans)) if spec.numel >= SHARED else 1
        xp = plan.engine.xp
        totals = {s.outs[0]: xp.empty(len(spans), NUMPY_DTYPE[s.outs[0].spec.dtype]) for s in self.steps if is_total(s)}
        slots, dtypes = self._slots(spec)
        shares = []
        for w in range(workers):
            first, last = w * len(spans) // workers, (w + 1) * len(spans) // workers
            shape = (rows,) if flat else (rows, *spec.shape[1:])
            arrays = [aligned(xp, math.prod(shape) * t.itemsize).view(t).reshape(shape) for t in dtypes]
            scratch = {m: arrays[k] for m, k in slots.items()}
            shares.append([call for i in range(first, last)
                           for call in self._calls(plan, scratch, totals, spec, flat, i, *spans[i])])  # fmt: skip
        ends: list[Callable[[], Any]] = [partial(xp.add.reduce, parts, 0, None, plan.arrays[v])
                                         for v, parts in totals.items()]  # fmt: skip
        return partial(_run, shares[0] + ends) if workers == 1 else partial(_run_shared, shares, ends)

    def _slots(self, spec: Spec) -> tuple[dict[Memory, int], list[Any]]:
        """Which array for a block each inner memory has, and their types: one is used again as soon as what was there
        is not needed."""
        last = {m: i for i, s in enumerate(self.steps) for m in s.memories()}
        free: list[int] = []
        found: dict[Memory, int] = {}
        dtypes: list[Any] = []
        for i, s in enumerate(self.steps):
            for v in s.outs:
                if v.memory in self.inner and v.memory not in found and v.spec.numel == spec.numel:
                    dtype = NUMPY_DTYPE[v.spec.dtype]
                    slot = next((k for k in free if dtypes[k] == dtype), len(dtypes))
                    if slot == len(dtypes):
                        dtypes.append(dtype)
                    else:
                        free.remove(slot)
                    found[v.memory] = slot
            free += [found[m] for m in s.memories() if m in found and last[m] == i]
        return found, dtypes

    def _calls(self, plan: Plan, scratch: dict[Memory, Any], totals: dict[Value, Any], spec: Spec, flat: bool, i: int,
               a: int, b: int) -> Iterable[Callable[[], Any]]:  # fmt: skip
        """What runs block ``i``, rows ``a`` to ``b``."""

        def part(v: Value) -> Any:
            if v.memory in scratch:
                return scratch[v.memory][: b - a]
            array = plan.arrays[v]
            if v.spec.numel == 1:
                return array.reshape(())
            if v.spec.numel != spec.numel:
                return array  # the same for all rows
            return array.reshape(-1)[a:b] if flat else array.reshape(spec.shape)[a:b]

        for s in self.steps:
            if s.outs[0] in totals:
                numbers = part(s.args[0]).reshape(-1)
                yield partial(plan.engine.xp.add.reduce, numbers, 0, None, totals[s.outs[0]][i, ...])
                continue
            args = s.case.args.copy()
            for k, _ in s.case.holes:
                args[k] = part(s.args[k])
            yield bound(plan.engine.xp, s, args, part(s.outs[0]))


def in_blocks_of(s: Step) -> Spec:
    """What a step that may be run in blocks makes, or sums."""
    found: Spec = s.args[0].spec if is_total(s) else s.outs[0].spec
    return found


def _run(calls: list[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def _run_shared(shares: list[list[Callable[[], Any]]], ends: list[Callable[[], Any]]) -> None:
    keep_apart()
    others = [pool().submit(_run, share) for share in shares[1:]]
    try:
        _run(shares[0])
    finally:
        for other in others:
            other.result()
    _run(ends)


def in_blocks(s: Step) -> Any:
    """The shape of what may be made, or summed, block by block."""
    if not simple(s) and not is_total(s):
        return None
    spec = in_blocks_of(s)
    if spec.numel < 2 * BLOCK or not spec.contiguous:
        return None
    fits = all(
        v.spec.numel == 1 or (v.spec.contiguous and (v.spec.shape == spec.shape or _repeats(v.spec.shape, spec.shape)))
        for v in s.inputs()
    )
    return spec.shape if fits else None


def _repeats(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape is the same for each row of the whole."""
    lead = len(whole) - len(shape)
    return lead > 0 and math.prod(whole[:lead]) > 1 and shape == whole[lead:]
