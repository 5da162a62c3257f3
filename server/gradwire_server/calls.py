"""Templates: ops that a client tells once, with all but their tensors, so that a call is a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine import Engine, Tensor
from gradwire_engine.case import Case
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import decode_arguments
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Poisoned

MOST_CASES = 64
"""Sets of specs that a template remembers."""


class Hole:
    """Where a call's tensor goes."""

    def __init__(self, i: int):
        self.i = i


class Template:
    """An op, its plain arguments, and where tensors go. What is wrong with them is for its calls to tell."""

    __slots__ = ("_cases", "_engine", "_lists", "_plain", "_singles", "error", "makes", "op", "recorded", "takes")

    def __init__(self, engine: Engine, m: pb.Template):
        self._engine = engine
        self._cases: dict[tuple[Any, ...], Case] = {}
        self.takes = 0
        """How many tensors a call names."""
        self.makes = m.results
        """How many results it does."""
        self.recorded = not m.no_grad
        self.op: Op | None = CATALOG.get(m.op)
        self.error: Exception | None = None
        self._plain: list[Any] = []
        args, kwargs = decode_arguments(m.arguments, self._hole)
        try:
            if self.op is None:
                raise unknown(m.op)
            self._plain = self.op.bind(args, kwargs, Hole)
        except Exception as e:
            self.error = e
        self._singles = [(i, v.i) for i, v in enumerate(self._plain) if type(v) is Hole]
        self._lists = [(i, [x and x.i for x in v]) for i, v in enumerate(self._plain)
                       if type(v) is tuple and any(type(x) is Hole for x in v)]  # fmt: skip

    def _hole(self, _: int) -> Hole:
        self.takes += 1
        return Hole(self.takes - 1)

    def run(self, tensors: Sequence[Any]) -> list[Tensor]:
        """The op's results, as :meth:`Engine.apply` gives them, which see for what it raises.

        Raises:
            Poisoned: one of the tensors could not be made.
        """
        specs = tuple([t.spec for t in tensors])
        case = self._cases.get(specs) or self._case(specs, tensors)
        values = self._plain.copy()  # as _filled() has it, without the call
        for at, i in self._singles:
            values[at] = tensors[i]
        return self._engine.run(case, self._filled(tensors) if self._lists else values)

    def _filled(self, holes: Sequence[Any]) -> list[Any]:
        """The arguments in signature order."""
        values = self._plain.copy()
        for at, i in self._singles:
            values[at] = holes[i]
        for at, several in self._lists:
            values[at] = tuple([None if i is None else holes[i] for i in several])
        return values

    def _case(self, specs: tuple[Any, ...], tensors: Sequence[Any]) -> Case:
        for t in tensors:
            if type(t) is not Tensor:
                raise Poisoned(t.error)
        if self.error is not None:
            raise self.error.with_traceback(None)
        assert self.op is not None
        if len(self._cases) >= MOST_CASES:
            self._cases.clear()
        made = self._cases[specs] = self._engine.case(self.op, self._filled(specs))
        return made

    def written(self, ids: Sequence[int]) -> list[int]:
        """Those of a call's tensors that the op would have written to."""
        writes = self.op.writes if self.op is not None else ()
        several = [i for at, found in self._lists if at in writes for i in found if i is not None]
        return [ids[i] for i in [*(i for at, i in self._singles if at in writes), *several]]


def unknown(op: str) -> NotImplementedError:
    """What using an op raises that is not there."""
    return NotImplementedError(f"no op is called '{op}'; ListOps tells the catalog")
