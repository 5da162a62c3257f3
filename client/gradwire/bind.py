"""Binds torch's names: every public op of the catalog, its aliases, and the SDK's compositions, to modules and Tensor.

Runs once, when the package is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gradwire import functions
from gradwire.amp.rules import COMPOSED, in_float32
from gradwire.dispatch import call, function_of
from gradwire.export import EXPORTS
from gradwire.tensor import Tensor
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op

BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "floordiv": "floor_divide",
    "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
"""Python's binary operators, which have in-place forms, too, and the ops they are."""
REFLECTED = {"add": "add", "sub": "rsub", "mul": "mul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
"""Those with a number on the left that are an op of the tensor first."""
SWAPPED = ("pow", "floordiv", "mod", "lshift", "rshift")
"""Those with a number on the left that are the op with its arguments swapped."""
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}


def bind(package: ModuleType) -> None:
    """Give the package, its submodules and Tensor their functions."""
    for op in CATALOG.values():
        f, as_method = function_of(op), function_of(op, True)
        if op.public:
            if not op.name.endswith("_") or _is_function(op):
                setattr(package, op.name, f)
            if op.method:
                setattr(Tensor, op.name, as_method)
        for alias in op.aliases:
            _place(package, alias, f, op.method)
        if op.inplace_of is not None and op.method:
            for alias in op.inplace_of.aliases:
                if "." not in alias:
                    setattr(Tensor, f"{alias}_", as_method)
    for found in pkgutil.iter_modules(functions.__path__):
        importlib.import_module(f"{functions.__name__}.{found.name}")
    for name, made in EXPORTS.items():
        if name.rpartition(".")[2] in COMPOSED:
            made = in_float32(made)
        if name.startswith("property:Tensor."):
            shown = made if isinstance(made, property) else property(made)
            setattr(Tensor, name.removeprefix("property:Tensor."), shown)
        elif name.startswith("Tensor."):
            setattr(Tensor, name.removeprefix("Tensor."), made)
        else:
            _place(package, name, made, False)
    _bind_operators()


def _is_function(op: Op) -> bool:
    """Whether torch has an in-place op as a function, too: those of one tensor."""
    return sum(p.is_tensor for p in op.params) == 1


def _place(package: ModuleType, path: str, f: Callable[..., Any], method: bool) -> None:
    """Put a function at a dotted path below the package; a plain one also on Tensor."""
    *modules, name = path.split(".")
    if modules == ["Tensor"]:
        setattr(Tensor, name, f)
        return
    target = package
    for m in modules:
        inner = getattr(target, m, None)
        if inner is None:
            inner = ModuleType(f"{target.__name__}.{m}")
            sys.modules[inner.__name__] = inner
            setattr(target, m, inner)
        target = inner
    setattr(target, name, f)
    if not modules and method:
        setattr(Tensor, name, f)


def _bind_operators() -> None:
    from gradwire.functions.indexing import delitem, getitem, setitem

    methods: dict[str, Any] = {"getitem": getitem, "setitem": setitem, "delitem": delitem, "pos": lambda self: self}
    for python, name in BINARY.items():
        methods[python] = _binary(CATALOG[name])
        if f"{name}_" in CATALOG:
            methods[f"i{python}"] = _binary(CATALOG[f"{name}_"])
    methods |= {f"r{python}": _binary(CATALOG[name]) for python, name in REFLECTED.items()}
    methods |= {f"r{python}": _binary(CATALOG[BINARY[python]], swapped=True) for python in SWAPPED}
    methods |= {name: _binary(CATALOG[name]) for name in COMPARISONS}
    methods |= {python: lambda self, op=CATALOG[name]: call(op, (self,), {}) for python, name in UNARY.items()}
    methods["pow"] = _power(methods["pow"])
    methods["invert"] = _inverted(methods["invert"])
    methods["rdiv"] = methods["rtruediv"] = lambda self, other: self.reciprocal() * other  # as torch records it
    for name, method in methods.items():
        setattr(Tensor, f"__{name}__", method)


def _binary(op: Op, swapped: bool = False) -> Callable[[Any, Any], Any]:
    """An operator's method; what is neither tensor nor number is Python's to refuse."""

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (Tensor, int, float, complex)) and not _is_scalar(other):
            return NotImplemented
        return call(op, (other, self) if swapped else (self, other), {})

    return method


def _power(pow: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def method(self: Any, exponent: Any, modulo: Any = None) -> Any:
        return pow(self, exponent) if modulo is None else NotImplemented

    return method


def _inverted(invert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        if self.dtype.differentiable:
            raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
        return invert(self)

    return method


def _is_scalar(v: Any) -> bool:
    return hasattr(v, "dtype") and not getattr(v, "ndim", 1)
