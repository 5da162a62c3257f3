"""Functions that the client runs again in backward, so that nothing of what they computed is kept until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradwire_engine.backward import through
from gradwire_engine.engine import Engine
from gradwire_engine.graph import AccumulateGrad, Edge, FunctionNode, Node, history
from gradwire_engine.tensor import Tensor


class RunAgain(FunctionNode):
    """Stands for the history that a function gave its outputs. Backward has it made anew, and goes through it."""

    __slots__ = ("since",)

    def __init__(self, *args: Any, since: int):
        super().__init__(*args)
        self.since = since
        """How many nodes there were before its own."""

    def run(self, grads: list[Any], tensors: bool) -> list[Any]:
        engine = self.engine
        now = engine.recorded

        def own(node: Node) -> bool:  # or what the function kept from when it was run first
            return node.seq > now or self.since < node.seq < self.seq

        outputs = engine.call_function(self, [], engine.grad_enabled)
        starts = []
        for i, (t, s, g) in enumerate(zip(outputs, self.out_specs, grads, strict=True)):
            if g is None:
                continue
            edge = own_history(t, own)
            if t is None or edge is None:
                raise RuntimeError(f"{self.name}: run again, the function gives output {i} no history")
            if t.shape != s.shape or t.dtype is not s.dtype:
                raise RuntimeError(f"{self.name}: run again, the function made {t.spec} of output {i}, which was {s}")
            starts.append((*edge, g))
        edges = [e for e in self.edges if e is not None]
        known = {e[0] for e in edges}
        for node, _ in entries(outputs, own):
            if node not in known and not own(node):
                raise RuntimeError(f"{self.name}: run again, the function goes back to another tensor, of {node.name}")
        return through(engine, starts, edges)


def own_history(t: Tensor | None, own: Callable[[Node], bool]) -> Edge:
    """The history of a tensor, where that is a function's own."""
    edge = None if t is None else history(t)
    return edge if edge is not None and own(edge[0]) and type(edge[0]) is not AccumulateGrad else None


def entries(outputs: list[Tensor | None], own: Callable[[Node], bool]) -> list[tuple[Node, int]]:
    """Edges at which the history of tensors leaves what is a function's own: to other nodes, and to leaves."""
    found: dict[tuple[Node, int], None] = {}
    stack = [edge for t in outputs if t is not None and (edge := history(t)) is not None]
    seen = set()
    while stack:
        edge = stack.pop()
        node = edge[0]
        if type(node) is AccumulateGrad or not own(node):
            found[edge] = None
        elif node not in seen:
            seen.add(node)
            stack += [e for e in node.edges if e is not None]
    return list(found)


def record(engine: Engine, label: str, function: int, outputs: list[Tensor], since: int) -> list[Tensor]:
    """Tensors with the outputs' memory, and one node for all of the history that they got after node number ``since``.

    Args:
        label: the node's name.
        function: what the client knows it by.
        outputs: of a function; those that it gave no history have none.

    Raises:
        ValueError: one has a history of before.
    """

    def own(node: Node) -> bool:
        return node.seq > since

    edges = tuple(entries(list(outputs), own))
    in_specs = tuple(n.out_specs[nr] for n, nr in edges)
    node = RunAgain(engine, label, function, edges, in_specs, tuple(t.spec for t in outputs), since=since)
    results = [Tensor(engine, t.array, t.spec, t.storage) for t in outputs]
    for nr, (r, t) in enumerate(zip(results, outputs, strict=True)):
        if own_history(t, own) is not None:
            r.requires_grad, r.grad_fn, r.output_nr = True, node, nr
        elif history(t) is not None:
            raise ValueError(f"output {nr} has a history that the function did not give it")
    return results


__all__ = ["RunAgain", "record"]
