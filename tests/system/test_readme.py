"""The README's examples, and that of programs, do what it says; some with nothing but stubs made afresh."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDRESS = "localhost:50051"
EXAMPLES, (PROGRAM,) = (
    re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    for name in ("README.md", "docs/programs.md")
)


def run(program: str, folder: Path) -> str:
    (folder / "example.py").write_text(program)
    command = [sys.executable, "example.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "gradwire_server", "serve", "--listen", "localhost:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield re.search(r"listening on (\S+)", server.stdout.readline())[1]
    server.terminate()
    assert server.wait(30) == 0
    server.stdout.close()


def test_python(tmp_path: Path):
    said = run(EXAMPLES[0], tmp_path)
    losses = [float(n) for n in re.findall(r"loss (\S+)", said)]
    assert len(losses) == 3
    assert losses[-1] < 0.01
    assert "27., 12., 75." in said
    assert "-18.,  12.,  30." in said


def test_a_session_moves(tmp_path: Path):
    said = run(EXAMPLES[0].replace("range(300)", "range(1)") + EXAMPLES[1], tmp_path)
    assert said.splitlines()[-1].startswith("tensor([27., 12., 75.], ")


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder with stubs made afresh."""
    contract = ROOT / "proto/gradwire_proto/v1"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{contract}", "--python_out=.", "--grpc_python_out=."]
    subprocess.run([*protoc, "gradwire.proto"], cwd=tmp_path, check=True)
    return tmp_path


STUBS = next(e for e in EXAMPLES if "gradwire_pb2" in e)


@pytest.mark.parametrize(
    ("example", "says"),
    [(STUBS, "(27.0, 12.0, 75.0)\n"), (PROGRAM, "10.0\n2.5\n0.625\n0.15625\n0.0390625\n")],
    ids=["any language", "a program"],
)
def test_any_language(stubs: Path, address: str, example: str, says: str):
    assert "import gradwire\n" not in example
    assert ADDRESS in example
    assert run(example.replace(ADDRESS, address), stubs) == says
