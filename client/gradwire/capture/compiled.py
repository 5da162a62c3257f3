"""``gradwire.compile``: functions whose first call is captured and whose later ones are one instruction each."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from gradwire import anomaly
from gradwire import session as sessions
from gradwire.capture import here
from gradwire.capture.build import Unfit, build, guard, guard_modules
from gradwire.capture.key import aliases, describe, distinct, shown
from gradwire.capture.plan import Plan, ask
from gradwire.capture.program import Program
from gradwire.capture.record import Capture
from gradwire.capture.steps import run_steps
from gradwire.capture.watch import Watch
from gradwire.defaults import default_dtype
from gradwire.dispatch import _outside, mode
from gradwire.session import Session
from gradwire.tensor import Tensor

MOST = 8
"""Programs that a function keeps: those called last."""
MOST_STREAMED = 256
"""Kinds of calls that it remembers to be streamed."""
BACKENDS = ("inductor", "eager", "aot_eager", "cudagraphs", "gradwire")
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_missing: Any = object()


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = True, dynamic: bool | None = None,
    backend: str | None = None, mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """Have a function captured the first time and then replayed: a decorator, with or without arguments.

    The first call runs as ever, and what it sends (ops, backward passes, optimizer steps) is made a program on the
    server. From then on a call whose arguments look the same (shapes, types, ``requires_grad``; the values of what is
    no tensor) is one small instruction. Other arguments make another program; eight are kept, those called last.

    Python runs once: what is printed, counted or drawn by Python's own means happens when a program is made. Tensors
    from outside are the same ones each time, with the values that they have by then; where a name that the function
    uses means another tensor or number, or an optimizer has other options, that is another program. Random numbers of
    the session's are fresh each time.

    Args:
        model: the function.
        fullgraph: refuse a function that can't be captured, since it reads a value or has Python run in backward, with
            an error that names the line. Where False, such a call is streamed as if it were not compiled, and a warning
            says so once.
        dynamic, backend, mode, options: torch's; they change nothing here.
        disable: give the function back as it is.

    >>> import gradwire as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.25)
    >>> @torch.compile
    ... def step(x):
    ...     loss = ((w * x) ** 2).sum()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x = torch.tensor([1.0, 2.0])
    >>> step(x).item(), step(x).item()
    (5.0, 4.25)
    """
    if model is None:
        return lambda f: compile(f, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options,
                                 disable=disable)  # fmt: skip
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if backend is not None and backend not in BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}, should be one of: {', '.join(BACKENDS)}")
    if not callable(model):
        raise TypeError(f"compile() takes a function, got {type(model).__name__}")
    if inspect.isgeneratorfunction(model) or inspect.iscoroutinefunction(model):
        raise TypeError("a generator or coroutine can't be captured: its code runs after it has returned")
    return model if disable else Compiled(model, fullgraph)


class Compiled:
    """A function with its programs. Made by :func:`compile`."""

    def __init__(self, f: Callable[..., Any], fullgraph: bool):
        self._f = f
        self._fullgraph = fullgraph
        self._name = getattr(f, "__name__", type(f).__name__)
        self._programs: dict[tuple[Any, ...], list[Program]] = {}
        """By what the arguments are like, those called last first; none where such calls are streamed."""
        self._lock = threading.RLock()
        self._warned = False
        functools.update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if here.capture is not None:
            return self._f(*args, **kwargs)
        key: list[Any] = []
        tensors: list[Tensor] = []
        session = self._describe(args, kwargs, key, tensors)
        program = self._find(tuple(key), tensors)
        if program is None:
            return self._first(tuple(key), session, tensors, args, kwargs)
        if (program.walks or program.reached) and not program.certain(tensors):
            return self._stream(program, tensors, args, kwargs)
        ids = program.send(tensors, _outside(sys._getframe(1)))
        if ids is None:
            return self(*args, **kwargs)
        made = program.results(tensors, ids)
        program.session.wire.relieve()
        return made

    def _describe(self, args: Any, kwargs: dict[str, Any], key: list[Any], tensors: list[Tensor]) -> Session:
        key += mode.grad, default_dtype(), anomaly.mode.enabled, mode.apart and tuple(mode.casting.items())
        for v in args:
            describe(v, key, tensors)
        for name, v in kwargs.items():
            key.append(name)
            describe(v, key, tensors)
        session = tensors[0]._session if tensors else sessions.current()
        key.append(session)
        if len(tensors) > 1:
            key += aliases(tensors)
        return session

    def _find(self, key: tuple[Any, ...], tensors: list[Tensor]) -> Program | None:
        for p in self._programs.get(key, ()):
            if p.fits(tensors):
                return p
        return None

    def _stream(self, program: Program, tensors: list[Tensor], args: Any, kwargs: dict[str, Any]) -> Any:
        """A call that must be streamed although there is a program for it."""
        if program.calls_back(tensors):
            self._give_up(RuntimeError(
                f"gradwire.compile: {self._name}() runs backward while hooks are registered, which run in Python; "
                "remove them, or compile with fullgraph=False"
            ))  # fmt: skip
        return self._f(*args, **kwargs)

    def _give_up(self, e: RuntimeError) -> None:
        if self._fullgraph:
            raise e
        if not self._warned:
            self._warned = True
            text = str(e).removesuffix(", or compile with fullgraph=False")
            warnings.warn(f"{text}. Until then such calls are streamed", UserWarning, stacklevel=4)

    def _first(self, key: tuple[Any, ...], session: Session, tensors: list[Tensor], args: Any,
               kwargs: dict[str, Any]) -> Any:  # fmt: skip
        """A call that there is no program for."""
        if not self._programs.get(key, _missing) or not session.limits.max_programs:
            return self._f(*args, **kwargs)
        each = distinct(tensors)
        watch = Watch(self._f, (*args, *kwargs.values()))
        capture = Capture(self._name, session, each, self._fullgraph)
        here.capture = capture
        try:
            made = self._f(*args, **kwargs)
        finally:
            here.capture = None
        error = capture.error
        if error is None:
            try:
                program = build(capture, tensors, made)
            except Unfit as e:
                error = e
        if error is not None:
            self._give_up(error)
            self._keep(key, None)
        elif program is not None:
            program.arguments = ", ".join([*map(shown, args), *(f"{k}={shown(v)}" for k, v in kwargs.items())])
            guard(program, capture, watch, tensors)
            guard_modules(program, capture)
            self._keep(key, program)
        return made

    def _keep(self, key: tuple[Any, ...], program: Program | None) -> None:
        with self._lock:
            kept = {k: [p for p in ps if not p.dropped and not p.session.closed] for k, ps in self._programs.items()}
            streamed = [k for k, ps in self._programs.items() if not ps][-MOST_STREAMED:]
            self._programs = {k: ps for k, ps in kept.items() if ps} | {k: [] for k in streamed}
            if program is None:
                self._programs[key] = []
                return
            self._programs[key] = [program, *self._programs.get(key, ())]
            every = [(p.used, k, p) for k, ps in self._programs.items() for p in ps]
            if len(every) > MOST:
                _, k, oldest = min(every, key=lambda e: e[0])
                oldest.drop()
                self._programs[k] = [p for p in self._programs[k] if p is not oldest]
                if not self._programs[k]:
                    del self._programs[k]

    def steps(self, batches: Iterable[Any]) -> Any:
        """The results of many calls, stacked along a new first dimension: without history, and without waiting.

        Args:
            batches: the arguments of each call, a tuple, or the one argument.

        >>> import gradwire as torch
        >>> square = torch.compile(lambda x: x * x)
        >>> square.steps([torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)])
        tensor([1., 4., 9.])

        Raises:
            TypeError: it returns something that is no tensor.
            ValueError: there are no batches.
        """
        return run_steps(self, batches)

    def plan(self) -> Plan:
        """How its programs run on the server, as a table: kernels, buffers, times."""
        programs = [p for ps in self._programs.values() for p in ps if not p.dropped]
        return Plan([row for s in {p.session for p in programs} for row in ask(s, [p.id for p in programs
                                                                             if p.session is s])])  # fmt: skip

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else Bound(self, instance)

    def __repr__(self) -> str:
        return f"<gradwire.compile of {self._f!r}>"


class Bound:
    """A compiled method of an object."""

    def __init__(self, compiled: Compiled, instance: Any):
        self.__func__, self.__self__ = compiled, instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    def steps(self, batches: Iterable[Any]) -> Any:
        """See :meth:`Compiled.steps`."""
        return self.__func__.steps((self.__self__, *(b if isinstance(b, tuple) else (b,))) for b in batches)

    def plan(self) -> Plan:
        """See :meth:`Compiled.plan`."""
        return self.__func__.plan()


def programs() -> Plan:
    """All programs of the current session, and how they run."""
    return Plan(ask(sessions.current(), []))


__all__ = ["Compiled", "compile", "programs"]
