"""No op is half there: each has a kernel, a derivative where one is promised, a doc, and a case in a family's tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import gradwire_engine  # noqa: F401  fills the tables
from gradwire_engine.registry import KERNELS, RULES
from gradwire_proto.catalog import ALIASES, CATALOG
from gradwire_proto.catalog.declare import Op
from tests.engine.harness import Case


def names(ops: list[Op]) -> str:
    return ", ".join(op.name for op in ops)


def with_cases() -> set[str]:
    """Names of the ops that have a case in a family's table; those of ops that fill are pairs of name and arguments."""
    found = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(f"tests.engine.{file.stem}")
        for table in ("CASES", "FILLS", "DISCRETE"):
            found |= {c.op if isinstance(c, Case) else c[0] for c in getattr(module, table, ())}
    return found


def covered(op: Op, by: set[str]) -> bool:
    """An in-place form runs its op's kernel: either's case counts."""
    base = op.inplace_of or op
    return base.name in by or f"{base.name}_" in by


def test_every_op_has_a_kernel():
    missing = names([op for op in CATALOG.values() if (op.inplace_of or op).name not in KERNELS])
    assert not missing, missing


def test_every_kernel_has_an_op():
    assert not KERNELS.keys() - CATALOG.keys()


def test_every_differentiable_op_has_a_derivative():
    promised = [op for op in CATALOG.values() if op.differentiable and any(p.is_tensor for p in op.params)]
    missing = {op.name for op in promised if (op.inplace_of or op).name not in RULES}
    assert not missing


def test_every_derivative_has_a_differentiable_op():
    recorded = [op for op in CATALOG.values() if op.differentiable]
    extra = RULES.keys() - {(op.inplace_of or op).name for op in recorded}
    assert not extra, extra


def test_every_op_has_a_case():
    by = with_cases()
    missing = names([op for op in CATALOG.values() if not covered(op, by)])
    assert not missing, missing


def test_every_doc_is_one_line():
    for op in CATALOG.values():
        assert op.doc.strip() == op.doc, op.name
        assert op.doc.endswith("."), op.name
        assert "\n" not in op.doc, op.name


def test_every_name_is_one_ops():
    assert not ALIASES.keys() & CATALOG.keys()
    assert set(ALIASES.values()) <= CATALOG.keys()


def test_every_written_argument_comes_back_or_nothing_does():
    for op in CATALOG.values():
        if op.writes and op.results:
            written = [op.params[i].alias for i in op.writes]
            assert [r.alias for r in op.results] == written, op.name
