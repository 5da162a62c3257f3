"""torch.nn: modules, parameters, and the layers that torch has, in its words.

>>> import gradwire as torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
>>> sum(p.numel() for p in model.parameters())
49
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

functional: Any = ModuleType(f"{__name__}.functional", "torch.nn.functional: filled by :mod:`gradwire.bind`.")
sys.modules[functional.__name__] = functional

from gradwire.nn.module import Module  # noqa: E402 - it may want what was made just now
from gradwire.nn.parameter import Buffer, Parameter  # noqa: E402 - likewise


def _load() -> dict[str, Any]:
    """All layers, once the functions are bound that they call."""
    from gradwire.nn import (
        activation,
        adaptive,
        attention,
        containers,
        conv,
        init,
        lazy,
        linear,
        loss,
        modules,
        norm,
        parameter,
        rnn,
        transformer,
        utils,
    )

    made: dict[str, Any] = {"init": init, "utils": utils, "parameter": parameter, "modules": modules}
    made |= {n: getattr(parameter, n) for n in ("UninitializedBuffer", "UninitializedParameter")}
    for part in (activation, adaptive, attention, containers, conv, lazy, linear, loss, norm, rnn, transformer):
        made |= {n: v for n, v in vars(part).items() if isinstance(v, type) and issubclass(v, Module)
                 and n[0] != "_"}  # fmt: skip
    vars(modules).update({n: v for n, v in made.items() if isinstance(v, type)})
    return made


LACKING = {
    **dict.fromkeys(("DataParallel", "SyncBatchNorm", "parallel"), "a session has one device"),
    "quantized": "there are no quantized types",
}


def __getattr__(name: str) -> Any:
    why = f": {LACKING[name]}" if name in LACKING else ""
    raise AttributeError(f"module 'gradwire.nn' has no attribute {name!r}{why}")


def load() -> None:
    """Put the layers here; called when the package is imported."""
    globals().update(_load())


__all__ = ["Buffer", "Module", "Parameter", "functional"]
