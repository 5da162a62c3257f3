"""Hooks: code of the user's that backward calls, with a tensor's gradient, after accumulation, or around a node."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradwire.capture import forbid
from gradwire.mirror import Node
from gradwire.tensor import Tensor
from gradwire.utils import hooks
from gradwire_proto.v1 import gradwire_pb2 as pb

if TYPE_CHECKING:
    from gradwire.session import Session

Gradients = Sequence[Tensor | None]
Run = Callable[[list[Tensor | None], int], Gradients]
"""What a session keeps of a hook: called with gradients, and how many of them are of a node's inputs."""


class RemovableHandle(hooks.RemovableHandle):
    """Of a hook that the server calls back for.

    Args:
        mirrored: where the mirror has what is hooked; None where it can't tell.
    """

    def __init__(self, t: Tensor, place: pb.HookPlace, run: Run, mirrored: Node | None):
        forbid("registers a hook", "register it outside and compile with fullgraph=False")
        self._session: Session = t._session
        self._mirrored = None if mirrored is None else weakref.ref(mirrored)  # or it would keep the graph behind it
        with self._session.wire.lock:
            self.id = self._session.new_id()
            self._session.hooks[self.id] = run
            if mirrored is None:
                self._session.stray_hooks.add(self.id)
            else:
                mirrored.calls_back += 1
            m = self._session.instruction().add_hook
            m.tensor, m.hook, m.place = t._id, self.id, place  # type: ignore[assignment]

    def remove(self) -> None:
        if self._session.hooks.pop(self.id, None) is None:
            return
        self._session.stray_hooks.discard(self.id)
        mirrored = None if self._mirrored is None else self._mirrored()
        if mirrored is not None:
            mirrored.calls_back -= 1
        if not self._session.closed:
            with self._session.wire.lock:
                self._session.instruction().remove_hook.hook = self.id


def on_gradient(t: Tensor, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Have ``hook`` called with each gradient of a tensor, None where none comes; it may return another."""

    def run(grads: list[Tensor | None], _: int) -> Gradients:
        made = hook(grads[0])
        return [None if made is None else _checked(hook, made, grads[0])]

    return RemovableHandle(t, pb.HOOK_PLACE_GRADIENT, run, t._own_node())


def after_accumulation(t: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Have ``hook`` called with a leaf when its gradient was added to."""
    me = weakref.ref(t)

    def run(grads: list[Tensor | None], _: int) -> Gradients:
        leaf = me()
        if leaf is not None:
            leaf._own_node().has_grad = True
            made = hook(leaf)
            if made is not None and not isinstance(made, Tensor):
                raise TypeError(f"expected Variable, but hook returned '{type(made).__name__}'")
        return []

    return RemovableHandle(t, pb.HOOK_PLACE_ACCUMULATED, run, t._own_node())


def before_node(edge: Tensor, hook: Callable[[Any], Any], mirrored: Node | None) -> RemovableHandle:
    """Have ``hook`` called with ``grad_outputs``; it may return others."""

    def run(grads: list[Tensor | None], _: int) -> Gradients:
        return _replaced(hook, hook(tuple(grads)), grads)

    return RemovableHandle(edge, pb.HOOK_PLACE_BEFORE_NODE, run, mirrored)


def after_node(edge: Tensor, hook: Callable[[Any, Any], Any], mirrored: Node | None) -> RemovableHandle:
    """Have ``hook`` called with ``grad_inputs, grad_outputs``; it may return other gradients of the inputs."""

    def run(grads: list[Tensor | None], inputs: int) -> Gradients:
        return _replaced(hook, hook(tuple(grads[:inputs]), tuple(grads[inputs:])), grads[:inputs])

    return RemovableHandle(edge, pb.HOOK_PLACE_AFTER_NODE, run, mirrored)


def _replaced(hook: Callable[..., Any], made: Any, before: list[Tensor | None]) -> Gradients:
    """What a node's hook returned, checked; nothing where it leaves the gradients as they are."""
    if made is None:
        return []
    if not isinstance(made, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(made).__name__}'")
    if len(made) != len(before):
        raise RuntimeError(
            f"hook '{_name(hook)}' has returned an incorrect number of values (got {len(made)}, but expected "
            f"{len(before)})"
        )
    return [None if new is None else _checked(hook, new, old) for new, old in zip(made, before, strict=True)]


def _checked(hook: Callable[..., Any], made: Any, before: Tensor | None) -> Tensor:
    """A gradient in the place of another.

    Raises:
        TypeError, RuntimeError: torch's, where it is none, or does not fit.
    """
    if not isinstance(made, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(made).__name__}'")
    if before is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    if made.dtype is not before.dtype:
        raise RuntimeError(
            f"hook '{_name(hook)}' has changed the type of value (was torch.{before.dtype.legacy}Tensor got "
            f"torch.{made.dtype.legacy}Tensor)"
        )
    if made._spec.shape != before._spec.shape:
        raise RuntimeError(f"hook '{_name(hook)}' has changed the size of value")
    return made


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__name__", "<unknown>")
