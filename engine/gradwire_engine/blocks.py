"""Chains of element-wise kernels on large arrays, run block by block: what one kernel makes is still in the cache when
the next one wants it, what only the chain needs takes a block's memory, and the cores share the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.groups import Group, bound
from gradwire_engine.spread import cores, ended, make_way
from gradwire_engine.trace import Memory, Step, Value

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan

BLOCK = 1 << 16
"""Elements in a block: a chain touches a few arrays at a time, which a core's second-level cache holds. Half as many
take a tenth longer, for Python's part."""
SHARED = 1 << 18
"""Elements from which on the cores share the blocks; waking another one takes some 50 us."""


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads beside the sessions' own: NumPy lets go of the interpreter within a kernel."""
    return ThreadPoolExecutor(max(len(cores()) - 1, 1), "gradwire-blocks", lambda: np.seterr(all="ignore"))


class Block(Group):
    """Steps that are run together on one block after another. Their results all have one shape."""

    def bind(self, plan: Plan) -> Callable[[], None]:
        """What runs it on the arrays that the plan has for its values."""
        spec = self.steps[0].outs[0].spec
        flat = all(v.spec.numel in (1, spec.numel) for s in self.steps for v in (*s.inputs(), *s.outs))
        length = spec.numel if flat else spec.shape[0]
        rows = max(BLOCK * length // spec.numel, 1)
        spans = [(a, min(a + rows, length)) for a in range(0, length, rows)]
        workers = min(len(cores()), len(spans)) if spec.numel >= SHARED else 1
        shares = []
        for w in range(workers):
            share = spans[w * len(spans) // workers : (w + 1) * len(spans) // workers]
            scratch = self._scratch(plan, (rows if flat else (rows, *spec.shape[1:])))
            shares.append([call for a, b in share for call in self._calls(plan, scratch, flat, a, b)])
        return partial(_run, shares[0]) if workers == 1 else partial(_run_shared, shares)

    def _scratch(self, plan: Plan, shape: Any) -> dict[Memory, Any]:
        """A block's arrays for the inner memory, used again as soon as what was there is not needed."""
        last = {m: i for i, s in enumerate(self.steps) for m in s.memories()}
        free: dict[Any, list[Any]] = {}
        found: dict[Memory, Any] = {}
        for i, s in enumerate(self.steps):
            for v in s.outs:
                if v.memory in self.inner and v.memory not in found:
                    dtype = NUMPY_DTYPE[v.spec.dtype]
                    have = free.setdefault(dtype, [])
                    found[v.memory] = have.pop() if have else plan.engine.xp.empty(shape, dtype)
            for m in s.memories():
                if m in found and last[m] == i:
                    free[found[m].dtype].append(found[m])
        return found

    def _calls(self, plan: Plan, scratch: dict[Memory, Any], flat: bool, a: int, b: int) -> Iterable[Callable[[], Any]]:
        numel, ndim = self.steps[0].outs[0].spec.numel, self.steps[0].outs[0].spec.ndim

        def part(v: Value) -> Any:
            if v.memory in scratch:
                return scratch[v.memory][: b - a]
            array = plan.arrays[v]
            if v.spec.numel == 1:
                return array.reshape(())
            if v.spec.numel != numel:
                return array  # the same for all rows
            return array.reshape(-1)[a:b] if flat else array.reshape(self.steps[0].outs[0].spec.shape)[a:b]

        assert ndim
        for s in self.steps:
            args = s.case.args.copy()
            for i, _ in s.case.holes:
                args[i] = part(s.args[i])
            yield bound(plan.engine.xp, s, args, part(s.outs[0]))


def _run(calls: list[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def _run_shared(shares: list[list[Callable[[], Any]]]) -> None:
    make_way()
    others = [_pool().submit(_run_there, share) for share in shares[1:]]
    try:
        _run(shares[0])
    finally:
        for other in others:
            other.result()


def _run_there(calls: list[Callable[[], Any]]) -> None:
    _run(calls)
    ended()


def in_blocks(s: Step, late: set[Memory]) -> Any:
    """The shape of a result that may be made block by block."""
    spec = s.outs[0].spec
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
