"""Modules that hold others: in a row, in a list, by name; and parameters likewise."""

from __future__ import annotations

import operator
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from gradwire.nn.module import Module, indented
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor


class _Numbered(Module):
    """Modules by position, whose names are their numbers."""

    def _names(self) -> list[str]:
        return list(self._modules)

    def _at(self, index: Any) -> str:
        index, n = operator.index(index), len(self)
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range")
        return self._names()[index]

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        self._modules.clear()
        self._modules.update({str(i): m for i, m in enumerate(modules)})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(list(self._modules.items())[index])
        return self._modules[self._at(index)]

    def _part(self, items: list[tuple[str, Module]]) -> Any:
        return type(self)([m for _, m in items])  # type: ignore[call-arg]

    def __setitem__(self, index: Any, module: Module) -> None:
        setattr(self, self._at(index), module)

    def __delitem__(self, index: Any) -> None:
        names = self._names()[index] if isinstance(index, slice) else [self._at(index)]
        self._renumber([m for n, m in self._modules.items() if n not in names])

    def append(self, module: Module) -> Any:
        """Add one at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put one before another."""
        n = len(self)
        if not -n <= index <= n:
            raise IndexError(f"Index out of range: {index}")
        inside = list(self)
        inside.insert(index, module)
        self._renumber(inside)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several at the end."""
        for m in list(modules):
            self.append(m)
        return self

    def pop(self, key: Any) -> Any:
        """Take one out."""
        found = self[key]
        del self[key]
        return found


class Container(Module):
    """Modules by name: what there was before one could assign them."""

    def __init__(self, **kwargs: Any):
        super().__init__()
        warnings.warn(
            "`nn.Container` is deprecated. All of its functionality is now implemented in `nn.Module`. Subclass that "
            "instead.",
            FutureWarning,
            stacklevel=2,
        )
        for name, module in kwargs.items():
            self.add_module(name, module)


class Sequential(_Numbered):
    """Modules that are called one after the other, each with what the one before it gave.

    >>> import gradwire as torch
    >>> torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(0))(torch.tensor([[-1.0, 2.0]])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, *args: Any):
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def _part(self, items: list[tuple[str, Module]]) -> Any:
        return type(self)(OrderedDict(items))

    def insert(self, index: int, module: Module) -> Any:
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        return super().insert(index, module)

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)

    def __iadd__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return self.extend(other)  # type: ignore[no-any-return]

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(times)}")
        if times <= 0:
            raise ValueError(f"Non-positive multiplication factor {times} for {type(self)}")
        return Sequential(*list(self) * times)

    __rmul__ = __mul__

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(_Numbered):
    """A list of modules."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)  # type: ignore[no-any-return]

    def extend(self, modules: Iterable[Module]) -> Any:
        if not isinstance(modules, Iterable):
            raise TypeError(f"ModuleList.extend should be called with an iterable, but got {type(modules).__name__}")
        return super().extend(modules)

    def __repr__(self) -> str:
        lines, start = [], 0
        for shown, same in groupby(repr(m) for m in self):
            n = len(list(same))
            where = f"({start})" if n == 1 else f"({start}-{start + n - 1})"
            lines.append(f"{where}: " + (f"{n} x " if n > 1 else "") + indented(shown))
            start += n
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{self._get_name()}()"


class _Named(Module):
    """What modules by name and parameters by name have in common."""

    _said: str
    """The class in the error of ``update``."""

    _keys: Callable[[], dict[str, Any]]
    """Gives a dict with the names."""

    def __len__(self) -> int:
        return len(self._keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __contains__(self, key: object) -> bool:
        return key in self._keys()

    __getitem__: Callable[[str], Any]
    __setitem__: Callable[[str, Any], None]
    __delitem__: Callable[[str], None]

    def keys(self) -> Any:
        """The names."""
        return self._keys().keys()

    def pop(self, key: str) -> Any:
        """Take one out."""
        found = self[key]
        del self[key]
        return found

    def update(self, values: Any) -> None:
        """Put several in."""
        if not isinstance(values, Iterable):
            raise TypeError(
                f"{self._said}.update should be called with an iterable of key/value pairs, but got "
                + type(values).__name__
            )
        for k, v in self._pairs(values):
            self[k] = v

    def _pairs(self, values: Any) -> Iterable[tuple[Any, Any]]:
        if isinstance(values, (Mapping, _Named)):
            return values.items()  # type: ignore[no-any-return]
        pairs = list(values)
        for i, pair in enumerate(pairs):
            where = f"{type(self).__name__} update sequence element #{i}"
            if not isinstance(pair, Iterable):
                raise TypeError(f"{where} should be Iterable; is{type(pair).__name__}")
            if len(pair) != 2:  # type: ignore[arg-type]
                raise ValueError(f"{where} has length {len(pair)}; 2 is required")  # type: ignore[arg-type]
        return pairs


class ModuleDict(_Named):
    """Modules by name."""

    _said = "ModuleDict"

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def _keys(self) -> dict[str, Any]:
        return self._modules

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def clear(self) -> None:
        """Take all out."""
        self._modules.clear()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()


def _shown(p: Any, legacy: bool = False) -> str:
    if not isinstance(p, Tensor):
        return f"Object of type: {type(p).__name__}"
    kind = "Parameter" if isinstance(p, Parameter) else "Tensor"
    where = f" ({p.device})" if p.is_cuda else ""
    dtype = f"torch.{p.dtype.legacy}Tensor" if legacy or not isinstance(p, Parameter) else p.dtype
    return f"{kind} containing: [{dtype} of size {'x'.join(map(str, p.shape))}{where}]"


class ParameterList(Module):
    """A list of parameters; tensors that are put in become ones."""

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        self._size = 0
        self.extend(values or ())

    def _at(self, index: Any) -> str:
        index = operator.index(index)
        if not -self._size <= index < self._size:
            raise IndexError(f"index {index} is out of range")
        return str(index % self._size)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter(self[i] for i in range(self._size))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(*index.indices(self._size))])
        return getattr(self, self._at(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        is_plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
        setattr(self, self._at(index), Parameter(value) if is_plain else value)

    def append(self, value: Any) -> ParameterList:
        """Add one at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add several at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for v in values:
            self.append(v)
        return self

    __iadd__ = extend

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_shown(p)}" for i, p in enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")


def _string(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(
            "Index given to ParameterDict cannot be used as a key as it is not a string (type is "
            f"'{type(key).__name__}'). Open an issue on github if you need non-string keys."
        )
    return key


class ParameterDict(_Named):
    """Parameters by name; tensors that are put in become ones."""

    _said = "ParametersDict"

    def __init__(self, parameters: Any = None):
        super().__init__()
        self._there: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _keys(self) -> dict[str, Any]:
        return self._there

    def __getitem__(self, key: str) -> Any:
        return getattr(self, _string(key))

    def __setitem__(self, key: str, value: Any) -> None:
        self._there[_string(key)] = None
        is_plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
        setattr(self, key, Parameter(value) if is_plain else value)

    def __delitem__(self, key: str) -> None:
        del self._there[key]
        delattr(self, key)

    def _pairs(self, values: Any) -> Iterable[tuple[Any, Any]]:
        """Those of a plain dict by name, as torch has it."""
        plain = isinstance(values, Mapping) and not isinstance(values, OrderedDict)
        return sorted(values.items()) if plain else super()._pairs(values)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._there)

    def copy(self) -> ParameterDict:
        """Another one with the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """One, which becomes ``default`` where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take all out."""
        for key in list(self):
            del self[key]

    def popitem(self) -> tuple[str, Any]:
        """Take the last one out, with its name."""
        if not self._there:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """One with these names and the same thing everywhere."""
        return ParameterDict(OrderedDict((k, default) for k in keys))

    def __or__(self, other: ParameterDict) -> ParameterDict:
        return self.copy().__ior__(other)

    def __ror__(self, other: ParameterDict) -> ParameterDict:
        return other.copy().__ior__(self)

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """One, or ``default``."""
        return self[key] if key in self._there else default

    def items(self) -> Any:
        """Names and parameters."""
        return [(k, self[k]) for k in self._there]

    def values(self) -> Any:
        """The parameters."""
        return [self[k] for k in self._there]

    def extra_repr(self) -> str:
        return "\n".join(f"  ({k}): {_shown(v, legacy=True)}" for k, v in self.items())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")
