"""Runs a function of an engine and tensors over and over as the server runs a program: traced first, then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire_engine import Engine, Tensor
from gradwire_engine.plan import Plan
from gradwire_engine.trace import Trace

Function = Callable[..., Sequence[Tensor]]


class Program:
    """``f(engine, *tensors)``, which may use ``kept`` besides; ``plan`` is there once it was traced."""

    def __init__(self, engine: Engine, f: Function, kept: Sequence[Tensor] = ()):
        self.engine = engine
        self.f = f
        self.kept = list(kept)
        self.plan: Plan | None = None

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        given = [*tensors, *self.kept]
        if self.plan is not None and self.plan.fits(given):
            return self.plan.run(given)
        trace = Trace(self.engine, given)
        try:
            made = list(self.f(self.engine, *tensors))
            self.plan = Plan(self.engine, trace, made)
        finally:
            self.engine.trace = None
        return made


def no_grad(engine: Engine, f: Callable[[], Any]) -> Any:
    """What ``f`` gives without being recorded."""
    mode, engine.grad_enabled = engine.grad_enabled, False
    try:
        return f()
    finally:
        engine.grad_enabled = mode
