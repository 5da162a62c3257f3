"""Backward: a loop over the recorded nodes, latest first, that carries gradients from the roots to the leaves.

Never recursion, so that a chain of a million nodes is no different from one of ten. Gradients are bare arrays, unless
``create_graph`` asks for tensors whose own history is recorded.
"""

from __future__ import annotations

import heapq
from time import perf_counter_ns
from typing import Any

import numpy as np

from gradwire_engine import functional as F
from gradwire_engine.backend import DTYPE, NUMPY_DTYPE
from gradwire_engine.engine import Engine
from gradwire_engine.graph import AccumulateGrad, Edge, Node, OpNode, history
from gradwire_engine.tensor import Tensor
from gradwire_proto import refusals
from gradwire_proto.spec import Spec


def backward(engine: Engine, roots: list[Tensor], grads: list[Tensor | None], *, retain_graph: bool,
             create_graph: bool, inputs: list[Tensor] | None = None) -> None:  # fmt: skip
    """Add the gradients of the roots to ``.grad`` of the leaves (only of ``inputs`` where given).

    Args:
        grads: the gradient of each root; None for ones, where the root has one element.

    Raises:
        RuntimeError: torch's, for roots without history, gradients that don't fit, freed or modified tensors.
    """
    starts = _starts(engine, roots, grads, create_graph)
    only = None
    if inputs is not None:
        only = [_input_edge(t) for t in inputs]
    _run(engine, starts, retain_graph, create_graph, only, accumulate=True)


def grad(engine: Engine, outputs: list[Tensor], inputs: list[Tensor], grads: list[Tensor | None], *,
         retain_graph: bool, create_graph: bool, allow_unused: bool) -> list[Tensor | None]:  # fmt: skip
    """The gradients of the outputs with respect to ``inputs``; ``.grad`` of nothing changes.

    Raises:
        RuntimeError: torch's, as for :func:`backward`, and for inputs not in the graph unless ``allow_unused``.
    """
    starts = _starts(engine, outputs, grads, create_graph)
    edges = [_input_edge(t) for t in inputs]
    found = _run(engine, starts, retain_graph, create_graph, edges, accumulate=False)
    results: list[Tensor | None] = []
    for i, g in enumerate(found):
        if g is None:
            if not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
            results.append(None)
        elif create_graph:
            results.append(g)
        else:
            results.append(engine.keep(g))
    return results


def _input_edge(t: Tensor) -> tuple[Node, int]:
    edge = history(t)
    if edge is None:
        raise RuntimeError(refusals.NO_GRAD_DIFFERENTIATED)
    return edge


def _starts(engine: Engine, roots: list[Tensor], grads: list[Tensor | None],
            create_graph: bool) -> list[tuple[Node, int, Any]]:  # fmt: skip
    if len(roots) != len(grads):
        raise RuntimeError(refusals.gradient_count(len(roots), len(grads)))
    starts = []
    for i, (t, g) in enumerate(zip(roots, grads, strict=True)):
        edge = history(t)
        if g is None:
            if edge is None:
                raise RuntimeError(refusals.no_history(i))
            if t.spec.numel != 1:
                raise RuntimeError(refusals.NOT_SCALAR)
            if t.dtype.is_complex:
                raise RuntimeError(refusals.not_real(t.dtype))
            g = engine.wrap(engine.xp.ones(t.shape, NUMPY_DTYPE[t.dtype]))
        elif g.shape != t.shape:
            raise RuntimeError(refusals.gradient_shape(i, g.shape, t.shape))
        elif g.dtype.is_complex != t.dtype.is_complex:
            raise RuntimeError(refusals.gradient_dtype(i, g.dtype, t.dtype))
        if edge is None:
            raise RuntimeError(refusals.no_history(i))
        starts.append((*edge, g if create_graph else g.array))
    return starts


def _reaching(starts: list[Node], targets: set[Node]) -> set[Node]:
    """The nodes from which a target can be reached, targets included."""
    children: dict[Node, list[Node]] = {}
    stack, seen = list(starts), set(starts)
    while stack:
        node = stack.pop()
        for e in node.edges:
            if e is not None:
                children.setdefault(e[0], []).append(node)
                if e[0] not in seen:
                    seen.add(e[0])
                    stack.append(e[0])
    reached = {t for t in targets if t in seen}
    stack = list(reached)
    while stack:
        for parent in children.get(stack.pop(), ()):
            if parent not in reached:
                reached.add(parent)
                stack.append(parent)
    return reached


def _run(engine: Engine, starts: list[tuple[Node, int, Any]], retain_graph: bool, create_graph: bool,
         only: list[tuple[Node, int]] | None, accumulate: bool) -> list[Any]:  # fmt: skip
    """Run the graph; the gradients that arrived at the edges ``only``, where given."""
    captured: dict[tuple[Node, int], Any] = {}
    needed: set[Node] | None = None
    captures: dict[Node, list[int]] = {}
    if only is not None:
        needed = _reaching([s[0] for s in starts], {n for n, _ in only})
        for n, nr in only:
            captures.setdefault(n, []).append(nr)
    waiting: dict[Node, int] = {}
    seen = {s[0] for s in starts}
    stack = list(seen)
    while stack:
        for e in stack.pop().edges:
            if e is None or (needed is not None and e[0] not in needed):
                continue
            n = e[0]
            waiting[n] = waiting.get(n, 0) + 1
            if n not in seen:
                seen.add(n)
                stack.append(n)
    buffers: dict[Node, list[Any]] = {}
    owned: set[tuple[Node, int]] = set()

    def deliver(node: Node, nr: int, g: Any) -> None:
        buffer = buffers.get(node)
        if buffer is None:
            buffer = buffers[node] = [None] * len(node.out_specs)
        have = buffer[nr]
        if have is None:
            buffer[nr] = g
        elif create_graph:
            buffer[nr] = have + g
        elif (node, nr) in owned:
            have += g
        else:
            engine.meter.check(node.out_specs[nr].nbytes)
            total = have + g
            # NumPy's 0-d sums are scalars, which can't be added to in place, nor kept.
            buffer[nr] = np.asarray(total) if isinstance(total, np.generic) else total
            owned.add((node, nr))

    heap: list[tuple[int, int, Node]] = []

    def ready(node: Node) -> None:
        # Leaves first, as soon as all has arrived; then the latest recorded.
        heapq.heappush(heap, (0 if type(node) is AccumulateGrad else 1, -node.seq, node))

    before = engine.grad_enabled, engine.phase, engine.retain_graph
    engine.grad_enabled, engine.phase, engine.retain_graph = create_graph, "backward", retain_graph
    try:
        for node, nr, g in starts:
            if needed is None or node in needed:
                deliver(node, nr, g)
        for node in dict.fromkeys(s[0] for s in starts):
            if not waiting.get(node) and (needed is None or node in needed):
                ready(node)
        while heap:
            if engine.halt is not None:
                raise RuntimeError(engine.halt)
            node = heapq.heappop(heap)[2]
            grads = buffers.pop(node, None) or [None] * len(node.out_specs)
            if node.hooks or node.retained or type(node) is AccumulateGrad:
                _hooks(engine, node, grads, create_graph)
            if node in captures:
                for nr in captures[node]:
                    g = grads[nr]
                    # what the client is given is dense
                    captured[node, nr] = F.clone(g) if create_graph and g is not None and not g.spec.contiguous else g
            if type(node) is AccumulateGrad:
                if accumulate:
                    node.run(grads, create_graph)
                    for hook in list((node.variable.post_hooks or {}).values()):
                        hook(node.variable)
                continue
            edges: tuple[Edge, ...] | list[Edge] = node.edges
            if needed is not None:
                edges = [e if e is not None and e[0] in needed else None for e in edges]
                if not any(edges):
                    continue
            engine.line = node.line
            made: list[Any] = []
            if grads[0] is not None or any(g is not None for g in grads):
                made = _timed(engine, node, grads, create_graph)
            if not retain_graph:
                node.release()
            for i, e in enumerate(edges):
                if e is None:
                    continue
                n = e[0]
                g = made[i] if made else None
                if g is not None:
                    s = node.in_specs[i]
                    if g.shape != s.shape and not expandable(s.shape, g.shape):
                        raise RuntimeError(
                            f"Function {node.name} returned an invalid gradient at index {i} - got {list(g.shape)} but "
                            f"expected shape compatible with {list(s.shape)}"
                        )
                    deliver(n, e[1], fit(g, s, create_graph))
                waiting[n] -= 1
                if not waiting[n]:
                    ready(n)
    finally:
        engine.grad_enabled, engine.phase, engine.retain_graph = before
    return [captured.get(edge) for edge in only or ()]


def _timed(engine: Engine, node: Node, grads: list[Any], create_graph: bool) -> list[Any]:
    if create_graph or type(node) is not OpNode:
        return node.run(grads, create_graph)  # its ops are timed one by one
    began = perf_counter_ns()
    made = node.run(grads, False)
    engine.timer(node.op.name, "backward").append(perf_counter_ns() - began)
    return made


def expandable(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether ``shape`` broadcasts to ``to``."""
    lead = len(to) - len(shape)
    return lead >= 0 and all(a in (1, b) for a, b in zip(shape, to[lead:], strict=True))


def fit(g: Any, spec: Spec, create_graph: bool) -> Any:
    """A gradient in its input's shape and type: broadcasting undone, a real input's imaginary part dropped."""
    if not create_graph:
        if isinstance(g, np.generic):
            g = np.asarray(g)  # NumPy's 0-d results are scalars
        if g.shape == spec.shape and g.dtype is NUMPY_DTYPE[spec.dtype]:
            return g
    if g.shape != spec.shape:
        g = F.sum_to(g, spec.shape)
    dtype = g.dtype if create_graph else DTYPE[g.dtype]
    if dtype is not spec.dtype:
        if dtype.is_complex and not spec.dtype.is_complex:
            g = F.real(g)
            dtype = dtype.to_real()
        if dtype is not spec.dtype:
            g = F.to_dtype(g, spec.dtype) if create_graph else g.astype(NUMPY_DTYPE[spec.dtype])
    return g


def _hooks(engine: Engine, node: Node, grads: list[Any], create_graph: bool) -> None:
    """Run the hooks of the tensors whose gradients these are, then keep what is to be retained."""
    hooks = node.hooks or {}
    if type(node) is AccumulateGrad and node.variable.hooks:
        hooks = {0: node.variable.hooks}
    for nr, several in hooks.items():
        for hook in list(several.values()):
            if grads[nr] is None:
                break
            t = grads[nr] if create_graph else engine.keep(grads[nr])
            new = hook(t)
            if new is not None:
                grads[nr] = new if create_graph else new.array
    for nr, ref in (node.retained or {}).items():
        t = ref()
        if t is not None and grads[nr] is not None:
            g = grads[nr] if create_graph else engine.keep(grads[nr])
            t.grad = g if t.grad is None else t.grad + g
