"""torch.utils.checkpoint: functions that backward runs again, so that what they compute need not be kept until then."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from gradwire import dispatch
from gradwire import session as sessions
from gradwire.autograd.grad_mode import enable_grad, no_grad
from gradwire.capture import here
from gradwire.dispatch import mode, ops
from gradwire.func.pytree import leaves
from gradwire.mirror import Node, own_nodes
from gradwire.nn import Sequential
from gradwire.session import Session
from gradwire.tensor import Tensor
from gradwire_proto import refusals
from gradwire_proto.v1 import gradwire_pb2 as pb

Contexts = tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]
CHECKS = ["default", "none"]
NOT_TOLD = (
    "torch.utils.checkpoint{}: the use_reentrant parameter should be passed explicitly. {} use_reentrant=False is "
    "recommended, but if you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to "
    "docs for more details on the differences between the two variants."
)
STARTING = "Starting in PyTorch 2.9, calling checkpoint without use_reentrant will raise an exception."
IN_VERSION = "In version 2.9 we will raise an exception if use_reentrant is not passed."
NO_GRADIENTS = "None of the inputs have requires_grad=True. Gradients will be None"


class CheckpointError(RuntimeError):
    """A function that was run again did something else than before."""


def noop_context_fn() -> Contexts:
    """Two contexts that change nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """torch's, for ``early_stop``: it changes nothing here, where functions are always run to their end."""
    yield


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               context_fn: Callable[[], Contexts] = noop_context_fn, determinism_check: str = "default",
               debug: bool = False, early_stop: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """What ``function(*args, **kwargs)`` returns. The server drops what was computed on the way, and when backward
    comes there, the function is run again.

    All that the function uses gets its gradient, arguments or not. In a compiled function, in vmap, and where nothing
    is recorded, it is called as it is.

    Args:
        use_reentrant: with True, which is the default as yet, an argument must require grad for the result to, and
            there are no keyword arguments or contexts. Apart from that both variants are the same here: the function is
            run with grad mode on, and ``autograd.grad`` works.
        context_fn: gives two contexts, in which the function is run at first, and again.
        determinism_check: ``"default"`` compares how many operations were recorded, and the outputs' shapes and types;
            ``"none"`` does not.
        debug, early_stop: torch's; they change nothing.
        preserve_rng_state: whether random numbers of the session's are the same when it is run again: True by default.

    Raises:
        ValueError: the arguments don't go together.
        CheckpointError: from backward, where the function does not do the same again.

    >>> import gradwire as torch
    >>> from gradwire.utils.checkpoint import checkpoint
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda t: t.exp().sin().sum(), x, use_reentrant=False).backward()
    >>> torch.allclose(x.grad, x.exp().cos() * x.exp())
    True
    """
    if use_reentrant is None:
        warnings.warn(NOT_TOLD.format("", STARTING), stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            warnings.warn(NO_GRADIENTS, stacklevel=2)
            with no_grad():
                return function(*args)
        determinism_check = "none"
    if determinism_check not in CHECKS:
        raise ValueError(f"determinism_check should be one of {CHECKS}, but got {determinism_check}")
    first, again = context_fn()
    if not mode.grad or mode.batching or here.capture is not None:
        with first:
            return function(*args, **kwargs)
    tensors = [a for a in leaves((args, kwargs)) if isinstance(a, Tensor)]
    session = tensors[0]._session if tensors else sessions.current()
    run = Run(session, lambda: function(*args, **kwargs), again, preserve, determinism_check != "none")
    return run.first(first)


class Run:
    """A function that was run, and will be run again when backward calls back for it."""

    def __init__(self, session: Session, function: Callable[[], Any], again: contextlib.AbstractContextManager[Any],
                 preserve: bool, check: bool):  # fmt: skip
        self._session = session
        self._function: Callable[[], Any] | None = function
        self._again = again
        self._state: Tensor | None = ops.rng_state(session.device) if preserve else None
        self._check = check
        self._kept: list[int] = []
        """Which of the tensors that it returns stand for those that backward asks for."""
        self._shown: list[dict[str, Any]] = []
        self._recorded = 0
        """How many operations lead to these."""

    def first(self, context: contextlib.AbstractContextManager[Any]) -> Any:
        """Run it in a context, and make one node of the history that it gives what it returns."""
        session, function = self._session, self._function
        assert function is not None
        with session.wire.lock:
            number = session.new_id()
            session.instruction().begin_function.function = number
            start = session.wire.sent
        outputs: list[Tensor] = []
        try:
            with context:
                made = function()
            found = tensors_in(made)
            self._kept = [i for i, t in enumerate(found) if is_own(t, start)]
            outputs = [found[i] for i in self._kept]
        finally:
            self._record(number, outputs, start)
        return made

    def _record(self, number: int, outputs: list[Tensor], start: int) -> None:
        session = self._session
        inside, beyond = own_nodes([t._own_node() for t in outputs], lambda n: n.seq >= start)
        self._shown, self._recorded = [shown(t) for t in outputs], len(inside)
        node = Node(tuple(beyond), session.wire.sent)
        node.calls_back = 1
        results = [session.new_id() for _ in outputs]
        with session.wire.lock:
            dispatch.sync_mode(session)
            if outputs:
                session.functions[number] = self
            where = dispatch.place(session)
            instruction = session.instruction()
            instruction.location = where
            m = instruction.record_function
            m.name, m.function, m.again = "CheckpointFunctionBackward", number, True
            m.outputs.extend([t._id for t in outputs])
            m.results.extend(results)
        for t, i in zip(outputs, results, strict=True):
            session.drop(t._id, 0)
            t._id, t._node, t._base, t._creation = i, node, None, ""
            t._storage.used = True
        self._free()

    def _free(self) -> None:
        """Have the server drop what the function has left behind, at once."""
        with self._session.wire.lock:
            self._session.tell_dead(now=True)

    def _answer(self, m: pb.Callback, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The outputs, which backward has called back for, made anew."""
        function = self._function
        if function is None:
            raise RuntimeError(refusals.FREED)
        start = self._session.wire.sent
        with enable_grad(), self._numbers(), self._again:
            found = tensors_in(function())
        if not m.retain_graph:
            self._function = self._state = None
        if self._check:
            self._compare(found, start)
        self._free()
        return [found[i] if i < len(found) else None for i in self._kept]

    @contextlib.contextmanager
    def _numbers(self) -> Iterator[None]:
        """A block in which the random numbers are those of the first time."""
        if self._state is None:
            yield
            return
        now = ops.swap_rng_state(self._state, self._session.device)
        try:
            yield
        finally:
            ops.swap_rng_state(now, self._session.device)

    def _compare(self, found: list[Tensor], start: int) -> None:
        outputs = [found[i] for i in self._kept if i < len(found)]
        inside, _ = own_nodes([t._own_node() for t in outputs], lambda n: n.seq >= start)
        if len(inside) != self._recorded or len(outputs) != len(self._kept):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of operations was recorded during the original forward and "
                f"recomputation.\nNumber of operations recorded during forward: {self._recorded}\n"
                f"Number of operations recorded during recomputation: {len(inside)}"
            )
        differing = [(i, a, b) for i, a, b in zip(self._kept, self._shown, map(shown, outputs), strict=True) if a != b]
        if differing:
            lines = [f"tensor at position {i}:\nsaved metadata: {a}\nrecomputed metadata: {b}" for i, a, b in differing]
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                "during the forward pass.\n" + "\n".join(lines)
            )


def tensors_in(made: Any) -> list[Tensor]:
    """The tensors in what a function returns, each once. Those in objects that are no containers keep their history."""
    return list({id(t): t for t in leaves(made) if isinstance(t, Tensor)}.values())


def is_own(t: Tensor, start: int) -> bool:
    """Whether a tensor has a history that was recorded since so many instructions had been sent."""
    t._refresh()
    node = t._node
    return t._grad_flag is not False and node is not None and not node.leaf and node.seq >= start


def shown(t: Tensor) -> dict[str, Any]:
    return {"shape": t.shape, "dtype": t.dtype, "device": t.device}


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
                          **kwargs: Any) -> Any:  # fmt: skip
    """What a list of functions, or a Sequential, makes of ``input`` one after the other, in segments: all but the last
    are checkpoints.

    Args:
        segments: how many.
        use_reentrant, preserve_rng_state: as for :func:`checkpoint`.
    """
    if use_reentrant is None:
        warnings.warn(NOT_TOLD.format(".checkpoint_sequential", IN_VERSION), stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if isinstance(functions, Sequential) else functions

    def part(start: int, end: int) -> Callable[[Any], Any]:
        def run(input: Any) -> Any:
            for step in steps[start:end]:
                input = step(input)
            return input

        return run

    size = len(steps) // segments
    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(part(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return part(last, len(steps))(input)


__all__ = [
    "CheckpointError",
    "checkpoint",
    "checkpoint_sequential",
    "noop_context_fn",
    "set_checkpoint_early_stop",
]
