"""Inference mode: what it makes is marked, and can't be part of a graph afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire import dispatch
from gradwire.dispatch import mode
from gradwire.tensor import infer
from gradwire_proto.catalog.declare import Op


def apply(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call an op in inference mode. A view is what the tensor is that it is a view of."""
    mode.apart = False
    try:
        made = dispatch.call(op, args, kwargs)
    finally:
        mode.apart = True
    if not op.writes:
        for t in made if isinstance(made, tuple) else (made,):
            if op.view_of is None:
                infer(t)
            elif t._creation == "no_grad":
                t._creation = "inference"
    return made


def is_inference_mode_enabled() -> bool:
    """Whether what ops of this thread make is marked so."""
    return mode.inference
