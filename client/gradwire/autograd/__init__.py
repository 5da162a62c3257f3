"""torch.autograd: grad, backward, custom functions, grad modes, and the functional interface."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

from gradwire import anomaly
from gradwire.autograd import graph
from gradwire.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from gradwire.autograd.function import Function, answered
from gradwire.autograd.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from gradwire.autograd.gradcheck import gradcheck, gradgradcheck  # a function has the name of its module, as in torch
from gradwire.capture import here, note
from gradwire.dispatch import mode, place
from gradwire.mirror import Node, Walk
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto import refusals
from gradwire_proto.spec import spec

Variable = Tensor
Several = Tensor | Sequence[Tensor]
CYCLE = (
    "Using backward() with create_graph=True will create a reference cycle between the parameter and its "
    "gradient which can cause a memory leak. We recommend using autograd.grad when creating the graph to avoid "
    "this. If you have to use this function, make sure to reset the .grad fields of your parameters to None "
    "after use to break the cycle and avoid the leak."
)
NOT_ONLY_INPUTS = (
    "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other parts "
    "of the graph, please use torch.autograd.backward."
)


def __getattr__(name: str) -> Any:
    if name in ("forward_ad", "functional"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def backward(tensors: Several, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Several | None = None) -> None:  # fmt: skip
    """Add the gradients of ``tensors`` to ``.grad`` of the leaves they were made from (or of ``inputs`` alone).

    Raises:
        RuntimeError: torch's: no history, not a scalar, shapes that don't fit, a graph used twice, a saved tensor
            written to. Where the client can't rule an error out it waits for the server; else it returns at once.
    """
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only "
                "use `grad_tensors`."
            )
        grad_tensors = grad_variables
    roots = _several(tensors)
    if not roots:
        return
    grads = _gradients(roots, grad_tensors)
    _check(roots, grads)
    if create_graph:
        warnings.warn(CYCLE, UserWarning, stacklevel=3)
    only = None
    if inputs is not None:
        given = [inputs] if _is_one(inputs) else list(inputs)
        if not given:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        _check_inputs(given)
        for t in given:
            if isinstance(t, Tensor):  # an edge has no place for a gradient
                t.retain_grad()
        only = _several(given)
    session = roots[0]._session
    walk = Walk([_node(t) for t in roots], session.last_write)
    keep = create_graph if retain_graph is None else retain_graph
    must_wait = walk.must_wait or session.sync or bool(session.hooks) or anomaly.mode.enabled
    reached = walk.reached if only is None else {_node(t) for t in only}
    if here.capture is not None:
        leaves = reached if only is not None else [n for n in reached if n.leaf or n.retains]
        here.capture.passed(session, walk.reached, not keep, leaves)
    request = session.wire.request() if must_wait else 0
    with session.wire.lock:
        instruction = session.instruction(names=[*roots, *(g for g in grads if g is not None), *(only or ())])
        instruction.location = place(session)
        m = instruction.backward
        m.tensors.extend([t._id for t in roots])
        if any(g is not None for g in grads):
            m.gradients.extend([0 if g is None else g._id for g in grads])
        m.retain_graph, m.create_graph, m.request = keep, create_graph, request
        m.check_nan = anomaly.mode.enabled and anomaly.mode.check_nan
        if only is not None:
            m.inputs.extend([t._id for t in only])
    guess = create_graph or any(n.unsure for n in walk.reached)
    # Code of the client's may stop a gradient.
    certain = not session.stray_hooks and not any(n.calls_back for n in walk.reached)
    behind = tuple(walk.reached) if create_graph else ()
    for node in reached:
        if node.leaf or node.retains:
            if not certain or node not in walk.reached:
                node.has_grad = node.has_grad or None
            else:
                node.has_grad = True
            node.unsure = node.unsure or guess
            node.behind = behind or node.behind
            # After a cancelled backward the gradient that is known may be its error.
            node.replaced += bool(create_graph or node.retains or session.wire.cancelled)
    if request:
        try:
            answered(session, request)
        except BaseException:
            for node in reached:
                node.unsure = True
            raise
    if not keep:
        walk.free()


def grad(outputs: Several, inputs: Several, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of ``outputs``, summed, with respect to each of ``inputs``. ``.grad`` of nothing changes.

    >>> import gradwire as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.grad((x * x).sum(), x)
    (tensor([2., 4.]),)

    Raises:
        RuntimeError: torch's, as for :func:`backward`, and for an input that is not part of the graph.
    """
    if not only_inputs:
        warnings.warn(NOT_ONLY_INPUTS, FutureWarning, stacklevel=2)
    outs, ins = _several(outputs), _several(inputs)
    if not ins:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    unused = bool(allow_unused) or materialize_grads
    grads = _rows(outs, grad_outputs) if is_grads_batched else _gradients(outs, grad_outputs)
    _check(outs, grads, int(is_grads_batched))
    _check_inputs(ins)
    if not outs:
        if not unused:
            raise RuntimeError(refusals.unused(0))
        return tuple(t.new_zeros(t.shape) if materialize_grads else None for t in ins)  # type: ignore[attr-defined]
    for t in ins:
        if not t.requires_grad:
            raise RuntimeError(refusals.NO_GRAD_DIFFERENTIATED)
    keep = create_graph if retain_graph is None else retain_graph
    if mode.batching and any(t is not None and t._is_batched for t in (*outs, *ins, *grads)):
        return tuple(_in_vmap(outs, ins, grads, keep, create_graph, unused))
    session = outs[0]._session
    lead = grads[0]._spec.shape[:1] if is_grads_batched else ()
    walk = Walk([_node(t) for t in outs], session.last_write)
    nodes = [_node(t) for t in ins]
    must_wait = (walk.must_wait or session.sync or bool(session.hooks) or anomaly.mode.enabled
                 or any(n not in walk.reached for n in nodes))  # fmt: skip
    request = session.wire.request() if must_wait else 0
    if here.capture is not None:
        here.capture.passed(session, walk.reached, not keep, None)
    node = Node((*walk.reached, *(_node(g) for g in grads if g is not None and g._grad_flag is not False)),
                session.wire.sent, unsure=True) if create_graph else None  # fmt: skip
    flag = None if create_graph else False
    results: list[Tensor | None] = [
        tensor_of(session, session.new_id(), spec((*lead, *t._spec.shape), t.dtype), flag, node) for t in ins
    ]
    with session.wire.lock:
        instruction = session.instruction(names=[*outs, *ins, *(g for g in grads if g is not None)])
        instruction.location = place(session)
        m = instruction.grad
        m.outputs.extend([t._id for t in outs])
        m.inputs.extend([t._id for t in ins])
        if any(g is not None for g in grads):
            m.gradients.extend([0 if g is None else g._id for g in grads])
        m.results.extend([r._id for r in results if r is not None])
        m.retain_graph, m.create_graph, m.allow_unused, m.request = keep, create_graph, unused, request
        m.check_nan, m.batched = anomaly.mode.enabled and anomaly.mode.check_nan, is_grads_batched
    session.wire.relieve()
    for r in results:
        note(r)  # type: ignore[arg-type]
    for n in walk.reached:
        if n.retains:
            n.has_grad = n.has_grad or None
            n.unsure = True
            n.replaced += 1
    if request:
        defined = answered(session, request).done.defined
        if here.capture is not None:
            here.capture.undefined |= {r._id for r, d in zip(results, defined, strict=True) if r is not None and not d}
        results = [r if d else None for r, d in zip(results, defined, strict=True)]
    if not keep:
        walk.free()
    if materialize_grads:
        return tuple(t.new_zeros(t.shape) if r is None else r for r, t in zip(results, ins, strict=True))  # type: ignore[attr-defined]
    return tuple(results)


def _rows(outs: list[Tensor], given: Any) -> list[Tensor | None]:
    """The gradients to start many passes from.

    Raises:
        RuntimeError, ValueError: torch's, for what are no gradients of the outputs, or not equally many.
    """
    grads = _gradients(outs, given)
    sizes = []
    for i, (g, t) in enumerate(zip(grads, outs, strict=True)):
        if g is None:
            raise ValueError(refusals.NO_ROWS) if t._spec.numel == 1 else RuntimeError(refusals.NOT_SCALAR)
        if g.shape[1:] != t.shape or not g.ndim:
            raise RuntimeError(refusals.batched_shape(i, g.shape[1:], t.shape))
        sizes.append(g.shape[0])
    if len(set(sizes)) > 1:
        raise ValueError(refusals.vmap_sizes(sizes))
    return grads


def _in_vmap(outs: list[Tensor], ins: list[Tensor], grads: list[Tensor | None], retain_graph: bool, create_graph: bool,
             unused: bool) -> list[Tensor | None]:  # fmt: skip
    """:func:`grad` of tensors that have examples."""
    from gradwire.func.batched import batch_gradients

    seeds = [t.new_ones(t.shape) if g is None else g for g, t in zip(grads, outs, strict=True)]  # type: ignore[attr-defined]
    found = batch_gradients(outs, ins, seeds, create_graph, retain_graph)
    for i, g in enumerate(found):
        if g is None and not unused:
            raise RuntimeError(refusals.unused(i))
    return found


def _gradients(roots: list[Tensor], given: Any) -> list[Tensor | None]:
    if given is None:
        return [None] * len(roots)
    several = [given] if isinstance(given, Tensor) else list(given)
    if len(several) != len(roots):
        raise RuntimeError(refusals.gradient_count(len(roots), len(several)))
    for g in several:
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    return several


def _check(roots: list[Tensor], grads: list[Tensor | None], lead: int = 0) -> None:
    """torch's refusals that need no look at the graph; gradients have so many dimensions more in front."""
    for i, (t, g) in enumerate(zip(roots, grads, strict=True)):
        if not isinstance(t, Tensor):
            raise AssertionError("Expected output to be a torch.Tensor")
        t._refresh()
        if g is not None:
            if g._spec.shape[lead:] != t._spec.shape:
                raise RuntimeError(refusals.gradient_shape(i, g.shape, t.shape))
            if g.dtype.is_complex != t.dtype.is_complex:
                raise RuntimeError(refusals.gradient_dtype(i, g.dtype, t.dtype))
        elif t._grad_flag is not False:
            if t._spec.numel != 1:
                raise RuntimeError(refusals.NOT_SCALAR)
            if t.dtype.is_complex:
                raise RuntimeError(refusals.not_real(t.dtype))
        if t._grad_flag is False:
            raise RuntimeError(refusals.no_history(i))


def _is_one(value: Any) -> bool:
    return isinstance(value, (Tensor, graph.GradientEdge))


def _several(value: Any) -> list[Any]:
    """One or several tensors or gradient edges as a list of tensors."""
    return [graph.tensor_of(v) for v in ([value] if _is_one(value) else value)]


def _check_inputs(inputs: list[Any]) -> None:
    for t in inputs:
        if not _is_one(t):
            raise RuntimeError(f"all inputs have to be Tensors or GradientEdges, but got {type(t).__name__}")


def _node(t: Tensor) -> Node:
    t._refresh()
    return t._own_node()


__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
