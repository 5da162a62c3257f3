"""Which of torch's overloads a call is, where one op is several there: the name of its node ends in the number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire_proto.catalog.declare import Op
from gradwire_proto.spec import Spec


def _some(*values: Any) -> bool:
    """Whether any is a tensor."""
    return any(isinstance(v, Spec) for v in values)


def _second(number: int, otherwise: int = 0) -> Callable[..., int]:
    """``number`` where the second argument is a tensor."""
    return lambda input, other, *_: number if _some(other) else otherwise


def _partner(input: Any, other: Any) -> int:
    """Of two tensors, of a number and a tensor, of a tensor and a number."""
    return 0 if _some(input) and _some(other) else 1 if _some(other) else 2


def _along(input: Any, dim: Any, *_: Any) -> int:
    """Of all elements, or along dims."""
    return int(dim is not None)


OVERLOADS: dict[str, Callable[..., int]] = {
    "sum": _along,
    "mean": _along,
    "prod": _along,
    "squeeze": lambda input, dim: 0 if dim is None else min(len(dim), 2) or 2,
    "pow": lambda input, exponent: 2 if not _some(input) else int(_some(exponent)),
    "clamp": lambda input, min, max: int(not _some(min, max)),
    "clamp_min": _second(1),
    "clamp_max": _second(1),
    "fmod": _second(1),
    "remainder": _second(1),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), _second(1)),
    "div": lambda input, other, rounding_mode: 0 if rounding_mode is None else 2,
    "xlogy": _partner,
    "special_xlog1py": _partner,
    "special_zeta": _partner,
    "masked_fill": lambda input, mask, value: int(_some(value)),
    "scatter": lambda input, dim, index, src: int(not _some(src)),
    "lerp": lambda input, end, weight: int(_some(weight)),
    "round": lambda input, decimals: int(decimals != 0),
}
"""By the op's name: the number, from the arguments in signature order, tensors as their specs."""


def node_name(op: Op, values: Sequence[Any]) -> str:
    """The name of the node that a call records."""
    number = OVERLOADS.get(op.name)
    return op.node if number is None else f"{op.node[:-1]}{number(*values)}"
