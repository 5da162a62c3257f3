"""Every name and keyword that the engine takes from its array namespace is one that CuPy has too.

The engine's syntax trees are read, and what they take from ``xp`` (and from ``special(xp)``, ``linalg(xp)`` and the
session's ``rng``) is looked up in CuPy itself, which imports without a GPU. Code under ``if xp is np`` is free.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cupy
import cupy_backends.cuda.libs
import cupyx.scipy.special
import numpy as np
import pytest

import gradwire_engine  # noqa: F401  (the tables are filled)
from gradwire_engine.registry import KERNELS
from gradwire_proto.catalog import CATALOG

absent = {} if cupy.cuda.is_available() else {"cublas": mock.MagicMock(), "cusolver": mock.MagicMock()}
with mock.patch.dict(vars(cupy_backends.cuda.libs), **absent):
    # It wants CUDA's libraries when it is imported; without a GPU its names are all that is wanted here.
    import cupyx.scipy.linalg

ENGINE = Path(__file__).parents[2] / "engine" / "gradwire_engine"
FILES = sorted(ENGINE.rglob("*.py"))
MODULES = {"special": cupyx.scipy.special, "linalg": cupyx.scipy.linalg, "fft": cupy.fft}
"""What the functions of the backend with these names return."""
UNTOLD = {
    "pad": {"constant_values", "end_values", "reflect_type", "stat_length"},
    "einsum": {"dtype", "casting", "optimize"},
}
"""Keywords of functions whose signature only says ``**kwargs``."""
ON_THE_HOST = {"lapack.py", "linalg.py"}
"""Families that do on the CPU what CuPy has no routine for, and so import NumPy and SciPy."""
ARRAY_METHODS = {n for n in dir(np.ndarray) if not n.startswith("_")}
FLAGS = {"c_contiguous", "f_contiguous", "owndata"}
UNKNOWN: Any = object()
WRITE_OUT = "write the name out, so that it can be checked"
CALLERS = {"registry.py", "groups.py"}
"""Where the functions are called that kernels name: see test_functions_that_kernels_name."""
EXAMPLES = {"add": (1, 2, 1), "sub": (1, 2, 1), "rsub": (1, 2, 1), "div": (1, 2, None), "pow": (np.ones(1), 2)}
"""Arguments with which such a kernel is that function."""


def signature(f: Any) -> inspect.Signature | None:
    """How CuPy's function, ufunc, or method of a class may be called; None where nothing tells."""
    if isinstance(f, type) and issubclass(f, np.generic):
        return None
    if not isinstance(f, cupy.ufunc):
        try:
            return inspect.signature(f)
        except (ValueError, TypeError):
            pass
    # Compiled functions and ufuncs say it in the first line of their docstring.
    found = re.match(r"[\w.]+(\(.*?\))(?: ->.*)?$", (f.__doc__ or "").strip().split("\n")[0])
    if found is None:
        return None
    try:
        tree = ast.parse(f"def told{found[1]}: pass".replace("\\", ""))
    except SyntaxError:
        return None
    (made,) = tree.body
    assert isinstance(made, ast.FunctionDef)
    made.args.defaults = [ast.Constant(None) for _ in made.args.defaults]
    made.args.kw_defaults = [d and ast.Constant(None) for d in made.args.kw_defaults]
    space: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), "<docstring>", "exec", dont_inherit=True), space)
    return inspect.signature(space["told"])


def complaint(f: Any, call: ast.Call, name: str, bound: bool) -> str | None:
    """Why CuPy's ``f`` can't be called like this; ``bound`` where ``f`` is a class's method, called on an object."""
    told = signature(f)
    if told is None:
        return None
    keywords = {k.arg for k in call.keywords if k.arg is not None}
    if any(p.kind is p.VAR_KEYWORD for p in told.parameters.values()):
        untold = UNTOLD.get(name)
        if untold is None:
            return f"the test does not know the keywords of {name}" if keywords else None
        unknown = keywords - untold - told.parameters.keys()
        if unknown:
            return f"{name} has no keyword {', '.join(map(repr, unknown))}"
    starred = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    positional = [None] * (bound + sum(not isinstance(a, ast.Starred) for a in call.args))
    try:
        (told.bind_partial if starred else told.bind)(*positional, **dict.fromkeys(keywords))
    except TypeError as e:
        return f"{name}{told}: {e}"
    return None


class Reader(ast.NodeVisitor):
    """Collects complaints about one file."""

    def __init__(self) -> None:
        self.complaints: list[tuple[int, str]] = []
        self.looked_up = 0
        self.imported: set[str] = set()
        """Names of modules and of what is taken from them: no arrays, whatever their members are called."""
        self.local: dict[str, Any] = {"cupy": cupy, "cupyx": cupyx}
        """Names that stand for a part of CuPy."""

    def resolve(self, node: ast.expr) -> Any:
        """The part of CuPy that an expression stands for, or UNKNOWN."""
        if isinstance(node, ast.Name):
            return cupy if node.id == "xp" else cupy.random.Generator if node.id == "rng" else (
                self.local.get(node.id, UNKNOWN))  # fmt: skip
        if isinstance(node, ast.Attribute):
            if node.attr in ("xp", "rng"):
                return self.resolve(ast.Name(node.attr))
            base = self.resolve(node.value)
            return UNKNOWN if base is UNKNOWN else member(base, node.attr)
        if isinstance(node, ast.Call) and node.args and self.resolve(node.args[0]) is cupy:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "getattr" and isinstance(node.args[1], ast.Constant):
                return member(cupy, node.args[1].value)
            return MODULES.get(name, UNKNOWN)
        return UNKNOWN

    def complain(self, node: ast.AST, text: str) -> None:
        self.complaints.append((node.lineno, text))  # type: ignore[attr-defined]

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.imported.update(a.asname or a.name.split(".")[0] for a in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.visit_Import(node)

    def is_array(self, node: ast.expr) -> bool:
        """Whether an expression may be an array."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return not isinstance(node, ast.Name) or node.id not in self.imported

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = dict(self.local)
        self.generic_visit(node)
        self.local = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.local[target.id] = self.resolve(node.value)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        on_numpy = xp_is_numpy(node.test)
        self.visit(node.test)
        for branch, free in ((node.body, on_numpy is True), (node.orelse, on_numpy is False)):
            for part in [] if free else branch if isinstance(branch, list) else [branch]:
                self.visit(part)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit_If(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base = self.resolve(node.value)
        if base is not UNKNOWN and node.attr not in ("xp", "rng"):
            self.looked_up += 1
            if member(base, node.attr) is UNKNOWN:
                self.complain(node, f"CuPy has no {ast.unparse(node)}")
        elif node.attr in ARRAY_METHODS and self.is_array(node) and not hasattr(cupy.ndarray, node.attr):
            self.complain(node, f"CuPy's arrays have no .{node.attr}")
        elif isinstance(node.value, ast.Attribute) and node.value.attr == "flags" and node.attr not in FLAGS:
            self.complain(node, f"CuPy's arrays have no .flags.{node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        f = node.func
        if isinstance(f, ast.Name) and f.id == "getattr" and self.resolve(node.args[0]) is cupy:
            if self.resolve(node) is UNKNOWN:
                self.complain(node, WRITE_OUT)
            return
        target = self.resolve(f)
        if target is not UNKNOWN:
            bound = isinstance(f, ast.Attribute) and self.resolve(f.value) is cupy.random.Generator
            found = complaint(target, node, getattr(f, "attr", getattr(f, "id", "")), bound)
        elif isinstance(f, ast.Attribute) and f.attr in ARRAY_METHODS and self.is_array(f):
            found = complaint(getattr(cupy.ndarray, f.attr, None), node, f.attr, True)
        else:
            return
        self.looked_up += 1
        if found is not None:
            self.complain(node, found)


def member(base: Any, name: str) -> Any:
    found = getattr(base, name, UNKNOWN)
    if found is UNKNOWN and inspect.ismodule(base):
        try:
            found = importlib.import_module(f"{base.__name__}.{name}")
        except ImportError:
            return UNKNOWN
    return found


def xp_is_numpy(test: ast.expr) -> bool | None:
    """True or False where the test says that the library is, or is not, NumPy; None where it says neither."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(xp_is_numpy(v) for v in test.values) else None
    found = re.fullmatch(r"[\w.]*\bxp is (not )?np", ast.unparse(test))
    return None if found is None else not found[1]


def read(source: str) -> Reader:
    reader = Reader()
    reader.visit(ast.parse(source))
    return reader


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ENGINE)))
def test_names_are_cupys_too(file: Path) -> None:
    found = [c for c in read(file.read_text()).complaints if file.name not in CALLERS or c[1] != WRITE_OUT]
    assert not found, "\n".join(f"{file.relative_to(ENGINE.parents[1])}:{line}: {text}" for line, text in found)


@pytest.mark.parametrize("op", [name for name, k in KERNELS.items() if k.direct is not None])
def test_functions_that_kernels_name(op: str) -> None:
    direct = KERNELS[op].direct
    assert direct is not None
    told = direct(*EXAMPLES.get(op, CATALOG[op].params))
    assert told is not None
    function = getattr(cupy, told[0])
    assert isinstance(function, cupy.ufunc)
    assert function.nin == getattr(np, told[0]).nin == len(told) - 1


def test_something_was_looked_up() -> None:
    assert sum(read(f.read_text()).looked_up for f in FILES) > 200


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name.split(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("folder", ["kernels", "derivatives"])
def test_families_take_their_library_from_their_arrays(folder: str) -> None:
    for file in (ENGINE / folder).glob("*.py"):
        found = {"numpy", "scipy", "cupy", "cupyx"} & set(imports(ast.parse(file.read_text())))
        if file.name not in ON_THE_HOST:
            assert not found, f"{folder}/{file.name} imports {', '.join(found)}: put it into backend.py"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("xp.vecdot(a, b)", "has no xp.vecdot"),
        ("self.xp.linalg.vector_norm(a)", "has no self.xp.linalg.vector_norm"),
        ("xp.sum(a, where=m)", "'where'"),
        ("xp.add(a, b, subok=True)", "'subok'"),
        ("xp.sin(a, b, c)", "too many positional arguments"),
        ("xp.sin()", "missing"),
        ("xp.pad(a, 1, constant=3)", "no keyword 'constant'"),
        ("special(xp).ive(1, a)", "has no special(xp).ive"),
        ("s = special(xp)\ns.ive(1, a)", "has no s.ive"),
        ("rng.permutation(a)", "has no rng.permutation"),
        ("rng.standard_normal(size=2, mean=3)", "'mean'"),
        ("a.sum(0, where=m)", "'where'"),
        ("a.resize(2)", "no .resize"),
        ("a.flags.writeable", "no .flags.writeable"),
        ("getattr(xp, name)(a)", "write the name out"),
        ("getattr(xp, 'vecdot')(a, b)", "write the name out"),
        ("x = xp.vecdot(a) if xp is not np else 3", "has no xp.vecdot"),
        ("if xp is not np:\n    xp.vecdot(a)", "has no xp.vecdot"),
        ("if xp is np and x:\n    pass\nelse:\n    xp.vecdot(a)", "has no xp.vecdot"),
    ],
)
def test_what_cupy_lacks_is_found(code: str, text: str) -> None:
    assert any(text in found for _, found in read(code).complaints), read(code).complaints


@pytest.mark.parametrize(
    "code",
    [
        "if xp is np:\n    xp.vecdot(a)\nelse:\n    xp.add(a, b, out=c, dtype=xp.float32)",
        "xp.vecdot(a) if xp is np else xp.einsum('i,i', a, b, optimize=True)",
        "xp.sum(a, axis=(1,), dtype=d, out=o, keepdims=True)",
        "xp.pad(a, w, mode='constant', constant_values=0)",
        "xp.lib.stride_tricks.as_strided(a, s, t)",
        "xp.float64(3), xp.pi, xp.newaxis, xp.linalg.svd(a, full_matrices=False)",
        "special(xp).erf(a, out=o), backend.special(xp).gammaln(a)",
        "linalg(xp).solve_triangular(a, b, lower=True, unit_diagonal=True)",
        "rng.integers(0, 3, size=(2,)), self.rng.random(size=s, dtype=d)",
        "a.astype(d, copy=False).reshape(s).transpose(0, 1).sum(axis=1, keepdims=True)",
        "f(*xs, **ks), xp.add(*xs), xp.add(a, b, **ks)",
        "getattr(xp, 'sum')(a)",
        "from gradwire_engine import functional as F\nF.diagonal(a, 0, 1, 2, 3)",
    ],
)
def test_what_cupy_has_passes(code: str) -> None:
    assert read(code).complaints == []
