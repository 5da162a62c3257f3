"""One connection of a client to its session: the frames that come by it, and the replies that leave."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import grpc

FENCE_SECONDS = 1.0
"""What a stream that is cut off gets to end by itself."""


class Stream:
    """A stream that no thread of its own serves: whoever has something to send sends it, one at a time.

    Args:
        opening: the first frame, taken from ``requests`` already.
        send: gRPC's, which waits until the transport takes the message, and ends the RPC for None.
    """

    def __init__(
        self, opening: bytes, requests: Iterator[bytes], context: grpc.ServicerContext,
        send: Callable[[bytes | None], None],
    ):  # fmt: skip
        self.frames = itertools.chain((opening,), requests)
        self.first: list[bytes] = []
        """What is to be sent before anything else; set before anybody sends."""
        self._context = context
        self._send = send
        self._sending = threading.Lock()
        self._ending = self._ended = False
        self._why: grpc.Status | None = None

    def send(self, *replies: bytes) -> None:
        """Send what is to be sent first, and these. Waits while the client does not read and the stream lives."""
        with self._sending:
            first, self.first = self.first, []
            for data in (*first, *replies):
                if self._ending:
                    break
                self._send(data)
        if self._ending:
            self._finish()

    def end(self, why: grpc.Status | None = None) -> None:
        """End it, after what is being sent."""
        self._why, self._ending = why, True
        self._finish()

    def cut(self, why: grpc.Status | None = None) -> None:
        """End it, but leave nobody stuck in sending to a client that does not read, or in waiting for its frames."""
        self.end(why)
        later = threading.Timer(FENCE_SECONDS, self._context.cancel)
        later.daemon = True
        later.start()

    def _finish(self) -> None:
        """Send the status. Whoever sends at this moment comes here next."""
        if self._sending.acquire(blocking=False):
            try:
                if not self._ended:
                    self._ended = True
                    if self._why is not None:
                        self._context.set_trailing_metadata(self._why.trailing_metadata)
                        self._context.set_code(self._why.code)
                        self._context.set_details(self._why.details)
                    self._send(None)
            finally:
                self._sending.release()
