"""Backward: a loop over the recorded nodes, latest first, that carries gradients from the roots to the leaves.

Never recursion, so that a chain of a million nodes is no different from one of ten. Gradients are bare arrays, unless
``create_graph`` asks for tensors whose own history is recorded, or a trace for tensors whose ops it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter
from time import perf_counter_ns
from typing import Any

import numpy as np

from gradwire_engine import functional as F
from gradwire_engine.backend import DTYPE, NUMPY_DTYPE
from gradwire_engine.engine import Engine
from gradwire_engine.graph import AFTER, BEFORE, AccumulateGrad, CopySlices, Node, OpNode, history, own, shown
from gradwire_engine.rows import in_one_pass, row_by_row
from gradwire_engine.tensor import Tensor
from gradwire_proto import refusals
from gradwire_proto.spec import Spec

Hook = Callable[[Tensor | None], Tensor | None]


def backward(engine: Engine, roots: list[Tensor], grads: list[Tensor | None], *, retain_graph: bool,
             create_graph: bool, inputs: list[Tensor] | None = None, check_nan: bool = False) -> None:  # fmt: skip
    """Add the gradients of the roots to ``.grad`` of the leaves (only of ``inputs`` where given).

    Args:
        grads: the gradient of each root; None for ones, where the root has one element.
        check_nan: refuse a gradient with NaN in it as soon as a node makes one.

    Raises:
        RuntimeError: torch's, for roots without history, gradients that don't fit, freed or modified tensors. Where it
            was raised in a node, its attribute ``node`` is the node's name.
    """
    starts = _starts(engine, roots, grads, create_graph)
    only = None
    if inputs is not None:
        only = [_input_edge(t) for t in inputs]
    _run(engine, starts, retain_graph, create_graph, only, check_nan, accumulate=True)


def grad(engine: Engine, outputs: list[Tensor], inputs: list[Tensor], grads: list[Tensor | None], *,
         retain_graph: bool, create_graph: bool, allow_unused: bool, check_nan: bool = False,
         batched: bool = False) -> list[Tensor | None]:  # fmt: skip
    """The gradients of the outputs with respect to ``inputs``; ``.grad`` of nothing changes.

    Args:
        batched: ``grads``, and so the results, have one dimension more, in front: along it is what each of many passes
            would start from, and find.

    Raises:
        RuntimeError: torch's, as for :func:`backward`, and for inputs not in the graph unless ``allow_unused``.
    """
    if batched:
        return _grad_of_rows(engine, outputs, inputs, grads, retain_graph, create_graph, allow_unused, check_nan)
    starts = _starts(engine, outputs, grads, create_graph)
    edges = [_input_edge(t) for t in inputs]
    found = _run(engine, starts, retain_graph, create_graph, edges, check_nan, accumulate=False)
    results: list[Tensor | None] = []
    for i in range(len(found)):
        if found[i] is None:
            if not allow_unused:
                raise RuntimeError(refusals.unused(i))
            results.append(None)
        elif create_graph:
            results.append(found[i])
        elif engine.trace is not None:
            results.append(F.clone(found[i]))
        else:
            results.append(own(engine, found, i))
    return results


def _grad_of_rows(engine: Engine, outputs: list[Tensor], inputs: list[Tensor], grads: list[Tensor | None],
                  retain_graph: bool, create_graph: bool, allow_unused: bool,
                  check_nan: bool) -> list[Tensor | None]:  # fmt: skip
    """One pass for all rows of ``grads``; where the client has a part in it, and where NaN is looked for, one a row."""
    size = next((g.shape[0] for g in grads if g is not None), 0)
    for i, (g, t) in enumerate(zip(grads, outputs, strict=True)):
        if g is None:
            raise RuntimeError(refusals.NOT_SCALAR)
        if g.shape != (size, *t.shape):
            raise RuntimeError(refusals.batched_shape(i, g.shape[1:], t.shape))
    edges = [_input_edge(t) for t in inputs]
    nodes, *_ = _order([e[0] for e in map(history, outputs) if e is not None], {e[0] for e in edges}, False)
    leaves = [e[0] for e in edges if type(e[0]) is AccumulateGrad]
    plain = all(type(n) in (OpNode, CopySlices) and not n.hooks and not n.retained for n in nodes)
    if plain and not check_nan and not any(n.variable.hooks for n in leaves):
        found = in_one_pass(engine, size, grads, lambda rows: _run(
            engine, _starts(engine, outputs, rows, True), retain_graph, create_graph, edges, False, accumulate=False,
            tensors=True))  # fmt: skip
    else:
        found = row_by_row(engine, size, grads, lambda row, last: grad(
            engine, outputs, inputs, row, retain_graph=retain_graph or not last, create_graph=create_graph,
            allow_unused=True, check_nan=check_nan)) or [None] * len(inputs)  # fmt: skip
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise RuntimeError(refusals.unused(i))
    return found


def _input_edge(t: Tensor) -> tuple[Node, int]:
    edge = history(t)
    if edge is None:
        raise RuntimeError(refusals.NO_GRAD_DIFFERENTIATED)
    return edge


def _starts(engine: Engine, roots: list[Tensor], grads: list[Tensor | None],
            tensors: bool) -> list[tuple[Node, int, Any]]:  # fmt: skip
    if len(roots) != len(grads):
        raise RuntimeError(refusals.gradient_count(len(roots), len(grads)))
    starts = []
    tensors = tensors or engine.trace is not None
    for i, (t, g) in enumerate(zip(roots, grads, strict=True)):
        edge = history(t)
        if g is None:
            if edge is None:
                raise RuntimeError(refusals.no_history(i))
            if t.spec.numel != 1:
                raise RuntimeError(refusals.NOT_SCALAR)
            if t.dtype.is_complex:
                raise RuntimeError(refusals.not_real(t.dtype))
            ones = engine.xp.array(1, NUMPY_DTYPE[t.dtype])
            if t.shape:
                ones = ones.reshape(t.shape)
            starts.append((*edge, engine.wrap(ones) if tensors else ones))
            continue
        if g.shape != t.shape:
            raise RuntimeError(refusals.gradient_shape(i, g.shape, t.shape))
        if g.dtype.is_complex != t.dtype.is_complex:
            raise RuntimeError(refusals.gradient_dtype(i, g.dtype, t.dtype))
        if edge is None:
            raise RuntimeError(refusals.no_history(i))
        starts.append((*edge, g if tensors else g.array))
    return starts


def _order(starts: list[Node], targets: set[Node] | None, cut: bool) -> tuple[list[Node], dict[Node, int], set[Node],
                                                                              set[Node] | None, set[Node]]:  # fmt: skip
    """What there is to run: the nodes, latest last, apart from the leaves; how many gradients each leaf waits for; and
    the nodes again as a set.

    A node is recorded after those to which its edges lead, so that the order in which they were recorded, backwards,
    is one in which every gradient has arrived when it is wanted: there is nothing to count, but for the leaves, which
    torch runs as soon as they are complete.

    With ``targets``, only what leads to one of them; then also what may be visited, and where it ends. With ``cut`` it
    ends at each of them, and none is to be run.
    """
    nodes: list[Node] = []
    waiting: dict[Node, int] = {}
    seen = set(starts)
    stack = list(seen)
    if cut and targets is not None:
        seen |= targets
        waiting = dict.fromkeys(targets, 1)  # for what never comes
    while stack:
        node = stack.pop()
        if type(node) is AccumulateGrad:
            waiting.setdefault(node, 0)
            continue
        nodes.append(node)
        for e in node.edges:
            if e is not None:
                n = e[0]
                if type(n) is AccumulateGrad:
                    waiting[n] = waiting.get(n, 0) + 1
                elif n not in seen:
                    seen.add(n)
                    stack.append(n)
    nodes.sort(key=_seq)
    if targets is None:
        return nodes, waiting, seen, None, set()
    needed, ends = set(targets), set(targets)
    leading = []
    for node in nodes:
        for e in node.edges:
            if e is not None and e[0] in needed:
                needed.add(node)
                ends.discard(node)
                leading.append(node)
                break
        else:
            if node in needed:
                leading.append(node)
    return leading, waiting, seen, needed, ends


_seq = attrgetter("seq")


def _run(engine: Engine, starts: list[tuple[Node, int, Any]], retain_graph: bool, create_graph: bool,
         only: Sequence[tuple[Node, int]] | None, check_nan: bool, accumulate: bool,
         cut: bool = False, tensors: bool = False) -> list[Any]:  # fmt: skip
    """Run the graph, where asked on tensors; the gradients that arrived at the edges ``only``, where given. With
    ``cut`` nothing is run there nor beyond, and no hook sees them."""
    trace = engine.trace
    tensors = tensors or create_graph or trace is not None
    if check_nan and trace is not None:
        trace.refuse("it looks for NaN in backward")
    captured: dict[tuple[Node, int], Any] = {}
    captures: dict[Node, list[int]] = {}
    for n, nr in only or ():
        captures.setdefault(n, []).append(nr)
    nodes, waiting, seen, needed, ends = _order([s[0] for s in starts], None if only is None else set(captures), cut)
    if accumulate or cut:
        captures, ends = {}, set()  # what backward is to fill runs like all else, as torch has it
    arrived: dict[Node, list[Any]] = {}
    """The gradients of each node's outputs so far."""
    owned: set[tuple[Node, int]] = set()
    """Those that are sums, in memory of our own."""
    spent: dict[str, list[int]] = {}
    ndarray, dtypes, generic, asarray = engine.xp.ndarray, NUMPY_DTYPE, np.generic, np.asarray

    def deliver(node: Node, nr: int, g: Any) -> None:
        buffer = arrived.get(node)
        if buffer is None:
            buffer = arrived[node] = [None] * len(node.out_specs)
        have = buffer[nr]
        if have is None:
            buffer[nr] = g
        elif tensors:
            buffer[nr] = have + g
        elif (node, nr) in owned:
            have += g
        else:
            engine.meter.check(node.out_specs[nr].nbytes)
            total = have + g
            # NumPy's 0-d sums are scalars, which can't be added to in place, nor kept.
            buffer[nr] = np.asarray(total) if isinstance(total, np.generic) else total
            owned.add((node, nr))

    def capture(node: Node, grads: list[Any]) -> None:
        for nr in captures.get(node, ()):
            g = grads[nr]
            # what the client is given is dense
            captured[node, nr] = F.clone(g) if tensors and g is not None and not g.spec.contiguous else g

    def finish(leaves: list[AccumulateGrad]) -> None:
        for leaf in sorted(leaves, key=_seq, reverse=True) if len(leaves) > 1 else leaves:
            if engine.halt is not None:
                raise RuntimeError(engine.halt)
            grads = arrived.pop(leaf, None) or [None]
            t = leaf.variable
            try:
                if t.hooks:
                    _hooks(engine, leaf, {0: t.hooks}, grads, tensors)
                if captures:
                    capture(leaf, grads)
                if accumulate:
                    around = leaf.hooks or {}
                    if BEFORE in around:
                        grads = _around(engine, around[BEFORE], grads, [], tensors)
                    given = list(grads) if AFTER in around else None  # else the leaf may be alone with its gradient
                    leaf.run(grads, tensors)
                    if t.post_hooks:
                        for hook in list(t.post_hooks.values()):
                            hook(t)
                    if given is not None:
                        _around(engine, around[AFTER], [], given, tensors)
            except Exception as e:
                blame(e, leaf)
                raise

    def blame(e: Exception, node: Node) -> None:
        """Have an error say which node it was raised in, and the line that recorded it."""
        if engine.halt is None and not hasattr(e, "node"):
            setattr(e, "node", node.name)
            engine.line = node.line

    node: Node | None = None
    before = engine.grad_enabled, engine.phase, engine.retain_graph, engine.check_nan
    engine.grad_enabled, engine.phase, engine.retain_graph, engine.check_nan = (
        create_graph, "backward", retain_graph, check_nan,
    )  # fmt: skip
    engine.passes += 1
    engine.passing.append((engine.passes, (seen, waiting) if needed is None else (needed,)))
    try:
        for root, nr, g in starts:
            if needed is None or root in needed:
                deliver(root, nr, g)
        finish([n for n in arrived if type(n) is AccumulateGrad and not waiting[n]])
        while nodes:
            if engine.halt is not None:
                raise RuntimeError(engine.halt)
            node = nodes.pop()
            engine.line = node.line
            grads = arrived.pop(node, None) or [None] * len(node.out_specs)
            if captures and node in captures and node not in ends:
                capture(node, grads)  # as torch has it: hooks change what is captured only where the graph ends
            hooks = node.hooks
            if hooks or node.retained:
                _hooks(engine, node, hooks or {}, grads, tensors)
            if captures and node in ends:
                capture(node, grads)
                continue
            if hooks and BEFORE in hooks:
                grads = _around(engine, hooks[BEFORE], grads, [], tensors)
            made: Any = NOTHING
            if grads[0] is None and not any(g is not None for g in grads):
                pass
            elif tensors or type(node) is not OpNode:
                if trace is not None:
                    trace.passed(node)
                made = node.run(grads, tensors)  # its ops are timed one by one
            else:
                began = perf_counter_ns()
                made = node.run(grads, False)
                took = perf_counter_ns() - began
                name = node.case.base.name
                if name in spent:
                    spent[name].append(took)
                else:
                    spent[name] = [took]
            hooks = node.hooks  # running it may have added one
            if hooks and AFTER in hooks:
                made = [None] * len(node.edges) if made is NOTHING else list(made)
                at = shown(node)
                fitting = [_fitting(made[i], node, i, tensors) for i in at]
                given = _around(engine, hooks[AFTER], fitting, grads, tensors)
                for i, g in zip(at, given, strict=True):
                    made[i] = g
            if not retain_graph:
                node.release()
            if check_nan:
                made = _without_nan(node, made, needed, tensors)
            complete = None
            for e, s, g in zip(node.edges, node.in_specs, made):  # noqa: B905  (to say so takes as long as to zip)
                if e is None:
                    continue
                n = e[0]
                if needed is not None and n not in needed:
                    continue
                if g is not None:
                    if type(g) is not ndarray and isinstance(g, generic):
                        g = asarray(g)  # NumPy's 0-d results are scalars
                    if type(g) is not ndarray or g.shape != s.shape or g.dtype is not dtypes[s.dtype]:
                        g = fit(g, s, tensors, node, e)
                    # What nearly always comes to pass, without a call.
                    if n not in arrived and len(n.out_specs) == 1:
                        arrived[n] = [g]
                    else:
                        deliver(n, e[1], g)
                if type(n) is AccumulateGrad:
                    left = waiting[n] = waiting[n] - 1
                    if not left:
                        if complete is None:
                            complete = []
                        complete.append(n)
            if complete is not None:
                made = g = None  # so that a leaf may find that it alone has its gradient
                finish(complete)
    except Exception as e:
        if node is not None:
            blame(e, node)
        raise
    finally:
        engine.passing.pop()
        engine.grad_enabled, engine.phase, engine.retain_graph, engine.check_nan = before
        for name, times in spent.items():
            engine.timer(name, "backward").extend(times)
    if cut:
        return [arrived[n][nr] if n in arrived else None for n, nr in only or ()]
    return [captured.get(edge) for edge in only or ()]


def through(engine: Engine, starts: list[tuple[Node, int, Any]], edges: Sequence[tuple[Node, int]]) -> list[Any]:
    """Within a backward pass, in a node: the gradients at ``edges`` that come through a history of the node's own.

    Args:
        starts: where it begins, and the gradients there.
        edges: where it ends, which are the node's.
    """
    create_graph = engine.grad_enabled
    return _run(engine, starts, create_graph, create_graph, edges, engine.check_nan, accumulate=False, cut=True)


def run_alone(engine: Engine, node: Node, grads: list[Tensor | None], create_graph: bool) -> list[Tensor | None]:
    """What a node makes of gradients of its outputs, for the edges that it shows, outside of any backward pass."""
    before = engine.grad_enabled, engine.phase, engine.retain_graph
    engine.grad_enabled, engine.phase, engine.retain_graph = create_graph, "backward", True
    try:
        made = list(node.run(list(grads), True)) if any(g is not None for g in grads) else [None] * len(node.edges)
    finally:
        engine.grad_enabled, engine.phase, engine.retain_graph = before
    return [_fitting(made[i], node, i, True) for i in shown(node)]


def will_run(engine: Engine, node: Node) -> bool:
    """Whether the backward pass under way, the innermost, comes by a node."""
    return bool(engine.passing) and any(node in several for several in engine.passing[-1][1])


NOTHING = repeat(None)
"""No gradient for any edge."""


def _without_nan(node: Node, made: Any, needed: set[Node] | None, tensors: bool) -> list[Any]:
    """What a node made for its edges, in their shapes and types.

    Raises:
        RuntimeError: torch's, where there is NaN in what goes on.
    """
    fitted: list[Any] = []
    output = -1
    for e, s, g in zip(node.edges, node.in_specs, made):  # noqa: B905  (where there is nothing it never ends)
        output += type(s) is not Spec or s.dtype.differentiable  # torch has no edges for indices and masks
        fitted.append(None)
        if g is None or e is None or (needed is not None and e[0] not in needed):
            continue
        g = fitted[-1] = fit(g, s, tensors, node, e)
        if bool(node.engine.xp.isnan(g.array if tensors else g).any()):
            raise RuntimeError(refusals.not_a_number(node.name, output))
    return fitted


def expandable(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether ``shape`` broadcasts to ``to``."""
    lead = len(to) - len(shape)
    return to[lead:] == shape or (lead >= 0 and all(a in (1, b) for a, b in zip(shape, to[lead:], strict=True)))


def fit(g: Any, spec: Spec, tensors: bool, node: Node, edge: tuple[Node, int]) -> Any:
    """A gradient in its input's shape and type: broadcasting undone, a real input's imaginary part dropped.

    Raises:
        RuntimeError: torch's, where what ``node`` made for the input behind ``edge`` does not fit.
    """
    if g.shape != spec.shape:
        if not expandable(spec.shape, g.shape):
            i = next(i for i, e in enumerate(node.edges) if e is edge)
            raise RuntimeError(
                f"Function {node.name} returned an invalid gradient at index {i} - got {list(g.shape)} but "
                f"expected shape compatible with {list(spec.shape)}"
            )
        g = F.sum_to(g, spec.shape)
    if not tensors:
        if isinstance(g, np.generic):
            g = np.asarray(g)  # NumPy's 0-d results are scalars
        if g.dtype is NUMPY_DTYPE[spec.dtype]:
            return g
    dtype = g.dtype if tensors else DTYPE[g.dtype]
    if dtype is not spec.dtype:
        if dtype.is_complex and not spec.dtype.is_complex:
            g = F.real(g)
            dtype = dtype.to_real()
        if dtype is not spec.dtype:
            g = F.to_dtype(g, spec.dtype) if tensors else g.astype(NUMPY_DTYPE[spec.dtype])
    return g


def _fitting(g: Any, node: Node, i: int, tensors: bool) -> Any:
    """What a node made for edge ``i``, as hooks see it."""
    e = node.edges[i]
    return g if g is None or e is None else fit(g, node.in_specs[i], tensors, node, e)


def _hooks(engine: Engine, node: Node, hooks: dict[int, dict[int, Hook]], grads: list[Any],
           tensors: bool) -> None:  # fmt: skip
    """Run the hooks of the tensors whose gradients these are, then keep what is to be retained."""
    for nr, several in hooks.items():
        for hook in list(several.values()) if nr >= 0 else ():
            g = grads[nr]
            t = g if g is None or tensors else engine.keep(g)
            new = hook(t)
            if new is None:
                new = t  # which the hook may have written to
            if new is not None:
                grads[nr] = new if tensors else new.array
    for nr, ref in (node.retained or {}).items():
        t = ref()
        if t is not None and grads[nr] is not None:
            g = grads[nr] if tensors else engine.keep(grads[nr])
            t.grad = g if t.grad is None else t.grad + g


def _around(engine: Engine, hooks: dict[int, Callable[..., Any]], grads: list[Any], others: list[Any],
            tensors: bool) -> list[Any]:  # fmt: skip
    """Run a node's own hooks on ``grads``, which they may replace; ``others`` they see as well."""

    def lent(g: Any) -> Any:
        return g if g is None or tensors else engine.keep(g)

    for hook in list(hooks.values()):
        new = hook([*map(lent, grads), *map(lent, others)], len(grads))
        if new:
            grads = [t if t is None or tensors else t.array for t in new]
    return grads
