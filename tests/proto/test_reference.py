"""The reference page has every op once, from the catalog alone."""

from __future__ import annotations

import subprocess
import sys

from gradwire_proto.catalog import CATALOG
from gradwire_proto.reference import entry, page


def test_every_op_is_there_once():
    text = "\n".join(page(CATALOG.values()))
    for op in CATALOG.values():
        assert text.count(f"`{op.signature}`") == (op.inplace_of is None), op.name


def test_entry_tells_all_that_is_declared():
    assert entry(CATALOG["neg"]) == "- `neg(Tensor input) -> Tensor`: -input. In place: `neg_`. Also `negative`.\n"
    assert entry(CATALOG["eq"]).endswith("No derivative.\n")
    assert "Random." in entry(next(op for op in CATALOG.values() if op.random))


def test_it_runs_as_a_program():
    command = [sys.executable, "-m", "gradwire_proto.reference"]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    assert made.stdout.startswith("# Operators\n")
    assert made.stdout == "\n".join(page(CATALOG.values()))
