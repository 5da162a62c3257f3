"""Arithmetic of single numbers, as the losses and coefficients of small programs are: NumPy takes a fifth of the time
for a scalar that it takes for an array of one, and gives the same bits."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.groups import Group, simple
from gradwire_engine.trace import Step, Value
from gradwire_proto import dtypes

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "true_divide": operator.truediv,
    "negative": operator.neg, "square": lambda x: x * x,
}  # fmt: skip
"""The library's functions of arrays that are operators on its scalars."""


class Scalars(Group):
    """Steps that each make one number."""

    def bind(self, plan: Plan) -> Callable[[], None]:
        numbers: list[Any] = []
        at: dict[Any, int] = {}
        loads: list[tuple[int, Any]] = []

        def place(v: Any) -> int:
            """Where a number is while this runs."""
            if type(v) is not Value:
                numbers.append(v[()] if hasattr(v, "dtype") else v)
                return len(numbers) - 1
            if v not in at:
                at[v] = len(numbers)
                numbers.append(None)
                loads.append((at[v], plan.arrays[v]))
            return at[v]

        program: list[tuple[Callable[..., Any], int, int, int]] = []
        stores: dict[Value, tuple[Any, int]] = {}
        for s in self.steps:
            args = s.case.args.copy()
            for i, _ in s.case.holes:
                args[i] = s.args[i]
            direct = s.case.kernel.direct
            assert direct is not None
            name, *given = direct(*[_Typed(v) if type(v) is Value else v for v in args]) or ()
            where = [place(x.value if type(x) is _Typed else x) for x in given]
            out = s.outs[0]
            made = at.setdefault(out, len(numbers))
            if made == len(numbers):
                numbers.append(None)
            program.append((ARITHMETIC[name], where[0], where[1] if len(where) > 1 else -1, made))
            if out.memory not in self.inner:
                stores[out] = plan.arrays[out], made
        return partial(_run, numbers, loads, program, list(stores.values()))


class _Typed:
    """A value where its array would be."""

    def __init__(self, value: Value):
        self.value = value
        self.dtype = NUMPY_DTYPE[value.spec.dtype]


def _run(numbers: list[Any], loads: list[tuple[int, Any]], program: list[tuple[Callable[..., Any], int, int, int]],
         stores: list[tuple[Any, int]]) -> None:  # fmt: skip
    for i, array in loads:
        numbers[i] = array[()]
    for f, a, b, made in program:
        numbers[made] = f(numbers[a], numbers[b]) if b >= 0 else f(numbers[a])
    for array, i in stores:
        array[()] = numbers[i]


def of_scalars(s: Step) -> Any:
    """Whether a step makes one number, by arithmetic, of numbers of its type."""
    if not simple(s):
        return None
    spec = s.outs[0].spec
    if spec.ndim or spec.dtype not in (dtypes.float32, dtypes.float64):
        return None
    direct = s.case.kernel.direct
    assert direct is not None
    told = direct(*[_Typed(v) if type(v) is Value else v for v in s.args])
    alike = all(v.spec.dtype is spec.dtype and not v.spec.ndim for v in s.inputs())
    return True if told is not None and told[0] in ARITHMETIC and alike else None
