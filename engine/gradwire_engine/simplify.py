"""What a trace need not do each time: constants, what was computed before, copies of what nobody else has, and what
nothing comes of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire_engine.trace import Memory, Outcome, Step, Value
from gradwire_proto.catalog import CATALOG

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine


def simplify(engine: Engine, steps: list[Step], outcome: Outcome) -> list[Step]:
    """Fewer steps to the same end, in the same order.

    A value without an ``array`` is computed by them, or was there before; all others are constants.
    """
    steps = _merge(_fold(engine, steps, outcome), outcome)
    return _drop(_hand_on(steps, outcome), outcome)


def _fold(engine: Engine, steps: list[Step], outcome: Outcome) -> list[Step]:
    """Leave out what comes to the same each time; copy those constants that are written to, or handed out."""
    copies: list[Step] = []
    kept = []
    copied: set[Memory] = set()

    def constant(v: Value) -> bool:
        m = v.memory
        fixed = v.array is not None and not (m.given or m.written or m.exposed)
        if not fixed:
            if m.constant is not None and m not in copied:
                copied.add(m)
                whole = m.constant
                original = Value(whole.spec, Memory(), whole.array)
                case = engine.case(CATALOG["clone"], [whole.spec])
                copies.append(Step("make", case, [original], [whole], 0))
                whole.array = None
            v.array = None
        return fixed

    for step in steps:
        inputs = [constant(v) for v in step.inputs()]
        outs = [constant(v) for v in step.outs]
        if all(inputs) and all(outs) and step.kind in ("make", "view"):
            continue
        for v in step.outs:
            v.array = None
        kept.append(step)
    for e in outcome.exports:
        constant(e.value)
    return copies + kept


def _merge(steps: list[Step], outcome: Outcome) -> list[Step]:
    """Compute once what is computed from the same values by the same op."""
    same = Same()
    found: dict[tuple[Any, ...], Step] = {}
    writes: dict[Memory, int] = {}
    kept = []
    for step in steps:
        same.replace(step)
        if step.kind in ("write", "update"):
            for v in step.outs:
                writes[v.memory] = writes.get(v.memory, 0) + 1
        elif not step.case.kernel.rng and (
            step.kind == "view" or not any(v.memory.written or v.memory.exposed for v in step.outs)
        ):
            factor = _times_one(step)
            if factor is not None:
                same.add(step.outs[0], factor)
                continue
            key = (step.case, step.kind, *[(v, writes.get(v.memory, 0)) for v in step.inputs()])
            before = found.setdefault(key, step)
            if before is not step:
                for v, w in zip(step.outs, before.outs, strict=True):
                    same.add(v, w)
                continue
        kept.append(step)
    outcome.replace(same.values)
    return kept


def _times_one(step: Step) -> Value | None:
    """What a product with ones is, as the first of every backward pass."""
    if step.case.op.name == "mul":
        for v, one in (step.args, step.args[::-1]):
            if (type(v) is type(one) is Value and one.array is not None and v.spec is step.outs[0].spec
                    and not v.memory.written and bool((one.array == 1).all())):  # fmt: skip
                return v
    return None


def _hand_on(steps: list[Step], outcome: Outcome) -> list[Step]:
    """Don't copy what is not looked at again: the copy takes over its memory."""
    last: dict[Memory, int] = {}
    for i, step in enumerate(steps):
        for m in step.memories():
            last[m] = i
    same = Same()
    kept = []
    for i, step in enumerate(steps):
        same.replace(step)
        if step.kind == "make" and step.case.op.name == "clone":
            v, out = step.args[0], step.outs[0]
            m = v.memory
            if v.whole and v.spec is out.spec and v.array is None and not m.exposed and last[m] == i:
                m.exposed, m.written = out.memory.exposed, True
                last[m] = max(last[m], last.get(out.memory, i))
                same.add(out, v)
                continue
        kept.append(step)
    outcome.replace(same.values)
    return kept


def _drop(steps: list[Step], outcome: Outcome) -> list[Step]:
    """Leave out what nothing comes of. What draws random numbers stays: others follow."""
    memories = {e.value.memory for e in outcome.exports}
    values = {e.value for e in outcome.exports}
    kept = []
    for step in reversed(steps):
        if step.kind == "view":
            wanted = any(v in values for v in step.outs)
        else:
            wanted = step.case.kernel.rng or any(v.memory.given or v.memory in memories for v in step.outs)
        if wanted:
            kept.append(step)
            for v in step.inputs():
                values.add(v)
                memories.add(v.memory)
    return kept[::-1]


class Same:
    """Values that are to take the places of others, with their memory."""

    def __init__(self) -> None:
        self.values: dict[Value, Value] = {}
        self._memories: dict[Memory, Memory] = {}

    def add(self, old: Value, new: Value) -> None:
        self.values[old] = new
        self._memories[old.memory] = new.memory

    def replace(self, step: Step) -> None:
        """Put them in their places; steps come in order."""
        if self.values:
            step.replace(self.values)
            for v in step.outs:
                v.memory = self._memories.get(v.memory, v.memory)
