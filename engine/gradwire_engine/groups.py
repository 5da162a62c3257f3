"""Which kernels of a plan are run together, and how a kernel is bound to its arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.trace import Memory, Step, Value
from gradwire_proto import dtypes

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan


class Group:
    """Steps that are run together."""

    def __init__(self, steps: list[Step], inner: set[Memory]):
        self.steps = steps
        self.inner = inner
        """Memory that nothing else uses."""

    def inputs(self) -> list[Value]:
        return [v for s in self.steps for v in s.inputs() if v.memory not in self.inner]

    @property
    def outs(self) -> list[Value]:
        return [v for s in self.steps for v in s.outs if v.memory not in self.inner]

    def memories(self) -> set[Memory]:
        return {m for s in self.steps for m in s.memories()} - self.inner

    def scratch(self) -> int:
        """The most bytes that it takes for itself."""
        return 0

    def bind(self, plan: Plan) -> Callable[[], None]:
        """What runs it on the arrays that the plan has for its values."""
        raise NotImplementedError


Kind = Callable[[Step], Any]
"""What steps have in common that may follow one another in a group; None for a step that is in none."""


def grouped(steps: list[Step], late: set[Memory], kinds: list[tuple[type[Group], int, Kind]]) -> list[Step | Group]:
    """The steps, those that can be run together in groups.

    Args:
        kinds: each with the fewest steps that are worth a group.
    """
    uses: dict[Memory, int] = {}
    for s in steps:
        for m in s.memories():
            uses[m] = uses.get(m, 0) + 1
    work: list[Step | Group] = []
    chain: list[Step] = []
    of: Any = None

    def end() -> None:
        if of is None or len(chain) < of[1]:
            work.extend(chain)
        else:
            here: dict[Memory, int] = {}
            for s in chain:
                for m in s.memories():
                    here[m] = here.get(m, 0) + 1
            made = {v.memory for s in chain if s.kind == "make" for v in s.outs}
            work.append(of[0](list(chain), {m for m in made if not m.exposed and here[m] == uses[m]}))
        chain.clear()

    for s in steps:
        mine = None
        if late.isdisjoint(s.memories()) and not _collides([s]):
            mine = next(((group, least, common) for group, least, kind in kinds
                         if (common := kind(s)) is not None), None)  # fmt: skip
        if mine != of or _collides([*chain, s]) or any(is_total(x) and x.outs[0] in s.inputs() for x in chain):
            end()
        of = mine
        chain.append(s)
    end()
    return work


def simple(s: Step) -> bool:
    """Whether a step is one function of the array library, which makes one result or writes it where it was told."""
    direct = s.case.kernel.direct
    if direct is None or len(s.outs) != 1 or not s.case.base.pointwise or s.case.lists:
        return False
    if not s.case.dense if s.kind == "make" else not (s.kind == "write" and writable(s)):
        return False
    return direct(*[_Like(v) if type(v) is Value else v for v in s.args]) is not None


def is_total(s: Step) -> bool:
    """Whether a step sums all of an array, in its type."""
    if s.case.op.name != "sum" or s.kind != "make" or not s.case.dense:
        return False
    given, made = s.args[0].spec, s.outs[0].spec
    return not made.ndim and given.dtype is made.dtype and given.dtype in (dtypes.float32, dtypes.float64)


class _Like:
    """Stands for an array of which the type alone is looked at."""

    def __init__(self, v: Value):
        self.dtype = NUMPY_DTYPE[v.spec.dtype]


def _collides(chain: list[Step]) -> bool:
    """Whether one sees memory that another makes or writes to under another name."""
    by: dict[Memory, set[Value]] = {}
    written = set()
    for x in chain:
        for v in (*x.inputs(), *x.outs):
            by.setdefault(v.memory, set()).add(v)
        written.update([v.memory for v in x.outs])
    return any(len(by[m]) > 1 for m in written)


def writable(s: Step) -> bool:
    """Whether the kernel of an in-place op can write to the target itself."""
    return s.case.kernel.out and s.args[0] is s.outs[0] and s.case.made[0].dtype is s.outs[0].spec.dtype


WANT_KEYWORD = frozenset({"maximum", "minimum"})
"""Functions that NumPy would not have told by position where to write: with the others that saves a tenth of a us."""


def bound(xp: Any, s: Step, args: list[Any], out: Any) -> Callable[[], Any]:
    """A kernel with its arguments, and where its result goes."""
    kernel = s.case.kernel
    told = kernel.direct(*args) if kernel.direct is not None else None
    if told is not None:
        f = getattr(xp, told[0])
        return partial(f, *told[1:], out=out) if told[0] in WANT_KEYWORD else partial(f, *told[1:], out)
    return partial(kernel.run, xp, *args, **s.case.kwargs, out=out)
