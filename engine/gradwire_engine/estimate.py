"""What a plan tells of its kernels: where they are, what they move, what they should take and do take."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gradwire_engine.groups import Group
from gradwire_engine.trace import Memory, Step

if TYPE_CHECKING:
    from gradwire_engine.plan import Plan

PER_KERNEL = 8e-7
"""Seconds that any kernel takes, for predictions; what follows, for its data."""
BANDWIDTH = 8e9
"""Bytes a second."""
PRODUCTS = 5e10
"""Multiplications a second, of matrices."""
FACTORS = frozenset({"mm", "bmm", "mv", "matmul", "linear", "addmm", "baddbmm", "convolution"})
"""Ops that are products first of all."""


class Row(NamedTuple):
    """A kernel, as a plan tells of it."""

    step: Step
    group: int
    """Those of one are run block by block together, from 1."""
    buffer: int
    """Which of the plan's buffers its result is in, from 1."""
    nbytes: int
    """Read and written."""
    predicted: float
    measured: float
    """Seconds: the mean of all replays, told with the first of a group."""


def rows(plan: Plan) -> list[Row]:
    """A plan's kernels in order."""
    plan.settle()
    found = []
    groups = 0
    for w, spent in zip(plan.work, plan.spent, strict=True):
        inner: set[Memory] = w.inner if isinstance(w, Group) else set()
        steps = w.steps if isinstance(w, Group) else [w]
        groups += len(steps) > 1
        for i, step in enumerate(steps):
            if step.kind == "view":
                continue
            nbytes = sum(v.spec.nbytes for v in (*step.inputs(), *step.outs) if v.memory not in inner)
            place = plan.places.get(step.outs[0].memory, -1) if step.outs else -1
            predicted = PER_KERNEL + nbytes / BANDWIDTH + multiplications(step) / PRODUCTS
            mean = float(spent) / plan.replays * 1e-9 if plan.replays and not i else 0.0
            found.append(Row(step, groups if len(steps) > 1 else 0, place + 1, nbytes, predicted, mean))
    return found


def multiplications(step: Step) -> float:
    """Those of a matrix product or a convolution."""
    if step.case.base.name not in FACTORS:
        return 0.0
    a, b = [v.spec for v in step.inputs()][:2]
    if "conv" in step.case.base.name:
        return step.outs[0].spec.numel * b.numel / b.shape[0]
    return step.outs[0].spec.numel * a.shape[-1]
