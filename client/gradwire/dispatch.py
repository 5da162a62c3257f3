"""The path that every op takes: check and infer from the catalog, write the instruction, return tensors that will be.

Nothing here waits for the server.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from gradwire import session as sessions
from gradwire.mirror import Node
from gradwire.session import Session
from gradwire.tensor import Tensor
from gradwire.types import default_dtype
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog import ALIASES, CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import encode_apply
from gradwire_proto.spec import Spec

_HERE = __file__.rpartition("/")[0] + "/"
_own_files: dict[str, bool] = {}
_PROTO = dtypes.__file__.rpartition("/")[0] + "/"


class _Mode(threading.local):
    grad = True
    inference = False


mode = _Mode()
"""What holds in this thread: whether ops are recorded."""


def caller() -> tuple[str, int]:
    """File and line of the innermost frame that is not gradwire's own."""
    f = sys._getframe(2)
    while True:
        name = f.f_code.co_filename
        own = _own_files.get(name)
        if own is None:
            own = _own_files[name] = name.startswith((_HERE, _PROTO))
        if not own or f.f_back is None:
            return name, f.f_lineno
        f = f.f_back


def call(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply an op: one tensor where it has one result, else a tuple.

    Raises:
        TypeError, RuntimeError, IndexError, ValueError: torch's, for what arguments, shapes and types show.
    """
    values = op.bind(args, kwargs, Tensor)
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
    if op.writes and mode.grad and op.differentiable:
        check_write(tensors[0])
    inferred = op.infer(specs)
    session = tensors[0]._session if tensors else sessions.current()
    for t in tensors:
        if t._session is not session:
            raise RuntimeError(
                f"Expected all tensors to be of the same session, but found two: {t._session!r} and {session!r}"
            )
    if op.writes:
        return _write(op, values, tensors, session)
    if inferred.nbytes > session.max_bytes and op.view_of is None:
        for s in inferred.results:
            session.check_size(s)
    recorded = mode.grad and op.differentiable
    node, grad = _record(tensors, session) if recorded else (None, False)
    results = [
        Tensor(session, session.new_id(), s, grad if s.dtype.differentiable else False,
               node if s.dtype.differentiable else None)
        for s in inferred.results
    ]  # fmt: skip
    send(op, values, [r._id for r in results], session)
    if op.view_of is not None:
        source: Tensor = values[op.view_of]
        for r in results:
            r._storage = source._storage
            if op.differentiable:
                r._base = source._base if source._base is not None else source
                r._generation = r._base._generation
                r._creation = source._creation or ("multi" if op.returns_list else "" if mode.grad else "no_grad")
    if len(results) == 1 and not op.returns_list:
        return results[0]
    return tuple(results)


def _record(tensors: list[Tensor], session: Session) -> tuple[Node | None, bool | None]:
    """The mirror's node for a result of these, and whether it requires grad (None: the server alone knows)."""
    parents = []
    grad: bool | None = False
    for t in tensors:
        t._refresh()
        if t._grad_flag is not False:
            parents.append(t._own_node())
            grad = True if t._grad_flag or grad else None
            t._storage.used = True
    if not parents:
        return None, False
    node = Node(tuple(parents), session.wire.sent)
    return node, grad


def sync_mode(session: Session) -> None:
    """Tell the server this thread's grad mode where it has another. Call with the lock held."""
    if session.grad_mode is not mode.grad:
        session.grad_mode = mode.grad
        session.instruction().set_grad_mode.enabled = mode.grad


def send(op: Op, values: Sequence[Any], ids: list[int], session: Session) -> None:
    """Write the instruction."""
    wire = session.wire
    file, line = caller()
    with wire.lock:
        sync_mode(session)
        where = wire.location(file, line)
        session.add_encoded(encode_apply(op, values, ids, where, Tensor))
    wire.relieve()


def _write(op: Op, values: list[Any], tensors: list[Tensor], session: Session) -> Any:
    """Apply an op that writes to its arguments, with torch's refusals."""
    targets: list[Tensor] = []
    for i in op.writes:
        targets += [values[i]] if isinstance(values[i], Tensor) else values[i]
    recorded = mode.grad and op.differentiable
    if recorded:
        node, grad = _record(tensors, session)
        if node is not None and targets[0].is_leaf and targets[0].requires_grad:
            raise RuntimeError(refusals.LEAF_WRITTEN)
    else:
        node, grad = None, False
    send(op, values, [], session)
    for t in targets:
        t._storage.version += 1
        if t._storage.used:
            session.last_write = session.wire.sent
    if node is not None:
        t = targets[0]
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
    if len(op.results) == 1 and not op.returns_list:
        return targets[0]
    return tuple(targets)


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
    if t._creation == "no_grad":
        raise RuntimeError(refusals.NO_GRAD_VIEW_WRITTEN)
    if t._creation == "multi":
        name = t.grad_fn.name().removesuffix("Backward0")
        raise RuntimeError(refusals.multi_view_written(t.output_nr, name))
    if base._leaf and base._grad_flag:
        raise RuntimeError(refusals.VIEW_OF_LEAF_WRITTEN)


def function_of(op: Op) -> Callable[..., Any]:
    """An op as a Python function."""

    def f(*args: Any, **kwargs: Any) -> Any:
        return call(op, args, kwargs)

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


def finish(t: Tensor, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Apply the keywords that all functions making tensors share.

    Raises:
        RuntimeError: another device than the session's.
    """
    if device is not None:
        check_device(device, t._session)
    return t.requires_grad_() if requires_grad else t


def check_device(device: Any, session: Session) -> None:
    """Raises:
    RuntimeError: ``device`` is not the session's.
    """
    name = str(device)
    have = session.device
    if name not in (have, "meta") and not (name.partition(":")[0] == have.partition(":")[0] and ":" not in name):
        if name == "cpu:0" and have == "cpu":
            return
        raise RuntimeError(
            f"this session's device is {have}, not {name}: a session has one device, chosen in connect(device=...)"
        )


__all__ = ["Spec", "call", "caller", "check_device", "default_dtype", "finish", "function_of", "mode", "ops", "send"]
