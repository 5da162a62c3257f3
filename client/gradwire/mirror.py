"""A light mirror of the server's graph: who leads to whom, and nothing else.

It lets the client answer without a round trip what programs ask all the time (does this require grad, has that leaf a
gradient now) and decide when a backward may be sent without waiting for the server's verdict. Where it is not sure, it
says so, and the client waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Node:
    """A recorded op, or a leaf."""

    __slots__ = ("__weakref__", "_notes", "behind", "calls_back", "freed", "has_grad", "leaf", "parents", "replaced",
                 "retains", "seq", "unsure")  # fmt: skip

    def __init__(self, parents: tuple[Node, ...] = (), seq: int = 0, leaf: bool = False, unsure: bool = False):
        self.parents = parents
        self.seq = seq
        """How many instructions had been sent when it was recorded."""
        self.leaf = leaf
        self.freed = False
        """A backward without ``retain_graph`` went through it."""
        self.has_grad: bool | None = False
        """Of a leaf, or a tensor that retains its gradient: backward has reached it. None where only the server knows.
        """
        self.behind: tuple[Node, ...] = ()
        """What the gradient that ``create_graph`` made was made from."""
        self.retains = False
        """Of a tensor that is no leaf: it keeps its gradient all the same."""
        self.replaced = 0
        """How often its gradient became another tensor, as under ``create_graph``."""
        self.calls_back = 0
        """How many hooks and custom functions of the client's sit here."""
        self.unsure = unsure
        """Made under ``create_graph``: the server alone knows what it leads to."""

    def notes(self) -> dict[int, dict[Any, Any]]:
        """What the program noted at nodes of the server's graph, by their numbers, that are found from here."""
        try:
            return self._notes
        except AttributeError:  # which next to none has
            self._notes: dict[int, dict[Any, Any]] = {}
            return self._notes

    def follow(self, before: Node | None) -> None:
        """Take over the retained gradient of a tensor whose node was ``before``, until an in-place op."""
        if before is not None and before.retains:
            self.retains, self.has_grad, self.unsure, self.replaced = True, before.has_grad, True, before.replaced


def own_nodes(roots: Iterable[Node], own: Callable[[Node], bool]) -> tuple[set[Node], set[Node]]:
    """The nodes of a function's own behind some of them, and what the last of these lead to."""
    inside, beyond = set(roots), set()
    stack = list(inside)
    while stack:
        for p in stack.pop().parents:
            if p.leaf or not own(p):
                beyond.add(p)
            elif p not in inside:
                inside.add(p)
                stack.append(p)
    return inside, beyond


class Walk:
    """What lies behind some roots.

    Args:
        last_write: when a tensor that a graph may have saved was last written to; nodes older than that may fail.
    """

    def __init__(self, roots: Iterable[Node], last_write: int):
        self.reached: set[Node] = set()
        self.must_wait = False
        """The server's verdict is not certain, or code of the client's will run."""
        stack = list(roots)
        reached = self.reached
        reached.update(stack)
        while stack:
            node = stack.pop()
            if node.calls_back or node.freed or node.unsure or (not node.leaf and node.seq < last_write):
                self.must_wait = True
            for p in node.parents:
                if p not in reached:
                    reached.add(p)
                    stack.append(p)

    def free(self) -> None:
        """Mark all as a backward without ``retain_graph`` leaves it."""
        for node in self.reached:
            if not node.leaf:
                node.freed = True
