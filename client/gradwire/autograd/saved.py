"""Tensors that ops save for their derivatives, kept as the program wants: packed when saved, unpacked in backward.

The server tells which tensors an op's node saved, once for all calls alike; the program's hooks pack them here, and the
server forgets them, and calls back for each when its derivative wants it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gradwire
from gradwire import dispatch
from gradwire.capture import forbid
from gradwire.dispatch import mode
from gradwire.mirror import Node
from gradwire.session import Session
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto import refusals
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import dtype_of
from gradwire_proto.spec import spec
from gradwire_proto.v1 import gradwire_pb2 as pb

Hook = Callable[[Any], Any]
MODIFIED = (
    "A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook cannot be "
    "modified by in-place operations as this can lead to unexpected side-effects. Please open an issue if you need to "
    "perform in-place operations on the input to a pack hook."
)
OUTSIDE = (
    "Trying to backward outside of the 'allow_mutation_on_saved_tensors' contextin which the graph was originally "
    "recorded."
)


class saved_tensors_hooks:
    """Inside, what ops save goes through hooks.

    ``pack_hook`` is called with each tensor that an op, or a custom function, saves for its derivative, under
    ``no_grad``. What it returns, which may be anything, is kept in its place; let it not be the tensor itself where
    that is what an op made, or neither is freed before backward. When backward wants the tensor, ``unpack_hook`` is
    called with that and returns it. Which tensors an op saves, and how often, is its own affair. What ``create_graph``
    records in the middle of a backward pass is kept on the server as ever.

    >>> import gradwire as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), torch.tensor):
    ...     y = x.exp()
    >>> y.sum().backward()
    >>> x.grad
    tensor([2.7183, 7.3891])

    Raises:
        RuntimeError: inside of :func:`disable_saved_tensors_hooks`, with its message.
    """

    def __init__(self, pack_hook: Hook, unpack_hook: Hook):
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if mode.no_packing is not None:
            raise RuntimeError(mode.no_packing)
        forbid("has hooks keep what ops save", "call it inside of them, or stream it")
        mode.packing = (*mode.packing, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *_: object) -> None:
        mode.packing = mode.packing[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Inside, what ops save is kept in this program's memory, and sent back to the server when backward wants it.

    Args:
        pin_memory, device_type: accepted, and without effect.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: t.detach().numpy(), gradwire.from_numpy)


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, or in the function that this decorates, hooks for saved tensors are an error.

    Raises:
        RuntimeError: with the message, where such hooks are at work.
    """
    if mode.packing:
        raise RuntimeError(error_message)
    before, mode.no_packing = mode.no_packing, error_message
    try:
        yield
    finally:
        mode.no_packing = before


class _Place:
    """Stands for a tensor that :class:`Copies` has."""


class Copies:
    """Copies of what was saved inside of :func:`allow_mutation_on_saved_tensors`."""

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[_Place, Tensor] = weakref.WeakKeyDictionary()

    def clear(self) -> None:
        """Drop them all: what saved them can't be differentiated any more."""
        self._kept.clear()

    def pack(self, t: Tensor) -> _Place:
        place = _Place()
        self._kept[place] = dispatch.ops.clone(t)
        return place

    def unpack(self, place: _Place) -> Tensor:
        if place not in self._kept:
            raise AssertionError(OUTSIDE)
        return self._kept[place]


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[Copies]:
    """Inside, tensors that ops saved may be written to: each is copied when it is saved. Differentiate inside, too.

    >>> import gradwire as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.clone()
    ...     out = (y**2).sum()
    ...     y = y.sin_()
    ...     out.backward()
    >>> x.grad
    tensor([2., 2.])

    Raises:
        RuntimeError: inside of another.
    """
    if any(isinstance(getattr(pack, "__self__", None), Copies) for pack, _ in mode.packing):
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
    copies = Copies()
    with saved_tensors_hooks(copies.pack, copies.unpack):
        try:
            yield copies
        finally:
            copies.clear()


# ---- ops ----

Entries = tuple[tuple[str, int], ...]
"""What an op saved: arguments, counting all that may be tensors, those of lists one by one; or results."""
_known: dict[tuple[Any, ...], Entries] = {}
"""By what calls alike have in common."""
_MOST_KNOWN = 4096


def apply(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call an op where hooks are at work, and have them pack what it saves."""
    tensors: list[Tensor] = []
    key: list[Any] = [op]
    sure = all(dispatch.describe(v, key, tensors) for v in (*args, *kwargs.values()))
    key += [*kwargs, *(t._grad_flag for t in tensors)]
    before = mode.packing
    mode.packing = ()
    try:
        if op.writes:
            args, kwargs = _apart(args[0], args, kwargs) if args else (args, kwargs)
        made = dispatch.call(op, args, kwargs)
    finally:
        mode.packing = before
    if not (mode.grad and op.differentiable):
        return made
    results = made if isinstance(made, tuple) else (made,)
    recorded = next((t for t in results if t._grad_flag is not False), None)
    if recorded is None:
        return made
    forbid(f"calls {op.name}() where hooks keep what ops save", "call it outside of them, or stream it")
    if any(t._grad_flag is None for t in tensors):
        sure = False
    found = _known.get(tuple(key)) if sure else None
    if found != ():
        _pack(op, op.bind(args, kwargs, Tensor), results, recorded, tuple(key) if sure else None, found)
    return made


def _apart(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of an op that writes to ``target``, copied where they share its memory: they are packed later."""

    def copied(v: Any) -> Any:
        same = isinstance(v, Tensor) and isinstance(target, Tensor) and v._storage is target._storage
        return dispatch.ops.clone(v) if same else v

    return [target, *map(copied, args[1:])], {name: copied(v) for name, v in kwargs.items()}


def _pack(op: Op, values: list[Any], results: Sequence[Tensor], recorded: Tensor, key: tuple[Any, ...] | None,
          found: Entries | None) -> None:  # fmt: skip
    session = recorded._session
    request = 0 if found is not None else session.wire.request()
    number = session.new_id()
    with session.wire.lock:
        m = session.instruction().pack
        m.tensor, m.number, m.written, m.request = recorded._id, number, bool(op.writes), request
    inputs = [x for p, v in zip(op.params, values, strict=True) if p.is_tensor for x in (v if p.is_list else (v,))]
    saved: list[Tensor]
    if found is None:
        told = session.wire.wait(request).saved.tensors
        kinds = [(str(s.WhichOneof("kind")), s) for s in told]
        if key is not None and all(kind != "tensor" for kind, _ in kinds):
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = tuple((kind, getattr(s, kind)) for kind, s in kinds)
        saved = [
            _copy(session, s) if kind == "tensor" else inputs[s.input] if kind == "input" else results[s.result]
            for kind, s in kinds
        ]
    else:
        saved = [inputs[i] if kind == "input" else results[i] for kind, i in found]
    if not saved:
        return
    base = recorded._base if op.writes else None
    (recorded if base is None else base)._own_node().calls_back += 1
    pack, unpack = mode.packing[-1]
    session.packs[number] = unpack, [packed(pack, t) for t in saved]


def _copy(session: Session, m: pb.SavedTensor) -> Tensor:
    return tensor_of(session, m.tensor, spec(tuple(m.spec.shape), dtype_of(m.spec.dtype)))


def packed(pack: Hook, t: Tensor) -> Any:
    """What the hook makes of a tensor.

    Raises:
        RuntimeError: it wrote to the tensor.
    """
    version = t._storage.version
    before, mode.grad = mode.grad, False
    try:
        made = pack(t)
    finally:
        mode.grad = before
    if t._storage.version != version:
        raise RuntimeError(MODIFIED)
    return made


def unpacked(unpack: Hook, kept: Any) -> Tensor:
    """A saved tensor again.

    Raises:
        TypeError: the hook returns something else.
    """
    made = unpack(kept)
    if not isinstance(made, Tensor):
        raise TypeError(
            f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(made).__name__}"
        )
    return made


def answer(session: Session, m: pb.Callback) -> list[Tensor | None]:
    """The tensors that a derivative on the server wants."""
    if m.pack not in session.packs:
        raise RuntimeError(refusals.FREED)
    unpack, kept = session.packs[m.pack]
    return [unpacked(unpack, v) for v in kept]


# ---- custom functions ----


class Kept(NamedTuple):
    """A tensor that a custom function saved where hooks were at work."""

    unpack: Hook
    value: Any
    edge: Tensor | None
    """Where its gradient goes."""

    def get(self) -> Tensor:
        """The tensor; with its history where that is recorded on, as in a backward under ``create_graph``."""
        made = unpacked(self.unpack, self.value)
        if self.edge is None or not mode.grad:
            return made
        session = made._session
        found = tensor_of(session, session.new_id(), made._spec, True, Node((self.edge._own_node(),), unsure=True),
                       made._storage)  # fmt: skip
        with session.wire.lock:
            m = session.instruction().saved_result
            m.tensor, m.edge, m.result = made._id, self.edge._id, found._id
        return found


def keep(t: Tensor) -> Kept:
    """Have the hooks at work pack what a custom function saves."""
    pack, unpack = mode.packing[-1]
    edge = None
    if t.requires_grad:
        session = t._session
        edge = tensor_of(session, session.new_id(), t._spec, True, Node((t._own_node(),), unsure=True))
        with session.wire.lock:
            m = session.instruction().edge
            m.tensor, m.result = t._id, edge._id
    return Kept(unpack, packed(pack, t), edge)


__all__ = [
    "Copies",
    "Kept",
    "allow_mutation_on_saved_tensors",
    "answer",
    "apply",
    "disable_saved_tensors_hooks",
    "keep",
    "save_on_cpu",
    "saved_tensors_hooks",
]
