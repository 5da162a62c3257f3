"""Hooks: code of the client's that backward runs, of a tensor's gradient, after accumulation, and around a node."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from gradwire_engine import Tensor
from gradwire_engine.backward import will_run as runs
from gradwire_engine.graph import AFTER, BEFORE, Node, history
from gradwire_proto import refusals
from gradwire_proto.v1 import gradwire_pb2 as pb

if TYPE_CHECKING:
    from gradwire_server.session import Session

AROUND = {pb.HOOK_PLACE_BEFORE_NODE: BEFORE, pb.HOOK_PLACE_AFTER_NODE: AFTER}


class Hook:
    """A hook of the client's. What it is on holds it; the client is told when it is gone.

    Args:
        owner: a leaf, or the node of a tensor that is none.
    """

    def __init__(self, session: Session, number: int, owner: Tensor | Node):
        self._session = session
        self._number = number
        self._owner = weakref.ref(owner)

    def __del__(self) -> None:
        self._session.dropped(self._number)

    def __call__(self, t: Tensor | None) -> Tensor | None:
        """Of a tensor's gradient, or of a leaf after accumulation."""
        results = self._call([t])
        return results[0] if results else None

    def around(self, grads: list[Tensor | None], inputs: int) -> list[Tensor | None]:
        """Of a node: see :meth:`Engine.add_node_hook`."""
        return self._call(grads, inputs=inputs)

    def _call(self, grads: list[Tensor | None], **told: int) -> list[Tensor | None]:
        s = self._session
        return s.call_back(grads, s.engine.grad_enabled, hook=self._number, **told)

    @property
    def node(self) -> Node | None:
        """The node whose run it sees."""
        owner = self._owner()
        if isinstance(owner, Tensor):
            return owner.accumulator() if owner.accumulator is not None else None
        return owner

    def remove(self) -> None:
        owner = self._owner()
        tables: list[Any] = []
        if isinstance(owner, Tensor):
            tables = [owner.hooks, owner.post_hooks]
        elif owner is not None:
            tables = list((owner.hooks or {}).values())
        for table in tables:
            if table:
                table.pop(self._number, None)


def add(s: Session, m: pb.AddHook) -> None:
    if m.hook in s.hooks:
        raise ValueError(f"hook {m.hook} is already there")
    if len(s.hooks) >= s.limits.max_hooks:
        raise MemoryError(f"the session has a limit of {s.limits.max_hooks} hooks")
    t = s.tensor(m.tensor)
    edge = history(t)
    if edge is None:
        raise RuntimeError(refusals.NO_GRAD_HOOKED)
    if m.place in AROUND:
        hook = s.hooks[m.hook] = Hook(s, m.hook, edge[0])
        s.engine.add_node_hook(edge[0], AROUND[m.place], m.hook, hook.around)
        return
    hook = s.hooks[m.hook] = Hook(s, m.hook, t if t.grad_fn is None else edge[0])
    if m.place == pb.HOOK_PLACE_ACCUMULATED:
        s.engine.add_post_hook(t, m.hook, hook)
    else:
        s.engine.add_hook(t, m.hook, hook)


def remove(s: Session, m: pb.RemoveHook) -> None:
    hook = s.hooks.get(m.hook)
    if hook is not None:
        hook.remove()


def will_run(s: Session, m: pb.WillRun) -> None:
    found = [s.hooks.get(i) for i in m.hooks]
    defined = [h is not None and h.node is not None and runs(s.engine, h.node) for h in found]
    s.reply(done=pb.Done(request=m.request, defined=defined))
