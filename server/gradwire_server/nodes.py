"""The graph as a client looks at it: nodes by number, and edges as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire_engine.graph import AccumulateGrad, FunctionNode, Node, history, shown
from gradwire_proto.spec import Spec
from gradwire_proto.v1 import gradwire_pb2 as pb

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
        node = s.nodes.get(m.node)
        if node is None or m.output >= len(node.out_specs):
            raise ValueError(f"there is no node {m.node} with an output {m.output}")
        s.define(m.result, s.engine.edge(node, m.output))
    except Exception as e:
        s.poison([m.result], s.explain(e))
