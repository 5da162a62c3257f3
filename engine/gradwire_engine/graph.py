"""The recorded graph: nodes, their edges, and what they saved.

A node points at the nodes of its inputs, never at its own results, so that dropping a result frees its history.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from gradwire_engine import functional as F
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.packed import Packed
from gradwire_engine.registry import RULES, Plan
from gradwire_engine.tensor import Tensor
from gradwire_proto import refusals
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire_engine.case import Case
    from gradwire_engine.engine import Engine

Edge = tuple["Node", int] | None
BEFORE, AFTER = -1, -2
"""Where a node's own hooks are in its table of hooks, beside those of its outputs."""


class Node:
    """A recorded operation. ``edges`` lead to where the gradients of its inputs go, ``in_specs`` tell their shapes."""

    __slots__ = (
        "__weakref__", "alive", "edges", "engine", "hooks", "in_specs", "line", "out_specs", "retained", "seq",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, edges: tuple[Edge, ...], in_specs: tuple[Spec, ...], out_specs: tuple[Spec, ...]
    ):
        self.engine = engine
        self.edges = edges
        self.in_specs = in_specs
        self.out_specs = out_specs
        engine.recorded += 1
        self.seq = engine.recorded
        self.line = engine.line
        """Where the client called the op: an interned location, 0 if unknown."""
        self.hooks: dict[int, dict[int, Callable[..., Any]]] | None = None
        """Tensor hooks by output number, the node's own under BEFORE and AFTER."""
        self.retained: dict[int, Any] | None = None
        """Weak references to the tensors that retain their gradient, by output number."""
        self.alive = engine.alive
        """What the engine counts its nodes by: see :attr:`Engine.nodes`."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        """Gradients for the edges, from those of the outputs (None where none came).

        Arrays in, arrays out; or tensors in and out, under ``create_graph`` and where a trace is made.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Drop what was saved; a later run raises torch's error."""


class Spent(Node):
    """Stands for a history that a backward pass has released, of a tensor that a plan made."""

    __slots__ = ("label",)

    def __init__(self, engine: Engine, label: str, spec: Spec):
        super().__init__(engine, (), (), (spec,))
        self.label = label

    @property
    def name(self) -> str:
        return self.label

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        raise RuntimeError(refusals.FREED)


class AccumulateGrad(Node):
    """Where the graph ends: adds what arrives to ``variable.grad``."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor):
        super().__init__(variable.engine, (), (), (variable.spec,))
        self.variable = variable

    @property
    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        t = self.variable
        if grads[0] is None or not t.requires_grad:
            return []
        if t.grad is None:
            t.grad = F.clone(grads[0]) if tensors else own(self.engine, grads, 0)
        elif self.engine.grad_enabled:
            t.grad = t.grad + grads[0]
        elif tensors or t.grad.shape != grads[0].shape:  # the latter: its data became another's
            self.engine.call("add_", t.grad, grads[0] if tensors else self.engine.wrap(grads[0]))
        else:
            array = t.grad.array
            array += grads[0]
            t.grad.storage.version += 1
        return []


def own(engine: Engine, grads: list[Any], i: int) -> Tensor:
    """A leaf tensor of the array ``grads[i]``: of its very memory where nobody but the list can see it, else of a copy.

    Whoever else had the array, or a view of it, would count as a reference to it.
    """
    alone = holders(grads, i) == ALONE
    g = grads[i]
    if not alone or g.base is not None or not g.flags.c_contiguous:
        return engine.keep(g)
    engine.meter.check(g.nbytes)
    return Tensor(engine, g, F.spec_of_array(g))


def holders(grads: list[Any], i: int) -> int:
    """How many references to ``grads[i]`` there are."""
    return getrefcount(grads[i])


ALONE = holders([object()], 0)
"""How many there are where only the list has it. Measured, since what a call adds differs between Pythons."""


def history(t: Tensor) -> Edge:
    """Where the gradient of ``t`` goes; for a view whose base was written to, after recording it anew."""
    base = t.base
    if base is not None and t.generation != base.generation:
        if base.requires_grad and t.creation:
            node = t.grad_fn.name if t.grad_fn is not None else ""
            raise RuntimeError(refusals.view_written(t.creation, node, t.output_nr, behind=True))
        t.generation = base.generation
        if base.requires_grad:
            before, t.engine.grad_enabled = t.engine.grad_enabled, True
            try:
                again = t.engine.replay(t.chain, base, "AsStridedBackward0")  # torch makes one window of the chain
            finally:
                t.engine.grad_enabled = before
            adopt(t, again.grad_fn, again.output_nr)
    if t.grad_fn is not None:
        return t.grad_fn, t.output_nr
    if not t.requires_grad:
        return None
    return accumulator(t), 0


def adopt(t: Tensor, node: Node, nr: int) -> None:
    """Make output ``nr`` of ``node`` the history of ``t``; where its gradient is retained, it is from now on there."""
    retained = t.grad_fn.retained if t.grad_fn is not None else None
    kept = retained.get(t.output_nr) if retained else None
    if retained and kept is not None and kept() is t:
        del retained[t.output_nr]
        node.retained = {**(node.retained or {}), nr: kept}
    t.grad_fn, t.output_nr, t.requires_grad = node, nr, True


def accumulator(t: Tensor) -> AccumulateGrad:
    """The node that accumulates into leaf ``t``: one while anything refers to it."""
    node = t.accumulator() if t.accumulator is not None else None
    if node is None:
        node = AccumulateGrad(t)
        t.accumulator = weakref.ref(node)
    return node


SHORTCUTS = frozenset({"gelu"})
"""Ops of which the result is saved, beside all arguments, only because making it again takes time. torch saves it not,
so that it may be written to."""


class OpNode(Node):
    """A recorded op with a rule. ``saved`` holds one entry for each slot of the plan."""

    __slots__ = ("case", "needs", "plan", "saved")

    def __init__(self, engine: Engine, case: Case, plan: Plan, needs: tuple[bool, ...], edges: tuple[Edge, ...]):
        # As Node does, without the call: this is what every recorded op pays.
        self.engine = engine
        self.edges = edges
        self.in_specs = case.in_specs
        self.out_specs = case.results
        engine.recorded += 1
        self.seq = engine.recorded
        self.line = engine.line
        self.hooks = None
        self.retained = None
        self.alive = engine.alive
        self.case = case
        self.plan = plan
        self.needs = needs
        self.saved: list[Any] | None = None
        """What the formulas need: first of the arguments, then (:meth:`save_results`) of the results."""

    @property
    def name(self) -> str:
        return self.case.node

    def save_results(self, results: list[Tensor]) -> None:
        """Keep what the formulas need of the results, which an in-place op has later than its arguments."""
        saved = self.saved
        assert saved is not None
        for slot, i in self.plan.later:
            t = results[i]
            # Not the tensor itself: it holds this node, and the cycle would outlive both.
            saved[slot] = (t.array, t.storage, t.storage.version, t.spec, i)

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        saved = self.saved
        if saved is None:
            raise RuntimeError(refusals.FREED)
        plan = self.plan
        values = saved.copy()
        # Here and in _unpack the same is tested: what nearly always holds costs no call.
        for slot in plan.tensors:
            s = saved[slot]
            if type(s) is tuple and s and type(t := s[0]) is Tensor and t.storage.version == s[1] and not t.detached:
                values[slot] = t if tensors else t.array
            else:
                values[slot] = _unpack(s, tensors)
        for slot, _ in plan.later:
            s = saved[slot]
            if s[1].version != s[2] and self.case.base.name in SHORTCUTS and type(s[0]) is not Packed:
                values[slot] = self._anew(values, tensors)
            else:
                values[slot] = self._result(s, tensors) if tensors or s[1].version != s[2] else s[0]
        for slot, kind in plan.grads:
            values[slot] = grads[0] if kind == "g" else self._given(kind, grads, tensors)
        out: list[Any] = [None] * len(self.edges)
        for run, pick, edge, targets in plan.formulas:
            made = run(*pick(values))
            if edge >= 0:
                out[edge] = made
                continue
            if len(targets) == 1:
                made = (made,)
            for target, g in zip(targets, made, strict=True):
                a, b = self.case.spans[target]
                if g is not None and self.case.base.params[target].is_list:
                    out[a:b] = g
                elif b > a:
                    out[a] = g
        return out

    def _given(self, kind: str, grads: list[Any], tensors: bool) -> Any:
        if kind == "gs":
            return [self.zeros(s, tensors) if g is None else g for g, s in zip(grads, self.out_specs, strict=True)]
        return grads if kind == "given" else self.needs

    def _result(self, saved: Any, tensors: bool) -> Any:
        """A saved result; with its history again where that is wanted."""
        array, storage, version, spec, nr = saved
        if type(array) is Packed:
            return array.get(tensors, (self, nr))
        if storage.version != version:
            raise _modified(spec, self.name if spec.dtype.differentiable else "", nr, storage.version, version)
        return Tensor(self.engine, array, spec, storage, True, self, nr) if tensors else array

    def _anew(self, values: list[Any], tensors: bool) -> Any:
        """The result made again from the arguments."""
        op, slots = self.case.base, self.plan.slots
        args = [values[slots.index(("input" if p.is_tensor else "value", i))] for i, p in enumerate(op.params)]
        return self.engine.apply_values(op, args) if tensors else F.run_kernel(op, args)

    def zeros(self, s: Spec, tensors: bool) -> Any:
        z = self.engine.xp.zeros(s.shape, NUMPY_DTYPE[s.dtype])
        return self.engine.wrap(z) if tensors else z

    def release(self) -> None:
        if self.plan.holds:
            self.saved = None


def pack(v: Any) -> Any:
    """What a node keeps of an argument: tensors with the version that they have now."""
    if type(v) is Tensor:
        # Only what is detached after it was saved is lost to its derivative.
        return (v, v.storage.version, "detached") if v.detached else (v, v.storage.version)
    if type(v) is tuple:
        return tuple([pack(x) for x in v])
    return v


def _unpack(s: Any, tensors: bool) -> Any:
    if type(s) is not tuple:
        return s.get(tensors) if type(s) is Packed else s
    if s and type(s[0]) is Tensor:
        t, version = s[0], s[1]
        if t.storage.version != version:
            fn = t.grad_fn
            raise _modified(t.spec, fn.name if fn else "", t.output_nr, t.storage.version, version)
        if t.detached and len(s) == 2:
            raise RuntimeError(
                "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_().This is not "
                "supported, please use out-of-place `.detach()` instead"
            )
        return t if tensors else t.array
    return [_unpack(x, tensors) for x in s]


def _modified(spec: Spec, name: str, nr: int, now: int, then: int) -> RuntimeError:
    return RuntimeError(refusals.modified(spec.dtype, spec.shape, name, nr, now, then))


def saved_names(node: Node) -> dict[str, int]:
    """What a node saved, by the op's names for arguments and results: the slots."""
    if type(node) is not OpNode:
        return {}
    op = node.case.base
    names = {"input": [p.name for p in op.params], "result": [r.name or "result" for r in op.results]}
    names["value"] = names["input"]
    return {names[kind][i]: at for at, (kind, i) in enumerate(node.plan.slots) if kind in names}


def saved_value(node: OpNode, slot: int) -> Any:
    """What a node saved: a plain value, or a tensor with its history, or a list of such.

    Raises:
        RuntimeError: torch's, where it was freed, or written to since.
    """
    if node.saved is None:
        raise RuntimeError(refusals.FREED)
    s = node.saved[slot]
    return node._result(s, True) if node.plan.slots[slot][0] == "result" else _unpack(s, True)


WRAPPING = frozenset({"add", "sub", "mul", "div", "where"})
"""Ops of which torch makes a tensor of a number beside a tensor, so that it has an edge, if one that leads nowhere."""


def shown(node: Node) -> Sequence[int]:
    """Which edges of a node torch's node has, too: not those of arguments that have no derivative."""
    if type(node) is not OpNode:
        return range(len(node.edges))
    op = node.case.base
    targets = {i for f in RULES[op.name].formulas for i in f.targets}
    found: list[int] = []
    for i, (p, (start, end)) in enumerate(zip(op.params, node.case.spans, strict=True)):
        if i in targets and not (
            p.kind == "Tensor|Scalar" and type(node.in_specs[start]) is not Spec and op.name not in WRAPPING
        ):
            found += range(start, end)
    return found


class CopySlices(Node):
    """An in-place op through a view, as the base sees it (torch's node of that name).

    The gradient of the base is copied, the view's part of it goes through the op's own node and is put back, and the
    rest passes as it is.
    """

    __slots__ = ("chain", "inner", "target")

    def __init__(self, base: Tensor, view: Tensor, inner: Node, target: int):
        first = history(base)
        rest = tuple(e for i, e in enumerate(inner.edges) if i != target)
        specs = tuple(s for i, s in enumerate(inner.in_specs) if i != target)
        super().__init__(base.engine, (first, *rest), (base.spec, *specs), (base.spec,))
        self.chain = view.chain
        self.inner = inner
        self.target = target

    @property
    def name(self) -> str:
        return "torch::autograd::CopySlices"

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        whole = F.clone(grads[0])
        part = self.engine.replay(self.chain, whole)
        made = self.inner.run([F.clone(part)], tensors)
        g = made.pop(self.target)
        if g is None:
            F.zero_(part)
        else:
            F.copy_(part, g)
        return [whole, *made]

    def release(self) -> None:
        self.inner.release()


class FunctionNode(Node):
    """A custom function whose backward runs in the client."""

    __slots__ = ("function", "label")

    def __init__(self, engine: Engine, label: str, function: int, edges: tuple[Edge, ...],
                 in_specs: tuple[Spec, ...], out_specs: tuple[Spec, ...]):  # fmt: skip
        super().__init__(engine, edges, in_specs, out_specs)
        self.label = label
        self.function = function

    def __del__(self) -> None:
        self.engine.dropped(self.function)

    @property
    def name(self) -> str:
        return self.label

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        engine = self.engine
        given = [g if g is None or tensors else engine.keep(g) for g in grads]
        made = engine.call_function(self, given, engine.grad_enabled)
        return [t if t is None or tensors else t.array for t in made]
