"""The hot kernels of the CPU as loops that Numba compiles: one pass where NumPy takes one for each of its functions.

A loop is an optimization of a kernel, which has the same in array functions for other libraries and types. It takes
dense arrays of one floating type, does rows ``start`` to ``stop``, so that cores can share them, and lets go of the
interpreter. It is compiled when it is first called with these types, in a fraction of a second, and kept beside its
file for the processes to come. That is why the loops' modules are imported where they are called: who needs none pays
for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire_engine.backend import filled
from gradwire_engine.spread import share_loop

STEP = 1 << 12
"""Elements that are done first: little enough to leave something to share, and enough to tell how long that takes."""
LEAST = 256
"""Elements of an array from which on a loop may do: of fewer, what it takes to have it compiled would be missed."""


def fit(xp: Any, first: Any, *others: Any, single: bool = False) -> bool:
    """Whether arrays are what a loop takes: NumPy's, of one type of 4 or 8 bytes, or ``single``: of 4. None fits;
    few elements don't."""
    if xp is not np or first.size < LEAST or type(first) is not np.ndarray:
        return False
    kind = first.dtype.char
    if kind != "f" and (single or kind != "d"):
        return False
    for a in others:  # noqa: SIM110 - all() takes three times as long
        if a is not None and (type(a) is not np.ndarray or a.dtype.char != kind):
            return False
    return True


def over(loop: Callable[..., Any], rows: int, width: int, *args: Any) -> None:
    """Run a loop over rows, each as much work as ``width`` elements, on as many cores as are worth it."""
    share_loop(loop, args, rows, max(1, STEP // max(1, width)))


def each(function: str, *arrays: Any, out: Any = None) -> Any:
    """What one of the functions of elements makes."""
    from gradwire_engine.loops import elements

    f = getattr(elements, function)
    if out is None or any(np.may_share_memory(out, a) for a in arrays):  # vectors want to know that it is elsewhere
        return filled(out, f(*arrays))
    return f(*arrays, out=out)
