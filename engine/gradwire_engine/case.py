"""A case of an op: what follows from its plain arguments and its tensors' specs, worked out once for all its calls."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.pieces import divisible, kernel_in_pieces, plan_in_pieces
from gradwire_engine.registry import KERNELS, RULES, Plan
from gradwire_proto.catalog.declare import Op
from gradwire_proto.catalog.overloads import node_name
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine

Key = tuple[Any, ...]


class Saving(NamedTuple):
    """What a node of this case keeps, where a certain set of arguments wants gradients."""

    plan: Plan
    needs: tuple[bool, ...]
    """Which arguments do, in signature order."""
    blank: list[Any]
    """One entry for each slot of the plan: those that are the same for every call are filled in."""
    inputs: tuple[tuple[int, int], ...]
    """Slots with the argument that goes there."""


class Case:
    """What calls with equal plain arguments and tensors of equal specs have in common.

    Args:
        specs: the arguments in signature order, tensors as their specs.

    Raises:
        RuntimeError, IndexError, TypeError, ValueError: what the op's meta rule finds wrong.
    """

    __slots__ = (
        "apart", "args", "asks", "base", "carrying", "clean", "dense", "holes", "in_specs", "kernel", "kwargs", "lists",
        "made", "need", "node", "op", "other", "parted", "results", "savings", "spans", "specs", "tensors", "times",
    )  # fmt: skip

    def __init__(self, engine: Engine, op: Op, specs: Sequence[Any]):
        inferred = op.infer(specs)
        self.op = op
        self.base = op.inplace_of or op
        """The op whose kernel runs and whose derivative is recorded: of an in-place form the other one."""
        self.node = node_name(self.base, specs)
        """What its nodes are called."""
        self.apart = bool(op.writes) or op.view_of is not None
        """Whether it writes to its arguments, or makes views."""
        self.specs = specs
        self.results = inferred.results
        self.made = self.base.infer(specs).results if op.inplace_of else inferred.results
        """The specs of what the kernel makes."""
        self.kernel = KERNELS[self.base.name]
        self.parted = engine.xp is np and divisible(self.base, specs, self.made)
        """Whether it and its derivative are made in pieces."""
        if self.parted:
            self.kernel = kernel_in_pieces(self.kernel, self.made[0])
        self.kwargs: dict[str, Any] = {}
        if self.kernel.spec:
            self.kwargs["spec"] = self.made if op.returns_list or len(self.made) != 1 else self.made[0]
        self.asks = self.kernel.spec or self.kernel.rng
        """Whether the kernel is called with more than the arguments."""
        self.carrying = tuple(nr for nr, s in enumerate(self.results) if s.dtype.differentiable)
        """Results that have a gradient."""
        self.args: list[Any] = []
        """What the kernel is called with, but for tensors."""
        self.holes: list[tuple[int, Any]] = []
        """Where tensors go, with the type to cast them to, None where they have it."""
        self.lists: list[int] = []
        """Where lists with tensors go."""
        self.tensors = tuple(i for i, p in enumerate(op.params) if p.is_tensor)
        """Arguments that may be tensors."""
        self.in_specs: tuple[Any, ...] = ()
        """One for each edge of a node."""
        self.spans: tuple[tuple[int, int], ...] = ()
        """Which edges are each argument's."""
        self.need = inferred.nbytes
        """Bytes to be had before the kernel runs."""
        self.savings: dict[int, Saving] = {}
        self.other: Case | None = None
        """See :meth:`renamed`."""
        self.dense = False
        """Whether the kernel's results were found to be as promised: dense, of their own memory, of their types."""
        self.clean = False
        """Whether it is one, too."""
        self.times = engine.timer(self.base.name, "forward")
        self._lay_out(engine, inferred.compute)

    def _lay_out(self, engine: Engine, compute: Any) -> None:
        in_specs: list[Any] = []
        spans = []
        for i, (v, p) in enumerate(zip(self.specs, self.op.params, strict=True)):
            start = len(in_specs)
            self.args.append(None if type(v) is Spec else v)
            if p.is_tensor:
                in_specs.extend(v if p.is_list else [v])
            spans.append((start, len(in_specs)))
            if type(v) is Spec:
                self.holes.append((i, NUMPY_DTYPE[compute] if compute not in (None, v.dtype) else None))
            elif p.is_list and p.is_tensor:
                self.lists.append(i)
            elif p.is_tensor and v is not None and compute is not None:
                self.args[i] = engine.number(v, compute)
        self.in_specs = tuple(in_specs)
        self.spans = tuple(spans)
        # A kernel may have to write out tensors that are larger than their memory.
        self.need += sum(s.nbytes for s in in_specs if type(s) is Spec and s.reach < s.numel)

    def renamed(self, node: str) -> Case:
        """The same, but for the name of its nodes."""
        if self.other is None:
            self.other = copy.copy(self)
            self.other.node = node
        return self.other

    def saving(self, mask: int) -> Saving:
        """What to keep where bit i of ``mask`` says that argument ``tensors[i]`` wants a gradient.

        Raises:
            NotImplementedError: the op has no derivative.
        """
        found = self.savings.get(mask)
        if found is None:
            rule = RULES.get(self.base.name)
            if rule is None:
                raise NotImplementedError(f"derivative for {self.base.name} is not implemented")
            wanted = {i for bit, i in enumerate(self.tensors) if mask >> bit & 1}
            needs = tuple(i in wanted for i in range(len(self.op.params)))
            plan = rule.plan(needs)
            if self.parted:
                plan = plan_in_pieces(plan, self.made[0])
            blank: list[Any] = [None] * len(plan.slots)
            inputs = []
            for slot, kind, i in plan.now:
                if kind == "input" and (type(self.specs[i]) is Spec or i in self.lists):
                    inputs.append((slot, i))
                else:
                    blank[slot] = self.results[i] if kind == "result_spec" else self.specs[i]
            found = self.savings[mask] = Saving(plan, needs, blank, tuple(inputs))
        return found


def key(op: Op, specs: Sequence[Any]) -> Key:
    """What calls of one case have in common. Equal is not the same: 1, 1.0 and True, or 0.0 and -0.0."""
    return op, *specs, *map(_kind, specs)


def _kind(v: Any) -> Any:
    kind = type(v)
    if kind is tuple:
        return tuple(map(_kind, v))
    return str(v) if not v and kind in (float, complex) else kind
