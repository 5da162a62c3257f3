"""Writing down what a function sends, and what was there before it: the first call of a captured function."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire import anomaly
from gradwire.capture import here
from gradwire.capture.watch import PLAIN
from gradwire.dispatch import Known, _outside, mode, ops
from gradwire.mirror import Node
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto.spec import Spec
from gradwire_proto.v1 import gradwire_pb2 as pb

if TYPE_CHECKING:
    from gradwire.optim.optimizer import Optimizer
    from gradwire.session import Session

Call = tuple[Known, int, list[int], list[int]]
"""An op without its tensors, the location, the ids of tensors and of results."""
MOST_INLINE = 1 << 20
"""Bytes of small tensors that a program holds itself; what comes beyond is kept on the server, as large ones are."""


class Outer:
    """A tensor that was there before, as it was when it was first used."""

    __slots__ = ("arg", "flag", "leaf", "node", "replaced", "tensor", "unsure", "version")

    def __init__(self, t: Tensor, arg: tuple[str, int] | None):
        self.tensor = t
        self.arg = arg
        """Which argument it is, or the base of which; None for a tensor from outside."""
        self.flag, self.leaf, self.node = t._grad_flag, t._leaf, t._node
        self.replaced = t._node.replaced if t._node else 0
        self.unsure = t._node is not None and t._node.unsure
        self.version = t._storage.version


class Capture:
    """What one thread sends, from the arguments' tensors on.

    Args:
        name: the function's.
        session: its arguments'.
        tensors: those among its arguments, each once.
        whole: raise where something can't be captured, rather than give up.
    """

    def __init__(self, name: str, session: Session, tensors: list[Tensor], whole: bool):
        self.name = name
        self.session = session
        self.steps: list[Call | pb.Instruction] = []
        self.outer: dict[int, Outer] = {}
        """By id."""
        self.inner: set[int] = set()
        """Ids of what the steps make."""
        self.made: list[tuple[weakref.ref[Tensor], int]] = []
        """What they make, and the location."""
        self.undefined: set[int] = set()
        """Ids of gradients that do not exist."""
        self.constants: list[Tensor] = []
        self.passes: list[tuple[set[Node], bool, bool]] = []
        """Of each backward pass: the nodes it went through, whether it freed them, and whether leaves accumulated."""
        self.marked: set[Node] = set()
        """Those whose gradient is there now, since a pass went through them."""
        self.set_gradients: set[int] = set()
        """Ids of tensors whose ``.grad`` was assigned."""
        self.asked: dict[int, bool] = {}
        """Whether tensors had a gradient when that was first asked, by id."""
        self.optimizers: dict[Optimizer, Any] = {}
        """With their options at the time."""
        self.modules: dict[int, tuple[Any, bool]] = {}
        """Those that were called, by id, with their mode at the time."""
        self.computed: dict[tuple[int, str], tuple[Any, Any]] = {}
        """What hooks compute and assign to modules, by module and name: the module, and what was there before."""
        self.error: RuntimeError | None = None
        """Why this can't be a program."""
        self.paused = False
        self._whole = whole
        self._first_id = session.new_id()
        self._inline = 0
        for k, t in enumerate(tensors):
            self._add(t, ("argument", k))
        for k, t in enumerate(tensors):
            if t._base is not None:
                self._add(t._base, ("base", k))

    @property
    def off(self) -> bool:
        """Whether nothing is written down now."""
        return self.paused or self.error is not None

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What is made within was there before, as far as the program is concerned."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def module(self, module: Any) -> None:
        """Take note of a module that is called: its mode and what it has must be the same in later calls."""
        self.modules.setdefault(id(module), (module, module.training))

    def assigned(self, module: Any, name: str) -> None:
        """Take note that a hook is to assign what it computes, which each call does anew."""
        self.computed.setdefault((id(module), name), (module, getattr(module, name, None)))

    def forget_computed(self) -> None:
        """Put back what was there before."""
        for (_, name), (module, before) in self.computed.items():
            setattr(module, name, before)

    def forbid(self, what: str, instead: str) -> None:
        """See :func:`gradwire.capture.forbid`."""
        if self.off:
            return
        f = _outside(sys._getframe(2))
        self.error = RuntimeError(
            f"gradwire.compile: {self.name}() {what} at {f.f_code.co_filename}:{f.f_lineno}, which can't be part of a "
            f"captured program; {instead}, or compile with fullgraph=False"
        )
        self.steps.clear()
        if self._whole:
            raise self.error

    # ---- what is used ----

    def _add(self, t: Tensor, arg: tuple[str, int] | None) -> Outer:
        found = self.outer.get(t._id)
        if found is None:
            found = self.outer[t._id] = Outer(t, arg)
        return found

    def use(self, t: Tensor) -> None:
        """An instruction is about to name a tensor."""
        if t._id in self.inner:
            return
        if not self._sent_by(t._session):
            return
        o = self._add(t, None)
        if o.arg is not None and o.arg[0] == "base":
            o.arg = None
        if t._base is not None and t._base._id not in self.inner:
            self._add(t._base, None)

    def op(self, known: Known, where: int, tensors: list[Tensor], results: list[Tensor], session: Session) -> None:
        """An op is sent."""
        if self.off or not self._sent_by(session):
            return
        for t in tensors:
            if t._id not in self.inner:
                self.use(t)
        made = [r._id for r in results]
        self.inner.update(made)
        self.made += [(weakref.ref(r), where) for r in results]
        self.steps.append((known, where, [t._id for t in tensors], made))

    def instruction(self, session: Session, m: pb.Instruction, names: Iterable[Tensor]) -> None:
        """Another instruction is sent, which is filled in later."""
        if self.off or not self._sent_by(session):
            return
        for t in names:
            self.use(t)
        self.steps.append(m)

    def _sent_by(self, session: Session) -> bool:
        if session is not self.session:
            if self.steps or self.outer:
                self.forbid("uses a second session", "use one")
                return False
            self.session, self._first_id = session, session.new_id()
        return not self.off

    def note(self, t: Tensor) -> None:
        """See :func:`gradwire.capture.note`."""
        if not self.off:
            self.inner.add(t._id)
            self.made.append((weakref.ref(t), self._place()))

    def _place(self) -> int:
        f = _outside(sys._getframe(2))
        with self.session.wire.lock:
            return self.session.wire.told.location(f.f_code.co_filename, f.f_lineno)

    def put(self, session: Session, array: np.ndarray[Any, Any], s: Spec, requires_grad: bool) -> int:
        """A tensor's contents are sent: its id, or 0 where that can be done as ever."""
        if self.off or not self._sent_by(session):
            return 0
        if s.nbytes <= session.limits.max_inline_bytes and self._inline + s.nbytes <= MOST_INLINE:
            self._inline += s.nbytes
            return 0
        with self.pause():
            constant = tensor_of(session, session.put(array, s, False), s)
        self.constants.append(constant)
        before, mode.grad = mode.grad, False
        try:
            copy = ops.clone(constant)  # each run's own, which may be written to
        finally:
            mode.grad = before
        if requires_grad:
            copy.requires_grad_()
        i: int = copy._id
        del copy._session  # the caller's tensor has its id from now on, and drops it
        return i

    # ---- gradients ----

    def gradient(self, t: Tensor) -> Tensor | None:
        """``t.grad`` is asked for: what is known of it, where that is the program's."""
        if self.off:
            return t._grad
        if t._id not in self.inner:
            self.use(t)
            node = t._node
            if t._id not in self.set_gradients and node not in self.marked and t._id not in self.asked:
                with self.pause():
                    self.asked[t._id] = has_gradient(t)
        kept = t._grad
        return kept if kept is not None and (kept._id > self._first_id or t._id in self.set_gradients) else None

    def sets_gradient(self, t: Tensor) -> None:
        """``t.grad`` is about to be assigned."""
        if not self.off:
            self.use(t)
            self.set_gradients.add(t._id)

    def passed(self, session: Session, reached: set[Node], frees: bool, leaves: Iterable[Node] | None) -> None:
        """A backward pass is about to be sent: through these nodes, adding to the gradients of those leaves."""
        if self.off:
            return
        if session.stray_hooks or (
            (session.hooks or session.functions) and any(n.calls_back for n in reached)
        ):
            self.forbid("runs backward where hooks or custom functions are", "call it outside")
        if anomaly.mode.enabled:
            self.forbid("runs backward in anomaly mode", "turn that off")
        marked = set(leaves) if leaves is not None else set()
        self.marked |= marked
        self.passes.append((reached, frees, bool(marked)))

    # ---- optimizers ----

    def optimizer(self, o: Optimizer) -> None:
        """One is about to step, or to drop gradients."""
        if not self.off and o not in self.optimizers:
            self.optimizers[o] = options(o)


def has_gradient(t: Tensor) -> bool:
    """Whether it has; the server is asked where it alone knows."""
    node = t._node
    if node is None or node.has_grad is False:
        return False
    return (node.has_grad is True and not node.unsure) or t.grad is not None


def options(o: Optimizer) -> list[Any]:
    """The values that an optimizer's instructions are made of, to be compared."""
    found = [
        tuple(map(id, v)) if name == "params" else id(v) if isinstance(v, Tensor) else v
        for group in o.param_groups for name, v in group.items()
    ]  # fmt: skip
    if not o._steps:  # a user's own, which may count in Python
        found += [v for entry in o.state.values() for v in entry.values() if type(v) in PLAIN]
    return found


def paused() -> contextlib.AbstractContextManager[None]:
    """What is made within is no part of a program, where one is captured."""
    return here.capture.pause() if here.capture is not None else contextlib.nullcontext()
