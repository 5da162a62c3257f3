"""Custom functions and the client's side of callbacks: the code of the user's that runs in the middle of backward."""

from __future__ import annotations

import functools
import inspect
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from gradwire import anomaly, dispatch
from gradwire.autograd import saved
from gradwire.capture import forbid
from gradwire.mirror import Node
from gradwire.session import Session
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto import refusals
from gradwire_proto.codec import dtype_of
from gradwire_proto.spec import Spec, spec
from gradwire_proto.v1 import gradwire_pb2 as pb

NO_BACKWARD = (
    "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward "
    "mode AD."
)
DIRTY_NOT_RETURNED = (
    "Some elements marked as dirty during the forward method were not returned as output. The inputs that are modified "
    "inplace must all be outputs of the Function."
)
DIRTY_VIEW_AMONG_OTHERS = (
    "If your forward/function modifies a view inplace, it can't return other outputs: see mark_dirty."
)
TWO_BACKWARDS = (
    "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only implement one of "
    "them."
)


class Context:
    """``ctx`` of a custom function."""

    def __init__(self, function: type, needs: tuple[bool, ...]):
        self.needs_input_grad = needs
        self.materialize_grads = True
        self._function = function
        self._to_save: tuple[Any, ...] = ()
        self._saved: list[Any] | None = []
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._number = 0
        self._specs: list[Spec] = []
        self._places: list[int] | None = None
        """Of several outputs, which are tensors."""
        self._tensors: frozenset[int] = frozenset()
        """Which arguments are tensors."""
        self._width = 1
        """How many outputs there are."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward, to be found in ``saved_tensors``."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type {type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """For a ``jvp`` method: accepted, as there is no forward mode to use it."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say that these outputs have no gradient.

        Raises:
            RuntimeError: one is no tensor.
        """
        for t in tensors:
            if not isinstance(t, Tensor):
                raise RuntimeError("mark_non_differentiable only accepts variable arguments, but got ")
        self._non_differentiable = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say that these inputs were written to; each must be returned.

        Raises:
            RuntimeError: one is no tensor.
        """
        for t in tensors:
            if not isinstance(t, Tensor):
                raise RuntimeError("mark_dirty can only accept variables, but argument ")
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What ``save_for_backward`` kept.

        Raises:
            RuntimeError: it was written to since, or freed by an earlier backward.
        """
        if self._saved is None:
            raise RuntimeError(refusals.FREED)
        out: list[Tensor | None] = []
        for entry in self._saved:
            if entry is None:
                out.append(None)
                continue
            if type(entry) is saved.Kept:
                out.append(entry.get())
                continue
            t, version, index = entry
            if t._storage.version != version:
                node = t._made_by() if index is None else f"{self._function.__name__}Backward"
                nr = t.output_nr if index is None else index
                raise RuntimeError(refusals.modified(t.dtype, t.shape, node, nr, t._storage.version, version))
            out.append(t if index is None else self._with_history(t, index))
        return tuple(out)

    def _with_history(self, t: Tensor, index: int) -> Tensor:
        """A saved result as the function's result again: kept without its history, or it would keep itself alive."""
        session = t._session
        made = tensor_of(session, session.new_id(), t._spec, None, Node(unsure=True), t._storage)
        with session.wire.lock:
            m = session.instruction().saved_result
            m.function, m.index, m.tensor, m.result = self._number, index, t._id, made._id
        return made

    def _answer(self, m: pb.Callback, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the inputs, which backward has called back for."""
        cls: Any = self._function
        if self.materialize_grads:
            grads = [dispatch.ops.full(s.shape, 0, dtype=s.dtype) if g is None else g
                     for g, s in zip(grads, self._specs, strict=True)]  # fmt: skip
        own, other = cls.backward is not Function.backward, cls.vjp is not Function.vjp
        if own and other:
            raise RuntimeError(TWO_BACKWARDS)
        if self._places is not None:  # outputs that are no tensors have None
            filled: list[Tensor | None] = [None] * self._width
            for place, g in zip(self._places, grads, strict=True):
                filled[place] = g
            grads = filled
        run = cls.backward if own else cls.vjp
        made = run(self, *grads)
        if not m.retain_graph:
            self._saved = None
        several = list(made) if isinstance(made, tuple) else [made]
        wanted = len(self.needs_input_grad)
        name = f"{cls.__name__}Backward"
        while len(several) > wanted and several[-1] is None:
            several.pop()
        if len(several) != wanted:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {wanted}, got {len(several)})"
            )
        for i, g in enumerate(several):
            if g is not None and i not in self._tensors:
                raise RuntimeError(
                    f"function {name} returned a gradient different than None at position {i + 1}, but the "
                    "corresponding forward input was not a Variable"
                )
            if g is not None and not isinstance(g, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(g).__name__})")
        return [g if self.needs_input_grad[i] else None for i, g in enumerate(several) if i in self._tensors]

    def _finish(self, inputs: Sequence[Any], outputs: list[Tensor], results: list[Tensor]) -> None:
        entries: list[Any] = []
        for t in self._to_save:
            if t is None:
                entries.append(None)
                continue
            if t._storage.inference:
                raise RuntimeError(refusals.INFERENCE_SAVED)
            index = next((i for i, o in enumerate(outputs) if o is t), None)
            if dispatch.mode.packing:
                entries.append(saved.keep(t if index is None else results[index]))
            else:
                entries.append((t, t._storage.version, index))
        self._saved, self._to_save = entries, ()


class Function:
    """Base of custom functions: static ``forward(ctx, *args)`` and ``backward(ctx, *grads)``.

    >>> import gradwire as torch
    >>> class Exp(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         y, = ctx.saved_tensors
    ...         return g * y
    >>> Exp.apply(torch.zeros(2, requires_grad=True)).sum().backward()
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(NO_BACKWARD)

    vjp = backward
    setup_context: Any = None
    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any):
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke them on the class itself. Instantiating an autograd function will raise an error in a future "
            "version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method. (Example: https://pytorch.org/docs/stable/autograd.html"
            "#torch.autograd.Function)"
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, and make the result part of the graph.

        Keyword arguments go to forward as if they were given by place.

        Raises:
            RuntimeError: what was marked as dirty is a leaf, or not returned.
        """
        if kwargs or cls.setup_context is not None:
            args = _by_place(cls, args, kwargs)
        tensors = [a for a in args if isinstance(a, Tensor)]
        recorded = dispatch.mode.grad and any(t.requires_grad for t in tensors)
        if recorded:
            forbid(f"records the custom function {cls.__name__}", "call it outside")
            if any(t._is_batched for t in tensors):
                raise NotImplementedError(
                    f"vmap over the custom function {cls.__name__} while its gradient is recorded is not supported: "
                    "take the gradient of what is not inside vmap, or call it on the whole batch"
                )
        ctx = Context(cls, tuple(isinstance(a, Tensor) and a.requires_grad for a in args))
        ctx._tensors = frozenset(i for i, a in enumerate(args) if isinstance(a, Tensor))
        before, dispatch.mode.grad = dispatch.mode.grad, False
        try:
            if cls.setup_context is None:
                made = cls.forward(ctx, *args)
            else:
                made = cls.forward(*args)
                cls.setup_context(ctx, args, made)
        finally:
            dispatch.mode.grad = before
        several = isinstance(made, tuple)
        outputs = list(made) if several else [made]
        for t in ctx._dirty:
            if not any(t is o for o in outputs):
                raise RuntimeError(DIRTY_NOT_RETURNED)
        if not recorded or not any(isinstance(o, Tensor) for o in outputs):
            return made
        for t in ctx._dirty:
            if t._base is not None:
                dispatch.check_write(t)
                if len(outputs) > 1:
                    raise RuntimeError(DIRTY_VIEW_AMONG_OTHERS)
            elif t.is_leaf and t.requires_grad:
                raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
        places = [i for i, o in enumerate(outputs) if isinstance(o, Tensor)]
        plain = [outputs[i] for i in places]
        results = _record(cls, ctx, args, tensors, plain)
        ctx._finish(args, plain, results)
        for i, r in zip(places, results, strict=True):
            outputs[i] = r
        ctx._places, ctx._width = (places, len(outputs)) if several else (None, 1)
        return tuple(outputs) if several else outputs[0]


def _by_place(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of forward in order, defaults filled in."""
    given = args if cls.setup_context is not None else (None, *args)
    bound = inspect.signature(cls.forward).bind(*given, **kwargs)
    if cls.setup_context is not None:
        bound.apply_defaults()
    return bound.args if cls.setup_context is not None else bound.args[1:]


class _Once(Function):
    """Stands behind the gradients of a once-differentiable function, to refuse the second time."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, *_: Any) -> Tensor:
        return result.clone()  # type: ignore[attr-defined, no-any-return]

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(f: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a custom function's backward whose own gradient would be wrong: asking for it is an error."""

    @functools.wraps(f)
    def backward(ctx: Context, *grads: Any) -> Any:
        before, dispatch.mode.grad = dispatch.mode.grad, False
        try:
            made = f(ctx, *grads)
        finally:
            dispatch.mode.grad = before
        if not before or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return made
        if isinstance(made, tuple):
            return tuple(_Once.apply(m, *grads) if isinstance(m, Tensor) else m for m in made)
        return _Once.apply(made, *grads)

    return backward


def _record(cls: type, ctx: Context, args: Sequence[Any], tensors: list[Tensor], outputs: list[Tensor]) -> list[Tensor]:
    session = tensors[0]._session
    behind = [t._own_node() for t in tensors if t.requires_grad and t._grad_flag is not False]
    node = Node(tuple(behind), session.wire.sent)
    node.calls_back = 1
    skip = [i for i, o in enumerate(outputs) if any(o is n for n in ctx._non_differentiable)]
    given = [_alias(o) if any(o is t for t in tensors) and not any(o is t for t in ctx._dirty) else o for o in outputs]
    results = []
    for i, o in enumerate(given):
        grad = i not in skip and o.dtype.differentiable
        r = tensor_of(session, session.new_id(), o._spec, grad, node if grad else None, o._storage)
        r._storage.used = True
        r._offset, r._base = o._offset, o._base
        if o._base is not None:
            r._generation, r._creation = o._base._generation, "custom"
        results.append(r)
    with session.wire.lock:
        ctx._number = session.new_id()
        ctx._specs = [o._spec for o in outputs]
        dispatch.sync_mode(session)
        session.functions[ctx._number] = ctx
        where = dispatch.place(session)
        instruction = session.instruction()
        instruction.location = where
        m = instruction.record_function
        m.name, m.function = f"{cls.__name__}Backward", ctx._number
        m.inputs.extend([t._id for t in tensors])
        m.outputs.extend([o._id for o in given])
        m.results.extend([r._id for r in results])
        m.non_differentiable.extend(skip)
    for i, o in enumerate(outputs):
        if any(o is t for t in ctx._dirty):  # written to in forward: from now on it is the result
            results[i] = o
            o._storage.version += 1
            if i not in skip and o.dtype.differentiable:
                dispatch.rebase(o, node, True)
    last = {id(o): r for o, r in zip(outputs, results, strict=True)}
    return [last[id(o)] for o in outputs]  # what is returned twice is one result


def _alias(t: Tensor) -> Tensor:
    """An input that is returned as it is, as another tensor with the same memory."""
    before, dispatch.mode.grad = dispatch.mode.grad, False
    try:
        return dispatch.ops.alias(t)
    finally:
        dispatch.mode.grad = before


def answer(session: Session, m: pb.Callback) -> pb.Answer:
    """Run what the server calls back for, and say what came of it."""
    session.answers.clear()  # the server has read those before
    kind = m.WhichOneof("kind")
    grads: list[Tensor | None] = []
    for i, s in zip(m.gradients, m.specs, strict=True):
        if not i:
            grads.append(None)
            continue
        unsure = m.create_graph
        grads.append(
            tensor_of(session, i, spec(tuple(s.shape), dtype_of(s.dtype)), None if unsure else False,
                   Node(unsure=True) if unsure else None)
        )  # fmt: skip
    before, dispatch.mode.grad = dispatch.mode.grad, m.create_graph
    session.passes.append(m.backward)
    reply = pb.Answer(callback=m.id)
    made: Sequence[Tensor | None] = ()
    try:
        if kind == "pack":
            made = saved.answer(session, m)
        elif kind == "hook":
            hook = session.hooks.get(m.hook)
            made = () if hook is None else hook(grads, m.inputs)
        else:
            function = session.functions.get(m.function)
            if function is None:
                raise RuntimeError(refusals.FREED)
            made = function._answer(m, grads)
    except Exception as e:
        traceback.clear_frames(e.__traceback__)
        session.raised = e
        reply.error = f"{type(e).__name__}: {e}"
    finally:
        session.passes.pop()
        dispatch.mode.grad = before
    reply.results.extend([0 if t is None else t._id for t in made])
    session.answers.extend(made)  # not freed before the server has read the answer
    return reply


def answered(session: Session, request: int) -> pb.Reply:
    """The server's verdict on what may call back; an exception of the user's own code comes out as itself."""
    try:
        return session.wire.wait(request)
    except Exception as e:
        if anomaly.mode.enabled:
            anomaly.show(session, e)
        if isinstance(e, RuntimeError) and session.raised is not None:
            raise session.raised from None
        raise
    finally:
        session.raised = None
        session.answers.clear()
