"""From what was captured to a program: what the server is told, and what becomes of the client's mirror."""

from __future__ import annotations

import functools
import gc
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from gradwire.capture.key import distinct, take_apart
from gradwire.capture.program import Effect, Made, Past, Program
from gradwire.capture.record import Capture, Outer
from gradwire.capture.watch import PLAIN, Watch, attribute, names_in, reference
from gradwire.mirror import Node
from gradwire.tensor import Tensor
from gradwire_proto.codec import encode_template
from gradwire_proto.v1 import gradwire_pb2 as pb

KEPT = frozenset({"put", "backward", "grad", "require_grad", "set_gradient", "get_gradient", "seed", "detach"})
"""Instructions that are part of programs. Others were refused when they were sent, or only ask."""


class Unfit(RuntimeError):
    """What was captured makes no program: a tensor that was made inside is kept outside, or there is too much of it."""


def build(capture: Capture, args: list[Tensor], result: Any) -> Program | None:
    """The program of what was captured, which the server is told; None where there is no room for it.

    Args:
        args: the tensors of the arguments, perhaps several times the same.
        result: what the function returned.

    Raises:
        Unfit: a tensor that it made is still there, and not among the results; or it is too large.
    """
    session = capture.session
    found: list[Tensor] = []
    rebuild = take_apart(result, found)
    for t in found:
        t._refresh()
    for o in capture.outer.values():
        o.tensor._refresh()
    returned = [t for t in found if t._id in capture.inner]
    made = _with_bases(capture, returned)
    capture.forget_computed()
    _check_escapes(capture, made)
    message, weight = _message(capture, distinct(args), made)
    most = session.limits.max_instructions_per_frame
    if weight > most:
        raise Unfit(f"gradwire.compile: {capture.name}() sends {weight} instructions, a program holds at most {most}")
    with session.wire.lock:
        message.id = session.programs.take(session.tell_dead)
        if not message.id:
            return None
        program = Program(session, message.id)
        session.programs.live[message.id] = program
        program.used = session.wire.sent
        session.wire.add(message.ByteSize()).program.CopyFrom(message)
    program.weight, program.name, program.build = weight, capture.name, rebuild
    first = {id(t): i for i, t in reversed(list(enumerate(args)))}
    program.takes = tuple(first[id(t)] for t in distinct(args))
    _Mirror(capture, program, first).fill(found, made)
    return program


def _with_bases(capture: Capture, returned: list[Tensor]) -> list[Tensor]:
    """Results, and those that they are views of."""
    made = list(returned)
    for t in returned:
        base = t._base
        if base is not None and base._id in capture.inner and not any(base is x for x in made):
            made.append(base)
    return made


def _check_escapes(capture: Capture, made: list[Tensor]) -> None:
    kept = {id(t) for t in made}
    kept |= {id(o.tensor._grad) for o in capture.outer.values()} | {id(t._grad) for t in made}
    if any(_alive(capture, kept)):
        gc.collect()
        for t, where in _alive(capture, kept):
            places = capture.session.wire.told.where(where)
            raise Unfit(
                f"gradwire.compile: a tensor made at {places} inside {capture.name}() is kept outside of it, where the "
                f"next call would not renew it: {t._spec}; return it, or update one in place"
            )


def _alive(capture: Capture, kept: set[int]) -> list[tuple[Tensor, int]]:
    return [(t, where) for ref, where in capture.made if (t := ref()) is not None and id(t) not in kept]


def _message(capture: Capture, args: list[Tensor], made: list[Tensor]) -> tuple[pb.Program, int]:
    """What the server is told, and how many instructions that is."""
    m = pb.Program(arguments=[t._id for t in args], results=[t._id for t in made])
    templates: dict[Any, int] = {}
    weight = 0
    calls: Any = None
    for step in capture.steps:
        if isinstance(step, tuple):
            known, where, ids, results = step
            number = templates.get(known)
            if number is None:
                number = templates[known] = len(templates) + 1
                count = 0 if known.targets else len(known.results)
                m.templates.append(encode_template(number, known.op, known.plain, count, known.no_grad))
            if calls is None:
                calls = m.instructions.add().calls.words
            calls.extend([number, where, *ids, *results])
            weight += 1
            continue
        kind = step.WhichOneof("kind")
        if kind not in KEPT or (kind == "get_gradient" and step.get_gradient.result in capture.undefined):
            continue
        calls = None
        copy = m.instructions.add()
        copy.CopyFrom(step)
        if kind in ("backward", "grad", "get_gradient"):
            getattr(copy, kind).request = 0
        if kind == "grad":
            copy.grad.results[:] = [0 if i in capture.undefined else i for i in step.grad.results]
        weight += 1
    return m, weight


def guard(program: Program, capture: Capture, watch: Watch, args: list[Tensor]) -> None:
    """Have a program be for what the function found by name, where it did not change that itself."""
    first = {id(t): i for i, t in reversed(list(enumerate(args)))}
    for get, v in watch.still():
        if not isinstance(v, Tensor):
            program.watched.append((get, v if type(v) in PLAIN else reference(v)))
            continue
        o = capture.outer.get(v._id)
        if o is None:
            continue
        if o.arg is not None and o.arg[0] == "argument":  # by which of its names the function used it can't be told
            program.same.append((first[id(v)], program.keep_watch(v)))
        else:
            program.watched.append((get, weakref.ref(v)))


def guard_modules(program: Program, capture: Capture) -> None:
    """Have a program be for what the modules were that were called, in their mode and with their parameters."""
    for module, training in capture.modules.values():
        if module.training is training:
            program.watched.append((functools.partial(attribute, reference(module), "training"), training))
        for name in names_in(type(module).forward):
            v = vars(module).get(name)
            if v is not None and type(v) in PLAIN:
                program.watched.append((functools.partial(attribute, reference(module), name), v))
        for name, t in (*module._parameters.items(), *module._buffers.items()):
            if t is not None and t._id in capture.outer:
                get = functools.partial(attribute, reference(module), name)
                program.watched.append((get, weakref.ref(t)))


class _Mirror:
    """Works out what a call does to the mirror."""

    def __init__(self, capture: Capture, program: Program, args: dict[int, int]):
        self.capture, self.program = capture, program
        self.args = args
        """The first place of each argument."""
        self.refs: list[Callable[[Sequence[Tensor]], Tensor | None]] = []
        self.places: dict[int, int] = {}
        """In ``refs``, by id."""
        self.parents: set[int] = set()
        self.fetched = {s.get_gradient.result for s in capture.steps if isinstance(s, pb.Instruction)}
        """Ids of what is the gradient of some tensor, too."""
        self.nodes = {id(n): o for o in capture.outer.values() for n in (o.node, self._leaf_node(o)) if n is not None}

    @staticmethod
    def _leaf_node(o: Outer) -> Node | None:
        """The node that was made for a leaf after it was first used."""
        node = o.tensor._node
        return node if o.node is None and node is not None and node.leaf else None

    def fill(self, found: list[Tensor], made: list[Tensor]) -> None:
        """Put it into the program."""
        capture, p = self.capture, self.program
        storages = {id(o.tensor._storage): o for o in reversed(capture.outer.values())}
        new: dict[int, int] = {}
        p.made = tuple([self._made(t, made, storages, new) for t in made])
        at = {id(t): i for i, t in enumerate(made)}
        p.returned = tuple(at[id(t)] if id(t) in at else -1 - self._returned(t) for t in found)
        self._guards()
        p.walks = list(self._walks())
        p.effects = tuple(self._effects())
        p.reached = [self._place(o) for o in capture.outer.values()
                     if any(n in reached for n in (o.node, self._leaf_node(o)) for reached, _, _ in capture.passes)]
        p.outer, p.parents = tuple(self.refs), frozenset(self.parents)
        outside = {self.places[o.tensor._id] for o in capture.outer.values()
                   if o.arg is None and o.tensor._id in self.places}  # fmt: skip
        p.steady = (
            not p.walks and not p.asked and outside >= {e.at for e in p.effects}
            and all(e.past is None for e in p.effects)
        )  # fmt: skip
        p.single = (
            p.returned == (0,) and not self.refs and len(made) == 1
            and p.made[0].past == Past(False, True, False, (), False, False, False, False, False)
            and not p.made[0].creation and not p.made[0].version and p.build(found) is found[0]
        )  # fmt: skip

    def _place(self, o: Outer) -> int:
        """Where the program finds a tensor from before."""
        i = o.tensor._id
        if i not in self.places:
            self.places[i] = len(self.refs)
            if o.arg is None:
                ref = self.program.keep_watch(o.tensor)
                self.refs.append(lambda ts: ref())
            else:
                kind, k = o.arg
                at = list(self.program.takes)[k]
                self.refs.append(operator.itemgetter(at) if kind == "argument" else lambda ts: ts[at]._base)
        return self.places[i]

    def _returned(self, t: Tensor) -> int:
        """Of a result that was there before."""
        o = self.capture.outer.get(t._id)
        if o is None:
            o = self.capture._add(t, None)
        return self._place(o)

    def _made(self, t: Tensor, made: list[Tensor], storages: dict[int, Outer], new: dict[int, int]) -> Made:
        shared = storages.get(id(t._storage))
        storage = new.setdefault(id(t._storage), len(new)) if shared is None else -1 - self._place(shared)
        base = None
        if t._base is not None:
            i = next((i for i, x in enumerate(made) if x is t._base), None)
            o = self.capture.outer.get(t._base._id)
            base = i if i is not None else None if o is None else -1 - self._place(o)
        return Made(t._spec, self._past(t), storage, base, t._creation, t._id in self.fetched or shared is not None,
                    t._storage.version, t._offset - (0 if shared is None else shared.tensor._offset))  # fmt: skip

    def _past(self, t: Tensor) -> Past:
        node = t._node
        if node is None or (t._grad_flag is False and not node.has_grad):
            return Past(t._grad_flag, t._leaf, False, (), False, False, False, False, False)
        if t._leaf:
            return Past(t._grad_flag, True, True, (), False, False, node.unsure, node.has_grad, False)
        # What of it the program made becomes one node, which a backward pass through any result uses up.
        parents: list[int] = []
        inside: list[Node] = []
        seen = {node}
        stack = [node]
        while stack:
            n = stack.pop()
            o = self.nodes.get(id(n))
            if o is not None:
                place = self._place(o)
                if place not in parents:
                    parents.append(place)
                continue
            inside.append(n)
            fresh = [x for x in n.parents if x not in seen]
            seen.update(fresh)
            stack += fresh
        self.parents.update(parents)
        last_write = self.capture.session.last_write
        freed = any(n.freed or (not n.leaf and n.seq < last_write) for n in inside)
        unsure = any(n.unsure for n in inside)
        return Past(t._grad_flag, False, True, tuple(parents), bool(inside), freed, unsure, node.has_grad, node.retains)

    def _guards(self) -> None:
        capture, p = self.capture, self.program
        for o in capture.outer.values():
            if o.arg is None:
                ref = p.keep_watch(o.tensor)
                p.held.append(ref)
                if o.tensor.dtype.differentiable:
                    p.flags.append((ref, o.flag, o.leaf))
        p.held += capture.constants
        p.asked = [(self._place(capture.outer[i]), has) for i, has in capture.asked.items()]
        p.optimizers = [(weakref.ref(o), was, [id(t) for t in o._steps.values()])
                        for o, was in capture.optimizers.items()]  # fmt: skip

    def _walks(self) -> Any:
        for reached, frees, leaves in self.capture.passes:
            places = [self._place(o) for o in self.capture.outer.values()
                      if o.node is not None and not o.node.leaf and o.node in reached]  # fmt: skip
            if places:
                yield places, frees, leaves

    def _effects(self) -> Any:
        written: set[int] = set()
        for o in self.capture.outer.values():
            t, storage = o.tensor, o.tensor._storage
            writes = 0
            if id(storage) not in written:
                written.add(id(storage))
                writes = storage.version - o.version
            past = None
            if t._base is None and self._moved(o):
                past = self._past(t)
            gradient = self._gradient(o)
            used = storage.used and t.dtype.differentiable
            if writes or past is not None or gradient is not None or (used and o.arg is not None):
                yield Effect(self._place(o), writes, used, gradient, past)

    @staticmethod
    def _moved(o: Outer) -> bool:
        """Whether it has another history."""
        t = o.tensor
        same = t._node is o.node or (o.node is None and t._node is not None and t._node.leaf and t._leaf)
        return not same or t._grad_flag is not o.flag or t._leaf is not o.leaf

    def _gradient(self, o: Outer) -> tuple[bool, bool, int, bool] | None:
        t, capture = o.tensor, self.capture
        node = t._node
        if node is None:
            return None
        was_set = t._id in capture.set_gradients
        if not was_set and node not in capture.marked:
            return None
        return node.has_grad, was_set, node.replaced - o.replaced, node.unsure and not o.unsure


__all__ = ["Unfit", "build", "guard"]
