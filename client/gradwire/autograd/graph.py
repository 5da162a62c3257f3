"""The recorded graph as programs walk it: ``grad_fn``, ``next_functions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

MAX_NODES = 4096
"""Nodes fetched at a time."""


class GradFn:
    """A node of the server's graph."""

    __slots__ = ("_graph", "_info", "_tensor")

    def __init__(self, info: Any, graph: dict[int, Any], tensor: Tensor):
        self._info = info
        self._graph = graph
        self._tensor = tensor  # keeps the node alive on the server

    def name(self) -> str:
        """torch's name of the node, e.g. ``MulBackward0``."""
        name: str = self._info.name
        return name

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """Where the gradients of the inputs go: nodes, and which of their outputs."""
        out: list[tuple[GradFn | None, int]] = []
        for e in self._info.edges:
            if not e.node:
                out.append((None, 0))
                continue
            if e.node not in self._graph:
                raise RuntimeError(f"only the first {MAX_NODES} nodes of a graph can be walked from one tensor")
            out.append((GradFn(self._graph[e.node], self._graph, self._tensor), e.output))
        return tuple(out)

    @property
    def variable(self) -> Tensor:
        """Of an AccumulateGrad: the leaf."""
        found = self._tensor._session.leaves.get(self._info.variable)
        if found is None:
            raise AttributeError(f"{self.name()} has no variable")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and self._info.id == other._info.id

    def __hash__(self) -> int:
        return hash(self._info.id)

    def __repr__(self) -> str:
        return f"<{self.name().rpartition('::')[2]} object at {id(self):#x}>"


def grad_fn(t: Tensor) -> GradFn | None:
    """The node of a tensor, with the graph behind it."""
    history = t._history(MAX_NODES)
    if not history.nodes or history.nodes[0].name.endswith("AccumulateGrad"):
        return None
    graph = {n.id: n for n in history.nodes}
    return GradFn(history.nodes[0], graph, t)
