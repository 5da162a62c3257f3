"""Programs: what was captured, as the server is told of it, and what a call does to the client's mirror."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

from gradwire.capture.key import Build
from gradwire.capture.record import has_gradient, options
from gradwire.capture.watch import PLAIN
from gradwire.dispatch import mode
from gradwire.mirror import Node, Walk
from gradwire.session import Session
from gradwire.tensor import Storage, Tensor, infer, tensor_of
from gradwire_proto.spec import Spec

Refs = tuple[Callable[[Sequence[Tensor]], Tensor | None], ...]


class Past(NamedTuple):
    """A tensor's place in the graph after a call."""

    flag: bool | None
    leaf: bool
    node: bool
    """Whether it has a node."""
    parents: tuple[int, ...]
    """The tensors from before that it leads to, as places in Program.outer."""
    inside: bool
    """It leads to what the program made."""
    freed: bool
    """A backward pass through it may fail: used up, or what it saved was written to."""
    unsure: bool
    has_grad: bool
    retains: bool


class Made(NamedTuple):
    """A result."""

    spec: Spec
    past: Past
    storage: int
    """Results of one number share memory; below 0 it is that of the tensor from before at place -1 - storage."""
    base: int | None
    """What it is a view of: a result, or likewise."""
    creation: str
    alias: bool
    """Later calls may write to its memory."""
    version: int
    """How often its memory was written to, where that is new."""
    start: int
    """Where in its memory it begins, in bytes; in that of a tensor from before, from where that one does."""

class Effect(NamedTuple):
    """What a call does to a tensor from before, apart from values."""

    at: int
    writes: int
    used: bool
    gradient: tuple[bool, bool, int, bool] | None
    """Whether it has one, whether it is another tensor, and what is to be added to Node.replaced and to Node.unsure."""
    past: Past | None


class Program:
    """What a function sent once, to be run with other arguments."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.id = number
        self.dropped = False
        self.used = 0
        """When it was last called, as a count of instructions."""
        self.weight = 0
        self.name = ""
        self.arguments = ""
        self.takes: tuple[int, ...] = ()
        """Which tensors of the arguments it wants, each once."""
        self.made: tuple[Made, ...] = ()
        self.build: Build
        self.single = False
        """Its result is the one tensor that it makes, which has no history; and it does nothing else to the mirror."""
        self.returned: tuple[int, ...] = ()
        """What ``build`` wants: results, and below 0 tensors from before."""
        self.outer: Refs = ()
        """Tensors from before that a call does something to, or hands out."""
        self.parents: frozenset[int] = frozenset()
        """Those that its results, or they themselves, lead to."""
        self.effects: tuple[Effect, ...] = ()
        self.walks: list[tuple[list[int], bool, bool]] = []
        """Backward passes through the history of tensors from before: whether they free it, and add to leaves."""
        self.steady = False
        """What a call does to the mirror it does to tensors from outside alone, and the same each time."""
        self.reached: list[int] = []
        """Tensors from before that its backward passes go through."""
        self.flags: list[tuple[weakref.ref[Tensor], bool | None, bool]] = []
        """What tensors from outside were like."""
        self.asked: list[tuple[int, bool]] = []
        """Whether tensors from before had a gradient."""
        self.optimizers: list[tuple[weakref.ref[Any], Any, list[int]]] = []
        """Their options, and which tensors count their steps."""
        self.watched: list[tuple[Callable[[], Any], Any]] = []
        """Where the function finds things, and what it found there: a plain value, or a reference."""
        self.same: list[tuple[int, weakref.ref[Tensor]]] = []
        """Arguments that must be what they were, for the function finds them by name, too."""
        self.held: list[Any] = []
        """What lives as long as it does."""

    def __del__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Have the server forget it. May be called from anywhere."""
        if not self.dropped:
            self.dropped = True
            self.session.programs.dead.append(self.id)

    def keep_watch(self, t: Tensor) -> weakref.ref[Tensor]:
        """A reference to a tensor from outside, with which the program ends."""
        return weakref.ref(t, functools.partial(_drop, weakref.ref(self)))

    # ---- whether it fits ----

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether all is as it was, apart from values and from what its key tells."""
        if self.dropped:
            return False
        for ref, flag, leaf in self.flags:
            t = ref()
            if t is None or t._grad_flag is not flag or t._leaf is not leaf:
                return False
        for i, ref in self.same:
            if tensors[i] is not ref():
                return False
        for get, value in self.watched:
            now = get()
            if type(value) in PLAIN:
                if now is not value and (type(now) is not type(value) or now != value):
                    return False
            elif now is None or now is not value():
                return False
        for at, has in self.asked:
            t = self.outer[at](tensors)
            if t is None or has_gradient(t) is not has:
                return False
        for o, was, counts in self.optimizers:
            there = o()
            if there is None or options(there) != was or [id(t) for t in there._steps.values()] != counts:
                return False
        return True

    def calls_back(self, tensors: Sequence[Tensor]) -> bool:
        """Whether a backward pass of it meets a hook by now."""
        session = self.session
        return bool(self.reached and session.hooks) and (
            bool(session.stray_hooks)
            or any(t._node is not None and t._node.calls_back for t in self._resolve(tensors, self.reached))
        )

    def certain(self, tensors: Sequence[Tensor]) -> bool:
        """Whether no backward pass of it can meet a graph that was used up, or code of the client's."""
        if self.calls_back(tensors):
            return False
        for places, _, _ in self.walks:
            roots = [t._own_node() for t in self._resolve(tensors, places)]
            if Walk(roots, self.session.last_write).must_wait:
                return False
        return True

    def _resolve(self, tensors: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
        found = [self.outer[i](tensors) for i in places]
        return [t for t in found if t is not None]

    # ---- a call ----

    def send(self, tensors: Sequence[Tensor], f: FrameType) -> list[int] | None:
        """Send a call, made at this frame, and do to the mirror what it does: the ids of its results; None where it is
        not there any more. ``wire.relieve`` is the caller's to call."""
        session = self.session
        wire = session.wire
        ids = [session.new_id() for _ in self.made]
        with wire.lock:
            session.tell_dead()  # from here on, what is dropped is told after this call
            if self.dropped:
                return None
            told = wire.told
            words = [self.id, told.places.get((f.f_code, f.f_lasti)) or told.place(f)]
            for i in self.takes:
                words.append(tensors[i]._id)
            words += ids
            wire.add_program_call(words, self.weight)
            self.used = wire.sent
        return ids

    def results(self, tensors: Sequence[Tensor], ids: list[int]) -> Any:
        """The results of a call that was sent, and what it does to the mirror."""
        session = self.session
        made = self.made
        if self.single:
            t = tensor_of(session, ids[0], made[0].spec)
            return infer(t) if mode.apart and mode.inference else t
        outer = [ref(tensors) for ref in self.outer]
        nodes: list[Node | None] = [None if t is None else t._node for t in outer]
        for i in self.parents:
            t = outer[i]
            if t is not None:
                nodes[i] = t._own_node()
        body = Node(seq=self.used - 1)
        new = self._results(outer, nodes, ids, body)
        for places, frees, leaves in self.walks:
            self._passed([n for i in places if (n := nodes[i]) is not None], frees, leaves)
        for e in self.effects:
            t = outer[e.at]
            if t is not None:
                self._affect(t, e, nodes, body)
        for t in new:
            if t._base is not None:
                t._generation = t._base._generation
        return self.build([new[i] if i >= 0 else outer[-1 - i] for i in self.returned])  # type: ignore[misc]

    def _results(self, outer: list[Tensor | None], nodes: list[Node | None], ids: list[int],
                 body: Node) -> list[Tensor]:  # fmt: skip
        session = self.session
        storages: dict[int, Storage] = {}
        new: list[Tensor] = []
        for m, i in zip(self.made, ids, strict=True):
            if m.storage < 0:
                source = outer[-1 - m.storage]
                storage = None if source is None else source._storage
            else:
                storage = storages.get(m.storage)
            past = m.past
            t = tensor_of(session, i, m.spec, past.flag, None, storage)
            if storage is None:
                if mode.apart and mode.inference:
                    infer(t)
                t._storage.version = m.version
            storages[m.storage] = t._storage
            t._offset = m.start + (source._offset if m.storage < 0 and source is not None else 0)
            if past.node:
                t._node = self._node(past, nodes, body)
                t._storage.used = True
            t._leaf = past.leaf
            if past.leaf and past.flag:
                session.leaves[i] = t
            t._creation = m.creation
            new.append(t)
        for m, t in zip(self.made, new, strict=True):
            if m.base is not None:
                t._base = new[m.base] if m.base >= 0 else outer[-1 - m.base]
        return new

    def _node(self, p: Past, nodes: list[Node | None], body: Node) -> Node:
        parents = [n for i in p.parents if (n := nodes[i]) is not None]
        if p.inside:
            parents.append(body)
        node = Node(tuple(parents), body.seq, leaf=p.leaf, unsure=p.unsure)
        node.freed, node.has_grad, node.retains = p.freed, p.has_grad, p.retains
        return node

    def _passed(self, roots: list[Node], frees: bool, leaves: bool) -> None:
        walk = Walk(roots, 0)
        for node in walk.reached:
            if (node.leaf and leaves) or node.retains:
                node.has_grad = True
                node.replaced += not node.leaf
                node.unsure = node.unsure or not node.leaf
        if frees:
            walk.free()

    def repeat(self, times: int) -> None:
        """What so many calls, which were sent, do to the mirror, where they are steady."""
        for e in self.effects:
            t = self.outer[e.at](())
            if t is not None:
                self._affect(t, e, [], Node(), times)

    def _affect(self, t: Tensor, e: Effect, nodes: list[Node | None], body: Node, times: int = 1) -> None:
        session, storage = self.session, t._storage
        storage.used = storage.used or e.used
        if e.writes:
            storage.version += e.writes * times
            if storage.used:
                session.last_write = session.wire.sent
        if e.past is not None:
            past = e.past
            t._node = self._node(past, nodes, body) if past.node else None
            t._grad_flag, t._leaf = past.flag, past.leaf
            t._generation += 1
            if past.leaf and past.flag:
                session.leaves[t._id] = t
        if e.gradient is not None:
            has, other, replaced, unsure = e.gradient
            node = t._own_node()
            node.has_grad = has
            if other:
                t._grad = None
            node.replaced += replaced * times or bool(session.wire.cancelled)
            node.unsure = node.unsure or unsure


def _drop(me: weakref.ref[Program], _: object) -> None:
    program = me()
    if program is not None:
        program.drop()


__all__ = ["Effect", "Made", "Past", "Program"]
