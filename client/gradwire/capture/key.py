"""What a call's arguments are, as far as it matters to a program; and results, taken apart and put together again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire.tensor import Tensor
from gradwire_proto.dtypes import DType

Build = Callable[[Sequence[Tensor]], Any]
SIMPLE = frozenset({int, bool, str, bytes, type(None), type(Ellipsis), DType, type, range})
"""Types whose values are compared, and whose equal values are the same."""


class Same:
    """An object, to be found again as itself."""

    __slots__ = ("hash", "held", "ref")

    def __init__(self, v: Any):
        self.hash = id(v)
        self.held = None
        try:
            self.ref: Callable[[], Any] = weakref.ref(v)
        except TypeError:  # then it lives as long as the program
            self.held = v
            self.ref = lambda: self.held

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        mine = self.ref()
        return isinstance(other, Same) and mine is not None and other.ref() is mine

    def __repr__(self) -> str:
        return type(self.ref()).__name__


def describe(v: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Tell in ``key`` all of an argument that matters but for its tensors, which are appended. Equal is not the same:
    1, 1.0 and True, or 0.0 and -0.0."""
    kind = type(v)
    if isinstance(v, Tensor) and not v._is_batched:
        tensors.append(v)
        base = v._base
        if base is not None:
            v._refresh()
            key += "view", v._creation, base._spec, base._grad_flag, base._leaf
        flag = v._grad_flag
        key += v._spec, v.requires_grad if flag is None else flag, v._leaf
    elif kind in SIMPLE:
        key += kind, v
    elif kind is float:
        key += kind, v if v == v and v else str(v)
    elif kind is complex:
        key += kind, str(v)
    elif isinstance(v, (tuple, list)):
        key += kind, len(v)
        for x in v:
            describe(x, key, tensors)
    elif kind is dict:
        key += kind, len(v)
        for name, x in v.items():
            describe(name, key, tensors)
            describe(x, key, tensors)
    elif kind is slice:
        key.append(kind)
        for x in (v.start, v.stop, v.step):
            describe(x, key, tensors)
    elif isinstance(v, np.generic) or (kind is np.ndarray and not v.dtype.hasobject):
        key += kind, v.dtype, v.shape, v.tobytes()
    else:
        key += kind, Same(v)


def aliases(tensors: list[Tensor]) -> tuple[Any, ...]:
    """Which of these are the same, and which share memory or a base; nothing where none do."""
    if len(tensors) < 2 or len({id(t._storage) for t in tensors}) == len(tensors):
        return ()
    seen: dict[int, int] = {}
    return tuple(
        seen.setdefault(id(x), i)
        for i, t in enumerate(tensors)
        for x in (t, t._storage, t if t._base is None else t._base)
    )


def distinct(tensors: list[Tensor]) -> list[Tensor]:
    """Each once."""
    return tensors if len(tensors) < 2 else list({id(t): t for t in tensors}.values())


def shown(v: Any) -> str:
    """An argument as a table shows it."""
    if isinstance(v, Tensor):
        return f"{v._spec}"
    if isinstance(v, (list, tuple)):
        return f"{'[' if isinstance(v, list) else '('}{', '.join(map(shown, v))}{']' if isinstance(v, list) else ')'}"
    if isinstance(v, dict):
        return "{" + ", ".join(f"{k!r}: {shown(x)}" for k, x in v.items()) + "}"
    text = repr(v) if type(v) in SIMPLE or isinstance(v, (float, complex)) else type(v).__name__
    return text if len(text) <= 40 else text[:37] + "..."


def take_apart(v: Any, found: list[Tensor]) -> Build:
    """How to make the same of other tensors; ``found`` gets those that are there, each once."""
    return _take_apart(v, found, {})


def _take_apart(v: Any, found: list[Tensor], at: dict[int, int]) -> Build:
    if isinstance(v, Tensor):
        i = at.setdefault(id(v), len(found))
        if i == len(found):
            found.append(v)
        return lambda ts: ts[i]
    kind = type(v)
    if kind is dict:
        items = [(name, _take_apart(x, found, at)) for name, x in v.items()]
        return lambda ts: {name: build(ts) for name, build in items}
    if not isinstance(v, (tuple, list)):
        return lambda ts: v
    builds = [_take_apart(x, found, at) for x in v]
    if kind is list:
        return lambda ts: [build(ts) for build in builds]
    if hasattr(kind, "_make"):
        return lambda ts: kind._make([build(ts) for build in builds])
    if kind is tuple:
        return lambda ts: tuple([build(ts) for build in builds])
    return lambda ts: v


__all__ = ["Same", "aliases", "describe", "distinct", "shown", "take_apart"]
