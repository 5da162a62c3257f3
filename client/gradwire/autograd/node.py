"""Nodes of the server's graph as objects: one for each, as long as the program holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from gradwire import dispatch, mirror
from gradwire.autograd import hooks
from gradwire.autograd.function import answered
from gradwire.autograd.hooks import RemovableHandle
from gradwire.capture import forbid
from gradwire.session import Session
from gradwire.tensor import Tensor, found, tensor_of
from gradwire_proto.codec import decode_arguments, dtype_of
from gradwire_proto.spec import Spec, spec
from gradwire_proto.v1 import gradwire_pb2 as pb

MAX_NODES = 256
"""Nodes fetched at a time."""


class Node:
    """A node of the server's graph: one object as long as the program holds it. Made by ``grad_fn`` and the like.

    What a custom function's methods left in ``ctx`` are attributes of its node. What an op saved is there as
    ``_saved_self``, ``_saved_other``, ``_saved_result``, by the names of its arguments and results.
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

    def __call__(self, *grads: Tensor | None) -> Any:
        """What the node makes of gradients of its outputs, a tuple where it has several edges.

        >>> import gradwire as torch
        >>> y = torch.ones(2, requires_grad=True) * 3
        >>> y.grad_fn(torch.ones(2))
        (tensor([3., 3.]), None)
        """
        forbid("runs a node of the graph", "do so outside")
        if len(grads) != len(self._info.outputs):
            raise TypeError(f"expected {len(self._info.outputs)} arguments, got {len(grads)} instead")
        session, recorded = self._keeper._session, dispatch.mode.grad
        results = [session.new_id() for _ in self._info.edges]
        request = session.wire.request()
        with session.wire.lock:
            m = session.instruction().run_node
            m.node, m.create_graph, m.request = self._info.id, recorded, request
            m.gradients.extend([0 if g is None else g._id for g in grads])
            m.results.extend(results)
        if self.name().endswith("AccumulateGrad"):
            own = self._mirrored or self._keeper._own_node()
            own.has_grad, own.unsure, own.replaced = own.has_grad or None, True, own.replaced + 1
        defined = answered(session, request).done.defined
        made: list[Tensor | None] = []
        for i, there, (node, output) in zip(results, defined, self.next_functions, strict=True):
            like = node._info.outputs[output] if node is not None and there else None
            made.append(None if like is None else tensor_of(session, i, _spec(like), None if recorded else False,
                                                         mirror.Node(unsure=True) if recorded else None))  # fmt: skip
        return made[0] if len(made) == 1 else tuple(made)

    def _sequence_nr(self) -> int:
        """Counts the session's nodes as they are recorded."""
        return self._info.id

    def __getattr__(self, name: str) -> Any:
        info = self.__dict__.get("_info")
        if info is not None:
            if name.startswith("_saved_"):
                saved = name.removeprefix("_saved_")
                saved = "input" if saved == "self" else saved
                if saved in info.saved:
                    return self._look_up(saved)
            if name == "variable" and info.name.endswith("AccumulateGrad"):
                leaf = self._keeper._session.leaves.get(info.variable)
                return self._look_up(name) if leaf is None else leaf
            ctx = self._keeper._session.functions.get(info.function)
            if ctx is not None:
                with contextlib.suppress(AttributeError):
                    return getattr(ctx, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _look_up(self, name: str) -> Any:
        """What the op saved of an argument or a result of this name; of an AccumulateGrad, the variable."""
        forbid("looks at the graph", "look at it outside")
        session = self._keeper._session
        request = session.wire.request()
        with session.wire.lock:
            m = session.instruction().unpack
            m.node, m.name, m.request = self._info.id, name, request
        told = answered(session, request).unpacked
        if told.HasField("value"):
            (value,), _ = decode_arguments([told.value], lambda i: i)
            return value
        tensors = tuple(_told(session, t) if t.tensor else None for t in told.tensors)
        return tensors if told.several else tensors[0]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *("_saved_" + ("self" if n == "input" else n) for n in self._info.saved)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


def edge_of(node: Node, output: int) -> Tensor:
    """An output of a node as a tensor without numbers."""
    forbid("looks at the graph", "look at it outside")
    session = node._keeper._session
    made = _edge(session, _spec(node._info.outputs[output]), node._mirrored or node._keeper._own_node())
    with session.wire.lock:
        m = session.instruction().edge
        m.node, m.output, m.result = node._info.id, output, made._id
    return made


def _told(session: Session, m: pb.KeptTensor) -> Tensor:
    """A tensor that a node saved: of a leaf, the program's own where it is still there."""
    leaf = session.leaves.get(m.variable)
    if leaf is None:
        return found(session, m)
    session.drop(m.tensor, 0)
    return leaf


def _spec(m: pb.TensorSpec) -> Spec:
    return spec(tuple(m.shape), dtype_of(m.dtype))


def _edge(session: Session, s: Any, behind: mirror.Node) -> Tensor:
    return tensor_of(session, session.new_id(), s, True, mirror.Node((behind,), unsure=True))


def node_of(t: Tensor) -> tuple[Node | None, int]:
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
