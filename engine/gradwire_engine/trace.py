"""Recording what a program computes: every kernel that the engine runs, and on which values.

While an engine has a trace, its derivatives run on tensors, too, so that forward, backward and update are all ops of
the catalog: a straight list of steps, without a graph, from which :mod:`gradwire_engine.plan` makes what is replayed.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradwire_engine.backend import DTYPE
from gradwire_engine.graph import Node, OpNode, Spent
from gradwire_engine.tensor import Storage, Tensor
from gradwire_proto.catalog import CATALOG
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire_engine.case import Case
    from gradwire_engine.engine import Engine


class Unplanned(Exception):
    """Why there can be no plan: its text says so to the user."""


class Memory:
    """What a value shares with the views of it."""

    __slots__ = ("constant", "exposed", "given", "written")

    def __init__(self) -> None:
        self.given = False
        """Of a tensor that was there before."""
        self.constant: Value | None = None
        """What no step made: it is the same each time."""
        self.written = False
        """After it was made."""
        self.exposed = False
        """Tensors that are there afterwards have it."""


class Value:
    """A tensor's contents as they are between two writes to its memory."""

    __slots__ = ("array", "memory", "spec", "whole")

    def __init__(self, spec: Spec, memory: Memory, array: Any = None, whole: bool = True):
        self.spec = spec
        self.memory = memory
        self.array = array
        """What it was, where it may be the same each time."""
        self.whole = whole
        """It is all of its memory, not a view."""


class Step:
    """A kernel to run.

    ``kind`` is ``"make"`` (results in memory of their own), ``"view"``, ``"write"`` (the result goes to the value
    ``outs[0]`` that was there) or ``"update"`` (the kernel itself writes to its arguments, which ``outs`` are).
    """

    __slots__ = ("_inputs", "args", "case", "grads", "kind", "line", "outs")

    def __init__(self, kind: str, case: Case, args: list[Any], outs: list[Value], line: int,
                 grads: list[Value | None] | None = None):  # fmt: skip
        self.kind = kind
        self.case = case
        self.args = args
        """In signature order, tensors as values."""
        self.outs = outs
        self.line = line
        """The client's location."""
        self.grads = grads
        """What an update finds in its parameters' ``.grad``."""

        self._inputs: list[Value] | None = None

    def inputs(self) -> list[Value]:
        """Every value that the kernel reads, or writes to where it was there before."""
        found = self._inputs
        if found is None:
            found = self._inputs = []
            for v in self.args:
                if type(v) is Value:
                    found.append(v)
                elif type(v) is tuple:
                    found += [x for x in v if type(x) is Value]
            if self.grads:
                found += [g for g in self.grads if g is not None]
            if self.kind in ("write", "update"):
                found += self.outs
        return found

    def replace(self, same: Mapping[Value, Value]) -> None:
        """Put values in the places of those that are the same."""
        if not any(v in same for v in self.inputs()):
            return

        def new(v: Any) -> Any:
            return same.get(v, v) if type(v) is Value else v

        self.args = [tuple([new(x) for x in v]) if type(v) is tuple else new(v) for v in self.args]
        self.grads = self.grads and [new(g) for g in self.grads]
        if self.kind in ("write", "update"):
            self.outs = [new(v) for v in self.outs]
        self._inputs = None

    def memories(self) -> set[Memory]:
        """What the kernel reads and writes."""
        return {v.memory for v in self.inputs()} | {v.memory for v in self.outs}


class State:
    """What a trace depends on of a tensor that was there before."""

    __slots__ = ("grad", "has_grad", "leaf", "requires_grad", "spec")

    def __init__(self, t: Tensor):
        self.spec = t.spec
        self.requires_grad = t.requires_grad
        self.leaf = t.grad_fn is None
        self.has_grad = t.grad is not None
        self.grad = t.grad.spec if t.grad is not None else None

    def holds(self, t: Tensor) -> bool:
        return (
            t.spec is self.spec
            and t.requires_grad is self.requires_grad
            and (t.grad_fn is None) is self.leaf
            and (t.grad.spec is self.grad if t.grad is not None else not self.has_grad)
            and not t.hooks
            and not t.post_hooks
        )


def hooked(t: Tensor) -> bool:
    """Whether code of the client's runs when a leaf's gradient comes."""
    accumulator = t.accumulator() if t.accumulator is not None else None
    return bool(t.hooks or t.post_hooks or (accumulator is not None and accumulator.hooks))


class Export(NamedTuple):
    """A tensor that is there afterwards, and was not before."""

    value: Value
    requires_grad: bool
    node: str
    """What made it, where it has a history, which has been used up."""
    output_nr: int
    base: int | None
    """Of a view: which tensor it is one of, by number."""
    chain: tuple[Any, ...]
    creation: str
    version: int


class Trace:
    """Records what the engine does from now until :meth:`finish`.

    Args:
        given: the tensors that were there before, and may be used. All others are constants.
    """

    def __init__(self, engine: Engine, given: Sequence[Tensor]):
        self.engine = engine
        self.given = list(given)
        self.states = [State(t) for t in given]
        self.first_node = engine.recorded
        self.steps: list[Step] = []
        self.refused = ""
        """Why there can be no plan, as soon as that is known."""
        self._values: dict[int, tuple[weakref.ref[Any], Value]] = {}
        self._memories: dict[int, tuple[weakref.ref[Storage], Memory]] = {}
        self.values = [self._given(t) for t in given]
        self.gradients = [None if t.grad is None else self._given(t.grad) for t in given]
        self.gradient_tensors = [t.grad for t in given]
        self.before = [(t.storage.version, t.grad, t.grad.storage.version if t.grad is not None else 0, t.grad_fn)
                       for t in given]  # fmt: skip
        if any(map(hooked, given)):
            self.refuse("a hook is part of it")
        engine.trace = self

    def refuse(self, why: str) -> None:
        self.refused = self.refused or why

    # ---- what the engine tells ----

    def made(self, case: Case, values: list[Any], results: list[Tensor]) -> None:
        """A kernel made tensors in memory of their own."""
        args = self._args(case, values)
        step = Step("make", case, args, [], self.engine.line)
        fixed = not case.kernel.rng and all(v.array is not None for v in step.inputs())
        for t in results:
            v = Value(t.spec, self._memory(t.storage), t.array if fixed else None)
            self._remember(t.array, v)
            step.outs.append(v)
        self.steps.append(step)

    def viewed(self, case: Case, values: list[Any], results: list[Tensor]) -> None:
        """A kernel made views."""
        args = self._args(case, values)
        step = Step("view", case, args, [], self.engine.line)
        source = args[case.op.view_of or 0]
        for t in results:
            v = Value(t.spec, source.memory, None if source.array is None else t.array, whole=False)
            self._remember(t.array, v)
            step.outs.append(v)
        self.steps.append(step)

    def writes(self, case: Case, values: list[Any], targets: list[Tensor]) -> None:
        """An op is about to write to tensors."""
        args = self._args(case, values)
        outs = [self.value(t) for t in targets]
        for v in outs:
            constant = v.memory.constant
            if constant is not None and not v.memory.written:
                constant.array = constant.array.copy()  # as it was before the write
            v.memory.written = True
        grads = None
        if case.kernel.grads:
            first = values[case.op.writes[0]]
            grads = [None if t.grad is None else self.value(t.grad) for t in first]
        self.steps.append(Step("write" if case.op.inplace_of else "update", case, args, outs, self.engine.line, grads))

    def copied(self, source: Tensor, made: Tensor) -> None:
        """A tensor was copied, beside all ops."""
        self.made(self.engine.case(CATALOG["clone"], [source.spec]), [source], [made])

    def passed(self, node: Node) -> None:
        """Backward has come to a node."""
        if node.seq <= self.first_node:
            self.refuse("backward goes on beyond it, into a graph that was there before")
        elif type(node) is not OpNode and not hasattr(node, "inner"):
            self.refuse("code of the client's is part of it")

    # ---- values ----

    def value(self, t: Tensor) -> Value:
        """What is known of a tensor's contents; those that nothing here has made are constants."""
        found = self._values.get(id(t.array))
        if found is not None and found[0]() is t.array:
            return found[1]
        memory = self._memory(t.storage)
        made = memory.constant = Value(t.spec, memory, t.array)
        self._remember(t.array, made)
        return made

    def _given(self, t: Tensor) -> Value:
        memory = self._memory(t.storage)
        memory.given = memory.exposed = True
        found = self._values.get(id(t.array))
        if found is not None:
            return found[1]
        v = Value(t.spec, memory, None, whole=t.base is None)
        self._remember(t.array, v)
        return v

    def _memory(self, storage: Storage) -> Memory:
        found = self._memories.get(id(storage))
        if found is not None and found[0]() is storage:
            return found[1]
        made = Memory()
        self._memories[id(storage)] = weakref.ref(storage), made
        return made

    def _remember(self, array: Any, v: Value) -> None:
        self._values[id(array)] = weakref.ref(array), v

    def _args(self, case: Case, values: list[Any]) -> list[Any]:
        """The arguments with tensors as values, of the type in which the op computes."""
        casts = dict(case.holes)
        args: list[Any] = []
        for i, x in enumerate(values):
            if type(x) is Tensor:
                v = self.value(x)
                cast = casts.get(i)
                args.append(v if cast is None else self._cast(v, cast))
            elif type(x) is tuple:
                args.append(tuple([self.value(y) if type(y) is Tensor else y for y in x]))
            else:
                args.append(x)
        return args

    def _cast(self, v: Value, dtype: Any) -> Value:
        case = self.engine.case(CATALOG["to_dtype"], [v.spec, DTYPE[dtype]])
        out = Value(case.results[0], Memory(), None if v.array is None else v.array.astype(dtype))
        self.steps.append(Step("make", case, [v, DTYPE[dtype]], [out], self.engine.line))
        return out

    # ---- the end ----

    def finish(self, results: Sequence[Tensor]) -> Outcome:
        """Stop recording; what there is afterwards.

        Raises:
            Unplanned: it can't be had from the steps alone.
        """
        self.engine.trace = None
        if self.refused:
            raise Unplanned(self.refused)
        outcome = Outcome(self)
        outcome.results = [outcome.number(t) for t in results]
        writes: dict[int, tuple[int, int]] = {}
        for i, (t, (version, grad, grad_version, grad_fn)) in enumerate(zip(self.given, self.before, strict=True)):
            state = self.states[i]
            if t.grad_fn is not grad_fn or t.requires_grad is not state.requires_grad or t.spec is not state.spec:
                raise Unplanned("it changes the history of a tensor that was there before")
            writes[id(t.storage)] = i, t.storage.version - version
            if grad is not None:
                writes[id(grad.storage)] = len(self.given) + i, grad.storage.version - grad_version
            if t.grad is not grad:
                outcome.grads.append((i, None if t.grad is None else outcome.number(t.grad)))
        outcome.versions = [(i, n) for i, n in writes.values() if n]
        outcome.close()
        return outcome


class Outcome:
    """What a program leaves: tensors by number, first those that were there, then their gradients, then new ones."""

    def __init__(self, trace: Trace):
        self._value = trace.value
        self._numbers: dict[int, int] = {}
        n = len(trace.given)
        for i, (_, grad, *_) in enumerate(trace.before):
            if grad is not None:
                self._numbers[id(grad)] = n + i
        for i, t in enumerate(trace.given):
            self._numbers[id(t)] = i
        self.first = 2 * n
        """The number of the first export."""
        self.exports: list[Export] = []
        self.results: list[int] = []
        self.grads: list[tuple[int, int | None]] = []
        """Tensors that were there, with their new ``.grad``."""
        self.versions: list[tuple[int, int]] = []
        """Tensors whose storages were written to, and how often."""
        self._alive: list[Tensor] = []

    def close(self) -> None:
        """All tensors have their numbers: forget who they were."""
        del self._value, self._numbers, self._alive

    def replace(self, same: dict[Value, Value]) -> None:
        """Put values in the places of those that are the same."""
        self.exports = [e._replace(value=same.get(e.value, e.value)) for e in self.exports]

    def number(self, t: Tensor) -> int:
        """The number of a tensor that is there afterwards."""
        found = self._numbers.get(id(t))
        if found is not None:
            return found
        if t.grad is not None or t.hooks or t.post_hooks or t.detached:
            raise Unplanned("a tensor that it makes has a gradient, or a hook, of its own")
        base = None if t.base is None else self.number(t.base)
        if t.grad_fn is not None and not _spent(t.grad_fn):
            raise Unplanned("a tensor that it makes can still be differentiated")
        v = self._value(t)
        v.memory.exposed = True
        constant = v.memory.constant
        if constant is not None and not v.memory.written:
            constant.array = constant.array.copy()  # as it is now, whatever becomes of this one
        self._alive.append(t)
        found = self._numbers[id(t)] = self.first + len(self.exports)
        self.exports.append(Export(v, t.requires_grad, t.grad_fn.name if t.grad_fn is not None else "", t.output_nr,
                                   base, t.chain, t.creation, t.storage.version))  # fmt: skip
        return found


def _spent(node: Node) -> bool:
    """Whether a backward through it would come to what an earlier one has released."""
    seen = {node}
    todo = [node]
    for n in todo:
        if type(n) is Spent or (type(n) is OpNode and n.plan.holds and n.saved is None):
            return True
        for e in n.edges:
            if e is not None and e[0] not in seen:
                seen.add(e[0])
                todo.append(e[0])
    return False
