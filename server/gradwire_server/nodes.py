"""The graph as a client looks at it: nodes by number, and edges as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire_engine import Tensor
from gradwire_engine.backward import run_alone
from gradwire_engine.graph import (
    AccumulateGrad,
    CopySlices,
    FunctionNode,
    Node,
    OpNode,
    history,
    saved_names,
    saved_value,
    shown,
)
from gradwire_engine.packed import hand_over
from gradwire_proto import refusals
from gradwire_proto.codec import encode_argument
from gradwire_proto.spec import Spec
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Poisoned, SessionEnded
from gradwire_server.ops import SERVER_IDS

if TYPE_CHECKING:
    from gradwire_server.session import Session

MOST_NODES = 10_000
"""Told of at a time."""


def inspect(s: Session, m: pb.Inspect) -> None:
    try:
        t = s.tensor(m.tensor)
        start = history(t)
        answer = pb.History(request=m.request, requires_grad=t.requires_grad, version=t.storage.version)
        if start is not None:
            answer.output = start[1]
            if m.edge:
                s.define(m.edge, s.engine.edge(*start))
            _tell(s, start[0], min(m.max_nodes, MOST_NODES), answer)
        s.reply(history=answer)
    except Exception as e:
        s.fail(e, m.request)


def _tell(s: Session, first: Node, most: int, answer: pb.History) -> None:
    """Tell of a node and those behind it, breadth first."""
    ids: dict[int, int] | None = None
    todo, seen = [first], {first}
    for node in todo:
        if len(answer.nodes) >= most:
            break
        s.nodes[node.seq] = node
        info = answer.nodes.add(id=node.seq, name=node.name)
        info.outputs.extend(_spec(o) for o in node.out_specs)
        if isinstance(node, FunctionNode):
            info.function = node.function
        elif isinstance(node, AccumulateGrad):
            ids = ids or _ids(s)
            info.variable = ids.get(id(node.variable), 0)
        info.saved.extend(saved_names(node))
        for e in [node.edges[i] for i in shown(node)]:
            if e is None:
                info.edges.add()
                continue
            info.edges.add(node=e[0].seq, output=e[1])
            if e[0] not in seen:
                seen.add(e[0])
                todo.append(e[0])


def _ids(s: Session) -> dict[int, int]:
    """The client's ids of tensors, by who they are."""
    return {id(t): i for i, t in s.tensors.items() if i < SERVER_IDS}


def _spec(s: Spec) -> pb.TensorSpec:
    return pb.TensorSpec(dtype=s.dtype.number, shape=s.shape)  # type: ignore[arg-type]  # a stub's own int


def kept(t: Tensor, i: int, name: str = "") -> pb.KeptTensor:
    """A tensor as a client is told of it."""
    history(t)  # brings a view's up to date
    return pb.KeptTensor(name=name, tensor=i, spec=_spec(t.spec), strides=t.spec.strides, requires_grad=t.requires_grad,
                         leaf=t.grad_fn is None, has_gradient=t.grad is not None)  # fmt: skip


def _known(s: Session, number: int) -> Node:
    node = s.nodes.get(number)
    if node is None:
        raise ValueError(f"there is no node {number}")
    return node


def run_node(s: Session, m: pb.RunNode) -> None:
    try:
        node = _known(s, m.node)
        grads = [s.maybe(i) for i in m.gradients]
        if len(grads) != len(node.out_specs):
            raise TypeError(f"expected {len(node.out_specs)} arguments, got {len(grads)} instead")
        made = run_alone(s.engine, node, grads, m.create_graph)
        for i, t in zip(m.results, made, strict=True):
            if t is not None:
                s.define(i, t)
        s.reply(done=pb.Done(request=m.request, defined=[t is not None for t in made]))
    except SessionEnded:
        raise
    except Exception as e:
        s.fail(e, m.request)


def unpack(s: Session, m: pb.Unpack) -> None:
    try:
        node = _known(s, m.node)
        names = saved_names(node)
        if isinstance(node, AccumulateGrad) and m.name == "variable":
            value: Any = node.variable
        elif isinstance(node, OpNode) and m.name in names:
            value = saved_value(node, names[m.name])
        else:
            raise ValueError(f"{node.name} saved nothing that is called {m.name!r}")
        several = value if isinstance(value, list) else [value]
        answer = pb.Unpacked(request=m.request, several=value is several)
        if any(isinstance(t, Tensor) for t in several):
            ids = _ids(s)
            for t in several:
                answer.tensors.append(pb.KeptTensor() if t is None else kept(t, s.lend(t)))
                answer.tensors[-1].variable = 0 if t is None or t.grad_fn is not None else ids.get(id(t), 0)
        else:
            encode_argument(answer.value, tuple(value) if answer.several else value, lambda _: 0)
        s.reply(unpacked=answer)
    except SessionEnded:
        raise
    except Exception as e:
        s.fail(e, m.request)


def edge(s: Session, m: pb.Edge) -> None:
    try:
        node, output = s.nodes.get(m.node), m.output
        if not m.node:
            found = history(s.tensor(m.tensor))
            if found is None:
                raise RuntimeError(refusals.NO_GRAD_DIFFERENTIATED)
            node, output = found
        if node is None or output >= len(node.out_specs):
            raise ValueError(f"there is no node {m.node} with an output {output}")
        s.define(m.result, s.engine.edge(node, output))
    except Exception as e:
        s.poison([m.result], s.explain(e))


def saved_result(s: Session, m: pb.SavedResult) -> None:
    try:
        plain = s.tensor(m.tensor)
        node: Node | None
        if m.edge:
            found = s.tensor(m.edge)
            node, output = found.grad_fn, found.output_nr
        else:
            node, output = s.node_of_function(m.function), m.index
        s.define(m.result, Tensor(s.engine, plain.array, plain.spec, plain.storage, node is not None, node, output))
    except Exception as e:
        s.poison([m.result], s.explain(e))


def pack(s: Session, m: pb.Pack) -> None:
    answer = pb.Saved(request=m.request)
    try:
        t = s.tensor(m.tensor)
        node = (t.base or t).grad_fn if m.written else t.grad_fn
        node = node.inner if isinstance(node, CopySlices) else node
        for given in hand_over(node, m.number, m.written) if isinstance(node, OpNode) else ():
            if given.kind == "input":
                answer.tensors.add(input=given.place)
            elif given.kind == "result":
                answer.tensors.add(result=given.place)
            elif given.tensor is not None:
                answer.tensors.add(tensor=s.lend(given.tensor), spec=_spec(given.tensor.spec))
    except Poisoned as e:
        if m.request:  # else whoever reads the tensor is told
            s.fail(e, m.request)
        return
    if m.request:
        s.reply(saved=answer)
