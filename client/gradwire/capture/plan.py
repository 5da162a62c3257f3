"""How programs run on the server, as a table."""

from __future__ import annotations

from gradwire.session import Session
from gradwire_proto.codec import dtype_of
from gradwire_proto.v1 import gradwire_pb2 as pb


class Plan:
    """What the server tells of programs. Printed, it is a table for each."""

    def __init__(self, programs: list[tuple[str, pb.ProgramInfo]]):
        self.programs = [info for _, info in programs]
        """As the contract has them."""
        self._titles = [title for title, _ in programs]

    def __str__(self) -> str:
        return "\n\n".join(map(_table, self._titles, self.programs)) or "no programs"

    __repr__ = __str__

    def __len__(self) -> int:
        return len(self.programs)


def ask(session: Session, ids: list[int]) -> list[tuple[str, pb.ProgramInfo]]:
    """What a session's server says of programs, of all where none is named, with what they are of."""
    request = session.wire.request()
    with session.wire.lock:
        m = session.instruction().describe
        m.request = request
        m.programs.extend(ids)
    answer = session.wire.wait(request).programs
    made = []
    for info in answer.programs:
        p = session.programs.live.get(info.id)
        made.append(("" if p is None else f"{p.name}({p.arguments})", info))
    return made


def _table(title: str, p: pb.ProgramInfo) -> str:
    head = f"program {p.id}: {title or 'of another client'}"
    runs = f"{p.instructions} instructions, run {p.runs} times, {p.replays} of them from its plan"
    if p.unplanned:
        return f"{head}\n{runs}\nrun instruction by instruction: {p.unplanned}"
    lines = [head, runs]
    if p.kernels:
        lines.append(f"buffers take {_bytes(p.bytes)}, and would take {_bytes(p.unshared_bytes)} if none were shared")
        rows = [("#", "op", "result", "group", "buffer", "bytes", "predicted", "measured", "line")]
        rows += [_row(i, k) for i, k in enumerate(p.kernels, 1)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        left = (1, 2, 8)
        lines += [
            "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
            .rstrip() for r in rows
        ]  # fmt: skip
    return "\n".join(lines)


def _row(i: int, k: pb.KernelInfo) -> tuple[str, ...]:
    specs = ", ".join(f"{dtype_of(s.dtype).name}{list(s.shape)}" for s in k.results)
    line = f"{k.location.file}:{k.location.line}" if k.location.file else ""
    return (str(i), k.op, specs, str(k.group or ""), str(k.buffer or ""), _bytes(k.bytes),
            _seconds(k.predicted_seconds), _seconds(k.measured_seconds), line)  # fmt: skip


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def _seconds(s: float) -> str:
    return f"{s * 1e6:.1f} µs" if s else ""


__all__ = ["Plan", "ask"]
