"""The engine of one session: applies ops to tensors, records the graph, keeps the counts that limits are held to."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Container
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_engine import backend
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.case import Case, Key
from gradwire_engine.case import key as case_key
from gradwire_engine.functional import run_kernel, spec_of_array
from gradwire_engine.generators import generator
from gradwire_engine.graph import (
    AccumulateGrad,
    CopySlices,
    FunctionNode,
    Node,
    OpNode,
    accumulator,
    adopt,
    history,
    pack,
)
from gradwire_engine.rows import Level, Rows, among
from gradwire_engine.tensor import Meter, Storage, Tensor
from gradwire_proto import refusals
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import spec

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan
    from gradwire_engine.trace import Trace

MOST_CASES = 4096
"""Cases that an engine remembers."""


class Engine:
    """Tensors and graph of one session on one device. One thread at a time.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        max_bytes: limit on the bytes that tensors hold, saved ones included.
        seed: of the random numbers.
    """

    def __init__(self, device: str = "cpu", max_bytes: int = 2**62, seed: int = 0):
        self.xp = backend.library(device)
        self.device = "cuda:0" if device == "cuda" else device  # as torch's tensors say it
        self.meter = Meter(max_bytes)
        self.rng = generator(self.xp, seed)
        self.grad_enabled = True
        self.recorded = 0
        """Nodes recorded so far: the creation order."""
        self.alive = object()
        """Every node holds this, and nobody else."""
        self.line = 0
        """The client's location of the instruction being executed."""
        self.retain_graph = False
        """Whether the backward pass under way keeps what was saved."""
        self.check_nan = False
        """Whether it ends where a node makes NaN."""
        self.passes = 0
        """Backward passes begun so far."""
        self.passing: list[tuple[int, tuple[Container[Node], ...]]] = []
        """Of those under way, the innermost last: which one it is, and where the nodes are that it runs."""
        self.leaf_hooks: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
        """The hooks that the nodes of leaves have of their own."""
        self.phase = "forward"
        self.halt: str | None = None
        """Why a backward pass is to end before its next node; set from any thread."""
        self.level: Level | None = None
        """The rows that the pass under way is about, where it is about many."""
        self.trace: Trace | None = None
        """What records the kernels that run, if anything does."""
        self.times: dict[tuple[str, str], list[int]] = {}
        """Nanoseconds of each kernel run, by op and phase: see :meth:`timer`."""
        self.plans: weakref.WeakSet[Plan] = weakref.WeakSet()
        """Those that replay programs of this engine."""
        self._cases: dict[Key, Case] = {}
        self._ndarray = self.xp.ndarray
        self.call_function: Callable[..., list[Tensor | None]] = _no_client
        """Runs a custom function's backward in the client: node, gradients, create_graph."""
        self.unpack: Callable[[int], list[Tensor]] = _no_client
        """Has the client give back the saved tensors of a pack, by its number."""
        self.dropped: Callable[[int], None] = lambda number: None
        """Called when a custom function's node is gone, or a pack."""

    @property
    def nodes(self) -> int:
        """Nodes alive: as many as hold :attr:`alive`, which Python counts anyway; a finalizer would cost each more than
        all that it saves."""
        return sys.getrefcount(self.alive) - 2  # this engine, and the argument

    def select_device(self) -> None:
        """Make the session's GPU the calling thread's."""
        backend.library(self.device)

    def wrap(self, array: Any, requires_grad: bool = False) -> Tensor:
        """A leaf tensor of a dense array, which it takes over."""
        array = backend.to_device(self.xp, array)  # NumPy's sums of 0-d arrays are scalars
        return Tensor(self, array, spec_of_array(array), requires_grad=requires_grad)

    def keep(self, array: Any) -> Tensor:
        """A leaf tensor with a dense copy of an array, or of the scalar that NumPy makes of a 0-d one.

        Raises:
            MemoryError: it would pass the session's limit.
        """
        self.meter.check(array.nbytes)
        made = self.xp.array(array, order="C")
        return Tensor(self, made, spec_of_array(made))

    def call(self, name: str, *values: Any) -> Any:
        """Apply an op by name; arguments left out take their defaults."""
        op = CATALOG[name]
        return self.apply_values(op, [*values, *(p.default for p in op.params[len(values) :])])

    def apply_values(self, op: Op, values: list[Any]) -> Any:
        """Apply an op; one tensor where the op has one result, else a list."""
        if self.level is not None and among(values):
            return self.level.apply(op, values)
        results = self.apply(op, values)
        return results if op.returns_list or len(op.results) != 1 else results[0]

    def apply(self, op: Op, values: list[Any]) -> list[Tensor]:
        """Apply an op to values in signature order.

        Returns:
            The results; for an op that writes, the tensors written to.

        Raises:
            RuntimeError, IndexError, TypeError, ValueError: what the meta rule or the kernel finds wrong.
            MemoryError: the results would pass the session's limit; nothing was allocated.
        """
        return self.run(self.case(op, [v.spec if type(v) is Tensor else _spec(v) for v in values]), values)

    def case(self, op: Op, specs: list[Any]) -> Case:
        """What is known of calls with these arguments, tensors given as their specs; raises as :meth:`apply`."""
        key = case_key(op, specs)
        found = self._cases.get(key)
        if found is None:
            if len(self._cases) >= MOST_CASES:
                self._cases.clear()
            found = self._cases[key] = Case(self, op, specs)
        return found

    def run(self, case: Case, values: list[Any]) -> list[Tensor]:
        """As :meth:`apply`, of values that are of this case."""
        if case.apart:
            return self._write(case, values) if case.op.writes else self._views(case, values)
        meter = self.meter
        if meter.used + case.need > meter.limit:
            meter.check(case.need)
        args = self._arrays(case, values)
        made = self._call(case, args)
        if case.clean:
            if type(made) is not self._ndarray:
                made = self.xp.asarray(made)  # NumPy's 0-d results are scalars
            results = [Tensor(self, made, case.results[0])]
        else:
            results = [Tensor(self, a, s) for a, s in zip(self.tidy(case, made, args), case.results, strict=True)]
        if self.trace is not None:
            self.trace.made(case, values, results)
        if self.grad_enabled and case.op.differentiable:
            self._record(case, values, results)
        return results

    def _arrays(self, case: Case, values: list[Any]) -> list[Any]:
        """The kernel's arguments: tensors as arrays, of the type in which the op computes where it has one."""
        args = case.args.copy()
        for i, cast in case.holes:
            a = values[i].array
            args[i] = a if cast is None else a.astype(cast)
        for i in case.lists:
            args[i] = [x.array if type(x) is Tensor else x for x in values[i]]
        return args

    def number(self, v: Any, compute: DType) -> Any:
        """A Python number as a 0-d array: integers wrap as in C, as torch has it."""
        if self.xp is np and compute.category >= Category.FLOAT:
            return NUMPY_DTYPE[compute].type(v)
        return backend.to_device(self.xp, v).astype(NUMPY_DTYPE[compute])

    def timer(self, op: str, phase: str) -> list[int]:
        """Where the nanoseconds of an op's runs go: a list to append to, which the owner empties now and then."""
        times = self.times.get((op, phase))
        if times is None:
            times = self.times[op, phase] = []
        return times

    def _call(self, case: Case, args: list[Any], out: Any = None) -> Any:
        """What the kernel makes, timed."""
        times = case.times if self.phase == "forward" else self.timer(case.base.name, self.phase)
        run, xp = case.kernel.run, self.xp
        if out is None and not case.asks:
            began = perf_counter_ns()
            made = run(xp, *args)
            times.append(perf_counter_ns() - began)
            return made
        kwargs = case.kwargs
        if case.kernel.rng:
            kwargs = {**kwargs, "rng": self.rng}
        if out is not None:
            kwargs = {**kwargs, "out": out}
        began = perf_counter_ns()
        made = run(xp, *args, **kwargs)
        times.append(perf_counter_ns() - began)
        return made

    def tidy(self, case: Case, made: Any, args: list[Any]) -> list[Any]:
        """A kernel's results as arrays of the inferred shapes and types."""
        if type(made) not in (tuple, list):
            made = (made,)
        results = []
        dense = True
        given = [x for a in args for x in (a if type(a) is list else (a,))] if case.lists else args
        for a, s in zip(made, case.made, strict=False):
            if type(a) is not self._ndarray:
                a = self.xp.asarray(a)
            want = NUMPY_DTYPE[s.dtype]
            if a.dtype is not want and a.dtype != want:
                a, dense = a.astype(want), False
            # A result that is not dense, or is a window on other memory, would break what specs promise.
            if not a.flags.c_contiguous or _shares(a, given):
                a, dense = a.copy(order="C"), False
            if a.shape != s.shape:
                raise RuntimeError(f"{case.op.name}: the kernel made shape {a.shape}, its meta rule said {s.shape}")
            results.append(a)
        case.dense = dense
        case.clean = dense and len(results) == 1 and not case.lists
        return results

    def _views(self, case: Case, values: list[Any]) -> list[Tensor]:
        op = case.op
        where = op.view_of
        assert where is not None
        source: Tensor = values[where]
        made = self._call(case, self._arrays(case, values))
        if type(made) not in (tuple, list):
            made = (made,)
        results = [Tensor(self, a, s, source.storage) for a, s in zip(made, case.results, strict=True)]
        if self.trace is not None:
            self.trace.viewed(case, values, results)
        if not op.differentiable:
            return results
        base = source.base or source
        plain = tuple(None if i == where else v for i, v in enumerate(values))
        for nr, r in enumerate(results):
            r.base = base
            r.chain = (*source.chain, (op, plain, nr))
            r.generation = base.generation
            r.creation = source.creation or (
                "no_grad" if not self.grad_enabled else "multi" if op.returns_list else ""
            )
        if self.grad_enabled:
            self._record(case, values, results)
        return results

    def _record(self, case: Case, values: list[Any], results: list[Tensor]) -> None:
        """Give the results a node, where an argument requires grad."""
        node = self._node(case, values)
        if node is None:
            return
        if node.plan.later:
            node.save_results(results)
        for nr in case.carrying:
            r = results[nr]
            r.requires_grad, r.grad_fn, r.output_nr = True, node, nr

    def _node(self, case: Case, values: list[Any]) -> OpNode | None:
        """The node of a call, with what its derivative needs of the arguments, where one of them requires grad."""
        edges: list[Any] = []
        mask, bit = 0, 1
        for i in case.tensors:
            v = values[i]
            e = None
            if type(v) is Tensor:
                if v.base is not None:
                    e = history(v)
                    if e is None and v.base.requires_grad:  # torch records what is made of a view without history
                        mask |= bit
                elif v.grad_fn is not None:
                    e = v.grad_fn, v.output_nr
                elif v.requires_grad:
                    e = accumulator(v), 0
                if e is not None:
                    mask |= bit
                edges.append(e)
            elif type(v) is tuple:
                several = [None if x is None else history(x) for x in v]
                if any(several) or any(x.base.requires_grad for x in v if x is not None and x.base is not None):
                    mask |= bit
                edges += several
            else:
                edges.append(None)
            bit <<= 1
        if not mask:
            return None
        saving = case.savings.get(mask) or case.saving(mask)
        node = OpNode(self, case, saving.plan, saving.needs, tuple(edges))
        saved = node.saved = saving.blank.copy()
        for slot, i in saving.inputs:
            v = values[i]
            # as pack() has it, without the call
            saved[slot] = (v, v.storage.version) if type(v) is Tensor and not v.detached else pack(v)
        return node

    def _write(self, case: Case, values: list[Any]) -> list[Tensor]:
        """Apply an op that writes to its arguments, with torch's refusals."""
        op = case.op
        targets: list[Tensor] = []
        for i in op.writes:
            targets.extend([values[i]] if type(values[i]) is Tensor else values[i])
        node = None
        if op.differentiable and self.grad_enabled:
            check_writes(targets[0])
            first = op.writes[0]
            before = list(values)
            before[first] = targets[0].alias()
            node = self._node(case, before)
            if node is not None:
                check_view(targets[0])
                if targets[0].is_leaf and targets[0].requires_grad:
                    raise RuntimeError(refusals.LEAF_WRITTEN)
            if node is not None and ("input", first) in node.plan.slots:
                assert node.saved is not None
                node.saved[node.plan.slots.index(("input", first))] = pack(self._before_write(targets[0]))
        if self.trace is not None:
            self.trace.writes(case, values, targets)
        args = self._arrays(case, values)
        if op.inplace_of is None:
            self._run_writer(case, args, targets)
        else:
            self._run_inplace(case, args, targets[0])
        for t in targets:
            t.storage.version += 1
        if node is not None:
            t = targets[0]
            node.save_results([t])
            rebase(t, node, case.spans[op.writes[0]][0])
        return targets

    def _before_write(self, t: Tensor) -> Tensor:
        """A copy of what an op is about to overwrite, with its history, for a derivative that needs it."""
        self.meter.check(t.spec.nbytes)
        dense = spec(t.spec.shape, t.spec.dtype)
        kept = Tensor(self, t.array.copy(order="C"), dense, None, t.requires_grad, t.grad_fn, t.output_nr)
        if self.trace is not None:
            self.trace.copied(t, kept)
        return kept

    def _run_writer(self, case: Case, args: list[Any], targets: list[Tensor]) -> None:
        kernel = case.kernel
        kwargs: dict[str, Any] = {}
        if kernel.rng:
            kwargs["rng"] = self.rng
        if kernel.grads:
            kwargs["grads"] = [None if t.grad is None else t.grad.array for t in targets[: len(args[0])]]
        began = perf_counter_ns()
        kernel.run(self.xp, *args, **kwargs)
        self.timer(case.op.name, "update" if kernel.grads else self.phase).append(perf_counter_ns() - began)

    def _run_inplace(self, case: Case, args: list[Any], target: Tensor) -> None:
        array = target.array
        made = case.made[0]
        if case.kernel.out and NUMPY_DTYPE[made.dtype] == array.dtype and args[0].dtype == array.dtype:
            self._call(case, args, out=array)
        else:
            self.meter.check(made.nbytes)
            array[...] = self.tidy(case, self._call(case, args), args)[0]

    def replay(self, chain: tuple[tuple[Op, tuple[Any, ...], int], ...], base: Any, node: str = "") -> Any:
        """A chain of view ops anew from ``base``, a tensor or an array; ``node`` is to be the last node's name."""
        for left, (op, plain, nr) in zip(range(len(chain) - 1, -1, -1), chain, strict=True):
            values = [base if i == op.view_of else v for i, v in enumerate(plain)]
            if type(base) is Rows:
                made = self.apply_values(op, values)
                base = made[nr] if op.returns_list else made
            elif type(base) is Tensor:
                case = self.case(op, [v.spec if type(v) is Tensor else _spec(v) for v in values])
                base = self.run(case if left or not node else case.renamed(node), values)[nr]
            else:
                made = run_kernel(op, values)
                base = made[nr] if op.returns_list else made
        return base

    def record_function(self, label: str, function: int, inputs: list[Tensor | None], outputs: list[Tensor],
                        differentiable: list[bool]) -> list[Tensor]:  # fmt: skip
        """Tensors with the outputs' memory whose history is a custom function of the inputs.

        An output that is an input is one that the function wrote to: its history is rewritten.
        """
        edges = tuple(None if t is None else history(t) for t in inputs)
        in_specs = tuple(spec((), t.dtype) if t is None else t.spec for t in [x or outputs[0] for x in inputs])
        dirty = [any(t is x for x in inputs) for t in outputs]
        results = [t if d else t.alias(forget=True) for t, d in zip(outputs, dirty, strict=True)]
        if not self.grad_enabled or all(e is None for e in edges):
            return results
        node = FunctionNode(self, label, function, edges, in_specs, tuple(t.spec for t in outputs))
        for nr, (r, d) in enumerate(zip(results, differentiable, strict=True)):
            if not d or not r.spec.dtype.differentiable:
                continue
            if dirty[nr]:
                r.storage.version += 1
                rebase(r, node, next(i for i, x in enumerate(inputs) if x is r), nr)
            else:
                r.requires_grad, r.grad_fn, r.output_nr = True, node, nr
                r.creation = "" if r.base is None else "custom"
        return results

    def set_requires_grad(self, t: Tensor, value: bool) -> None:
        """torch's ``requires_grad_``, with its refusals."""
        if value and not t.spec.dtype.differentiable:
            raise RuntimeError(refusals.NOT_FLOATING)
        if t.grad_fn is not None and not value:
            raise RuntimeError(refusals.NOT_A_LEAF)
        t.requires_grad = value or t.grad_fn is not None

    def detach_(self, t: Tensor) -> None:
        """Cut a tensor from its history, in place."""
        if t.base is not None:
            raise RuntimeError(refusals.VIEW_DETACHED)
        t.detached = t.grad_fn is not None
        t.grad_fn, t.output_nr, t.requires_grad = None, 0, False

    def set_data(self, t: Tensor, data: Tensor) -> None:
        """Give a tensor the memory, shape and type of another; its place in the graph stays as it is."""
        if t.requires_grad and not data.dtype.differentiable:
            raise RuntimeError(refusals.DATA_NOT_FLOATING)
        t.array, t.spec, t.storage = data.array, data.spec, data.storage
        t.base, t.chain, t.creation = None, (), ""

    def retain_grad(self, t: Tensor) -> None:
        """Keep a non-leaf tensor's gradient in ``t.grad`` when backward passes it."""
        edge = history(t)
        if edge is None:
            raise RuntimeError(refusals.NO_GRAD_RETAINED)
        if t.grad_fn is None:
            return
        node, nr = edge
        node.retained = node.retained or {}
        node.retained[nr] = weakref.ref(t)

    def add_hook(
        self, t: Tensor, hook: int, run: Callable[[Tensor | None], Tensor | None]
    ) -> dict[int, Callable[[Tensor | None], Tensor | None]]:
        """Have ``run`` see, and perhaps replace, each gradient that arrives at ``t``; the table it is in."""
        if not t.requires_grad and history(t) is None:
            raise RuntimeError(refusals.NO_GRAD_HOOKED)
        if t.grad_fn is None:
            t.hooks = t.hooks or {}
            t.hooks[hook] = run
            return t.hooks
        node, nr = t.grad_fn, t.output_nr
        node.hooks = node.hooks or {}
        table = node.hooks.setdefault(nr, {})
        table[hook] = run
        return table

    def add_node_hook(self, node: Node, place: int, hook: int, run: Callable[..., Any]) -> None:
        """Have ``run`` called BEFORE or AFTER a node runs.

        It is given gradients, and how many of them it may replace: the first ones.
        """
        node.hooks = node.hooks or {}
        node.hooks.setdefault(place, {})[hook] = run
        if type(node) is AccumulateGrad:
            self.leaf_hooks.add(run)

    def edge(self, node: Node, nr: int) -> Tensor:
        """Output ``nr`` of a node as a tensor: with its history and shape, and without numbers of its own."""
        s = node.out_specs[nr]
        array = self.xp.broadcast_to(self.xp.zeros((), NUMPY_DTYPE[s.dtype]), s.shape)
        return Tensor(self, array, s, Storage(self.meter, 0), True, node, nr)

    def add_post_hook(self, t: Tensor, hook: int, run: Callable[[Tensor | None], Tensor | None]) -> None:
        """Have ``run`` called with leaf ``t`` after its ``.grad`` was added to."""
        if t.grad_fn is not None:
            raise RuntimeError(refusals.NON_LEAF_POST_HOOKED)
        t.post_hooks = t.post_hooks or {}
        t.post_hooks[hook] = run


def _no_client(*_: Any) -> Any:
    raise RuntimeError("this engine has no client to run custom functions")


def _spec(v: Any) -> Any:
    if type(v) is Tensor:
        return v.spec
    if type(v) is tuple:
        return tuple([_spec(x) for x in v])
    return v


def _shares(a: Any, arrays: list[Any]) -> bool:
    """Whether a kernel gave back one of its arguments, or a view of one, or of more than itself."""
    base = a.base
    for x in arrays:
        if x is a:
            return True
        if base is not None and (x is base or getattr(x, "base", None) is base):
            return True
    return base is not None and base.size != a.size


def check_writes(t: Tensor) -> None:
    """torch's refusals to write to a tensor that is part of a graph."""
    base = t.base
    history(t)
    if not t.requires_grad and (base is None or not base.requires_grad):
        return
    if base is None:
        if t.grad_fn is None:
            raise RuntimeError(refusals.LEAF_WRITTEN)
        return
    check_view(t)
    if base.grad_fn is None:  # it is the view that requires grad, or its base
        raise RuntimeError(refusals.VIEW_OF_LEAF_WRITTEN)


def check_view(t: Tensor) -> None:
    """torch's refusals to rewrite the history of a view by how it was made."""
    if t.creation:
        node = t.grad_fn.name if t.grad_fn is not None else ""
        raise RuntimeError(refusals.view_written(t.creation, node, t.output_nr))


def rebase(t: Tensor, node: Node, target: int, output_nr: int = 0) -> None:
    """Make ``node`` the history of ``t``, the input behind edge ``target``, after it was written to; of a view, through
    its base."""
    base = t.base
    if base is None:
        adopt(t, node, output_nr)
        t.generation += 1
        return
    copied = CopySlices(base, t, node, target)
    adopt(base, copied, 0)
    base.generation += 1
    history(t)


__all__ = ["Engine", "accumulator", "check_writes", "rebase"]
