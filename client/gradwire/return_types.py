"""Results with names, as torch has them: ``torch.max(x, 0).indices``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def named(name: str, *fields: str) -> Any:
    """A tuple type with these fields that prints as torch's ``return_types`` do."""
    made: Any = namedtuple(name, fields)
    made.__module__ = "torch.return_types"
    made.__repr__ = lambda self: (
        f"torch.return_types.{name}(\n" + ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True)) + ")"
    )
    return made


VALUES_INDICES = {
    name: named(name, "values", "indices")
    for name in ("cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk")
}
globals().update(VALUES_INDICES)
aminmax = named("aminmax", "min", "max")
