"""What a session has to say to its client: numbered, and kept until the client has it, whatever breaks in between."""

from __future__ import annotations

import threading
from collections import deque

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.stream import Stream

KEEP_BYTES = 64 * 2**20
"""Replies kept for a client that does not say that it has them; older ones are given up."""


class Lost(Exception):
    """A client asks for replies that were given up."""


class Outbox:
    """The replies of one session, which leave by one stream at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Not held while anything is sent."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._seq = 0
        self._given_up = 0
        self._acknowledged = 0
        self._stream: Stream | None = None
        self.sent_bytes = 0
        """Since the owner last counted them."""

    @property
    def attached(self) -> bool:
        """Whether a stream takes what is put."""
        return self._stream is not None

    @property
    def last(self) -> int:
        """The number of the last reply that has one."""
        return self._seq

    def put(self, reply: pb.Reply) -> None:
        """Send a reply. One that only acknowledges is not kept: the next one says more.

        Waits where the client does not read, until it does or the stream is cut. Replies are put by one thread only.
        """
        keep = reply.WhichOneof("kind") is not None or len(reply.dropped) > 0
        with self._lock:
            if reply.acknowledged:
                self._acknowledged = reply.acknowledged
            if keep:
                self._seq += 1
                reply.seq = self._seq
            data = reply.SerializeToString()
            if keep:
                self._kept.append((self._seq, data))
                self._bytes += len(data)
                while self._bytes > KEEP_BYTES and len(self._kept) > 1:
                    self._given_up = self._drop()
            stream = self._stream
        if stream is not None:
            stream.send(data)
            self.sent_bytes += len(data)

    def _drop(self) -> int:
        seq, data = self._kept.popleft()
        self._bytes -= len(data)
        return seq

    def received(self, seq: int) -> None:
        """The client has the replies up to this one."""
        if not self._kept or self._kept[0][0] > seq:
            return
        with self._lock:
            while self._kept and self._kept[0][0] <= seq:
                self._drop()

    def attach(self, fresh: Stream, received: int, begun: int) -> None:
        """Have replies leave by a new stream, beginning with what its client lacks, which is for the caller to send.

        Raises:
            Lost: the client lacks replies that were given up.
        """
        with self._lock:
            if received < self._given_up:
                raise Lost(f"replies {received + 1} to {self._given_up} were given up")
            first = pb.Reply(acknowledged=self._acknowledged, attached=pb.Attached(last_seq=begun))
            fresh.first = [first.SerializeToString(), *[data for seq, data in self._kept if seq > received]]
            self._stream = fresh

    def take_over(self, fresh: Stream, attached: pb.Attached) -> bytes:
        """Attach the stream of another client, which has no use for the replies to the one before: what to send."""
        with self._lock:
            while self._kept:
                self._drop()
            attached.last_reply = self._given_up = self._seq
            self._stream = fresh
            return pb.Reply(acknowledged=self._acknowledged, attached=attached).SerializeToString()

    def detach(self, stream: Stream | None) -> None:
        """Send no more by a stream, if it is the current one."""
        with self._lock:
            if self._stream is stream:
                self._stream = None

    def close(self) -> None:
        """Send nothing more, and forget what was kept."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
            self._stream = None
