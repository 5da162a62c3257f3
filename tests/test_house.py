"""The house rules: who may import whom, how long a file may be, and that what is generated is what would be."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "gradwire_proto": "proto",
    "gradwire_engine": "engine",
    "gradwire_server": "server",
    "gradwire": "client",
}
MAY_IMPORT = {
    "gradwire_proto": set(),
    "gradwire_engine": {"gradwire_proto"},
    "gradwire_server": {"gradwire_engine", "gradwire_proto"},
    "gradwire": {"gradwire_proto"},
}
"""Which of the house's packages each may import, itself aside."""
CLIENT_NEEDS = {"grpc", "google", "numpy", "ml_dtypes"}
"""What the SDK may import from outside, its demo aside."""
LIBRARIES = {
    "proto": {"grpc", "google"},
    "engine": {"numpy", "scipy", "numba", "llvmlite", "threadpoolctl", "cupy", "cupyx", "ml_dtypes"},
}
MAX_LINES = 600


def sources(folder: str) -> list[Path]:
    """The folder's Python files that people wrote."""
    return [f for f in sorted((ROOT / folder).rglob("*.py")) if not f.stem.endswith(("_pb2", "_pb2_grpc"))]


def imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def generated() -> list[Path]:
    return sorted(f for f in (ROOT / "proto").rglob("*_pb2*.py*") if f.suffix in (".py", ".pyi"))


def test_folders_are_as_designed():
    for folder in (*PACKAGES.values(), "tests", "deploy"):
        assert (ROOT / folder).is_dir(), folder
    for package, folder in PACKAGES.items():
        assert (ROOT / folder / package / "__init__.py").is_file()
        assert (ROOT / folder / package / "py.typed").is_file(), f"{package} is not marked as typed"
    for folder in PACKAGES.values():
        assert (ROOT / "tests" / folder).is_dir(), f"tests of {folder}"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str):
    for file in sources(PACKAGES[package]):
        wrong = imported(file) & PACKAGES.keys() - {package} - MAY_IMPORT[package]
        assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(wrong)}"


@pytest.mark.parametrize("folder", LIBRARIES)
def test_contract_and_engine_know_only_their_libraries(folder: str):
    allowed = set(sys.stdlib_module_names) | LIBRARIES[folder] | PACKAGES.keys()
    for file in sources(folder):
        assert imported(file) <= allowed, f"{file.relative_to(ROOT)} imports {', '.join(imported(file) - allowed)}"


def test_client_needs_little():
    allowed = set(sys.stdlib_module_names) | CLIENT_NEEDS | {"gradwire", "gradwire_proto"}
    for file in sources("client"):
        if "demo" not in file.relative_to(ROOT).as_posix():
            assert imported(file) <= allowed, f"{file.relative_to(ROOT)} imports {', '.join(imported(file) - allowed)}"


def test_no_test_needs_the_oracle():
    for file in sources("tests"):
        if file.parent.name == "conformance":  # scripts that compare with it, no tests
            continue
        assert not imported(file) & {"torch", "expecttest"}, file.relative_to(ROOT)


def test_files_fit_in_a_look():
    for folder in (*PACKAGES.values(), "tests"):
        for file in sources(folder):
            lines = len(file.read_text().splitlines())
            assert lines <= MAX_LINES, f"{file.relative_to(ROOT)} has {lines} lines: split it along a seam"


def test_stubs_are_what_the_contract_makes(tmp_path: Path):
    here = [f"STUBS={tmp_path}", f"BIN={Path(sys.executable).parent}"]
    subprocess.run(["make", "--silent", "--old-file", ".venv/.ready", "proto", *here], cwd=ROOT, check=True)
    fresh = sorted(f for f in tmp_path.rglob("*") if f.is_file())
    committed = generated()
    assert [f.relative_to(tmp_path) for f in fresh] == [f.relative_to(ROOT / "proto") for f in committed]
    for a, b in zip(fresh, committed, strict=True):
        assert a.read_text() == b.read_text(), f"{b.relative_to(ROOT)} is not up to date: make proto"


def test_every_proto_has_its_stubs():
    protos = list((ROOT / "proto").rglob("*.proto"))
    assert protos
    made = {f"{p.stem}_pb2{end}" for p in protos for end in (".py", ".pyi", "_grpc.py", "_grpc.pyi")}
    assert {f.name for f in generated()} == made


def test_changes_are_told_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
