"""The stubs that editors read are well-formed and hold what was bound."""

import ast

import gradwire
from gradwire import stubgen


def names(tree):
    """What a module or class body declares."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name for a in node.names}
    return found


def test_stubs(tmp_path):
    files = stubgen.write(tmp_path)
    trees = {str(f.relative_to(tmp_path)): ast.parse(f.read_text()) for f in files}
    assert {"__init__.pyi", "tensor.pyi", "linalg.pyi", "nn/functional.pyi"} <= set(trees)
    package = names(trees["__init__.pyi"])
    functions = {n for n, v in vars(gradwire).items() if callable(v) and not n.startswith("_")}
    assert functions <= package | {"Any"}
    assert {"float32", "float", "pi", "linalg", "nn", "autograd", "Tensor"} <= package
    (tensor,) = [n for n in trees["tensor.pyi"].body if isinstance(n, ast.ClassDef)]
    assert {n for n in vars(gradwire.Tensor) if not n.startswith("_")} <= names(tensor)
    assert {"__add__", "__rsub__", "__getitem__"} <= names(tensor)


def test_signatures(tmp_path):
    stubgen.write(tmp_path)
    text = (tmp_path / "__init__.pyi").read_text()
    assert "def exp(input: Tensor, *, out: Any = None) -> Tensor:" in text
    text = (tmp_path / "tensor.pyi").read_text()
    assert "    def permute(self, *dims: _int) -> Tensor:" in text
    assert "    def __eq__(self, other: Any) -> Tensor: ..." in text
    assert "    @grad.setter" in text
