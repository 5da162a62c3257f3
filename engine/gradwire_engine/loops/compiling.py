"""How loops are compiled.

Loops over ``range(len(a))`` of lines become vectors; where an index may be below zero, as Python counts from the end,
each element is fetched by itself: so a loop takes the slice it is about first. Nor do they where more than three or
four arrays might overlap, for all that the compiler knows.

A change of a function that others call does not make anew what was kept of these: all that belong together are in one
file, whose date tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding
from numba import njit
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])


_host = llvmlite.binding.get_host_cpu_features()
if _host.get("avx512f") and not config.CPU_FEATURES:
    config.CPU_FEATURES = f"{_host.flatten()},-prefer-256-bit"  # a third less time where exponentials are taken


def kept(compile: Callable[..., F], *args: Any, **options: Any) -> F:
    """What is compiled, to be found again by other processes where there is a folder to keep it in."""
    try:
        return compile(*args, cache=True, **options)
    except RuntimeError:
        return compile(*args, **options)


def _compiled(f: F, **options: Any) -> F:
    return cast(F, kept(njit, f, nogil=True, error_model="numpy", **options))


def exact(f: F) -> F:
    """A function of a number or two whose operations keep their order; it becomes part of the loops that call it."""
    return _compiled(f, fastmath={"contract"}, forceinline=True)


SUMS_IN_PARTS = {"contract", "reassoc", "arcp", "nsz"}
"""Sums are taken in several parts, as vectors add; infinities and NaN are as always."""


def loop(f: F) -> F:
    """A loop."""
    return _compiled(f, fastmath=SUMS_IN_PARTS)
