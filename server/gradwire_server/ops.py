"""The instructions that run ops: Apply tells all of one; Calls tell the numbers of templates and of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradwire_engine import Engine, Tensor
from gradwire_engine.case import Case
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import decode_arguments
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.errors import Poisoned

if TYPE_CHECKING:
    from gradwire_server.session import Session

SERVER_IDS = 1 << 63
"""Ids from here up are the server's choice; below, the client's."""
MOST_CASES = 64
"""Sets of specs that a template remembers."""


class Hole:
    """Where a call's tensor goes."""

    def __init__(self, i: int):
        self.i = i


class Template:
    """An op, its plain arguments, and where tensors go. What is wrong with them is for its calls to tell."""

    weight = 1
    """As how many instructions a call counts."""

    __slots__ = ("_cases", "_engine", "_lists", "_plain", "_singles", "error", "makes", "op", "recorded", "takes",
                 "writes")  # fmt: skip

    def __init__(self, engine: Engine, m: pb.Template):
        self._engine = engine
        self._cases: dict[tuple[Any, ...], Case] = {}
        self.takes = sum(sum(map(bool, (a.tensor, *a.tensors.ids))) for a in m.arguments)
        """How many tensors a call names."""
        self.makes = m.results
        """How many results it does."""
        self.recorded = not m.no_grad
        self.op: Op | None = CATALOG.get(m.op)
        self.writes = self.op is not None and bool(self.op.writes)
        self.error: Exception | None = None
        self._plain: list[Any] = []
        number = itertools.count()
        try:
            if self.op is None:
                raise _unknown(m.op)
            args, kwargs = decode_arguments(m.arguments, lambda _: Hole(next(number)))
            self._plain = self.op.bind(args, kwargs, Hole)
        except Exception as e:
            self.error = e
        self._singles = [(i, v.i) for i, v in enumerate(self._plain) if type(v) is Hole]
        self._lists = [(i, [x and x.i for x in v]) for i, v in enumerate(self._plain)
                       if type(v) is tuple and any(type(x) is Hole for x in v)]  # fmt: skip

    def call(self, s: Session, ids: list[int], results: list[int], roomy: bool) -> None:
        """Run it with these tensors. ``roomy`` says that no limit on tensors or nodes can be met."""
        if s.engine.halt is not None:
            skip(s, self.op, results)
            return
        tensors = s.tensors
        try:
            try:
                given = [tensors[i] for i in ids]
            except KeyError as e:
                raise unknown_id(e.args[0]) from None
            for i in results:
                if not roomy or i in tensors or i >= SERVER_IDS or not i:
                    s.check_fresh(i)
            if not roomy:
                s.check_nodes()
            made = self.run(given)
            if self.writes:
                return
            if len(made) != len(results):
                raise _wrong_count(self.op, made, results)
            for i, t in zip(results, made):  # noqa: B905 - as many, and every op comes here
                tensors[i] = t
        except Exception as e:
            s.poison(results, s.explain(e, self.op, ids), self.written(ids))

    def run(self, tensors: Sequence[Any]) -> list[Tensor]:
        """The op's results, as :meth:`Engine.apply` gives them, which see for what it raises.

        Raises:
            Poisoned: one of the tensors could not be made.
        """
        specs = tuple([t.spec for t in tensors])
        case = self._cases.get(specs) or self._case(specs, tensors)
        return self._engine.run(case, self._filled(tensors))

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


def learn(s: Session, m: pb.Template) -> None:
    """Take a template into the session's table."""
    if 0 < m.id <= s.limits.max_templates:
        s.templates[m.id] = Template(s.engine, m)
    else:
        s.fail(ValueError(f"template id {m.id} is out of range: from 1 to {s.limits.max_templates}"))


Call = tuple["Template | Any", int, list[int], list[int]]
"""A template or program, a location, the ids of the tensors given, and those of the results."""


def split(words: list[int], templates: dict[int, Any], most: int) -> Iterator[Call]:
    """The calls that words make.

    Raises:
        ValueError: they make none, or more than ``most`` instructions. What comes before was yielded.
    """
    at, end, n = 0, len(words), 0
    while at < end:
        template = templates.get(words[at])
        if template is None:
            raise ValueError(f"template {words[at]} is unknown in this session")
        first = at + 2
        middle = first + template.takes
        at = middle + template.makes
        if at > end:
            raise ValueError("calls that end in the middle of one")
        if n >= most:
            raise ValueError(f"a frame holds at most {most} instructions")
        n += template.weight
        yield template, words[first - 1], words[first:middle], words[middle:at]


def calls(s: Session, m: pb.Calls) -> None:
    """Run ops from templates, and programs."""
    words = m.words[:]
    engine = s.engine
    mode, n = engine.grad_enabled, 0
    # Each makes fewer tensors and nodes than it has words.
    roomy = len(s.tensors) + len(words) < s.limits.max_tensors and engine.nodes + len(words) < s.limits.max_nodes
    try:
        for template, line, ids, results in split(words, s.templates, s.limits.max_instructions):
            n += template.weight
            engine.line = line
            engine.grad_enabled = template.recorded
            template.call(s, ids, results, roomy)
    finally:
        engine.grad_enabled = mode
        s.instructions_run += max(n - 1, 0)  # the instruction itself is counted with its frame


def apply(s: Session, m: pb.Apply) -> None:
    """Run one op."""
    op = CATALOG.get(m.op)
    if s.engine.halt is not None:
        skip(s, op, m.results)
        return
    try:
        if op is None:
            raise _unknown(m.op)
        args, kwargs = decode_arguments(m.arguments, s.tensor)
        values = op.bind(args, kwargs, Tensor)
        ids = m.results
        for i in ids:
            s.check_fresh(i)
        s.check_nodes()
        results = s.engine.apply(op, values)
        if op.writes:
            return
        if len(ids) != len(results):
            raise _wrong_count(op, results, ids)
        for i, t in zip(ids, results, strict=True):
            s.tensors[i] = t
    except Exception as e:
        error = s.explain(e, op, [i for a in m.arguments for i in (a.tensor, *a.tensors.ids)])
        s.poison(m.results, error, _written(op, m) if op is not None else [])


def skip(s: Session, op: Op | None, results: Iterable[int]) -> None:
    """Poison what an op that was cancelled would have made. What it would have written to stays as it is: all that
    is cancelled was sent one after the other, so tensors are as a slower program had left them when interrupted."""
    error = s.explain(RuntimeError(s.engine.halt))
    error.op = op.name if op is not None else ""
    s.poison(results, error)


def _written(op: Op, m: pb.Apply) -> list[int]:
    """Ids of the tensors that an op would have written to."""
    ids: list[int] = []
    for i in op.writes:
        if i < len(m.arguments):
            ids += [m.arguments[i].tensor, *m.arguments[i].tensors.ids]
    return [i for i in ids if i]


def unknown_id(i: int) -> ValueError:
    return ValueError(f"tensor id {i} is unknown in this session")


def _unknown(op: str) -> NotImplementedError:
    return NotImplementedError(f"no op is called '{op}'; ListOps tells the catalog")


def _wrong_count(op: Op | None, results: Sequence[Any], ids: Sequence[int]) -> ValueError:
    return ValueError(f"{op.name if op else ''} makes {len(results)} tensors, got {len(ids)} ids for them")
