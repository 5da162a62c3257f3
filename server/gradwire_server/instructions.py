"""What each instruction does: a table of functions of the session and the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_engine import Tensor, backward, checkpoint, grad
from gradwire_engine.backend import to_host
from gradwire_engine.generators import generator
from gradwire_engine.tensor import Storage
from gradwire_proto import refusals
from gradwire_proto.codec import dtype_of
from gradwire_proto.spec import spec
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server import hooks, nodes, ops, programs
from gradwire_server.errors import SessionEnded

if TYPE_CHECKING:
    from gradwire_server.session import Session
    from gradwire_server.shared import Segments


def _put(s: Session, m: pb.Put) -> None:
    try:
        s.check_fresh(m.result)
        shape = tuple(m.data.shape)
        if m.segment:
            size = spec(shape, dtype_of(m.data.dtype)).nbytes
            s.engine.meter.check(size)
            array = s.decode(shape, m.data.dtype, _segments(s).read(m.segment, size), own=True)
        elif m.upload:
            data = s.transfers.take_upload(m.upload)
            s.engine.meter.check(len(data))
            array = s.decode(shape, m.data.dtype, data, own=True)
        else:
            s.engine.meter.check(len(m.data.data))
            array = s.decode(shape, m.data.dtype, m.data.data, own=False)
        t = s.put(array, Storage(s.engine.meter, array.nbytes), False)
        if m.requires_grad:
            s.engine.set_requires_grad(t, True)
        s.tensors[m.result] = t
    except Exception as e:
        s.poison([m.result], s.explain(e))


def _get(s: Session, m: pb.Get) -> None:
    try:
        t = s.tensor(m.tensor)
        reply = pb.Reply()  # filled in where it is: a message given to another is copied, its bytes and all
        value = reply.value
        value.request = m.request
        data = value.data
        data.dtype = t.spec.dtype.number  # type: ignore[assignment]  # the stubs want one of their own ints
        data.shape.extend(t.spec.shape)
        if m.segment:
            array = np.ascontiguousarray(to_host(t.array))
            _segments(s).write(m.segment, array.reshape(-1).view(np.uint8))
        elif t.spec.nbytes > s.limits.max_inline_bytes:
            s.transfers.offer(m.request, t.array, lend=s.is_last(m.request))
            value.download = m.request
        else:
            data.data = to_host(t.array).tobytes()
        s.held.append(reply)
    except Exception as e:
        s.fail(e, m.request)


def _segments(s: Session) -> Segments:
    if s.segments is None:
        raise ValueError("this session shares no memory with its client")
    return s.segments


def _free(s: Session, m: pb.Free) -> None:
    drop = s.tensors.pop
    for i in m.tensors:
        drop(i, None)
    for i in m.downloads:
        s.transfers.end_download(i)
    for i in m.uploads:
        s.transfers.end_upload(i)
    for i in m.programs:
        programs.drop(s, i)


def _set_grad_mode(s: Session, m: pb.SetGradMode) -> None:
    s.engine.grad_enabled = m.enabled


def _tensors(s: Session, ids: Any) -> list[Tensor]:
    return [s.tensor(i) for i in ids]


def _gradients(s: Session, ids: Any, n: int) -> list[Tensor | None]:
    return [s.maybe(i) for i in ids] if len(ids) else [None] * n


def _backward(s: Session, m: pb.Backward) -> None:
    before = s.brake.start()
    try:
        roots = _tensors(s, m.tensors)
        backward(
            s.engine,
            roots,
            _gradients(s, m.gradients, len(roots)),
            retain_graph=m.retain_graph,
            create_graph=m.create_graph,
            inputs=_tensors(s, m.inputs) or None,
            check_nan=m.check_nan,
        )
    except Exception as e:
        _rethrow(e)
        s.fail(e, m.request)
        return
    finally:
        s.brake.stop(before, s.begun)
    if m.request:
        s.reply(done=pb.Done(request=m.request))


def _grad(s: Session, m: pb.Grad) -> None:
    before = s.brake.start()
    try:
        outputs = _tensors(s, m.outputs)
        inputs = _tensors(s, m.inputs)
        for i in filter(None, m.results):
            s.check_fresh(i)
        results = grad(
            s.engine,
            outputs,
            inputs,
            _gradients(s, m.gradients, len(outputs)),
            retain_graph=m.retain_graph,
            create_graph=m.create_graph,
            allow_unused=m.allow_unused,
            check_nan=m.check_nan,
            batched=m.batched,
        )
        if not m.request:
            lead = s.tensor(m.gradients[0]).shape[:1] if m.batched else ()
            results = [s.zeros((*lead, *t.shape), t.dtype) if g is None and i else g
                       for i, t, g in zip(m.results, inputs, results, strict=True)]  # fmt: skip
        if len(m.results) != len(results):
            raise ValueError(f"grad makes {len(results)} tensors, got {len(m.results)} ids for them")
    except Exception as e:
        _rethrow(e)
        s.poison(m.results, s.explain(e))
        if m.request:
            s.fail(e, m.request)
        return
    finally:
        s.brake.stop(before, s.begun)
    for i, t in zip(m.results, results, strict=True):
        if t is not None and i:
            s.tensors[i] = t
    if m.request:
        s.reply(done=pb.Done(request=m.request, defined=[t is not None for t in results]))


def _rethrow(e: Exception) -> None:
    """Let a session that ended in the middle of a callback end its loop, not become an answer."""
    if isinstance(e, SessionEnded):
        raise e


def _answer(s: Session, m: pb.Answer) -> None:
    raise ValueError(f"callback {m.callback} was not asked for")


def _synchronize(s: Session, m: pb.Synchronize) -> None:
    error = s.take_error()
    if error is None:
        s.reply(done=pb.Done(request=m.request))
    else:
        answer = pb.Error()
        answer.CopyFrom(error)
        answer.request = m.request
        s.reply(error=answer)


def _require_grad(s: Session, m: pb.RequireGrad) -> None:
    t = s.tensor(m.tensor)
    if m.retain:
        s.engine.retain_grad(t)
    else:
        s.engine.set_requires_grad(t, m.value)


def _set_gradient(s: Session, m: pb.SetGradient) -> None:
    tensors, g = _tensors(s, m.tensors), s.maybe(m.gradient)
    for t in tensors:
        if g is not None and g.shape != t.shape:
            raise RuntimeError(refusals.assigned_shape(g.shape, t.shape))
    for t in tensors:
        t.grad = g


def _get_gradient(s: Session, m: pb.GetGradient) -> None:
    try:
        g = s.tensor(m.tensor).grad
        if g is not None:
            s.define(m.result, g)
        elif not m.request:
            raise RuntimeError("the tensor has no gradient")
    except Exception as e:
        s.poison([m.result], s.explain(e))
        if m.request:
            s.fail(e, m.request)
        return
    if m.request:
        s.reply(done=pb.Done(request=m.request, defined=[g is not None]))


def _begin_function(s: Session, m: pb.BeginFunction) -> None:
    if len(s.begun_functions) >= s.limits.max_hooks:
        raise MemoryError(f"the session has a limit of {s.limits.max_hooks} functions that are being run")
    s.begun_functions[m.function] = s.engine.recorded


def _record_function(s: Session, m: pb.RecordFunction) -> None:
    try:
        outputs = _tensors(s, m.outputs)
        skip = set(m.non_differentiable)
        for i in m.results:
            s.check_fresh(i)
        if len(m.results) != len(outputs):
            raise ValueError(f"{len(outputs)} outputs, but {len(m.results)} ids for the results")
        if m.again:
            since = s.begun_functions.pop(m.function, None)
            if since is None:
                raise ValueError(f"function {m.function} was not begun")
            results = checkpoint.record(s.engine, m.name, m.function, outputs, since) if outputs else []
        else:
            results = s.engine.record_function(
                m.name,
                m.function,
                [s.maybe(i) for i in m.inputs],
                outputs,
                [nr not in skip for nr in range(len(outputs))],
            )
    except Exception as e:
        s.poison(m.results, s.explain(e))
        return
    for i, t in zip(m.results, results, strict=True):
        s.tensors[i] = t
        if t.grad_fn is not None:
            s.functions[m.function] = t.grad_fn  # type: ignore[assignment]


def _seed(s: Session, m: pb.Seed) -> None:
    if s.engine.trace is not None:
        s.engine.trace.refuse("it restarts the random numbers")
    s.engine.rng = generator(s.engine.xp, m.seed)


def _detach(s: Session, m: pb.Detach) -> None:
    s.engine.detach_(s.tensor(m.tensor))


def _set_data(s: Session, m: pb.SetData) -> None:
    if s.engine.trace is not None:
        s.engine.trace.refuse("it gives a tensor another's memory")
    s.engine.set_data(s.tensor(m.tensor), s.tensor(m.data))


def _keep(s: Session, m: pb.Keep) -> None:
    kept = {i: s.tensor(i) for i in m.tensors.values()}  # all of them, or nothing changes
    for i in [i for i in s.tensors if i not in kept]:
        del s.tensors[i]
    for i in list(s.templates):
        programs.drop(s, i)
    s.kept = dict(m.tensors)
    for hook in list(s.hooks.values()):
        hook.remove()


TABLE: dict[str, Callable[[Session, Any], None]] = {
    "apply": ops.apply,
    "calls": ops.calls,
    "put": _put,
    "get": _get,
    "free": _free,
    "set_grad_mode": _set_grad_mode,
    "backward": _backward,
    "grad": _grad,
    "answer": _answer,
    "synchronize": _synchronize,
    "require_grad": _require_grad,
    "set_gradient": _set_gradient,
    "get_gradient": _get_gradient,
    "add_hook": hooks.add,
    "remove_hook": hooks.remove,
    "will_run": hooks.will_run,
    "begin_function": _begin_function,
    "record_function": _record_function,
    "saved_result": nodes.saved_result,
    "pack": nodes.pack,
    "run_node": nodes.run_node,
    "unpack": nodes.unpack,
    "inspect": nodes.inspect,
    "edge": nodes.edge,
    "seed": _seed,
    "detach": _detach,
    "set_data": _set_data,
    "keep": _keep,
    "program": programs.define,
    "describe": programs.describe,
}
