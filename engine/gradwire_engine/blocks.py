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


class Block:
    """Steps that are run together on one block after another. Their results all have one shape."""

    def __init__(self, steps: list[Step], inner: set[Memory]):
        self.steps = steps
        self.inner = inner
        """Memory that nothing else uses."""

    def inputs(self) -> list[Value]:
        return [v for s in self.steps for v in s.inputs() if v.memory not in self.inner]

    @property
    def outs(self) -> list[Value]:
        return [v for s in self.steps for v in s.outs if v.memory not in self.inner]

    def memories(self) -> set[Memory]:
        return {m for s in self.steps for m in s.memories()} - self.inner

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


WANT_KEYWORD = frozenset({"maximum", "minimum"})
"""Functions that NumPy would not have told by position where to write: with the others that saves a tenth of a us."""


def bound(xp: Any, s: Step, args: list[Any], out: Any) -> Callable[[], Any]:
    """A kernel with its arguments, and where its result goes."""
    kernel = s.case.kernel
    told = kernel.direct(*args) if kernel.direct is not None else None
    if told is not None:
        f = getattr(xp, told[0])
        return partial(f, *told[1:], out=out) if told[0] in WANT_KEYWORD else partial(f, *told[1:], out)
    return partial(kernel.run, xp, *args, **s.case.kwargs, out=out)


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


def grouped(steps: list[Step], late: set[Memory]) -> list[Step | Block]:
    """The steps, chains of those that can be run in blocks together."""
    uses: dict[Memory, int] = {}
    for s in steps:
        for m in s.memories():
            uses[m] = uses.get(m, 0) + 1
    work: list[Step | Block] = []
    chain: list[Step] = []

    def end() -> None:
        if chain:
            here: dict[Memory, int] = {}
            for s in chain:
                for m in s.memories():
                    here[m] = here.get(m, 0) + 1
            made = {v.memory for s in chain if s.kind == "make" for v in s.outs}
            work.append(Block(list(chain), {m for m in made if not m.exposed and here[m] == uses[m]}))
            chain.clear()

    for s in steps:
        if not _blockable(s, late):
            end()
            work.append(s)
            continue
        if chain and (chain[0].outs[0].spec.shape != s.outs[0].spec.shape or _collides([*chain, s])):
            end()
        chain.append(s)
    end()
    return work


def _blockable(s: Step, late: set[Memory]) -> bool:
    """Whether a kernel may see its arrays block by block."""
    case = s.case
    out = s.outs[0] if s.outs else None
    if (
        out is None or len(s.outs) > 1 or not case.base.pointwise or not _simple(s) or case.lists
        or (not case.dense if s.kind == "make" else s.kind != "write" or not writable(s))
        or out.spec.numel < 2 * BLOCK or not out.spec.contiguous
    ):  # fmt: skip
        return False
    shape = out.spec.shape
    return not _collides([s]) and all(
        v.memory not in late
        and (v.spec.numel == 1 or (v.spec.contiguous and (v.spec.shape == shape or _repeats(v.spec.shape, shape))))
        for v in s.inputs()
    )


def _simple(s: Step) -> bool:
    """Whether the kernel is one function of the array library: others may have blocks of their own."""
    direct = s.case.kernel.direct
    return direct is not None and direct(*[_Like(v) if type(v) is Value else v for v in s.args]) is not None


class _Like:
    """Stands for an array of which the type alone is looked at."""

    def __init__(self, v: Value):
        self.dtype = NUMPY_DTYPE[v.spec.dtype]


def _repeats(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape is the same for each row of the whole."""
    lead = len(whole) - len(shape)
    return lead > 0 and math.prod(whole[:lead]) > 1 and shape == whole[lead:]


def _collides(chain: list[Step]) -> bool:
    """Whether a block might see memory that another block writes to."""
    by: dict[Memory, set[Value]] = {}
    written = set()
    for x in chain:
        for v in (*x.inputs(), *x.outs):
            by.setdefault(v.memory, set()).add(v)
        if x.kind == "write":
            written.add(x.outs[0].memory)
    return any(len(by[m]) > 1 for m in written)


def writable(s: Step) -> bool:
    """Whether the kernel of an in-place op can write to the target itself."""
    return s.case.kernel.out and s.args[0] is s.outs[0] and s.case.made[0].dtype is s.outs[0].spec.dtype
