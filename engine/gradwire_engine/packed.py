"""Saved tensors that the client keeps: a node has numbers in their place, and calls back for them in backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.tensor import Tensor
from gradwire_proto.spec import Spec, spec

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine
    from gradwire_engine.graph import Node, OpNode


class Pack:
    """What the client keeps of one node. The client is told when it is gone."""

    def __init__(self, engine: Engine, number: int):
        self.engine = engine
        self.number = number
        self._back: dict[int, Tensor] = {}
        """What the client gave back, and the derivative that wanted it has not taken yet."""

    def __del__(self) -> None:
        self.engine.dropped(self.number)

    def take(self, index: int) -> Tensor:
        """One of the tensors; the client is asked for all at once, each time that a derivative is computed."""
        if index not in self._back:
            self._back = dict(enumerate(self.engine.unpack(self.number)))
            if index not in self._back:
                raise RuntimeError(f"the client gave back {len(self._back)} of the saved tensors, and not all")
        return self._back.pop(index)


class Packed:
    """One saved tensor of a pack: what it was, and where its gradient goes."""

    __slots__ = ("edge", "index", "pack", "spec")

    def __init__(self, pack: Pack, index: int, of: Spec, edge: tuple[Node, int] | None):
        self.pack = pack
        self.index = index
        self.spec = of
        self.edge = edge

    def get(self, tensors: bool, edge: tuple[Node, int] | None = None) -> Any:
        """The array, or the tensor with its history, that the client gives back.

        Raises:
            RuntimeError: it has another shape.
        """
        engine, s = self.pack.engine, self.spec
        made = self.pack.take(self.index)
        if made.shape != s.shape:
            raise RuntimeError(
                f"unpack_hook returned a tensor of shape {list(made.shape)} in place of a saved one of shape "
                f"{list(s.shape)}"
            )
        array = engine.xp.ascontiguousarray(made.array, NUMPY_DTYPE[s.dtype]).reshape(s.shape)
        if not tensors:
            return array
        node, nr = edge or self.edge or (None, 0)
        storage = made.storage if array is made.array else None
        return Tensor(engine, array, spec(s.shape, s.dtype), storage, node is not None, node, nr)


class Given(NamedTuple):
    """A saved tensor that goes to the client."""

    kind: str
    """``input``, ``result``, or a ``copy`` of what an op overwrote."""
    place: int
    """Which input, counting as a node's edges do, or which result."""
    tensor: Tensor | None
    """The copy."""


class _Never:
    version = 0


NEVER = _Never()
"""In place of a saved result's storage, at a version that it never has: so that the node looks twice."""


def hand_over(node: OpNode, number: int, written: bool) -> list[Given]:
    """Have a node forget the tensors that it saved, for the client to keep them: which they are.

    Args:
        written: the op wrote to its first argument, so that the node may have a copy of that.
    """
    pack = Pack(node.engine, number)
    given: list[Given] = []
    saved = node.saved
    if saved is None:
        return given
    for slot in node.plan.tensors:
        place, _ = node.case.spans[node.plan.slots[slot][1]]
        saved[slot] = _packed(saved[slot], place, pack, given, written)
    for slot, i in node.plan.later:
        _, _, _, of, nr = saved[slot]
        saved[slot] = Packed(pack, len(given), of, None), NEVER, -1, of, nr
        given.append(Given("result", i, None))
    return given


def _packed(s: Any, place: int, pack: Pack, given: list[Given], written: bool) -> Any:
    """What a node has in the place of a saved input, or of several, the first of which is input ``place``."""
    from gradwire_engine.graph import history

    if type(s) is not tuple or not s:
        return s
    t = s[0]
    if type(t) is not Tensor:
        return tuple([_packed(x, place + i, pack, given, written) for i, x in enumerate(s)])
    if t.storage.version != s[1]:  # the op wrote to it: as ever, the derivative says so
        return s
    made = Packed(pack, len(given), t.spec, history(t))
    given.append(Given("copy", 0, t) if written and not place else Given("input", place, None))
    return made
