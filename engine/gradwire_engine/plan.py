"""Replaying what a trace recorded: kernels with bound buffers, one after the other, and nothing else.

A plan is a list of callables without arguments. Whatever needs no memory of the session's has a place in buffers that
the plan owns, shared by values whose lives don't overlap; what is handed out is made anew where somebody still has it.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from sys import getrefcount
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_engine.backend import NUMPY_DTYPE, aligned
from gradwire_engine.blocks import Block, in_blocks
from gradwire_engine.buffers import allot
from gradwire_engine.graph import ALONE, Spent, holders
from gradwire_engine.groups import Group, bound, grouped, writable
from gradwire_engine.scalars import Scalars, of_scalars
from gradwire_engine.simplify import simplify
from gradwire_engine.spread import keep_apart
from gradwire_engine.tensor import Storage, Tensor
from gradwire_engine.trace import Memory, Outcome, State, Step, Trace, Value, hooked

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine

GROUPS: list[tuple[type[Group], int, Any]] = [(Block, 1, in_blocks), (Scalars, 2, of_scalars)]
"""What kernels are run together, with the fewest that are worth it."""
MOST_MARKS = 4096
"""Replays whose times wait to be entered; where nobody enters them, the oldest are dropped."""
SMALL = 4096
"""Bytes: a result of no more, which many calls may wait to be asked for, is copied out of the plan's memory."""


class Interrupted(Exception):
    """A step failed: the ones after it were not run."""

    def __init__(self, step: Step):
        super().__init__()
        self.step = step


class Plan:
    """What replays a trace.

    Args:
        results: what a run gives back; tensors that the trace saw.

    Raises:
        Unplanned: this program can't be replayed.
        MemoryError: its buffers would pass the session's limit.
    """

    def __init__(self, engine: Engine, trace: Trace, results: Sequence[Tensor]):
        self.engine = engine
        self.outcome: Outcome = trace.finish(results)
        self.states: list[State] = trace.states
        self.aliases = _pattern(trace.given)
        self.given: list[Value] = trace.values
        self.gradients: list[Value | None] = trace.gradients
        self.replays = 0
        steps = simplify(engine, trace.steps, self.outcome)
        self.late = {v.memory for s in steps if s.kind == "make" and not _bindable(s) for v in s.outs}
        """Memory that its kernel allocates."""
        self.views = [s for s in steps if s.kind == "view" and s.outs[0].memory not in self.late]
        """What they are is worked out when memory is bound."""
        views = set(self.views)
        self.work = grouped([s for s in steps if s not in views], self.late, GROUPS if engine.xp is np else [])
        self.spent = np.zeros(len(self.work), np.int64)
        """Nanoseconds that each took, over all replays."""
        self.arrays: dict[Value, Any] = {v: v.array for w in self.work for v in w.inputs() if v.array is not None}
        """What each value is now."""
        allotment = allot(self.work, self.late)
        self.places, self.unshared = allotment.places, allotment.unshared
        engine.meter.check(sum(allotment.sizes))
        self._buffers = [aligned(engine.xp, n) for n in allotment.sizes]
        self.nbytes = sum(b.nbytes for b in self._buffers) + sum(w.scratch() for w in self.work if isinstance(w, Group))
        used = {m for w in self.work for m in w.memories()} | {e.value.memory for e in self.outcome.exports}
        self._gradients_used = [(i, g) for i, g in enumerate(self.gradients) if g is not None and g.memory in used]
        self._replaced = self._gradients_replaced(used)
        self._made: list[Tensor | None] = [None] * len(self.outcome.exports)
        """Gradients of the last run that may be those of the next one, by export."""
        returned = {n - self.outcome.first for n in self.outcome.results}
        self._small = [j in returned and e.value.spec.nbytes <= SMALL and not e.value.memory.given
                       for j, e in enumerate(self.outcome.exports)]  # fmt: skip
        """Whether what is handed out is a copy."""
        self._owned = [(j, e.value, _whole(steps, e.value)) for j, e in enumerate(self.outcome.exports)
                       if self._is_owned(e.value) and not self._small[j]]  # fmt: skip
        # What is handed out is counted with the tensor, too, but stays the plan's when that is gone.
        owned = {whole: whole.spec.nbytes for _, _, whole in self._owned}
        engine.meter.check(self.nbytes + sum(owned.values()))
        self._storage = Storage(engine.meter, self.nbytes + sum(owned.values()))
        self._sharing = _sharing([*self.given, *self.gradients, *[e.value for e in self.outcome.exports]])[
            self.outcome.first :
        ]
        """For each tensor that is made, the number of one before it that has its memory."""
        self._nodes = [Spent(engine, e.node, e.value.spec) if e.node else None for e in self.outcome.exports]
        """Their histories: nothing ever comes of one, so that the tensors of all replays may have the same."""
        self._ending = self._last_uses()
        self._fleeting = [e.value for e in self.outcome.exports if e.value.memory in self.late]
        self._needs = sum(e.value.spec.nbytes for e in self.outcome.exports)
        self._users: dict[Memory, list[int]] = {}
        for i, w in enumerate(self.work):
            for m in w.memories():
                self._users.setdefault(m, []).append(i)
        self._marks: deque[list[int]] = deque(maxlen=MOST_MARKS)
        """When the kernels of each replay began, and the last ended."""
        self._times = [engine.timer(_name(w), "replay") for w in self.work]
        self._bind(trace.given, trace.gradient_tensors)
        engine.plans.add(self)

    # ---- memory ----

    def _is_owned(self, v: Value) -> bool:
        """Whether what is handed out is the plan's own array."""
        return not v.memory.given and v.memory not in self.late

    def _array(self, v: Value) -> Any:
        """The memory of a value that a kernel with ``out`` makes."""
        dtype, place = NUMPY_DTYPE[v.spec.dtype], self.places.get(v.memory)
        memory = aligned(self.engine.xp, v.spec.nbytes) if place is None else self._buffers[place][: v.spec.nbytes]
        return memory.view(dtype).reshape(v.spec.shape)

    def _gradients_replaced(self, used: set[Memory]) -> list[tuple[int, int]]:
        """Tensors that get another gradient than the one there was, which is not looked at, each with the export that
        it is; -1 where it is none that can stay the same tensor from one run to the next."""
        outcome = self.outcome
        numbers = [n for _, n in outcome.grads] + outcome.results + [e.base for e in outcome.exports]
        found = []
        for i, number in outcome.grads:
            v = self.gradients[i]
            if v is not None and v.memory not in used:
                j = -1 if number is None else number - outcome.first
                again = j >= 0 and numbers.count(number) == 1 and self._is_owned(outcome.exports[j].value)
                found.append((i, j if again and outcome.exports[j].base is None else -1))
        return found

    def _last_uses(self) -> dict[Step, list[Value]]:
        """Values that a kernel has allocated, with the step after which nothing needs them."""
        last: dict[Memory, Step] = {}
        values: dict[Memory, set[Value]] = {}
        for w in self.work:
            if isinstance(w, Step):
                for v in (*w.inputs(), *w.outs):
                    if v.memory in self.late and not v.memory.exposed:
                        last[v.memory] = w
                        values.setdefault(v.memory, set()).add(v)
        ending: dict[Step, list[Value]] = {}
        for m, step in last.items():
            ending.setdefault(step, []).extend(values[m])
        return ending

    # ---- binding ----

    def _bind(self, given: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        """Bind everything, at first to the tensors of the trace."""
        for v, t in zip(self.given, given, strict=True):
            self.arrays[v] = t.array
        for i, g in self._gradients_used:
            self.arrays[g] = gradients[i].array  # type: ignore[union-attr]
        for w in self.work:
            if isinstance(w, Group) or w.kind == "make":
                for v in w.outs:
                    if v not in self.arrays and v.memory not in self.late and v.whole:
                        self.arrays[v] = self._array(v)
        for step in self.views:
            self._view(step)
        self._calls = [self._call(w) for w in self.work]
        self._held = [(j, v, whole, self._references(v, whole)) for j, v, whole in self._owned]

    def _rebind(self, v: Value, array: Any) -> None:
        """Have a value that is all of its memory, or was there before, elsewhere from now on."""
        self.arrays[v] = array
        for step in self.views:
            if step.outs[0].memory is v.memory:
                self._view(step)
        for i in self._users.get(v.memory, ()):
            self._calls[i] = self._call(self.work[i])

    def _references(self, v: Value, whole: Value) -> int:
        array = self.arrays[whole]
        # A view of what was handed out refers to the memory that this is in.
        return getrefcount(self.arrays[v]) + getrefcount(array) + getrefcount(array.base)

    def _view(self, step: Step) -> None:
        made = step.case.kernel.run(self.engine.xp, *self._args(step), **step.case.kwargs)
        for v, a in zip(step.outs, made if type(made) in (tuple, list) else (made,), strict=True):
            self.arrays[v] = a

    def _args(self, step: Step) -> list[Any]:
        """A kernel's arguments."""
        args, arrays = step.case.args.copy(), self.arrays
        for i, _ in step.case.holes:
            args[i] = arrays[step.args[i]]
        for i in step.case.lists:
            args[i] = [arrays[x] if type(x) is Value else x for x in step.args[i]]
        return args

    def _kwargs(self, step: Step) -> dict[str, Any]:
        kernel, kwargs = step.case.kernel, dict(step.case.kwargs)
        if kernel.rng:
            kwargs["rng"] = self.engine.rng
        if kernel.grads:
            kwargs["grads"] = [None if g is None else self.arrays[g] for g in step.grads or ()]
        return kwargs

    def _call(self, w: Step | Group) -> Callable[[], Any]:
        """What runs a piece of work."""
        if isinstance(w, Group):
            return w.bind(self)
        fixed = not w.case.kernel.rng and self.late.isdisjoint(w.memories())
        if not fixed or (w.kind == "write" and not writable(w)):
            return partial(Plan._run_late, weakref.proxy(self), w)  # not the plan: it would hold itself
        if w.kind == "update":
            return partial(w.case.kernel.run, self.engine.xp, *self._args(w), **self._kwargs(w))
        return bound(self.engine.xp, w, self._args(w), self._out(w))

    def _out(self, step: Step) -> Any:
        """Where a kernel is to write."""
        out = [self.arrays[v] for v in step.outs]
        return out[0] if len(out) == 1 else tuple(out)

    def _run_late(self, step: Step) -> None:
        """Run a kernel on arrays that are not the same each time, or one that has to make its results."""
        if step.kind == "view":
            self._view(step)
        else:
            args, kwargs, case = self._args(step), self._kwargs(step), step.case
            if step.kind == "make" and step.outs[0].memory not in self.late:
                kwargs["out"] = self._out(step)
            made = case.kernel.run(self.engine.xp, *args, **kwargs)
            if step.kind == "write":
                self.arrays[step.outs[0]][...] = self.engine.tidy(case, made, args)[0]
            elif step.kind == "make" and "out" not in kwargs:
                for v, a in zip(step.outs, self.engine.tidy(case, made, args), strict=True):
                    self.arrays[v] = a
        for v in self._ending.get(step, ()):
            self.arrays.pop(v, None)

    # ---- times ----

    def settle(self) -> None:
        """Enter what replays took into the engine's times: many at once, which costs each next to nothing."""
        marks = [self._marks.popleft() for _ in range(len(self._marks))]
        if marks:
            took = np.diff(np.array(marks), axis=1)
            self.spent += took.sum(axis=0)
            for times, column in zip(self._times, took.T.tolist(), strict=True):
                times += column

    # ---- running ----

    def fits(self, given: Sequence[Tensor]) -> bool:
        """Whether these tensors are as those of the trace were."""
        for s, t in zip(self.states, given, strict=True):
            if not s.holds(t):
                return False
        if self.engine.leaf_hooks and any(map(hooked, given)):
            return False
        return _pattern(given) == self.aliases

    def run(self, given: Sequence[Tensor]) -> list[Tensor]:
        """What the program does, of tensors that it fits; its results.

        Raises:
            Interrupted: a kernel failed, or the work was stopped. What was written to by then is.
            MemoryError: the results would pass the session's limit; nothing was done.
        """
        engine = self.engine
        engine.meter.check(self._needs)
        self._look_for_gradients(given)
        gradients = [t.grad for t in given]
        self._admit(given, gradients)
        clock = perf_counter_ns
        keep_apart()
        marks = [clock()]
        mark = marks.append
        try:
            for call in self._calls:
                if engine.halt is not None:
                    raise RuntimeError(engine.halt)
                call()
                mark(clock())
        except Exception as e:
            w = self.work[len(marks) - 1]
            raise Interrupted(w.steps[0] if isinstance(w, Group) else w) from e
        self.replays += 1
        self._marks.append(marks)
        return self._hand_out(given, gradients)

    def _look_for_gradients(self, given: Sequence[Tensor]) -> None:
        """Drop the gradients that are to be replaced, but for those of the last run that nobody else has: what is new
        of them is their contents."""
        made = self._made
        for i, j in self._replaced:
            if j < 0 or given[i].grad is not made[j] or holders(made, j) != ALONE + 1:
                given[i].grad = None
                if j >= 0:
                    made[j] = None

    def written(self, given: Sequence[Tensor]) -> list[Tensor]:
        """Of the tensors that it was given, those that it writes to."""
        memories = {v.memory for w in self.work for v in w.outs}
        return [t for v, t in zip(self.given, given, strict=True) if v.memory in memories]

    def _admit(self, given: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        """Bind what is not where it was: the arguments, and what somebody still has of the last run."""
        arrays = self.arrays
        for v, t in zip(self.given, given, strict=True):
            if arrays[v] is not t.array:
                self._rebind(v, t.array)
        for i, g in self._gradients_used:
            grad = gradients[i]
            if grad is not None and arrays[g] is not grad.array:
                self._rebind(g, grad.array)
        for j, v, whole, n in self._held:
            if self._made[j] is None and self._references(v, whole) > n:
                self._rebind(whole, self._array(whole))

    def _hand_out(self, given: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Make the tensors that there are afterwards, and have those that were there be what they are then."""
        outcome, arrays = self.outcome, self.arrays
        tensors: list[Any] = [*given, *gradients]
        made = self._made
        for j, e in enumerate(outcome.exports):
            v = e.value
            t = made[j]
            if t is not None:
                t.storage.version = e.version
                tensors.append(t)
                continue
            array = arrays[v]
            if self._small[j]:
                array = array.copy()
            sharing, node = self._sharing[j], self._nodes[j]
            t = Tensor(self.engine, array, v.spec, None if sharing is None else tensors[sharing].storage,
                       e.requires_grad, node)  # fmt: skip
            if e.version and sharing is None:
                t.storage.version = e.version
            if e.base is not None:
                t.base, t.chain, t.creation = tensors[e.base], e.chain, e.creation
                t.generation = t.base.generation
            tensors.append(t)
        for i, number in outcome.grads:
            given[i].grad = None if number is None else tensors[number]
        for _, j in self._replaced:
            if j >= 0:
                made[j] = tensors[outcome.first + j]
        for i, n in outcome.versions:
            tensors[i].storage.version += n
        for v in self._fleeting:
            arrays.pop(v, None)
        return [tensors[i] for i in outcome.results]


def _sharing(numbered: Sequence[Value | None]) -> list[int | None]:
    """For each of some values in order, the first with the same memory, if there is one before it."""
    first: dict[Memory, int] = {}
    found: list[int | None] = []
    for i, v in enumerate(numbered):
        at = None if v is None else first.setdefault(v.memory, i)
        found.append(None if at == i else at)
    return found


def _bindable(step: Step) -> bool:
    """Whether the kernel can make its results where it is told to."""
    return step.case.kernel.out and step.case.dense


def _whole(steps: Iterable[Step], v: Value) -> Value:
    """The value that is all of the memory of ``v``."""
    return next(o for s in steps if s.kind == "make" for o in s.outs if o.memory is v.memory)


def _name(w: Step | Group) -> str:
    return "fused" if isinstance(w, Group) else w.case.base.name


def _pattern(tensors: Sequence[Tensor]) -> list[int]:
    """Which tensors, and gradients of theirs, have the same memory; nothing where none do."""
    storages = [id(t.storage) for t in tensors]
    storages += [id(t.grad.storage) for t in tensors if t.grad is not None]
    if len(set(storages)) == len(storages):
        return []
    first: dict[int, int] = {}
    return [first.setdefault(s, i) for i, s in enumerate(storages)]
