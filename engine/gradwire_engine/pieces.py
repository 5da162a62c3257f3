"""Element-wise kernels and formulas on large arrays, piece by piece: what is made in between stays in the cache, and
the cores share the pieces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.registry import Kernel, Plan
from gradwire_engine.spread import PIECE, share
from gradwire_proto.catalog.declare import Op
from gradwire_proto.dtypes import Category
from gradwire_proto.spec import Spec

LEAST = 2 * PIECE
"""Elements of a result from which on it is made in pieces."""


def divisible(op: Op, specs: Sequence[Any], results: Sequence[Spec]) -> bool:
    """Whether an op makes each element of its one large result from one element of each argument, and none of its
    arguments is an integer: these can't be divided by zero, which is found out when part of the result is there."""
    if len(results) != 1 or results[0].numel < LEAST or not op.pointwise or op.random or op.returns_list:
        return False
    if any(p.name == "dim" for p in op.params):
        return False
    shape = results[0].shape
    return all(s.contiguous and s.dtype.category is not Category.INT and _fits(s.shape, shape)
               for s in specs if type(s) is Spec)  # fmt: skip


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape can be cut along the first dimension of the whole, or is the same all along."""
    return math.prod(shape) == 1 or len(shape) < len(whole) or (len(shape) == len(whole) and shape[0] in (1, whole[0]))


class _Cut:
    """How to cut arrays that broadcast to a shape: all flat where they have one shape, else along its first dimension.

    ``length`` is what there is to cut, ``step`` how much of it makes a piece.
    """

    def __init__(self, values: Sequence[Any], shape: tuple[int, ...]):
        arrays = [(i, v) for i, v in enumerate(values) if type(v) is np.ndarray]
        whole = math.prod(shape)
        self.flat = all(a.size == 1 or a.shape == shape for _, a in arrays)
        self.length = whole if self.flat else shape[0]
        self.step = max(PIECE * self.length // whole, 1)
        self.values = list(values)
        self.parts: list[tuple[int, Any]] = []
        """Where arrays come that are cut; those that are not are with the values."""
        for i, a in arrays:
            if a.size == 1:
                self.values[i] = a.reshape(())
            elif self.flat or (a.ndim == len(shape) and a.shape[0] == shape[0]):
                self.parts.append((i, self.of(a)))

    def of(self, a: Any) -> Any:
        """An array of the whole shape so that it can be cut."""
        return a.reshape(-1) if self.flat else a

    def __call__(self, start: int, stop: int) -> list[Any]:
        here = self.values.copy()
        for i, a in self.parts:
            here[i] = a[start:stop]
        return here


def kernel_in_pieces(kernel: Kernel, made: Spec) -> Kernel:
    """The kernel of an op that is :func:`divisible`, as one that makes ``made`` in pieces; it takes an ``out``."""
    dtype = NUMPY_DTYPE[made.dtype]

    def run(xp: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            out = np.empty(made.shape, dtype)
        elif any(_overlaps(a, out) for a in args if type(a) is np.ndarray):
            out[...] = run(xp, *args, **kwargs)
            return out
        cut = _Cut(args, made.shape)
        target = cut.of(out)

        def part(start: int, stop: int) -> None:
            if kernel.out:
                kernel.run(xp, *cut(start, stop), **kwargs, out=target[start:stop])
            else:
                target[start:stop] = kernel.run(xp, *cut(start, stop), **kwargs)

        share(part, cut.length, cut.step)
        return out

    return replace(kernel, run=run, out=True)


def _overlaps(a: Any, out: Any) -> bool:
    """Whether writing a piece of ``out`` could change another piece of ``a``."""
    if not np.may_share_memory(a, out):
        return False
    start, other = a.__array_interface__["data"], out.__array_interface__["data"]
    return a.shape != out.shape or a.strides != out.strides or start != other


def plan_in_pieces(plan: Plan, made: Spec) -> Plan:
    """The plan of an op that is :func:`divisible`, whose formulas run in pieces where they are given arrays."""
    formulas = tuple((_formula(run, made.shape), pick, edge, targets) for run, pick, edge, targets in plan.formulas)
    return replace(plan, formulas=formulas)


def _formula(run: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    def in_pieces(*slots: Any) -> Any:
        arrays = [v for v in slots if hasattr(v, "shape")]
        # Tensors record what is made of them; and what is made of the gradient alone takes one pass, or none.
        if len(arrays) < 2 or not all(type(v) is np.ndarray and _fits(v.shape, shape) for v in arrays):
            return run(*slots)
        cut = _Cut(slots, shape)
        given = cut(0, 1)
        first = run(*given)
        if type(first) is not np.ndarray or first.size * cut.length != math.prod(shape) or _is_of(first, given):
            return run(*slots)
        out = np.empty(shape, first.dtype)
        target = cut.of(out)

        def part(start: int, stop: int) -> None:
            target[start:stop] = run(*cut(start, stop))

        share(part, cut.length, cut.step)
        return out

    return in_pieces


def _is_of(made: Any, given: list[Any]) -> bool:
    """Whether what a formula made is a view of what it was given, which costs nothing to make of the whole."""
    return any(made is a or made.base is a or (made.base is not None and made.base is a.base)
               for a in given if type(a) is np.ndarray)  # fmt: skip
