"""torch's words for what is wrong with a call before any rule sees it."""

from __future__ import annotations

from typing import Any

from gradwire_proto.dtypes import DType


def type_name(v: Any) -> str:
    """The type of a value, with its module unless that is Python's own."""
    t = type(v)
    if t is DType:
        return "torch.dtype"
    return t.__name__ if t.__module__ == "builtins" else f"{t.__module__}.{t.__name__}"


def combination(name: str, given: tuple[Any, ...], *ways: str) -> TypeError:
    """The error of arguments that none of a function's signatures takes.

    Args:
        given: the arguments.
        ways: the signatures' arguments, as ``"Tensor input, int sections"``.
    """
    got = ", ".join(type(a).__name__ for a in given)
    expected = "".join(f"\n * ({way})" for way in ways)
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({got}), but expected one of:{expected}\n"
    )
