"""The engine of one session: applies ops to tensors, records the graph, keeps the counts that limits are held to."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from gradwire_engine import backend
from gradwire_engine.backend import DTYPE, NUMPY_DTYPE
from gradwire_engine.functional import run_kernel
from gradwire_engine.graph import CopySlices, FunctionNode, OpNode, accumulator, adopt, history
from gradwire_engine.registry import KERNELS, RULES
from gradwire_engine.tensor import Meter, Tensor
from gradwire_proto import refusals
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Inferred, Op
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import Spec, spec


class Engine:
    """Tensors and graph of one session on one device. One thread at a time.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        max_bytes: limit on the bytes that tensors hold, saved ones included.
        seed: of the random numbers.
    """

    def __init__(self, device: str = "cpu", max_bytes: int = 2**62, seed: int = 0):
        self.xp = backend.library(device)
        self.device = device
        self.meter = Meter(max_bytes)
        self.rng = backend.generator(self.xp, seed)
        self.grad_enabled = True
        self.recorded = 0
        """Nodes recorded so far: the creation order."""
        self.nodes = 0
        """Nodes alive."""
        self.line = 0
        """The client's location of the instruction being executed."""
        self.retain_graph = False
        """Whether the backward pass under way keeps what was saved."""
        self.phase = "forward"
        self.halt: str | None = None
        """Why a backward pass is to end before its next node; set from any thread."""
        self.times: dict[tuple[str, str], list[int]] = {}
        """Nanoseconds of each kernel run, by op and phase, until the owner takes them."""
        self.call_function: Callable[..., list[Tensor | None]] = _no_client
        """Runs a custom function's backward in the client: node, gradients, create_graph."""
        self.function_dropped: Callable[[int], None] = lambda function: None

    def select_device(self) -> None:
        """Make the session's GPU the calling thread's."""
        backend.library(self.device)

    def wrap(self, array: Any, requires_grad: bool = False) -> Tensor:
        """A leaf tensor of a dense array, which it takes over."""
        array = self.xp.asarray(array)  # NumPy's sums of 0-d arrays are scalars
        return Tensor(self, array, spec(array.shape, DTYPE[array.dtype]), requires_grad=requires_grad)

    def keep(self, array: Any) -> Tensor:
        """A leaf tensor with a dense copy of an array, or of the scalar that NumPy makes of a 0-d one.

        Raises:
            MemoryError: it would pass the session's limit.
        """
        self.meter.check(array.nbytes)
        return self.wrap(self.xp.array(array, order="C"))

    def call(self, name: str, *values: Any) -> Any:
        """Apply an op by name; arguments left out take their defaults."""
        op = CATALOG[name]
        return self.apply_values(op, [*values, *(p.default for p in op.params[len(values) :])])

    def apply_values(self, op: Op, values: list[Any]) -> Any:
        """Apply an op; one tensor where the op has one result, else a list."""
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
        specs: list[Any] = []
        extra = 0  # bytes by which tensors are larger than their memory: a kernel may have to write them out
        for v in values:
            if type(v) is Tensor:
                s = v.spec
                specs.append(s)
                if s.nbytes > v.storage.nbytes:
                    extra += s.nbytes
            elif type(v) is tuple:
                specs.append(_spec(v))
                extra += sum(x.spec.nbytes for x in v if type(x) is Tensor and x.spec.nbytes > x.storage.nbytes)
            else:
                specs.append(v)
        inferred = op.infer(specs)
        if op.writes:
            return self._write(op, values, specs, inferred)
        if op.view_of is not None:
            made = self._run(op, self._arrays(op, values, inferred), inferred)
            return self._views(op, values, specs, inferred, made)
        self.meter.check(inferred.nbytes + extra)
        made = self._run(op, self._arrays(op, values, inferred), inferred)
        results = [Tensor(self, a, s) for a, s in zip(made, inferred.results, strict=True)]
        if self.grad_enabled and op.differentiable:
            self._record(op, values, specs, inferred, results)
        return results

    def _arrays(self, op: Op, values: list[Any], inferred: Inferred) -> list[Any]:
        """The kernel's arguments: tensors as arrays, of the type in which the op computes where it has one."""
        compute = inferred.compute
        if compute is None:
            return [
                v.array if type(v) is Tensor
                else [x.array if type(x) is Tensor else x for x in v] if type(v) is tuple
                else v
                for v in values
            ]  # fmt: skip
        want = NUMPY_DTYPE[compute]
        out = []
        for v, p in zip(values, op.params, strict=True):
            if type(v) is Tensor:
                a = v.array
                out.append(a if a.dtype is want or a.dtype == want else a.astype(want))
            elif p.is_tensor and v is not None:
                out.append(self.number(v, compute))
            else:
                out.append(v)
        return out

    def number(self, v: Any, compute: DType) -> Any:
        """A Python number as a 0-d array: integers wrap as in C, as torch has it."""
        if self.xp is np and compute.category >= Category.FLOAT:
            return NUMPY_DTYPE[compute].type(v)
        return self.xp.asarray(v).astype(NUMPY_DTYPE[compute])

    def _run(self, op: Op, arrays: list[Any], inferred: Inferred, out: Any = None) -> list[Any]:
        """The kernel's results as arrays of the inferred shapes and types, timed."""
        k = KERNELS[op.name]
        if not k.spec and not k.rng and out is None:
            began = perf_counter_ns()
            made = k.run(self.xp, *arrays)
            took = perf_counter_ns() - began
        else:
            kwargs: dict[str, Any] = {}
            if k.spec:
                several = op.returns_list or len(inferred.results) != 1
                kwargs["spec"] = inferred.results if several else inferred.results[0]
            if k.rng:
                kwargs["rng"] = self.rng
            if out is not None:
                kwargs["out"] = out
            began = perf_counter_ns()
            made = k.run(self.xp, *arrays, **kwargs)
            took = perf_counter_ns() - began
        key = (op.name, self.phase)
        times = self.times.get(key)
        if times is None:
            self.times[key] = [took]
        else:
            times.append(took)
        if out is not None:
            return []
        if type(made) not in (tuple, list):
            made = (made,)
        if op.view_of is not None:
            return list(made)
        results = []
        ndarray = self.xp.ndarray
        for a, s in zip(made, inferred.results, strict=False):
            if type(a) is not ndarray:
                a = self.xp.asarray(a)
            want = NUMPY_DTYPE[s.dtype]
            if a.dtype is not want and a.dtype != want:
                a = a.astype(want)
            # A result that is not dense, or is a window on other memory, would break what specs promise.
            if not a.flags.c_contiguous or _shares(a, arrays):
                a = a.copy(order="C")
            if a.shape != s.shape:
                raise RuntimeError(f"{op.name}: the kernel made shape {a.shape}, its meta rule said {s.shape}")
            results.append(a)
        return results

    def _views(self, op: Op, values: list[Any], specs: list[Any], inferred: Inferred, made: list[Any]) -> list[Tensor]:
        where = op.view_of
        assert where is not None
        source: Tensor = values[where]
        results = [Tensor(self, a, s, source.storage) for a, s in zip(made, inferred.results, strict=True)]
        if not op.differentiable:
            return results
        source_edge_needed = self.grad_enabled
        base = source.base or source
        plain = tuple(None if i == where else v for i, v in enumerate(values))
        for nr, r in enumerate(results):
            r.base = base
            r.chain = (*source.chain, (op, plain, nr))
            r.generation = base.generation
            r.creation = source.creation or (
                "multi" if op.returns_list else "" if self.grad_enabled else "no_grad"
            )
        if source_edge_needed:
            self._record(op, values, specs, inferred, results)
        return results

    def _record(self, op: Op, values: list[Any], specs: list[Any], inferred: Inferred, results: list[Tensor]) -> None:
        """Give the results a node, where an argument requires grad."""
        node = self._node(op, values, specs, inferred.results)
        if node is None:
            return
        for nr, r in enumerate(results):
            if r.spec.dtype.differentiable:
                r.requires_grad, r.grad_fn, r.output_nr = True, node, nr
        node.save(values, specs)
        node.save_results(results)

    def _node(self, op: Op, values: list[Any], specs: list[Any], out_specs: tuple[Spec, ...]) -> OpNode | None:
        if op.tensor_params is not None:
            return self._plain_node(op, op.tensor_params, values, specs, out_specs)
        edges: list[Any] = []
        in_specs: list[Spec] = []
        needs = []
        spans = []
        wanted = False
        for v, s, p in zip(values, specs, op.params, strict=True):
            start = len(edges)
            here = False
            if type(v) is Tensor:
                e = history(v) if v.requires_grad or v.base is not None else None
                here = e is not None
                edges.append(e)
                in_specs.append(s)
            elif p.is_list and p.is_tensor:
                for x, xs in zip(v, s, strict=True):
                    e = history(x) if x is not None else None
                    here = here or e is not None
                    edges.append(e)
                    in_specs.append(xs)
            needs.append(here)
            wanted = wanted or here
            spans.append((start, len(edges)))
        if not wanted:
            return None
        rule = RULES.get(op.name)
        if rule is None:
            raise NotImplementedError(f"derivative for {op.name} is not implemented")
        mask = tuple(needs)
        return OpNode(self, op, rule.plan(mask), mask, tuple(edges), tuple(in_specs), out_specs, tuple(spans))

    def _plain_node(self, op: Op, at: tuple[int, ...], values: list[Any], specs: list[Any],
                    out_specs: tuple[Spec, ...]) -> OpNode | None:  # fmt: skip
        """The node of an op without lists: an edge for each argument that may be a tensor."""
        edges: list[Any] = []
        mask, bit = 0, 1
        for i in at:
            v = values[i]
            e = None
            if type(v) is Tensor and (v.requires_grad or v.base is not None):
                e = history(v)
                if e is not None:
                    mask |= bit
            edges.append(e)
            bit <<= 1
        if not mask:
            return None
        rule = RULES.get(op.name)
        if rule is None:
            raise NotImplementedError(f"derivative for {op.name} is not implemented")
        needs, plan = rule.plan_of(mask, at)
        return OpNode(self, op, plan, needs, tuple(edges), tuple([specs[i] for i in at]), out_specs, rule.spans)

    def _write(self, op: Op, values: list[Any], specs: list[Any], inferred: Inferred) -> list[Tensor]:
        """Apply an op that writes to its arguments, with torch's refusals."""
        targets: list[Tensor] = []
        for i in op.writes:
            targets.extend([values[i]] if type(values[i]) is Tensor else values[i])
        recorded = op.inplace_of or op
        node = None
        if op.differentiable and self.grad_enabled:
            check_writes(targets[0])
            before = list(values)
            before[op.writes[0]] = targets[0].alias()
            node = self._node(recorded, before, specs, inferred.results)
            if node is not None and targets[0].is_leaf and targets[0].requires_grad:
                raise RuntimeError(refusals.LEAF_WRITTEN)
            if node is not None:
                if ("input", op.writes[0]) in node.plan.slots:
                    before[op.writes[0]] = self._before_write(targets[0])
                node.save(before, specs)
        arrays = self._arrays(op, values, inferred)
        if op.inplace_of is None:
            self._run_writer(op, arrays, targets)
        else:
            self._run_inplace(op.inplace_of, arrays, specs, inferred, targets[0])
        for t in targets:
            t.storage.version += 1
        if node is not None:
            t = targets[0]
            node.save_results([t])
            rebase(t, node, op.writes[0])
        return targets

    def _before_write(self, t: Tensor) -> Tensor:
        """A copy of what an op is about to overwrite, with its history, for a derivative that needs it."""
        self.meter.check(t.spec.nbytes)
        dense = spec(t.spec.shape, t.spec.dtype)
        return Tensor(self, t.array.copy(order="C"), dense, None, t.requires_grad, t.grad_fn, t.output_nr)

    def _run_writer(self, op: Op, arrays: list[Any], targets: list[Tensor]) -> None:
        k = KERNELS[op.name]
        kwargs: dict[str, Any] = {}
        if k.rng:
            kwargs["rng"] = self.rng
        if k.grads:
            kwargs["grads"] = [None if t.grad is None else t.grad.array for t in targets[: len(arrays[0])]]
        began = perf_counter_ns()
        k.run(self.xp, *arrays, **kwargs)
        phase = "update" if k.grads else self.phase
        self.times.setdefault((op.name, phase), []).append(perf_counter_ns() - began)

    def _run_inplace(self, op: Op, arrays: list[Any], specs: list[Any], inferred: Inferred, target: Tensor) -> None:
        result = op.infer(specs)
        dtype = target.array.dtype
        if KERNELS[op.name].out and NUMPY_DTYPE[result.results[0].dtype] == dtype and arrays[0].dtype == dtype:
            self._run(op, arrays, result, out=target.array)
        else:
            self.meter.check(result.nbytes)
            target.array[...] = self._run(op, arrays, result)[0]

    def replay(self, chain: tuple[tuple[Op, tuple[Any, ...], int], ...], base: Any) -> Any:
        """A chain of view ops anew from ``base``, a tensor or an array."""
        for op, plain, nr in chain:
            values = [base if i == op.view_of else v for i, v in enumerate(plain)]
            if type(base) is Tensor:
                base = self.apply(op, values)[nr]
            else:
                made = run_kernel(op, values)
                base = made[nr] if op.returns_list else made
        return base

    def record_function(self, label: str, function: int, inputs: list[Tensor | None], outputs: list[Tensor],
                        differentiable: list[bool]) -> list[Tensor]:  # fmt: skip
        """Tensors with the outputs' memory whose history is a custom function of the inputs."""
        edges = tuple(None if t is None else history(t) for t in inputs)
        in_specs = tuple(spec((), t.dtype) if t is None else t.spec for t in [x or outputs[0] for x in inputs])
        results = [Tensor(self, t.array, t.spec, t.storage) for t in outputs]
        if not self.grad_enabled or all(e is None for e in edges):
            return results
        node = FunctionNode(self, label, function, edges, in_specs, tuple(t.spec for t in outputs))
        for nr, (r, d) in enumerate(zip(results, differentiable, strict=True)):
            if d and r.spec.dtype.differentiable:
                r.requires_grad, r.grad_fn, r.output_nr = True, node, nr
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

    def retain_grad(self, t: Tensor) -> None:
        """Keep a non-leaf tensor's gradient in ``t.grad`` when backward passes it."""
        import weakref

        edge = history(t)
        if edge is None:
            raise RuntimeError(refusals.NO_GRAD_RETAINED)
        if t.grad_fn is None:
            return
        node, nr = edge
        node.retained = node.retained or {}
        node.retained[nr] = weakref.ref(t)

    def add_hook(
        self, t: Tensor, hook: int, run: Callable[[Tensor], Tensor | None]
    ) -> dict[int, Callable[[Tensor], Tensor | None]]:
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

    def add_post_hook(self, t: Tensor, hook: int, run: Callable[[Tensor], Tensor | None]) -> None:
        """Have ``run`` called with leaf ``t`` after its ``.grad`` was added to."""
        if t.grad_fn is not None:
            raise RuntimeError(refusals.NON_LEAF_POST_HOOKED)
        t.post_hooks = t.post_hooks or {}
        t.post_hooks[hook] = run


def _no_client(*_: Any) -> list[Tensor | None]:
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
    if t.creation == "no_grad":
        raise RuntimeError(refusals.NO_GRAD_VIEW_WRITTEN)
    if t.creation == "multi":
        name = t.chain[-1][0].node.removesuffix("Backward0")
        raise RuntimeError(refusals.multi_view_written(t.output_nr, name))
    if base.grad_fn is None and base.requires_grad:
        raise RuntimeError(refusals.VIEW_OF_LEAF_WRITTEN)


def rebase(t: Tensor, node: OpNode, target: int) -> None:
    """Make ``node`` the history of ``t`` after an in-place op; of a view, through its base."""
    base = t.base
    if base is None:
        adopt(t, node, 0)
        t.generation += 1
        return
    start, _ = node.spans[target] if node.spans else (target, 0)
    copied = CopySlices(base, t, node, start)
    adopt(base, copied, 0)
    base.generation += 1
    history(t)


__all__ = ["Engine", "accumulator", "check_writes", "rebase"]
