"""Where the SDK's functions are published: a table of torch's dotted names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gradwire.out import takes_out

F = TypeVar("F", bound=Callable[..., Any])

EXPORTS: dict[str, Callable[..., Any]] = {}
"""Every composed function by the name under which torch has it: ``"amax"``, ``"Tensor.amax"``, ``"special.expit"``."""


def export(*names: str, out: bool = False) -> Callable[[F], F]:
    """Publish a function under torch's names; ``Tensor.x`` makes it a method, whose first argument is the tensor. With
    ``out`` it takes torch's keyword of that name."""

    def add(f: F) -> F:
        if out:
            f = takes_out(f)
        for name in names:
            EXPORTS[name] = f
        return f

    return add
