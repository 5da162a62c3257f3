"""What a function finds by name: tensors, numbers and functions, which the next call may find changed.

Looked at are variables of the function and of those that it calls by name, attributes that their code names, and what
lists, tuples and dicts hold, a few steps deep. The rest is the caller's to know: Python runs once.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from gradwire.optim.optimizer import Optimizer
from gradwire.tensor import Tensor

PLAIN = frozenset({int, float, bool, complex, str, bytes, type(None)})
"""Types of which an equal value is the same."""
DEPTH = 4
MOST = 1000
"""Things that are looked at."""
Find = tuple[Callable[[], Any], Any]


class Watch:
    """What a function, and objects among its arguments, find where.

    Args:
        f: the function.
        objects: the arguments.
    """

    def __init__(self, f: Any, objects: Iterable[Any] = ()):
        self._names: set[str] = set()
        self._seen: set[int] = set()
        self._left = MOST
        self.finds: list[Find] = []
        self._later: list[tuple[Callable[[], Any], Any]] = []
        self._function(f)
        for v in objects:
            if _is_object(v):
                self._later.append((reference(v), v))
        for get, v in self._later:  # now that all names are known
            found = list(self._within(v, DEPTH))
            if found:
                self.finds += [(get, v), *found]

    def still(self) -> list[Find]:
        """What the function itself has not changed since."""
        return [(get, v) for get, v in self.finds if get() is v]

    def _function(self, f: Any) -> None:
        if isinstance(f, MethodType):
            self._later.append((reference(f.__self__), f.__self__))
            f = f.__func__
        f = getattr(f, "_f", f) if type(f).__module__.startswith("gradwire.capture") else f
        if not isinstance(f, FunctionType):
            call = vars(type(f)).get("__call__")
            if isinstance(call, FunctionType):
                self._later.append((reference(f), f))
                self._function(call)
            return
        if id(f) in self._seen or (f.__module__ or "").startswith("gradwire."):
            return
        self._seen.add(id(f))
        names = set(_names(f.__code__))
        self._names |= names
        for cell in f.__closure__ or ():
            self._variable(functools.partial(_content, cell))
        for name in names & f.__globals__.keys():
            self._variable(functools.partial(f.__globals__.get, name))
        for v in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self._variable(lambda v=v: v)

    def _variable(self, get: Callable[[], Any]) -> None:
        v = get()
        if type(v) in PLAIN or isinstance(v, Tensor):
            self.finds.append((get, v))
        elif isinstance(v, (FunctionType, MethodType)) or type(v).__module__ == "gradwire.capture.compiled":
            self.finds.append((get, v))
            self._function(v)
        elif isinstance(v, (list, tuple, dict)) or _is_object(v):
            self._later.append((get, v))

    def _within(self, v: Any, depth: int) -> Iterator[Find]:
        """What a list, an object or the like holds."""
        if id(v) in self._seen or not depth:
            return
        self._seen.add(id(v))
        for get, x in self._parts(v):
            self._left -= 1
            if self._left < 0:
                return
            if isinstance(x, Tensor) or (type(x) in PLAIN and not isinstance(v, (list, tuple))):
                yield get, x
            elif isinstance(x, (list, tuple, dict)) or _is_object(x):
                found = list(self._within(x, depth - 1))
                if found:
                    yield get, x
                    yield from found

    def _parts(self, v: Any) -> Iterator[Find]:
        if isinstance(v, (list, tuple)):
            for i, x in enumerate(v):
                yield functools.partial(_item, v, i), x
        elif isinstance(v, dict):
            for name, x in list(v.items()):
                yield functools.partial(v.get, name), x
        else:
            ref = reference(v)
            for name, x in list(vars(v).items()):
                if name in self._names or not isinstance(x, tuple(PLAIN)):
                    yield functools.partial(attribute, ref, name), x


def _names(code: CodeType) -> Iterator[str]:
    """The names that code uses, and what it defines."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def names_in(f: Any) -> set[str]:
    """The names that a function of somebody else's code uses."""
    if not isinstance(f, FunctionType) or (f.__module__ or "").startswith("gradwire."):
        return set()
    return set(_names(f.__code__))


def _is_object(v: Any) -> bool:
    """Whether it is worth a look inside."""
    return hasattr(v, "__dict__") and not isinstance(v, (type, ModuleType, FunctionType, MethodType, Optimizer, Tensor))


def reference(v: Any) -> Callable[[], Any]:
    """What gives an object, if possible without keeping it alive."""
    try:
        return weakref.ref(v)
    except TypeError:
        return lambda: v


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _item(v: Any, i: int) -> Any:
    return v[i] if i < len(v) else None


def attribute(ref: Callable[[], Any], name: str) -> Any:
    """What an object has by a name; None where the object or the name is gone."""
    return getattr(ref(), name, None)


__all__ = ["PLAIN", "Watch", "attribute", "names_in", "reference"]
