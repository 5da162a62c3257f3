"""The path that every op takes: check and infer from the catalog, write the instruction, return tensors that will be.

Nothing here waits for the server.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType, MappingProxyType
from typing import Any

from gradwire import memory, out
from gradwire import session as sessions
from gradwire.capture import here
from gradwire.defaults import default_device, in_full
from gradwire.mirror import Node
from gradwire.session import Session
from gradwire.tensor import Tensor, inferred, tensor_of
from gradwire.types import device as Device
from gradwire.types import strided
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog import ALIASES, CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import encode_apply
from gradwire_proto.dtypes import DType
from gradwire_proto.spec import Spec

_HERE = __file__.rpartition("/")[0] + "/"
_PROTO = dtypes.__file__.rpartition("/")[0] + "/"


class _Mode(threading.local):
    grad = True
    apart = False
    """Whether ops go another way, since there are vmaps, hooks for what they save, autocast, or inference mode."""
    no_packing: str | None = None
    """Why there must be no hooks for what ops save."""
    _inference = False
    _batching: tuple[Any, ...] = ()
    _packing: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = ()
    _casting: dict[str, DType] = MappingProxyType({})  # type: ignore[assignment]

    @property
    def batching(self) -> tuple[Any, ...]:
        """The vmaps that are running, from the outermost."""
        return self._batching

    @batching.setter
    def batching(self, value: tuple[Any, ...]) -> None:
        self._batching = value
        self._see()

    @property
    def packing(self) -> tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...]:
        """The hooks that pack and unpack what ops save, of which the last are at work."""
        return self._packing

    @packing.setter
    def packing(self, value: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...]) -> None:
        self._packing = value
        self._see()

    @property
    def inference(self) -> bool:
        """Whether what ops make can never be part of a graph."""
        return self._inference

    @inference.setter
    def inference(self, value: bool) -> None:
        self._inference = value
        self._see()

    @property
    def casting(self) -> dict[str, DType]:
        """The types that autocast has products done in, by the kinds of device that it is on for. Never changed."""
        return self._casting

    @casting.setter
    def casting(self, value: dict[str, DType]) -> None:
        self._casting = value
        self._see()

    def _see(self) -> None:
        self.apart = bool(self._batching or self._packing or self._casting or self._inference)


mode = _Mode()
"""What holds in this thread: whether ops are recorded, and so on."""


class _Own(dict[str, bool]):
    """Whether a file of code is gradwire's own, by its name."""

    def __missing__(self, name: str) -> bool:
        own = self[name] = name.startswith((_HERE, _PROTO))
        return own


_own = _Own()


def place(session: Session) -> int:
    """The id of the location of the innermost frame that is not gradwire's own. Call with the lock held."""
    f, told = _outside(sys._getframe(2)), session.wire.told
    return told.places.get((f.f_code, f.f_lasti)) or told.place(f)


def caller() -> tuple[str, int]:
    """File and line of the innermost frame that is not gradwire's own."""
    f = _outside(sys._getframe(2))
    return f.f_code.co_filename, f.f_lineno


def _outside(f: FrameType) -> FrameType:
    while _own[f.f_code.co_filename] and f.f_back is not None:
        f = f.f_back
    return f


class Known:
    """What calls have in common whose plain arguments are equal and whose tensors have equal specs."""

    __slots__ = ("in_step", "nbytes", "no_grad", "op", "plain", "recorded", "results", "several", "source", "starts",
                 "targets", "vain")  # fmt: skip

    def __init__(self, op: Op, values: list[Any], tensors: list[Tensor], results: tuple[Spec, ...]):
        self.op = op
        self.nbytes = 0 if op.view_of is not None else sum(s.nbytes for s in results)
        """What the results take."""
        self.plain = [_plain(v) for v in values]
        """The arguments, with something else where tensors go."""
        self.results = results
        self.no_grad = not mode.grad
        self.recorded = mode.grad and op.differentiable
        self.vain = op.name in VAIN and VAIN[op.name](values)
        """Whether no gradient gets past it, although it is recorded: the server alone can tell whether any arrives."""
        self.several = op.returns_list or len(op.results) != 1
        at = {id(t): i for i, t in enumerate(tensors)}
        self.source = at[id(values[op.view_of])] if op.view_of is not None else -1
        """Which tensor the results are views of."""
        self.starts: list[int] = []
        """Where each begins, in bytes from where that does."""
        if op.view_of is not None:
            self.starts = memory.starts(op.name, values[op.view_of]._spec, values, results)
        written = [t for i in op.writes for t in ([values[i]] if isinstance(values[i], Tensor) else values[i])]
        self.targets = [at[id(t)] for t in written]
        """Which tensors are written to."""
        self.in_step = op.name == "copy_" or (op.inplace_of is not None and op.inplace_of.pointwise)
        """Whether elements are written while those of other places may still be to be read."""


WATCHED = {f"{name}_" for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift",
                                  "bitwise_right_shift", "gcd", "lcm")}  # fmt: skip
"""Ops that aren't recorded and nonetheless refuse to write to a leaf that requires grad before anything else."""
VAIN: dict[str, Callable[[list[Any]], bool]] = {"linalg_vector_norm": lambda values: bool(values[1] == 0)}
"""When an op's derivative is none."""


def _plain(v: Any) -> Any:
    if type(v) is tuple:
        return tuple(_plain(x) for x in v)
    return _TENSOR if isinstance(v, Tensor) else v


_TENSOR = object()
_SIMPLE = frozenset({int, bool, str, type(None), DType})
_known: dict[tuple[Any, ...], Known] = {}
_MOST_KNOWN = 8192


def forget() -> None:
    """What calls are like is to be found out anew: another default type is in force."""
    _known.clear()


def describe(v: Any, key: list[Any], tensors: list[Tensor]) -> bool:
    """Tell in ``key`` all of an argument that matters but for its tensors, which are appended; False where that can't
    be. Equal is not the same: 1, 1.0 and True, or 0.0 and -0.0."""
    kind = type(v)
    if kind in _SIMPLE:
        key += kind, v
    elif kind is float and v == v:  # NaN would never be found again
        key += kind, v or str(v)
    elif isinstance(v, Tensor) and not v._is_batched:
        tensors.append(v)
        key.append(v._spec)
    elif kind is tuple or kind is list:
        key += tuple, len(v)
        for x in v:
            if not describe(x, key, tensors):
                return False
    else:
        return False
    return True


def call(op: Op, args: Sequence[Any], kwargs: dict[str, Any], method: bool = False) -> Any:
    """Apply an op: one tensor where it has one result, else a tuple.

    Raises:
        TypeError, RuntimeError, IndexError, ValueError: torch's, for what arguments, shapes and types show.
    """
    if mode.apart:
        if mode.casting:
            from gradwire.amp.rules import cast

            args, kwargs = cast(op, args, kwargs)
        if mode.batching:
            from gradwire.func.batched import apply

            return apply(op, args, kwargs)
        if mode.inference:
            from gradwire.autograd.inference import apply

            return apply(op, args, kwargs)
        if mode.packing:
            from gradwire.autograd.saved import apply

            return apply(op, args, kwargs)
    key: list[Any] = [op, mode.grad]
    tensors: list[Tensor] = []
    for v in args:
        if type(v) is Tensor:
            tensors.append(v)
            key.append(v._spec)
        elif not describe(v, key, tensors):
            key = []
            break
    if kwargs and key:
        several = len(tensors)
        for name, v in kwargs.items():
            key.append(name)
            if not describe(v, key, tensors) or len(tensors) > several:
                key = []
                break
    known = _known.get(tuple(key)) if key else None
    values: list[Any] | None = None
    if known is None:
        known, values, tensors = _learn(op, args, kwargs, key, tensors, method)
    session = tensors[0]._session if tensors else sessions.current()
    for t in tensors:
        if t._session is not session:
            raise RuntimeError(
                f"Expected all tensors to be of the same session, but found two: {t._session!r} and {session!r}"
            )
    if known.targets:
        return _write(known, values, tensors, session)
    if known.nbytes > session.max_bytes:
        for s in known.results:
            session.check_size(s)
    node, grad = _record(tensors, session) if known.recorded else (None, False)
    if known.vain and node is not None:
        node.unsure = True
    new_id = session.new_id
    results = [
        tensor_of(session, new_id(), s, grad, node) if s.dtype.differentiable else tensor_of(session, new_id(), s)
        for s in known.results
    ]
    if node is not None:
        for r in results:  # a derivative may need any
            r._storage.used = True
    _send(known, values, tensors, results, session)
    if known.source >= 0:
        source = tensors[known.source]
        for r, start in zip(results, known.starts):  # noqa: B905 - as many, and every view comes here
            r._storage = source._storage
            r._offset = source._offset + start
            if op.differentiable:
                r._base = source._base if source._base is not None else source
                r._generation = r._base._generation
                r._creation = source._creation or ("no_grad" if not mode.grad else "multi" if op.returns_list else "")
    if node is not None and inferred:
        check_saved(known, tensors, results[0])
    return tuple(results) if known.several else results[0]


def _learn(
    op: Op, args: Sequence[Any], kwargs: dict[str, Any], key: list[Any], found: list[Tensor], method: bool
) -> tuple[Known, list[Any], list[Tensor]]:
    """Bind and infer, and remember that under ``key`` where ``found`` are the tensors in order; the arguments in
    signature order, and their tensors."""
    values = op.bind(args, kwargs, Tensor, int(method))
    full = in_full(op, values, Tensor)
    if full is not None:
        key, values = [], full
    tensors: list[Tensor] = []
    specs: list[Any] = []
    for v in values:
        if isinstance(v, Tensor):
            tensors.append(v)
            specs.append(v._spec)
        elif type(v) is tuple:
            tensors += [x for x in v if isinstance(x, Tensor)]
            specs.append(tuple([x._spec if isinstance(x, Tensor) else x for x in v]))
        else:
            specs.append(v)
    if op.writes and mode.grad and (op.differentiable or op.name in WATCHED):
        check_write(tensors[0])
    known = Known(op, values, tensors, op.infer(specs).results)
    # Not where a tensor's value was read to bind it.
    if key and len(found) == len(tensors) and all(a is b for a, b in zip(found, tensors, strict=True)):
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[tuple(key)] = known
    return known, values, tensors


def _record(tensors: list[Tensor], session: Session) -> tuple[Node | None, bool | None]:
    """The mirror's node for a result of these, and whether it requires grad (None: the server alone knows)."""
    parents = []
    grad: bool | None = False
    for t in tensors:
        if t._base is not None:
            t._refresh()
        flag = t._grad_flag
        if flag is not False:
            parents.append(t._node if flag and t._node is not None else t._own_node())
            grad = True if flag or grad else None
        elif t._base is not None and t._base._grad_flag is not False:  # a view without history: see requires_grad
            grad = True if t._base._grad_flag or grad else None
    if grad is False:
        return None, False
    for t in tensors:  # those that require no grad, too: a derivative may need any
        t._storage.used = True
    return Node(tuple(parents), session.wire.sent), grad


def sync_mode(session: Session) -> None:
    """Tell the server this thread's grad mode where it has another. Call with the lock held."""
    if session.wire.grad_mode is not mode.grad:
        session.wire.grad_mode = mode.grad
        session.instruction().set_grad_mode.enabled = mode.grad


def _send(known: Known, values: list[Any] | None, tensors: list[Tensor], results: list[Tensor],
          session: Session) -> None:  # fmt: skip
    """Write the instruction: in full where it is new, which is where ``values`` are, and as a call from then on."""
    wire, told = session.wire, session.wire.told
    f = _outside(sys._getframe(2))
    with wire.lock:
        where = told.places.get((f.f_code, f.f_lasti)) or told.place(f)
        if values is None:
            template = told.templates.get(known) or told.template(known)
            words = [template, where]
            for t in tensors:
                words.append(t._id)
            for t in results:
                words.append(t._id)
            session.add_call(words)
        else:
            sync_mode(session)
            session.add_encoded(encode_apply(known.op, values, [t._id for t in results], where, Tensor))
        if here.capture is not None:
            here.capture.op(known, where, tensors, results, session)
    wire.relieve()


def _write(known: Known, values: list[Any] | None, tensors: list[Tensor], session: Session) -> Any:
    """Apply an op that writes to its arguments, with torch's refusals."""
    targets = [tensors[i] for i in known.targets]
    first = targets[0]
    if known.in_step:
        for t in tensors:
            if t is not first and memory.overlap(t, first) == "part":
                raise RuntimeError(refusals.OVERLAP)
    node, grad = None, False
    if inferred:
        check_inference(first)
    if known.recorded:
        check_write(first)
        node, grad = _record(tensors, session)
        if node is not None:
            if first._creation:
                raise RuntimeError(_view_written(first))
            if first.is_leaf and first.requires_grad:
                raise RuntimeError(refusals.LEAF_WRITTEN)
    _send(known, values, tensors, [], session)
    for t in targets:
        t._storage.version += 1
        if t._storage.used:
            session.last_write = session.wire.sent
    if node is not None:
        rebase(first, node, grad)
        if inferred:
            check_saved(known, tensors, first)
    return tuple(targets) if known.several else first


def rebase(t: Tensor, node: Node, grad: bool | None) -> None:
    """Make ``node`` the history of a tensor that was written to; of a view, through its base."""
    base = t._base
    if base is None:
        base = t
    else:
        node.parents = (*node.parents, *([base._own_node()] if base._grad_flag is not False else []))
    node.follow(base._node)
    base._node, base._grad_flag, base._leaf = node, grad, False
    base._generation += 1
    base._storage.used = True
    t._refresh()


def check_write(t: Tensor) -> None:
    """torch's refusals to write to a tensor that is part of a graph."""
    t._refresh()
    base = t._base
    if t._grad_flag is False and (base is None or base._grad_flag is False):
        return
    if base is None:
        if t._leaf:
            raise RuntimeError(refusals.LEAF_WRITTEN)
        return
    if t._creation:
        raise RuntimeError(_view_written(t))
    if base._leaf and (base._grad_flag or t._grad_flag):
        raise RuntimeError(refusals.VIEW_OF_LEAF_WRITTEN)


def check_constant(function: str, **tensors: Tensor | None) -> None:
    """Raise torch's error where a function has no derivative by an argument that wants one."""
    for name, t in tensors.items():
        if t is not None and mode.grad and t.requires_grad:
            raise RuntimeError(
                f"The function '{function}' is not differentiable with respect to argument '{name}'. This input cannot "
                "have requires_grad True."
            )


def check_inference(t: Tensor) -> None:
    """torch's refusal to write to what inference mode made outside of it."""
    if t._storage.inference and not mode.inference:
        raise RuntimeError(refusals.INFERENCE_WRITTEN)


def check_saved(known: Known, tensors: list[Tensor], made: Tensor) -> None:
    """torch's refusal to save what inference mode made. What was saved is the server's to tell: it is asked only where
    such a tensor is among the arguments."""
    if not any(t._storage.inference for t in tensors):
        return
    nodes = made._history(1).nodes
    saved, left = nodes[0].saved if nodes else (), iter(tensors)
    for p, v in zip(known.op.params, known.plain, strict=True):
        n = v.count(_TENSOR) if type(v) is tuple else v is _TENSOR
        inference = [t._storage.inference for t in itertools.islice(left, n)]
        if p.name in saved and any(inference):
            raise RuntimeError(refusals.INFERENCE_SAVED)


def check_real(function: str, *tensors: Tensor) -> None:
    """Raise torch's error where a function has no derivative for complex numbers, and one is wanted."""
    if mode.grad and any(t.dtype.is_complex and t.requires_grad for t in tensors):
        raise RuntimeError(f"{function} does not support automatic differentiation for outputs with complex dtype.")


def _view_written(t: Tensor) -> str:
    return refusals.view_written(t._creation, t._made_by(), t.output_nr)


def function_of(op: Op, method: bool = False) -> Callable[..., Any]:
    """An op as a Python function, or as a method: torch's errors then don't count the tensor it is called on."""

    def f(*args: Any, **kwargs: Any) -> Any:
        if kwargs and "out" in kwargs and not op.writes:
            to = kwargs.pop("out")
            if to is not None:
                made = call(op, args, kwargs, method)
                return out.stored(op.name, made, to, (args, kwargs), op.pointwise, op.differentiable)
        return call(op, args, kwargs, method)

    f.__name__ = f.__qualname__ = op.name
    f.__doc__ = f"{op.signature}\n\n{op.doc}"
    return f


class Ops:
    """Every op of the catalog as an attribute: what the SDK's compositions are written in."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = CATALOG.get(name) or CATALOG.get(ALIASES.get(name, ""))
        if op is None:
            raise AttributeError(f"gradwire has no op {name!r}")
        made = function_of(op)
        setattr(self, name, made)
        return made


ops = Ops()


def finish(t: Tensor, requires_grad: bool = False, device: Any = None, layout: Any = None) -> Tensor:
    """Apply the keywords that all functions making tensors share.

    Raises:
        RuntimeError: another device than the session's.
        NotImplementedError: a sparse layout.
    """
    if layout not in (None, strided):
        raise NotImplementedError(f"gradwire has no tensors of layout {layout!r}: all are torch.strided")
    device = device or default_device()
    if device is not None:
        check_device(device, t._session)
    return t.requires_grad_() if requires_grad else t


def check_device(device: Any, session: Session) -> None:
    """Raises:
    RuntimeError: ``device`` is not the session's.
    """
    name = str(device if isinstance(device, Device) else Device(device))
    have = session.device
    if name not in (have, "meta") and not (name.partition(":")[0] == have.partition(":")[0] and ":" not in name):
        if name == "cpu:0" and have == "cpu":
            return
        raise RuntimeError(
            f"this session's device is {have}, not {name}: a session has one device, chosen in connect(device=...)"
        )


__all__ = [
    "Spec", "call", "caller", "check_constant", "check_device", "check_real", "finish", "forget", "function_of", "mode",
    "ops",
]  # fmt: skip
