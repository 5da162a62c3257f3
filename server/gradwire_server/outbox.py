"""What a session has to say to its client: numbered, and kept until the client has it, whatever breaks in between."""

from __future__ import annotations

import queue
import threading
from collections import deque

from gradwire_proto.v1 import gradwire_pb2 as pb

KEEP_BYTES = 64 * 2**20
"""Replies kept for a client that does not say that it has them; older ones are given up."""
WAITING_BYTES = 16 * 2**20
"""Replies that may wait for a client that does not read them; the session waits with the next one."""
OVERHEAD = 64
"""What a reply takes besides its bytes, about."""


class Lost(Exception):
    """A client asks for replies that were given up."""


class Fenced:
    """Tells a stream that a newer one has taken the session over."""


Item = bytes | Fenced | None


class Outbox:
    """The replies of one session. The session puts; one stream at a time takes from the queue that it attached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._waiting = 0
        """Bytes in the queue of the current stream."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._seq = 0
        self._given_up = 0
        self._acknowledged = 0
        self._queue: queue.SimpleQueue[Item] | None = None

    @property
    def attached(self) -> bool:
        """Whether a stream takes what is put."""
        return self._queue is not None

    @property
    def last(self) -> int:
        """The number of the last reply that has one."""
        return self._seq

    def put(self, reply: pb.Reply) -> None:
        """Send a reply. One that only acknowledges is not kept: the next one says more.

        Waits where a stream has far too much to send already, until it has sent some of it or another takes its place.
        """
        keep = reply.WhichOneof("kind") is not None or len(reply.dropped_functions) > 0
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
            if self._queue is not None:
                self._queue.put(data)
                self._waiting += len(data) + OVERHEAD
                while self._waiting > WAITING_BYTES:
                    self._room.wait()

    def sent(self, mine: queue.SimpleQueue[Item], data: bytes) -> None:
        """A stream has sent a reply from its queue."""
        with self._lock:
            if self._queue is mine:
                self._waiting -= len(data) + OVERHEAD
                self._room.notify()

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

    def attach(self, received: int, begun: int) -> queue.SimpleQueue[Item]:
        """A queue for a new stream, beginning with what its client lacks; the stream before it is fenced off.

        Raises:
            Lost: the client lacks replies that were given up.
        """
        with self._lock:
            if received < self._given_up:
                raise Lost(f"replies {received + 1} to {self._given_up} were given up")
            if self._queue is not None:
                self._queue.put(Fenced())
            fresh: queue.SimpleQueue[Item] = queue.SimpleQueue()
            first = pb.Reply(acknowledged=self._acknowledged, attached=pb.Attached(last_seq=begun))
            lacking = [first.SerializeToString(), *[data for seq, data in self._kept if seq > received]]
            for data in lacking:
                fresh.put(data)
            self._change(fresh)
            self._waiting = sum(len(data) + OVERHEAD for data in lacking)
        return fresh

    def fence(self) -> None:
        """Fence the current stream off for one that is attached later."""
        with self._lock:
            if self._queue is not None:
                self._queue.put(Fenced())
                self._change(None)

    def take_over(self, fresh: queue.SimpleQueue[Item], attached: pb.Attached) -> None:
        """Attach the stream of another client, which has no use for the replies to the one before."""
        with self._lock:
            while self._kept:
                self._drop()
            attached.last_reply = self._given_up = self._seq
            fresh.put(pb.Reply(acknowledged=self._acknowledged, attached=attached).SerializeToString())
            self._change(fresh)

    def _change(self, to: queue.SimpleQueue[Item] | None) -> None:
        self._queue = to
        self._waiting = 0
        self._room.notify()

    def detach(self, mine: queue.SimpleQueue[Item]) -> bool:
        """Stop sending to a stream that has ended; whether it was still the current one."""
        with self._lock:
            if self._queue is not mine:
                return False
            self._change(None)
        return True

    def close(self, only: queue.SimpleQueue[Item] | None = None) -> None:
        """End the current stream and forget what was kept, or just end it if it is the one that takes from ``only``."""
        with self._lock:
            if only is None:
                self._kept.clear()
                self._bytes = 0
            if self._queue is not None and only in (None, self._queue):
                self._queue.put(None)
                self._change(None)
