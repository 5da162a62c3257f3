"""Exceptions as the messages that clients get."""

from __future__ import annotations

import logging

from gradwire_proto.v1 import gradwire_pb2 as pb

log = logging.getLogger(__name__)

KINDS = frozenset(
    {"RuntimeError", "IndexError", "TypeError", "ValueError", "NotImplementedError", "LinAlgError", "OverflowError"}
)
"""Exceptions that reach the client under their own name."""


class SessionEnded(Exception):
    """The session was closed, perhaps in the middle of an instruction that waits for its client."""


class Displaced(Exception):
    """A stream, or an upload, that a later one has taken the place of."""


class Poisoned(Exception):
    """A tensor was read that an earlier instruction failed to make."""

    def __init__(self, error: pb.Error):
        super().__init__(error.message)
        self.error = error


class Poison:
    """Stands in the session's table for a tensor that could not be made."""

    __slots__ = ("error",)
    spec = None

    def __init__(self, error: pb.Error):
        self.error = error


def describe(e: BaseException) -> pb.Error:
    """The message for an exception; one that is a fault of ours is logged with its traceback."""
    if isinstance(e, Poisoned):
        return e.error
    kind = type(e).__name__
    if isinstance(e, MemoryError):
        return pb.Error(type="OutOfMemoryError", message=str(e))
    if kind in KINDS:
        return pb.Error(type=kind, message=str(e))
    log.error("internal error", exc_info=e)
    return pb.Error(type="RuntimeError", message=f"internal error: {kind}: {e}")
