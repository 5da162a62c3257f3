"""What a session may use. Every limit is checked before the thing it limits is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradwire_proto.v1 import gradwire_pb2 as pb


@dataclass(frozen=True, slots=True)
class Limits:
    max_bytes: int = 4 * 2**30
    """Bytes of tensors, saved ones included."""
    max_tensors: int = 1_000_000
    """Ids in use."""
    max_nodes: int = 4_000_000
    """Recorded nodes alive."""
    max_instructions: int = 65536
    """Instructions a frame."""
    max_templates: int = 4096
    """Ops that a client has told once and for all; each takes a few kilobytes."""
    max_programs: int = 64
    """Each takes its instructions, and the buffers of its plans, which count as bytes of tensors."""
    max_inline_bytes: int = 256 * 1024
    """A larger tensor goes by Upload and Download."""
    max_message_bytes: int = 16 * 2**20
    """A gRPC message."""
    max_hooks: int = 100_000
    max_callback_depth: int = 64
    """Callbacks within callbacks: each holds a backward pass on the stack."""
    max_transfers: int = 64
    """Uploads not yet put and downloads not yet fetched."""
    max_instruction_seconds: float = math.inf
    """What a backward pass may take, or a program, but for the last node or kernel that it began."""
    lease_seconds: float = 300.0
    """A session without a stream ends after this."""

    def message(self) -> pb.Limits:
        return pb.Limits(
            max_bytes=self.max_bytes,
            max_tensors=self.max_tensors,
            max_nodes=self.max_nodes,
            max_instructions_per_frame=self.max_instructions,
            max_inline_bytes=self.max_inline_bytes,
            max_templates=self.max_templates,
            max_programs=self.max_programs,
        )
