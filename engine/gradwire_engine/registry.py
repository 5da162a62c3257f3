"""The two tables beside the catalog: each op's kernel, and each op's derivative.

    kernel("hypot", lambda xp, input, other, out=None: xp.hypot(input, other, out=out))
    vjp("hypot", input=lambda g, result, input: g * input / result,
                 other=lambda g, result, other: g * other / result)

**A kernel** is called with the array namespace and the arguments in signature order: tensors as arrays (cast to the
type in which the op computes), the rest as they are. It may ask by name for ``spec`` (the result's :class:`Spec`, or a
tuple of them), ``rng`` (the session's generator), ``grads`` (of the tensors in the first argument, a list: their
``.grad`` as arrays, None where there is none) and ``out`` (write there: an array of the result's shape and type or, of
several results, a tuple of them; dense and apart from the arguments, but for element-wise ops, whose out may be one).

**A derivative** is a formula for each tensor argument; its parameters' names say what it needs, and only that is
saved: ``g`` (gradient of the result; for ops with several ``gs``, the list of them, zeros where none came, or
``given``, None where none came), the op's arguments by name, ``result`` or a named result, ``x_spec`` for the spec of
argument or result ``x`` where its numbers are not needed, and ``needs`` (which arguments want a gradient). It is
written with operators and the functions of :mod:`gradwire_engine.functional`, so that it runs on bare arrays in a
plain backward and on tensors under ``create_graph``, which is what gives every higher order. A formula need not undo
broadcasting, nor cast: the engine sums each gradient to the argument's shape and converts it to its type. None stands
for zero.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar, overload

from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op

K = TypeVar("K", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Kernel:
    run: Callable[..., Any]
    out: bool
    spec: bool
    rng: bool
    grads: bool
    direct: Callable[..., tuple[Any, ...] | None] | None = None
    """What it comes to where it is but one function of the array library: see :func:`direct`."""


@dataclass(frozen=True, slots=True)
class Formula:
    """One derivative: ``run(*slots)`` gives the gradients of the arguments ``targets``."""

    run: Callable[..., Any]
    targets: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to save for a set of wanted gradients, and how each formula finds it again.

    ``slots`` are pairs of kind and index.
    """

    slots: tuple[tuple[str, int], ...]
    formulas: tuple[tuple[Callable[..., Any], Callable[[list[Any]], Any], int, tuple[int, ...]], ...]
    """Each with what takes its arguments out of the slots, and the edge that its result is for (-1 where that is not
    known before the node is: then its targets tell)."""
    tensors: tuple[int, ...]
    """Slots that hold saved tensors."""
    grads: tuple[tuple[int, str], ...]
    """Slots that are filled when it runs, with their kind."""
    now: tuple[tuple[int, str, int], ...]
    """Slots with their kind and index that are filled from the arguments, when the op is recorded."""
    later: tuple[tuple[int, int], ...]
    """Slots with their index that are filled from the results."""
    holds: bool
    """Whether tensors are saved (or numbers in a tensor's place): only then can a node be used up, as in torch."""


def _taker(at: list[int]) -> Callable[[list[Any]], Any]:
    """What takes the items ``at`` out of a list, as a sequence of one too."""
    return itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1) if at else slice(0))


SAVED = ("input", "value", "spec", "result_spec")


class Rule:
    """An op's formulas, and the plans made from them."""

    __slots__ = ("formulas", "op", "plans")

    def __init__(self, op: Op, formulas: tuple[Formula, ...]):
        self.op = op
        self.formulas = formulas
        self.plans: dict[tuple[bool, ...], Plan] = {}

    def plan(self, needs: tuple[bool, ...]) -> Plan:
        """The plan where argument i (in signature order) wants a gradient if ``needs[i]``."""
        found = self.plans.get(needs)
        if found is None:
            slots: list[tuple[str, int]] = []
            formulas = []
            for f in self.formulas:
                if not any(needs[t] for t in f.targets):
                    continue
                where = [self._source(n) for n in f.names]
                for w in where:
                    if w not in slots:
                        slots.append(w)
                at = [slots.index(w) for w in where]
                formulas.append((f.run, _taker(at), self._edge(f.targets), f.targets))
            tensors = tuple(at for at, (kind, _) in enumerate(slots) if kind == "input")
            grads = tuple((at, kind) for at, (kind, _) in enumerate(slots) if kind not in (*SAVED, "result"))
            holds = any(kind in ("input", "result") for kind, _ in slots)
            now = tuple((at, kind, i) for at, (kind, i) in enumerate(slots) if kind in SAVED)
            later = tuple((at, i) for at, (kind, i) in enumerate(slots) if kind == "result")
            found = self.plans[needs] = Plan(tuple(slots), tuple(formulas), tensors, grads, now, later, holds)
        return found

    def _edge(self, targets: tuple[int, ...]) -> int:
        """The edge of the argument that a formula is for; -1 where it is for several, or lists make that uncertain."""
        tensors = [p for p in self.op.params if p.is_tensor]
        if len(targets) > 1 or any(p.is_list for p in tensors):
            return -1
        return tensors.index(self.op.params[targets[0]])

    def _source(self, name: str) -> tuple[str, int]:
        if name in ("g", "gs", "given", "needs"):
            return name, 0
        params = [p.name for p in self.op.params]
        results = [r.name or "result" for r in self.op.results]
        if name in params:
            i = params.index(name)
            return ("input" if self.op.params[i].is_tensor else "value"), i
        if name in results:
            return "result", results.index(name)
        stem = name.removesuffix("_spec")
        if stem in params:
            return "spec", params.index(stem)
        if stem in results:
            return "result_spec", results.index(stem)
        raise ValueError(f"vjp of {self.op.name}: nothing is called {name!r}")


KERNELS: dict[str, Kernel] = {}
RULES: dict[str, Rule] = {}


@overload
def kernel(name: str) -> Callable[[K], K]: ...
@overload
def kernel(name: str, run: Callable[..., Any] | str) -> None: ...
def kernel(name: str, run: Callable[..., Any] | str | None = None) -> Any:
    """Register the kernel of an op: a function, or the name of one of the array library; without, a decorator."""
    if run is None:
        return lambda f: kernel(name, f) or f
    if name not in CATALOG:
        raise ValueError(f"kernel of an op that is not in the catalog: {name}")
    if isinstance(run, str):
        made = _library_function(run, len(CATALOG[name].params))
        KERNELS[name] = Kernel(made, True, False, False, False, lambda *args: (run, *args))
        return None
    asks = inspect.signature(run).parameters
    KERNELS[name] = Kernel(run, "out" in asks, "spec" in asks, "rng" in asks, "grads" in asks)
    return None


def _library_function(name: str, arguments: int) -> Callable[..., Any]:
    if arguments == 1:
        return lambda xp, input, out=None: getattr(xp, name)(input, out=out)
    return lambda xp, input, other, out=None: getattr(xp, name)(input, other, out=out)


def direct(name: str, tell: Callable[..., tuple[Any, ...] | None]) -> None:
    """Say when a kernel is but one function of the array library.

    Args:
        tell: of the op's arguments, the function's name and arguments; None where it is not. A plan then calls that,
            which saves it a third of what a small kernel takes.
    """
    KERNELS[name] = replace(KERNELS[name], direct=tell)


def vjp(name: str, joint: Callable[..., Any] | None = None, /, **formulas: Callable[..., Any]) -> None:
    """Register the derivative of an op: a formula an argument, or one that returns a tuple for all tensor arguments.

    For a list argument (``Tensor[]``) the formula returns a list.
    """
    op = CATALOG[name]
    index = {p.name: i for i, p in enumerate(op.params) if p.is_tensor}
    made = []
    if joint is not None:
        made.append(Formula(joint, tuple(index.values()), tuple(inspect.signature(joint).parameters)))
    for arg, run in formulas.items():
        if arg not in index:
            raise ValueError(f"vjp of {name}: no tensor argument {arg!r}")
        made.append(Formula(run, (index[arg],), tuple(inspect.signature(run).parameters)))
    rule = RULES[name] = Rule(op, tuple(made))
    for f in made:
        for n in f.names:
            rule._source(n)  # a misspelt name fails here, at import
