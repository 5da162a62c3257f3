"""Where a plan keeps what nothing outside sees: few buffers, used again as soon as what is there is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.groups import Group
from gradwire_engine.trace import Memory, Step


class Allotment(NamedTuple):
    places: dict[Memory, int]
    """Which buffer each memory is in."""
    sizes: list[int]
    """Bytes of each buffer."""
    unshared: int
    """Bytes that they would take if none were used twice."""


def allot(work: Sequence[Step | Group], late: set[Memory]) -> Allotment:
    """Buffers for what is made in order, but for memory that kernels allocate (``late``), or that is handed out."""
    born: dict[Memory, int] = {}
    last: dict[Memory, int] = {}
    touched = [w.memories() for w in work]
    for i, (w, memories) in enumerate(zip(work, touched, strict=True)):
        for v in w.outs:
            if not v.memory.exposed and v.memory not in late:
                born.setdefault(v.memory, v.spec.nbytes)
        last.update(dict.fromkeys(memories, i))
    places: dict[Memory, int] = {}
    sizes: list[int] = []
    free: list[int] = []
    for i, (w, memories) in enumerate(zip(work, touched, strict=True)):
        ending = [m for m in memories if last[m] == i and m in born]
        for m in [m for m in memories if m in born and m not in places]:
            heir = _heir(w, m, ending)
            if heir is not None:
                ending.remove(heir)
                places[m] = places[heir]
                continue
            size = born[m]
            fitting = [b for b in free if sizes[b] >= size]
            if fitting:
                b = min(fitting, key=lambda b: sizes[b])
            elif free:
                b = max(free, key=lambda b: sizes[b])
                sizes[b] = size
            else:
                b = len(sizes)
                sizes.append(size)
            if b in free:
                free.remove(b)
            places[m] = b
        free += [places[m] for m in ending]
    return Allotment(places, sizes, sum(born.values()))


def _heir(w: Step | Group, m: Memory, ending: list[Memory]) -> Memory | None:
    """Whose place a result may take: an element-wise kernel can write over an argument that is not needed any more."""
    if isinstance(w, Group) or w.kind != "make" or len(w.outs) > 1 or not w.case.base.pointwise:
        return None
    for v in w.inputs():
        if v.memory in ending and v.whole and v.memory is not m and v.spec is w.outs[0].spec:
            return v.memory
    return None
