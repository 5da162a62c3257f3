"""The server's errors as the exceptions torch raises."""

from __future__ import annotations

import builtins

from gradwire_proto.errors import LinAlgError
from gradwire_proto.v1 import gradwire_pb2 as pb


class OutOfMemoryError(RuntimeError):
    """A tensor would pass the session's limit, or the device's memory."""


_KINDS: dict[str, type[Exception]] = {"OutOfMemoryError": OutOfMemoryError, "LinAlgError": LinAlgError}


def exception(e: pb.Error) -> Exception:
    """The exception of an error message: torch's type and text, then the op and the line that it began at. Its
    attribute ``told`` is the message."""
    kind = _KINDS.get(e.type) or getattr(builtins, e.type, RuntimeError)
    text = e.message
    where = []
    if e.op:
        where.append(f"op {e.op}({', '.join(e.arguments)})")
    if e.location.file:
        where.append(f"{e.location.file}:{e.location.line}")
    if where:
        text += f"\n[in {' at '.join(where)}]"
    made = kind(text)
    if not isinstance(made, Exception):
        made = RuntimeError(text)
    setattr(made, "told", e)
    return made
