"""The recorded graph as programs walk and hook it: ``grad_fn``, ``next_functions``, gradient edges."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gradwire import mirror
from gradwire.autograd import hooks
from gradwire.autograd.grad_mode import no_grad
from gradwire.autograd.hooks import RemovableHandle
from gradwire.autograd.saved import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from gradwire.capture import forbid
from gradwire.session import Session
from gradwire.tensor import Tensor
from gradwire_proto.codec import dtype_of
from gradwire_proto.spec import spec
from gradwire_proto.v1 import gradwire_pb2 as pb

MAX_NODES = 256
"""Nodes fetched at a time."""
NO_EDGE = "It is not possible to get the gradient edge for a Tensor that does not require gradients"


class Node:
    """A node of the server's graph: one object as long as the program holds it. Made by ``grad_fn`` and the like.

    What a custom function's methods left in ``ctx`` are attributes of its node.
    """

    _info: pb.NodeInfo
    _graph: dict[int, pb.NodeInfo]
    """What was fetched with it, by number."""
    _keeper: Tensor
    """An edge from which it is reached: it keeps the node on the server."""
    _mirrored: mirror.Node | None
    """Where the mirror has it, if that is known."""

    def name(self) -> str:
        """torch's name of the node, e.g. ``MulBackward0``."""
        return self._info.name

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """Where the gradients of the inputs go: nodes, and which of their outputs."""
        if any(e.node and e.node not in self._graph for e in self._info.edges):
            self._graph = _by_number(edge_of(self, 0)._history(MAX_NODES).nodes)
        return tuple(
            (_node(e.node, self._graph, self._keeper), e.output) if e.node else (None, 0) for e in self._info.edges
        )

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict for the program's use, which is there as long as the node."""
        place = self._mirrored or self._keeper._own_node().parents[0]
        return place.notes().setdefault(self._info.id, {})

    @property
    def requires_grad(self) -> bool:
        return True

    def register_hook(self, fn: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Have ``fn(grad_inputs, grad_outputs)`` called after the node has run; it may return other ``grad_inputs``.

        >>> import gradwire as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> y = x * 3
        >>> handle = y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: (grad_inputs[0] * 10, None))
        >>> y.sum().backward()
        >>> x.grad
        tensor([30., 30.])
        """
        return hooks.after_node(edge_of(self, 0), fn, self._mirrored)

    def register_prehook(self, fn: Callable[[Any], Any]) -> RemovableHandle:
        """Have ``fn(grad_outputs)`` called before the node runs; it may return others."""
        return hooks.before_node(edge_of(self, 0), fn, self._mirrored)

    def _sequence_nr(self) -> int:
        """Counts the session's nodes as they are recorded."""
        return self._info.id

    def __getattr__(self, name: str) -> Any:
        info = self.__dict__.get("_info")
        if info is not None:
            if name == "variable" and info.name.endswith("AccumulateGrad"):
                return _leaf(self)
            ctx = self._keeper._session.functions.get(info.function)
            if ctx is not None:
                with contextlib.suppress(AttributeError):
                    return getattr(ctx, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class GradientEdge(NamedTuple):
    """A node, and which of its outputs: what ``grad`` and ``backward`` take in a tensor's place."""

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of a tensor goes: enough to differentiate with respect to it when the tensor is gone.

    >>> import gradwire as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> edge = torch.autograd.graph.get_gradient_edge(x)
    >>> torch.autograd.grad((x * 2).sum(), edge)
    (tensor([2., 2.]),)

    Raises:
        RuntimeError: the tensor requires no gradient.
    """
    if not tensor.requires_grad:
        raise RuntimeError(NO_EDGE)
    forbid("looks at the graph", "look at it outside")
    node, output = _of_tensor(tensor)
    if node is None:
        raise RuntimeError(NO_EDGE)
    return GradientEdge(node, output)


def grad_fn(t: Tensor) -> Node | None:
    """The node of a tensor, None for a leaf."""
    node, _ = _of_tensor(t)
    return None if node is None or node.name().endswith("AccumulateGrad") else node


def tensor_of(edge: Any) -> Any:
    """What names a gradient edge on the wire: a tensor without numbers. All else as it is."""
    return edge_of(edge.node, edge.output_nr) if isinstance(edge, GradientEdge) else edge


def edge_of(node: Node, output: int) -> Tensor:
    """An output of a node as a tensor without numbers."""
    forbid("looks at the graph", "look at it outside")
    session = node._keeper._session
    s = node._info.outputs[output]
    made = _edge(session, spec(tuple(s.shape), dtype_of(s.dtype)), node._mirrored or node._keeper._own_node())
    with session.wire.lock:
        m = session.instruction().edge
        m.node, m.output, m.result = node._info.id, output, made._id
    return made


def _edge(session: Session, s: Any, behind: mirror.Node) -> Tensor:
    return Tensor(session, session.new_id(), s, True, mirror.Node((behind,), unsure=True))


def _of_tensor(t: Tensor) -> tuple[Node | None, int]:
    """The node that a tensor's gradient goes to, and which of its outputs that is."""
    own = t._own_node()
    keeper = _edge(t._session, t._spec, own)  # not the tensor, which may come to have another history
    history = t._history(MAX_NODES, keeper._id)
    if not history.nodes:
        return None, 0
    node = _node(history.nodes[0].id, _by_number(history.nodes), keeper)
    node._mirrored = own
    return node, history.output


def _by_number(nodes: Sequence[pb.NodeInfo]) -> dict[int, pb.NodeInfo]:
    return {n.id: n for n in nodes}


def _node(number: int, graph: dict[int, pb.NodeInfo], keeper: Tensor) -> Node:
    """The one object of a node."""
    session = keeper._session
    known: Node | None = session.nodes.get(number)
    if known is None:
        info = graph[number]
        known = _class(info.name.rpartition("::")[2])()
        known._info, known._graph, known._keeper = info, graph, keeper
        leaf = session.leaves.get(info.variable)
        known._mirrored = None if leaf is None else leaf._own_node()
        session.nodes[number] = known
    return known


_classes: dict[str, type[Node]] = {}


def _class(name: str) -> type[Node]:
    """The class of the nodes of a name, which has that name, too."""
    if name not in _classes:
        _classes[name] = type(name, (Node,), {"__module__": __name__})
    return _classes[name]


def _leaf(node: Node) -> Tensor:
    """Whose gradient an AccumulateGrad adds to."""
    found = node._keeper._session.leaves.get(node._info.variable)
    if found is None:
        raise AttributeError("the program has dropped the leaf of this AccumulateGrad")
    return found


class _MultiHandle:
    """What :func:`register_multi_grad_hook` returns: removes the hooks that make it up."""

    def __init__(self, handles: Sequence[RemovableHandle]):
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _MultiHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all") -> _MultiHandle:
    """Have ``fn`` called once in a backward pass: when all gradients of the tensors are there that it computes, with
    the list of them, None for the others; or under ``mode="any"`` when the first is, with that.

    >>> import gradwire as torch
    >>> a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> handle = torch.autograd.graph.register_multi_grad_hook([a, b], print)
    >>> (a * 2 + b * 3).backward()
    [tensor([2.]), tensor([3.])]

    Raises:
        ValueError: another mode.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    if mode == "any":
        called: set[int] = set()
        """The passes that are under way."""

        def first(session: Session, g: Tensor | None) -> None:
            called.intersection_update(session.passes)
            now = session.passes[-1]
            if now not in called:
                called.add(now)
                fn(g)

        return _MultiHandle(
            [t.register_hook(functools.partial(first, t._session)) for t in tensors if t.requires_grad]
        )
    if not all(t.requires_grad for t in tensors):
        raise AssertionError("Expected gradient function to be set")
    handles: list[RemovableHandle] = []
    arrived: dict[int, tuple[list[Tensor | None], list[int]]] = {}
    """By the pass: the gradients so far, and which are still to come."""

    def one(session: Session, i: int, g: Tensor | None) -> None:
        now = session.passes[-1]
        if now not in arrived:
            for ended in arrived.keys() - set(session.passes):  # by an error
                del arrived[ended]
            runs = _will_run(session, [h.id for h in handles])
            arrived[now] = [None] * len(handles), [k for k, r in enumerate(runs) if r]
        grads, left = arrived[now]
        grads[i] = g
        if i in left:
            left.remove(i)
        if not left:
            del arrived[now]
            fn(grads)

    handles += [t.register_hook(functools.partial(one, t._session, i)) for i, t in enumerate(tensors)]
    return _MultiHandle(handles)


def _will_run(session: Session, numbers: list[int]) -> list[bool]:
    """At which hooks the backward pass that calls back comes by."""
    request = session.wire.request()
    with session.wire.lock:
        m = session.instruction().will_run
        m.hooks.extend(numbers)
        m.request = request
    return list(session.wire.wait(request).done.defined)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Have the graph take one or several tensors as written to, as by code that it can't see.

    Raises:
        RuntimeError: they are no tensors.
    """
    several = [tensor] if isinstance(tensor, Tensor) else tensor
    if not isinstance(several, Iterable):
        raise RuntimeError("increment_version expect a Iterable[Tensor] as input")
    with no_grad():
        for t in several:
            empty: Any = t.detach()
            empty.unsqueeze(0).narrow(0, 0, 0).zero_()  # which writes to the memory, if to none of it


__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]
