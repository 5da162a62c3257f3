"""The recorded graph as programs hook it and name its edges; for ``torch.autograd.graph``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from gradwire.autograd.grad_mode import no_grad
from gradwire.autograd.hooks import RemovableHandle
from gradwire.autograd.node import Node, edge_of, node_of
from gradwire.autograd.saved import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from gradwire.capture import forbid
from gradwire.session import Session
from gradwire.tensor import Tensor

NO_EDGE = "It is not possible to get the gradient edge for a Tensor that does not require gradients"


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
    node, output = node_of(tensor)
    if node is None:
        raise RuntimeError(NO_EDGE)
    return GradientEdge(node, output)


def grad_fn(t: Tensor) -> Node | None:
    """The node of a tensor, None for a leaf."""
    node, _ = node_of(t)
    return None if node is None or node.name().endswith("AccumulateGrad") else node


def tensor_of(edge: Any) -> Any:
    """What names a gradient edge on the wire: a tensor without numbers. All else as it is."""
    return edge_of(edge.node, edge.output_nr) if isinstance(edge, GradientEdge) else edge


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
