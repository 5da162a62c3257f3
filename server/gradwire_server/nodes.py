"""The graph as a client looks at it: nodes by number, and edges as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire_engine import Tensor
from gradwire_engine.graph import AccumulateGrad, CopySlices, FunctionNode, Node, OpNode, history, shown
from gradwire_engine.packed import hand_over
from gradwire_proto import refusals
from gradwire_proto.spec import Spec
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Poisoned

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
    ids: dict[int, int] = {}
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
            ids = ids or {id(t): i for i, t in s.tensors.items()}
            info.variable = ids.get(id(node.variable), 0)
        for e in [node.edges[i] for i in shown(node)]:
            if e is None:
                info.edges.add()
                continue
            info.edges.add(node=e[0].seq, output=e[1])
            if e[0] not in seen:
                seen.add(e[0])
                todo.append(e[0])


def _spec(s: Spec) -> pb.TensorSpec:
    return pb.TensorSpec(dtype=s.dtype.number, shape=s.shape)  # type: ignore[arg-type]  # a stub's own int


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
