"""The reference page of the op catalog, as Markdown: ``python -m gradwire_proto.reference``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op

INTRODUCTION = """\
# Operators

The primitives that a server runs, by the names that `Apply` takes and `ListOps` gives. Names, arguments and results
are PyTorch's. `Tensor(a)` in an argument and a result says that the result is a view of it, `Tensor(a!)` that the op
writes to it; arguments after `*` go by name.
"""


def entry(op: Op) -> str:
    """One op as an item of a list."""
    notes = [op.doc]
    if f"{op.name}_" in CATALOG:
        notes.append(f"In place: `{op.name}_`.")
    if op.aliases:
        notes.append(f"Also {', '.join(f'`{a}`' for a in op.aliases)}.")
    if op.random:
        notes.append("Random.")
    if not op.differentiable:
        notes.append("No derivative.")
    return f"- `{op.signature}`: {' '.join(notes)}\n"


def page(ops: Iterable[Op]) -> Iterator[str]:
    """The lines of the page; in-place forms stand with the op they are forms of."""
    yield INTRODUCTION
    letter = ""
    for op in sorted((op for op in ops if op.inplace_of is None), key=lambda op: op.name):
        if op.name[0] != letter:
            letter = op.name[0]
            yield f"## {letter.upper()}\n"
        yield entry(op)


if __name__ == "__main__":
    print("\n".join(page(CATALOG.values())), end="")
