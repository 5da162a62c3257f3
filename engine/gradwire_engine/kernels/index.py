"""Kernels. Indexing: where, gather, scatter, index, masks."""

from __future__ import annotations

from typing import Any

from gradwire_engine.registry import kernel


@kernel("where")
def where(xp: Any, condition: Any, input: Any, other: Any) -> Any:
    return xp.where(condition.astype(bool, copy=False), input, other)
