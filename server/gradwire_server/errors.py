"""Exceptions as the messages that clients get."""

from __future__ import annotations

import logging

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

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


def status(code: grpc.StatusCode, text: str, *details: Message) -> grpc.Status:
    """How an RPC ends, with google.rpc details."""
    made = status_pb2.Status(code=code.value[0], message=text)
    for d in details:
        packed = any_pb2.Any()
        packed.Pack(d)
        made.details.append(packed)
    return rpc_status.to_status(made)


def refusal(code: grpc.StatusCode, reason: str, text: str) -> grpc.Status:
    """How an RPC ends with an ErrorInfo that programs can branch on."""
    return status(code, text, error_details_pb2.ErrorInfo(reason=reason, domain="gradwire"))


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
