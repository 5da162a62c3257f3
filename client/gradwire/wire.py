"""The client's end of the stream: instructions into frames, frames onto gRPC, replies to whoever waits for them.

No thread reads replies in the background: whoever waits reads, and runs the callbacks that come meanwhile. A full
window of unacknowledged frames makes the sender read, too, so neither side runs away from the other.

A connection that breaks is made again: frames are kept until they are acknowledged, and the server keeps its replies
until it is told that they came, so every instruction is executed once and every answer arrives.
"""

from __future__ import annotations

import contextlib
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from gradwire import waits
from gradwire.errors import OutOfMemoryError, exception
from gradwire.told import Told
from gradwire_proto.codec import encode_calls, frame_field
from gradwire_proto.v1 import gradwire_pb2 as pb

FIRST_COUNT = 16
"""Instructions that make a frame leave while the server may have nothing to do; half as many again make the next one,
for the server takes longer over one than the client."""
FLUSH_COUNT = 256
"""Those that do at last."""
FLUSH_BYTES = 1 << 20
"""Bytes of tensor contents that make a frame leave."""
FLUSH_SECONDS = 0.002
"""How long an instruction waits for company."""
WINDOW = 64
"""Frames in flight before the sender reads acknowledgements: with FLUSH_BYTES, the bound on what is kept to repeat."""
HAND_OVER_SECONDS = 0.00005
"""How long the interpreter is left to the thread that sends a frame. It would wait for 5 ms, Python's switch interval,
and the server for the frame."""
ACKNOWLEDGE = 8
"""Full frames that share an acknowledgement: each one wakes a thread on either side."""
BACKOFF = 0.02, 2.0
"""Seconds before a second and, at most, before any later try to reconnect; they double, and are drawn at random."""
CANCEL_SECONDS = 5.0
"""What a server gets to answer a Cancel."""
ATTACH_SECONDS = 10.0
"""What a server gets to answer a stream that attaches."""
FINAL = frozenset({
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED, grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
})  # fmt: skip
"""What no other try would change."""
SERVICE = "/gradwire.v1.Gradwire/"


class Wire:
    """One session's stream.

    Args:
        call_back: runs a callback and returns its answer.
        dropped: is told of custom functions that are not part of any graph any more.
        patience: seconds that reconnecting may take.
        deadline: seconds that a wait may take, if at all limited.
        takeover: seconds that taking the session over from another client may take; 0 if it has none but this.

    Raises:
        RuntimeError, ConnectionError: it can't be taken over.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: Sequence[tuple[str, str]],
        key: pb.SessionKey,
        call_back: Callable[[pb.Callback], pb.Answer],
        dropped: Callable[[int], None],
        patience: float,
        deadline: float | None = None,
        takeover: float = 0.0,
    ):
        self.channel = channel
        self.key = key
        self.sent = 0
        """Instructions so far."""
        self.lock = threading.RLock()
        """Held while an instruction is written; instructions of one thread keep their order."""
        self.grad_mode: bool | None = None if takeover else True
        """As the server has it when it comes to the instruction to be; None where that is not known. Use it with
        ``lock`` held."""
        self._metadata = metadata
        self._call_back = call_back
        self._dropped = dropped
        self._patience = patience
        self._parts: list[bytes | pb.Instruction | list[int]] = []
        """The frame to be: instructions, those in bytes encoded already, and the words of calls."""
        self._count = self._weight = 0
        """The instructions in it, and those that calls of programs count as."""
        self.most = 65536
        self._full = FIRST_COUNT
        """How many make it leave."""
        self.told = Told(lambda: self._send(more=True))
        self._bytes = 0
        self._seq = 0
        self._acknowledged = 0
        self._unacknowledged: deque[tuple[int, bytes]] = deque()
        self._received = 0
        self._requests = 0
        self._reading = threading.RLock()
        self._arrived: dict[int, pb.Reply] = {}
        self._late: Exception | None = None
        self._broken: Exception | None = None
        self._wake = threading.Event()
        self.closing = threading.Event()
        self._client = random.SystemRandom().getrandbits(64) or 1
        """What the server knows this client by, among others of the session."""
        self._attempt = 0
        self._progress = True
        """Whether anything came since the stream was last attached to."""
        self.cancelled = 0
        """The last frame that was: callbacks for those up to it are not run any more."""
        self._abandoned: set[int] = set()
        """Requests that nobody waits for any more."""
        self._deadline = deadline
        self._alarm = waits.Alarm(self._ring)
        self._began, self._due = 0.0, math.inf
        """When whoever reads began to wait, and when the wait must end."""
        self.attached = pb.Attached()
        """What a client that took over was told."""
        if takeover:
            self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            self._take_over(takeover)
        else:
            self._outbox, self._replies = self._open()
        self._timer = threading.Thread(target=self._flush_late, name="gradwire-flush", daemon=True)
        self._timer.start()

    # ---- out ----

    def add_call(self, words: list[int]) -> None:
        """Add a call of a template: its id, the location's, and those of tensors and results. ``lock`` is held."""
        parts = self._parts
        if self._count < self._full and parts and type(parts[-1]) is list:
            parts[-1] += words
            self._count += 1
            self.sent += 1
        else:
            self._append(words, 0)

    def add_program_call(self, words: list[int], weight: int) -> None:
        """Add a call of a program, in a frame that the server takes in spite of its weight. ``lock`` is held."""
        if self._weight and self._weight + weight + FLUSH_COUNT > self.most:
            self._leave()
        self.add_call(words)
        self._weight += weight

    def add(self, nbytes: int = 0) -> pb.Instruction:
        """A fresh instruction, to be filled in. Call with ``lock`` held."""
        made = pb.Instruction()
        self._append(made, nbytes)
        return made

    def add_encoded(self, data: bytes) -> None:
        """Add an instruction as a field ``instructions`` of a Frame. Call with ``lock`` held."""
        self._append(data, len(data))

    def _append(self, part: bytes | pb.Instruction | list[int], nbytes: int) -> None:
        if self._count >= self._full or self._bytes >= FLUSH_BYTES:
            self._leave()
        if not self._parts and not self._wake.is_set():
            self._wake.set()
        self._bytes += nbytes
        self._count += 1
        self.sent += 1
        self._parts.append(part)

    def _leave(self) -> None:
        """Send a frame that is full. The next may hold more: a server that is busy already can wait for it."""
        self._send(more=True)
        self._full = min(self._full * 3 // 2, FLUSH_COUNT)

    def flush(self) -> None:
        """Send what is there. Call without ``lock`` held, for it may wait for the server to keep up."""
        with self.lock:
            self._send()
        self.relieve()

    def relieve(self) -> None:
        """Wait for acknowledgements where too many frames are in flight."""
        if self._seq - self._acknowledged > WINDOW:
            try:
                self._make_room()
            except KeyboardInterrupt:
                self._stop()
                raise

    def _make_room(self) -> None:
        if self._seq - self._acknowledged > WINDOW:
            self._read_until(lambda: self._seq - self._acknowledged <= WINDOW // 2)

    @property
    def frame(self) -> int:
        """The number of the frame to be. Read it with ``lock`` held."""
        return self._seq + 1

    @property
    def acknowledged(self) -> int:
        """All frames up to this one are done, as far as was read."""
        return self._acknowledged

    def settle(self, frame: int) -> None:
        """Wait until a frame is done. Call without ``lock`` held."""
        self.flush()
        self._read_until(lambda: self._acknowledged >= frame)

    def _send(self, more: bool = False) -> None:
        parts = self._parts
        if not parts:
            return
        if self._broken is not None:
            self._parts, self._bytes, self._count = [], 0, 0
            waits.freeze()
            raise self._broken
        seq = self._seq + 1
        more = more and seq % ACKNOWLEDGE != 0
        head = pb.Frame(seq=seq, received=self._received, more=more)
        self.told.tell(head)
        # A message is its fields one after the other, so instructions encoded earlier just follow.
        fields = [p if type(p) is bytes else encode_calls(p) if type(p) is list else frame_field(p) for p in parts]
        data = b"".join([head.SerializeToString(), *fields])
        # Ctrl-C may strike after any call: a frame has its number, is kept and sent, or none of these.
        self._seq, self._parts, self.told.fresh, self._bytes, self._count, self._weight = seq, [], [], 0, 0, 0
        try:
            self._unacknowledged.append((seq, data))
        finally:
            self._outbox.put(data)
        time.sleep(HAND_OVER_SECONDS)

    def _flush_late(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            begun = self._seq
            if self.closing.wait(FLUSH_SECONDS):
                return
            with self.lock, contextlib.suppress(ConnectionError):
                if self._seq == begun:
                    self._send()
                else:
                    # That frame has left, and its successor gets as long. Or else a program that waits often sends its
                    # frames itself: to look again is cheaper than to be woken for each.
                    self._wake.set()
            if not self._replies.is_active():
                self._keep_alive()

    def _keep_alive(self) -> None:
        """Attach again although nobody reads: the session of a program that is busy elsewhere must not expire."""
        if self._reading.acquire(blocking=False):  # else a reader finds the stream broken
            try:
                if self._broken is None and not self._replies.is_active():
                    with contextlib.suppress(ConnectionError):
                        self._reconnect(self._replies, wanted=False)
            finally:
                self._reading.release()

    # ---- in ----

    def request(self) -> int:
        """A fresh number for something to be waited for."""
        with self.lock:
            self._requests += 1
            return self._requests

    def wait(self, request: int) -> pb.Reply:
        """The answer to a request, running callbacks until it comes.

        Raises:
            RuntimeError and others: what the server answered instead, or an earlier instruction's failure.
            ConnectionError: the connection broke, and could not be made again.
            TimeoutError: the deadline passed. The session goes on.
            KeyboardInterrupt: Ctrl-C; the server was told to stop the work.
        """
        try:
            with self.lock:
                self._send()
                self._full = FIRST_COUNT  # the server has nothing to do when the answer is there
            self._make_room()
            self._read_until(lambda: request in self._arrived)
            reply = self._arrived.pop(request)
        except BaseException as e:
            self._abandon(request)
            if isinstance(e, KeyboardInterrupt):
                self._stop()
            raise
        late, self._late = self._late, None
        if reply.WhichOneof("kind") == "error":
            raise exception(reply.error)
        if late is not None:
            raise late
        return reply

    def _abandon(self, request: int) -> None:
        """Drop the answer to a request, come or to come."""
        self._abandoned.add(request)
        if self._arrived.pop(request, None) is not None:
            self._abandoned.discard(request)

    def _read_until(self, done: Callable[[], bool]) -> None:
        """Take replies until it is so, or another thread has. Call without ``lock`` held."""
        began, due = time.monotonic(), waits.due(self._deadline)
        try:
            with self._reading if due == math.inf else self._reading_by(began, due):
                self._read_guarded(done, began, due)
        except Exception:
            waits.freeze()
            raise

    def _read_guarded(self, done: Callable[[], bool], began: float, due: float) -> None:
        before = self._began, self._due
        guarded = self._alarm.guard()
        try:
            self._began, self._due = began, due
            self._alarm.set(due)
            while not done():
                self._read()
        finally:
            self._began, self._due = before
            self._alarm.set(self._due)
            if guarded:
                self._alarm.unguard()

    @contextlib.contextmanager
    def _reading_by(self, began: float, due: float) -> Iterator[None]:
        if not self._reading.acquire(timeout=max(due - began, 0.0)):
            raise overdue(began)
        try:
            yield
        finally:
            self._reading.release()

    def _ring(self) -> None:
        if self._alarm.pressed or time.monotonic() >= self._due:
            self._restart()

    def _restart(self) -> None:
        """End the stream so that whoever reads comes back; another one takes its place at once."""
        self._progress = True
        self._newest.cancel()

    def _stop(self) -> None:
        """Ctrl-C in a wait."""
        self._restart()  # gRPC may have had a reply in its hands
        self.cancel()

    def cancel(self) -> None:
        """Have the server stop the work that it was sent. What follows is done as ever."""
        with contextlib.suppress(ConnectionError), self.lock:
            self.add().free.SetInParent()  # so that there is a frame, which is acknowledged at once
            self._send()
            self.cancelled = self._seq
        call = self.channel.unary_unary(f"{SERVICE}Cancel", pb.CancelRequest.SerializeToString)
        guarded = self._alarm.guard()
        try:
            call(pb.CancelRequest(key=self.key, last_seq=self.cancelled), CANCEL_SECONDS, self._metadata)
        except (grpc.RpcError, ValueError):
            pass  # the server is not there, or the channel closed
        finally:
            if guarded:
                self._alarm.unguard()

    def _read(self) -> None:
        """Take one reply, from a new connection where the old one broke. Call with ``_reading`` held."""
        if self._broken is not None:
            raise self._broken
        try:
            reply = pb.Reply.FromString(next(self._replies))
        except (grpc.RpcError, StopIteration) as e:
            self._reconnect(e)
            return
        if reply.seq > self._received + 1:
            self._replies.cancel()  # one got lost where Ctrl-C struck: a new stream repeats it
            return
        self._take(reply)

    def _take(self, reply: pb.Reply) -> None:
        if reply.acknowledged > self._acknowledged:
            self._progress = True
            self._acknowledged = reply.acknowledged
            kept = self._unacknowledged
            while kept and kept[0][0] <= reply.acknowledged:
                kept.popleft()
        kind = reply.WhichOneof("kind")
        if reply.seq:
            if reply.seq <= self._received:
                return  # repeated after a broken connection
            self._progress = True
            if kind == "callback":
                with self.lock:
                    self._send()  # what was added before is no part of it
                    self._received, self.grad_mode = reply.seq, reply.callback.create_graph
            else:
                self._received = reply.seq
        for function in reply.dropped:
            self._dropped(function)
        if kind is None or kind == "attached":
            return
        if kind == "callback":
            answer = pb.Answer(callback=reply.callback.id, error="the client's code was interrupted")
            try:
                if self._acknowledged >= self.cancelled:
                    answer = self._run_callback(reply.callback)
            finally:  # or the server would wait for ever
                with self.lock:
                    self.add().answer.CopyFrom(answer)
                    self.grad_mode = None  # what it was before the callback
                    self._send()
            return
        body = getattr(reply, kind)
        if body.request in self._abandoned:
            self._abandoned.discard(body.request)
        elif body.request:
            self._arrived[body.request] = reply
        elif self._late is None:
            self._late = exception(reply.error)

    def _run_callback(self, m: pb.Callback) -> pb.Answer:
        """Run code of the program's, where Ctrl-C does what it does anywhere."""
        if not self._alarm.guarding():
            return self._call_back(m)
        self._alarm.unguard()
        try:
            return self._call_back(m)
        finally:
            self._alarm.guard()

    # ---- the connection ----

    def _open(self, takeover: bool = False) -> tuple[queue.SimpleQueue[bytes | None], Any]:
        """Begin a stream: where its frames go, and its replies. The first frame attaches it to the session."""
        self._attempt += 1
        outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        first = pb.Frame(attach=self.key, received=self._received, client=self._client, attempt=self._attempt,
                         takeover=takeover)  # fmt: skip
        outbox.put(first.SerializeToString())
        self._attached = time.monotonic()
        replies = self.channel.stream_stream(f"{SERVICE}Stream")(iter(outbox.get, None), metadata=self._metadata)
        self._newest = replies
        replies.add_callback(self._wake.set)
        return outbox, replies

    def _attach(self, seconds: float, takeover: bool = False) -> None:
        """Take the place of a broken stream, and send again what the server does not have.

        The lock is not held while the server is waited for: other threads go on adding instructions.
        """
        outbox, replies = self._open(takeover)
        slow = threading.Timer(seconds, replies.cancel)
        slow.start()
        try:
            reply = pb.Reply.FromString(next(replies))
        except BaseException:
            outbox.put(None)  # lets the sender go
            replies.cancel()
            raise
        finally:
            slow.cancel()
        if takeover:
            self.attached = reply.attached
            self._seq = self._acknowledged = reply.attached.last_seq
            self._received = reply.attached.last_reply
            self.told.highest_location = reply.attached.highest_location
        with self.lock:
            for seq, data in self._unacknowledged:
                if seq > reply.attached.last_seq:
                    outbox.put(data)
            self._outbox.put(None)
            self._outbox, self._replies = outbox, replies
            if self.closing.is_set():
                outbox.put(None)
        self._take(reply)

    def _take_over(self, seconds: float) -> None:
        """Begin a stream in place of another client's."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._attach(max(end - time.monotonic(), 0.0), takeover=True)
                return
            except (grpc.RpcError, StopIteration) as e:
                code = e.code() if isinstance(e, grpc.Call) else None
                if code in FINAL:
                    raise rpc_exception(e) from None
                if time.monotonic() >= end:
                    raise ConnectionError(f"the server does not hand the session over within {seconds} s") from None
            time.sleep(BACKOFF[0])

    def _reconnect(self, broken: Exception, wanted: bool = True) -> None:
        """Attach again, or where nobody waits for it (not ``wanted``), try to. Call with ``_reading`` held.

        Raises:
            ConnectionError: the session is gone, or the server is, for longer than ``patience``.
        """
        at_once = self._progress or time.monotonic() - self._attached > BACKOFF[1]
        if at_once:
            self._end, self._pause = time.monotonic() + self._patience, BACKOFF[0]
            self._progress = False
        while True:
            code = broken.code() if isinstance(broken, grpc.Call) else None
            now = time.monotonic()
            if self._alarm.pressed:
                raise KeyboardInterrupt
            if now >= self._due:
                raise overdue(self._began)
            left = self._end - now
            if self.closing.is_set() or code in FINAL or left <= 0:
                self._outbox.put(None)
                if not wanted and not (self.closing.is_set() or code in FINAL):
                    self._progress = True  # it may be there again by the time that somebody waits
                    return
                if self.closing.is_set():
                    why = "the session was closed"
                elif code is grpc.StatusCode.CANCELLED:
                    why = f"no answer within {self._patience} s"
                else:
                    why = broken.details() if isinstance(broken, grpc.Call) else "the server ended the stream"
                self._broken = ConnectionError(f"the connection to the gradwire server is lost: {why}")
                raise self._broken from None
            if not at_once:
                self.closing.wait(min(random.uniform(self._pause / 2, self._pause), self._due - now))
                self._pause = min(2 * self._pause, BACKOFF[1])
            at_once = False
            try:
                self._attach(min(left, ATTACH_SECONDS, self._due - now))
                return
            except (grpc.RpcError, StopIteration) as e:
                broken = e
            except ValueError as e:  # gRPC's, where another thread has closed the channel
                if not self.closing.is_set():
                    raise
                broken = e

    def close(self) -> None:
        """End the stream; what was added before is sent first."""
        with self.lock:
            with contextlib.suppress(ConnectionError):
                self._send()
            self.closing.set()
            self._wake.set()
            self._alarm.stop()
            self._outbox.put(None)

    def let_go(self) -> None:
        """Drop gRPC's object of the stream, when the channel is closed. Were it still there when the program ends, its
        finalizer could wait for ever: for a lock of a thread that Python has stopped by then."""
        self._replies = self._newest = _Over()


class _Over:
    """The replies of a stream that was let go."""

    def __next__(self) -> bytes:
        raise StopIteration

    def is_active(self) -> bool:
        return False

    def cancel(self) -> None:
        pass


class SyncWire(Wire):
    """Waits for every op, so that what goes wrong is raised where it was called."""

    def relieve(self) -> None:
        request = self.request()
        with self.lock:
            self.add().synchronize.request = request
        self.wait(request)


def overdue(began: float) -> TimeoutError:
    """What a wait that began then raises when its deadline has passed."""
    return TimeoutError(f"no answer from the gradwire server by the deadline, {time.monotonic() - began:.3g} s on")


def rpc_exception(e: grpc.RpcError) -> Exception:
    """What a failed RPC means to a Python program."""
    code = e.code() if isinstance(e, grpc.Call) else None
    text = (e.details() if isinstance(e, grpc.Call) else "") or str(e)
    if code is grpc.StatusCode.UNAVAILABLE:
        return ConnectionError(f"no gradwire server answers: {text}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OutOfMemoryError(text)
    return RuntimeError(text)
