"""torch.nn: modules, parameters, and the layers that torch has, in its words.

>>> import gradwire as torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
>>> sum(p.numel() for p in model.parameters())
49
"""

from __future__ import annotations

from typing import Any

from gradwire.nn import functional as functional
from gradwire.nn.module import Module
from gradwire.nn.parameter import Buffer, Parameter


def _load() -> dict[str, Any]:
    """All layers, once the functions are bound that they call."""
    from gradwire.nn import activation, containers, conv, linear, loss, norm

    made: dict[str, Any] = {}
    for table in (activation.ACTIVATIONS, activation.DROPOUTS, activation.POOLS, activation.PADS, activation.SHAPES,
                  loss.CLASSES, conv.CLASSES, norm.CLASSES):  # fmt: skip
        made |= table
    for part in (activation, containers, linear, loss, norm):
        made |= {n: v for n, v in vars(part).items() if isinstance(v, type) and issubclass(v, Module)
                 and n[0] != "_"}  # fmt: skip
    return made


def load() -> None:
    """Put the layers here; called when the package is imported."""
    globals().update(_load())


__all__ = ["Buffer", "Module", "Parameter", "functional"]
