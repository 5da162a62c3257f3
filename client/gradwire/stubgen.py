"""Stubs for editors and type checkers: ``python -m gradwire.stubgen [folder]``.

The SDK's functions and methods are bound when it is imported; this writes down what was bound, as ``.pyi`` files beside
the package (or in ``folder``). They are made by ``make stubs``, never committed.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import gradwire
from gradwire import bind
from gradwire.tensor import Tensor
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op, Param
from gradwire_proto.dtypes import DType

# torch has functions and types called float, int, ...: in the stubs the builtins need names of their own
BUILTINS = ("bool", "bytes", "complex", "dict", "float", "int", "list", "object", "slice", "str", "tuple", "type")
HEADER = f"""\
# Made by gradwire.stubgen.
from builtins import {", ".join(f"{b} as _{b}" for b in BUILTINS)}
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy
from gradwire.types import Size, device as _device
from gradwire_proto.dtypes import DType
"""
SUBMODULES = ("autograd", "draw", "optim", "testing")
"""The hand-written modules that are for users; those made by binding names are added as they are found."""
BINARY = [f"__{way}{name}__" for name in bind.BINARY for way in ("", "i", "r")]
UNARY = ("__neg__", "__abs__", "__invert__", "__pos__")
TENSOR_RESULTS = {*BINARY, *UNARY, *(f"__{name}__" for name in bind.COMPARISONS), "__getitem__"}
IMPORT_TENSOR = "from gradwire.tensor import Tensor\n"
TYPING = {"Any", "Callable", "Iterable", "Iterator", "Mapping", "Sequence", "Tensor", "DType", "Size"}
NAMES = {b: f"_{b}" for b in BUILTINS} | {n: n for n in TYPING} | {
    "dtype": "DType", "torch.dtype": "DType", "Device": "_device", "Self": "Tensor", "np": "numpy", "numpy": "numpy",
}  # fmt: skip
KINDS = {
    "Tensor": "Tensor", "Tensor|Scalar": "Tensor | _complex", "Scalar": "_complex", "int": "_int", "float": "_float",
    "bool": "_bool", "str": "_str", "dtype": "DType",
}  # fmt: skip


def stubs() -> dict[str, str]:
    """The text of every stub by its path below the package."""
    made = {"tensor.pyi": _tensor_stub()}
    for name, module in sorted(sys.modules.items()):
        bound = name.startswith("gradwire.") and getattr(module, "__file__", None) is None
        if bound or name in ("gradwire", "gradwire.nn"):
            if name == "gradwire.functions":
                continue
            parts = name.split(".")[1:]
            is_package = hasattr(module, "__path__") or any(isinstance(v, ModuleType) for v in vars(module).values())
            path = "/".join([*parts, "__init__.pyi"] if is_package else [*parts[:-1], f"{parts[-1]}.pyi"])
            made[path] = _module_stub(module)
    return made


def write(folder: Path) -> list[Path]:
    """Write all stubs below a folder; which files they are."""
    files = []
    for path, text in stubs().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        files.append(file)
    return files


def _module_stub(module: ModuleType) -> str:
    imports, lines = [], []
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or name == "annotations":
            continue
        home = getattr(value, "__module__", "") or ""
        if isinstance(value, ModuleType):
            bound = value.__name__ == "gradwire.nn" or not getattr(value, "__file__", None)
            if value.__name__.startswith("gradwire.") and bound and name != "functions":
                imports.append(f"from {module.__name__} import {name} as {name}\n")
        elif isinstance(value, DType):
            lines.append(f"{name}: DType\n")
        elif isinstance(value, (bool, int, float, str)):
            lines.append(f"{name}: _{type(value).__name__}\n")
        elif isinstance(value, FunctionType) and _op(value):
            lines += _op_stub(name, CATALOG[value.__name__], method=False)
        elif isinstance(value, FunctionType) and (home == module.__name__ or not _importable(value)):
            lines.append(_function_stub(name, value))
        elif isinstance(value, type) and home == module.__name__:
            made = _function_stub("__init__", vars(value).get("__init__"), "    ") or "    ...\n"
            base = value.__bases__[0]
            imports.append(f"from {base.__module__} import {base.__name__} as {base.__name__}\n")
            lines.append(f"class {name}({base.__name__}):\n{made}")
        elif home.startswith("gradwire") and getattr(value, "__name__", ""):
            imports.append(f"from {home} import {value.__name__} as {name}\n")
    if module is gradwire:
        imports += [f"from gradwire import {name} as {name}\n" for name in SUBMODULES]
    return HEADER + "".join(imports) + IMPORT_TENSOR + "\n" + "".join(lines)


def _tensor_stub() -> str:
    lines = ["class Tensor:\n", f'    """{(Tensor.__doc__ or "").strip()}"""\n\n']
    for name, value in sorted(vars(Tensor).items()):
        dunder = name.startswith("__") and name.endswith("__")
        if (name.startswith("_") and not dunder) or name in ("__slots__", "__weakref__", "__module__", "__doc__"):
            continue
        if name in TENSOR_RESULTS:
            other = "" if name in UNARY else ", other: Any"
            ignored = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
            lines.append(f"    def {name}(self{other}) -> Tensor: ...{ignored}\n")
        elif isinstance(value, property):
            lines.append(f"    @property\n{_function_stub(name, value.fget, '    ')}")
            if value.fset:
                lines.append(f"    @{name}.setter\n    def {name}(self, value: Any) -> None: ...\n")
        elif isinstance(value, (staticmethod, classmethod)):
            lines.append(f"    @{type(value).__name__}\n{_function_stub(name, value.__func__, '    ')}")
        elif isinstance(value, FunctionType) and _op(value):
            lines += [f"    {line}" for line in _op_stub(name, CATALOG[value.__name__], method=True)]
        elif isinstance(value, FunctionType):
            lines.append(_function_stub(name, value, "    "))
        elif name == "__hash__":
            continue
        elif isinstance(value, (int, str)):
            lines.append(f"    {name}: _{type(value).__name__}\n")
    return HEADER + "\n" + "".join(lines) + "\ndef __getattr__(name: _str) -> Any: ...\n"


def _op(f: Any) -> bool:
    """Whether a function is an op of the catalog."""
    return f.__module__ == "gradwire.dispatch" and f.__name__ in CATALOG


def _importable(f: Any) -> bool:
    """Whether a function stands in its module under its own name; those made by other functions do not."""
    return getattr(sys.modules[f.__module__], f.__name__, None) is f


def _op_stub(name: str, op: Op, method: bool) -> Iterator[str]:
    """An op's signature; twice where a list of ints may also be spread over the arguments: ``view((2, 3))``."""
    results = op.results
    returns = "Tensor" if len(results) == 1 and not results[0].is_list else "_tuple[Tensor, ...]"
    params = list(op.params)
    if not results:
        returns = "None"
    spread = next((i for i, p in enumerate(params) if p.is_list and p.kind == "int" and not p.keyword_only), None)
    ways = [False]
    if spread is not None and all(p.keyword_only for p in params[spread + 1 :]):
        ways = [False, True]
    for way in ways:
        shown = [_parameter(p, way and i == spread) for i, p in enumerate(params)]
        if method and shown:
            shown[0] = "self"
        star = next((i for i, p in enumerate(params) if p.keyword_only), None)
        if star is not None and not (way and spread == star - 1):
            shown.insert(star, "*")
        if not method and not op.writes:
            starred = star is not None or (way and spread is not None)
            shown += ([] if starred else ["*"]) + ["out: Any = None"]
        doc = op.doc.replace("\\", "\\\\").replace('"""', "'''")
        head = "@overload\n" if len(ways) > 1 else ""
        body = f'def {name}({", ".join(shown)}) -> {returns}:\n    """{doc}"""\n'
        yield from (head + body).splitlines(keepends=True)


def _parameter(p: Param, spread: bool) -> str:
    name = f"{p.name}_" if keyword.iskeyword(p.name) else p.name
    kind = KINDS[p.kind]
    if spread:
        return f"*{name}: _int"
    if p.is_list:
        inner = f"{kind} | None" if p.kind == "Tensor" and p.optional else kind
        kind = f"Sequence[{inner}]" + ("" if p.kind.startswith("Tensor") else f" | {kind}")
    if p.optional or p.default is None:
        kind += " | None"
    return f"{name}: {kind}" if p.required else f"{name}: {kind} = {_literal(p.default)}"


def _literal(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and value == value):
        return repr(value) if repr(value) not in ("inf", "-inf") else "..."
    return "..."


def _function_stub(name: str, f: Callable[..., Any] | None, indent: str = "") -> str:
    if f is None:
        return ""
    signature = inspect.signature(f)
    shown: list[str] = []
    starred = False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not starred:
            shown.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        if not (indent and not shown):
            text += f": {_annotation(p.annotation)}"
        shown.append(text if p.default is p.empty else f"{text} = {_literal(p.default)}")
        if p.kind is p.POSITIONAL_ONLY and not _more_positional_only(signature, p.name):
            shown.append("/")
    doc = inspect.cleandoc(f.__doc__ or "").partition("\n")[0].replace("\\", "\\\\").replace('"""', "'''")
    body = f'\n{indent}    """{doc}"""\n' if doc else " ...\n"
    returns = "None" if name == "__init__" else _annotation(signature.return_annotation)
    return f"{indent}def {name}({', '.join(shown)}) -> {returns}:{body}"


def _more_positional_only(signature: inspect.Signature, name: str) -> bool:
    names = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    return name != names[-1]


def _annotation(given: Any) -> str:
    """An annotation in the stubs' names; Any where it uses a name that they lack."""
    if not isinstance(given, str):
        return "None" if given is None else "Any"
    tree = ast.parse(given, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id not in NAMES:
                return "Any"
            node.id = NAMES[node.id]
    return ast.unparse(tree)


def main() -> None:
    """Write the stubs, beside the package or in the folder named on the command line."""
    package = Path(gradwire.__file__).parent
    for file in write(Path(sys.argv[1]) if len(sys.argv) > 1 else package):
        print(file)


if __name__ == "__main__":
    main()
