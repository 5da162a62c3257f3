"""Programs: instructions that are told once and run by calls, from a plan where one can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gradwire_engine import Tensor
from gradwire_engine.estimate import rows
from gradwire_engine.plan import Interrupted, Plan
from gradwire_engine.tensor import Storage
from gradwire_engine.trace import Trace, Unplanned
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server import ops
from gradwire_server.errors import Poison, Poisoned
from gradwire_server.errors import describe as description
from gradwire_server.ops import SERVER_IDS, Template

if TYPE_CHECKING:
    from gradwire_server.session import Session


MOST_PLANS = 4
"""Plans of one program: its tensors may come with gradients or without, requiring them or not."""


MOST_ATTEMPTS = 2
"""Before it is given up: a first call may change what tensors are like, once and for all."""


class Step(NamedTuple):
    """One instruction of a program, or one call of its Calls."""

    run: Callable[[Session], None]
    line: int
    uses: Sequence[int]
    makes: Sequence[int]


class Program:
    """What a Program message defines. It is called as a template is.

    Raises:
        ValueError: what is wrong with the message.
        MemoryError: it is larger than programs may be.
    """

    def __init__(self, s: Session, m: pb.Program):
        self.id = m.id
        self.arguments = tuple(m.arguments)
        self.results = tuple(m.results)
        self.takes = len(self.arguments)
        self.makes = len(self.results)
        self.recorded = True
        self.runs = 0
        self.plans: list[Plan] = []
        self.attempts = 0
        """How often there could be none."""
        self.unplanned = ""
        """Why there was none."""
        if len(set(self.arguments)) < self.takes or 0 in self.arguments:
            raise ValueError("a program's arguments must be ids that differ, none of them 0")
        templates = {t.id: Template(s.engine, t) for t in m.templates}
        self.steps = [step for i in m.instructions for step in _steps(i, templates, s.limits.max_instructions)]
        self.weight = len(self.steps)
        if self.weight > s.limits.max_instructions:
            raise MemoryError(f"a program holds at most {s.limits.max_instructions} instructions, got {self.weight}")
        s.engine.meter.check(m.ByteSize())
        self._storage = Storage(s.engine.meter, m.ByteSize())  # the instructions count as memory, too
        self.kept: dict[int, Tensor] = {}
        """The session's tensors that it refers to, by id."""
        self.spoilt: pb.Error | None = None
        """What went wrong with them."""
        self._take_in(s)
        self.drops = self._last_uses()

    def _take_in(self, s: Session) -> None:
        inside = set(self.arguments)
        for uses, makes in [*((step.uses, step.makes) for step in self.steps), (self.results, ())]:
            for i in uses:
                if i not in inside and i not in self.kept:
                    self.kept[i] = s.tensor(i)
            for i in makes:
                if i in inside or i in self.kept:
                    raise ValueError(f"tensor id {i} is made twice")
                if not 0 < i < SERVER_IDS:
                    raise ValueError(f"tensor id {i} is out of range: clients choose from 1 to 2**63 - 1")
                inside.add(i)

    def _last_uses(self) -> list[list[int]]:
        """After each step, the ids that nothing needs any more, so that memory is free as early as it can be."""
        needed = {*self.results, *self.kept}
        drops = []
        for step in reversed(self.steps):
            last = [i for i in {*step.uses, *step.makes} if i not in needed]
            needed.update(last)
            drops.append(last)
        return drops[::-1]

    def call(self, s: Session, ids: Sequence[int], results: Sequence[int], roomy: bool) -> None:
        """Run it with these tensors."""
        if s.engine.halt is not None:
            ops.skip(s, None, results)
            return
        try:
            for i in results:
                s.check_fresh(i)
            tensors: list[Any] = [s.tensor(i) for i in ids]
            if self.spoilt is not None:
                raise Poisoned(self.spoilt)
        except Exception as e:
            s.poison(results, s.explain(e))
            return
        self.runs += 1
        tensors += self.kept.values()
        for plan in self.plans:
            if plan.fits(tensors):
                self._replay(s, plan, tensors, results)
                return
        self._trace(s, tensors, results)

    def _replay(self, s: Session, plan: Plan, tensors: list[Any], results: Sequence[int]) -> None:
        """Run it from a plan."""
        limited = s.brake.limited
        before = s.brake.start() if limited else 0.0
        try:
            made = plan.run(tensors)
        except Interrupted as e:
            cause = e.__cause__ or e
            s.engine.line = e.step.line
            error = s.explain(cause, e.step.case.base)
            s.poison(results, error)
            self._spoil(s, plan.written(tensors), error)
            return
        except Exception as e:
            s.poison(results, s.explain(e))
            return
        finally:
            if limited:
                s.brake.stop(before, s.begun)
        for i, t in zip(results, made, strict=True):
            s.tensors[i] = t

    def _trace(self, s: Session, tensors: list[Any], results: Sequence[int]) -> None:
        """Run it instruction by instruction, and make a plan of it if it is of a kind that can have one."""
        given = tensors[: self.takes]
        if self.attempts >= MOST_ATTEMPTS or len(self.plans) >= MOST_PLANS:
            self._interpret(s, given, results)
            return
        trace = Trace(s.engine, tensors)
        try:
            made = self._interpret(s, given, results)
            if all(type(t) is Tensor for t in made):  # else something failed; the next call may not
                self.plans.append(Plan(s.engine, trace, made))
                self.unplanned = ""
        except Exception as e:
            # It was run all the same.
            self.attempts += 1
            self.unplanned = str(e) if isinstance(e, (Unplanned, MemoryError)) else description(e).message
        finally:
            s.engine.trace = None

    def info(self, s: Session) -> pb.ProgramInfo:
        """What Describe tells of it."""
        made = pb.ProgramInfo(
            id=self.id, instructions=self.weight, runs=self.runs, replays=sum(p.replays for p in self.plans),
            unplanned=self.unplanned,
        )  # fmt: skip
        for plan in self.plans[-1:]:
            made.bytes, made.unshared_bytes = plan.nbytes, plan.unshared
            for row in rows(plan):
                kernel = made.kernels.add(op=row.step.case.op.name, group=row.group, buffer=row.buffer,
                                          bytes=row.nbytes, predicted_seconds=row.predicted,
                                          measured_seconds=row.measured)  # fmt: skip
                for v in row.step.outs:
                    kernel.results.add(dtype=v.spec.dtype.number, shape=v.spec.shape)
                location = s.location(row.step.line)
                if location is not None:
                    kernel.location.CopyFrom(location)
        return made

    def _interpret(self, s: Session, given: Sequence[Tensor], results: Sequence[int]) -> list[Any]:
        """Run the instructions one by one, under their own ids; what it made, poison or not."""
        engine, outer, line = s.engine, s.tensors, s.engine.line
        s.tensors = {**self.kept, **dict(zip(self.arguments, given, strict=True))}
        entry = dict(s.tensors)
        try:
            engine.grad_enabled = True
            for step, drops in zip(self.steps, self.drops, strict=True):
                engine.line = step.line
                try:
                    step.run(s)
                except Exception as e:
                    s.fail(e)
                for i in drops:
                    s.tensors.pop(i, None)
        finally:
            inner, s.tensors = s.tensors, outer
            engine.line = line
        for i, t in entry.items():
            now = inner.get(i)
            if type(t) is Tensor and type(now) is Poison:
                self._spoil(s, [t], now.error)
        for i, r in zip(results, self.results, strict=True):
            made = inner.get(r)
            if made is not None:
                s.tensors[i] = made
            else:
                s.poison([i], s.explain(ValueError(f"the program did not make tensor id {r}")))
        return [inner.get(r) for r in self.results]

    def _spoil(self, s: Session, tensors: Sequence[Tensor], error: pb.Error) -> None:
        """Have the memory of tensors that were there before be poison, also to the next call."""
        s.poison_memory(tensors, error)
        storages = {id(t.storage) for t in tensors}
        if any(id(t.storage) in storages for t in self.kept.values()):
            self.spoilt = error


def _steps(m: pb.Instruction, templates: dict[int, Template], most: int) -> Iterator[Step]:
    kind = m.WhichOneof("kind")
    if kind == "calls":
        for template, line, ids, results in ops.split(m.calls.words[:], templates, most):
            def run(s: Session, template: Any = template, ids: Any = ids, results: Any = results) -> None:
                s.engine.grad_enabled, mode = template.recorded, s.engine.grad_enabled
                try:
                    template.call(s, ids, results, False)
                finally:
                    s.engine.grad_enabled = mode

            yield Step(run, line, ids, results)
        return
    ids_of = MEMBERS.get(kind or "")
    message: Any = getattr(m, kind or "", None)
    if ids_of is None or getattr(message, "request", None):
        raise ValueError(f"{kind or 'an unknown instruction'} can't be part of a program")
    uses, makes = ids_of(message)
    yield Step(lambda s: s.perform(m), m.location, [i for i in uses if i], [i for i in makes if i])


Ids = tuple[Sequence[int], Sequence[int]]


def _apply_ids(m: pb.Apply) -> Ids:
    return [i for a in m.arguments for i in (a.tensor, *a.tensors.ids)], m.results


def _put_ids(m: pb.Put) -> Ids:
    if m.upload or m.segment:
        raise ValueError("a Put that is part of a program holds its bytes itself")
    return (), [m.result]


def _require_grad_ids(m: pb.RequireGrad) -> Ids:
    if m.retain:
        raise ValueError("a tensor can't be told to retain its gradient as part of a program")
    return [m.tensor], ()


MEMBERS: dict[str, Callable[[Any], Ids]] = {
    "apply": _apply_ids,
    "put": _put_ids,
    "set_grad_mode": lambda m: ((), ()),
    "backward": lambda m: ([*m.tensors, *m.gradients, *m.inputs], ()),
    "grad": lambda m: ([*m.outputs, *m.inputs, *m.gradients], m.results),
    "require_grad": _require_grad_ids,
    "set_gradient": lambda m: ([*m.tensors, m.gradient], ()),
    "get_gradient": lambda m: ([m.tensor], [m.result]),
    "seed": lambda m: ((), ()),
    "detach": lambda m: ([m.tensor], ()),
}
"""The instructions that a program may hold, Calls apart: which ids each uses, and which it makes."""


class Broken:
    """Stands for a program that could not be defined: its calls tell why."""

    recorded, weight = True, 1

    def __init__(self, m: pb.Program, error: pb.Error):
        self.id, self.takes, self.makes, self.error = m.id, len(m.arguments), len(m.results), error

    def call(self, s: Session, ids: Sequence[int], results: Sequence[int], roomy: bool) -> None:
        s.poison(results, self.error)

    def info(self, s: Session) -> pb.ProgramInfo:
        return pb.ProgramInfo(id=self.id, unplanned=self.error.message)


def define(s: Session, m: pb.Program) -> None:
    """Take a program into the session's table of what Calls may name."""
    first = s.limits.max_templates + 1
    if not first <= m.id < first + s.limits.max_programs:
        raise ValueError(f"program id {m.id} is out of range: from {first} to {first + s.limits.max_programs - 1}")
    try:
        s.templates[m.id] = Program(s, m)
    except Exception as e:
        s.templates[m.id] = Broken(m, s.explain(e))
        raise


def drop(s: Session, i: int) -> None:
    """Forget a program."""
    if i > s.limits.max_templates:
        s.templates.pop(i, None)


def count(s: Session) -> int:
    """How many a session has."""
    return sum(i > s.limits.max_templates for i in list(s.templates))


def describe(s: Session, m: pb.Describe) -> None:
    """Tell what programs there are."""
    answer = pb.Programs(request=m.request)
    for i, p in sorted(s.templates.items()):
        if i > s.limits.max_templates and (i in m.programs or not m.programs):
            answer.programs.append(p.info(s))  # type: ignore[union-attr]
    s.reply(programs=answer)
