"""A session: the tensors and the graph of one client, and the loop that executes its instructions in order."""

from __future__ import annotations

import bisect
import hmac
import logging
import queue
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from gradwire_engine import Engine, Tensor
from gradwire_engine.backend import DTYPE, NUMPY_DTYPE, aligned, to_device
from gradwire_engine.graph import FunctionNode, Node
from gradwire_engine.tensor import Storage
from gradwire_proto.catalog.declare import Op
from gradwire_proto.codec import dtype_of
from gradwire_proto.dtypes import DType
from gradwire_proto.spec import Spec, spec
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server import instructions
from gradwire_server.brake import Brake
from gradwire_server.errors import Displaced, Poison, Poisoned, SessionEnded, describe, refusal
from gradwire_server.hooks import Hook
from gradwire_server.limits import Limits
from gradwire_server.nodes import kept
from gradwire_server.ops import SERVER_IDS, Template, learn, unknown_id
from gradwire_server.outbox import Outbox
from gradwire_server.programs import Broken, Program
from gradwire_server.shared import Segments
from gradwire_server.stream import Stream
from gradwire_server.transfers import Transfers

log = logging.getLogger(__name__)
MAX_CLIENTS = 1000
"""Displaced clients to be known when they come back."""
BEHIND_BYTES = 64 * 2**20
"""Of instructions that wait for a callback to end: as many as our client has in flight at most."""
GONE = "the client that this was to run in is gone: another has taken over the session"


class Session:
    """Executes frames in order, on a thread of its own that outlives the streams they come by."""

    def __init__(self, device: str, seed: int, limits: Limits, observe: Callable[[Session], None]):
        self.id = secrets.token_hex(8)
        self.secret = secrets.token_urlsafe(32)
        self.request_id = b""
        """Of the request that opened it, which may come again."""
        self.limits = limits
        self.engine = Engine(device, limits.max_bytes, seed or secrets.randbits(63))
        self.device = self.engine.device
        self.engine.call_function = self._call_function
        self.engine.dropped = self.dropped
        self.engine.unpack = self._unpack
        self.tensors: dict[int, Tensor | Poison] = {}
        """By id: those of the program that is run instruction by instruction, while one is."""
        self.client_tensors = self.tensors
        """Those that the client knows."""
        self.outbox = Outbox()
        self.begun = 0
        """The last frame that was begun."""
        self.brake = Brake(self.engine, limits.max_instruction_seconds)
        self.kept: dict[str, int] = {}
        """What the next client is to get, by name."""
        self.frames_run = self.instructions_run = self.received_bytes = 0
        """Since the owner last counted them."""
        self.hooks: weakref.WeakValueDictionary[int, Hook] = weakref.WeakValueDictionary()
        self.nodes: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()
        """What History told of, by the numbers that it gave."""
        self.functions: weakref.WeakValueDictionary[int, FunctionNode] = weakref.WeakValueDictionary()
        self.begun_functions: dict[int, int] = {}
        """How many nodes there were when the client began to run each function that it will record as run again."""
        self.transfers = Transfers(self.engine.meter, limits.max_transfers)
        self.segments: Segments | None = None
        """Where the client shares memory with this server."""
        self.touched = time.monotonic()
        self.epoch = 0
        """How many streams were attached; frames of any but the last are not read."""
        self.ended = False
        self._clients: dict[int, int] = {}
        """The last attempt of each client that attached, the present one's last."""
        self._stream: Stream | None = None
        """The last that attached, until it ends."""
        self._streams: queue.SimpleQueue[tuple[int, Stream, bool] | None] = queue.SimpleQueue()
        """Those to be read: the epoch of each, and whether its client takes over."""
        self._thread = threading.Thread(target=self._run, name=f"session-{self.id}", daemon=True)
        self._observe = observe
        self._attaching = threading.Lock()
        self._locations: dict[int, pb.Location] = {}
        self.templates: dict[int, Template | Program | Broken] = {}
        """What calls may name: templates, and programs, whose ids begin above."""
        self._next_id = SERVER_IDS
        self._callbacks = 0
        self._waiting: list[int] = []
        """Callbacks without their answer yet, the innermost last."""
        self._asked: list[int] = []
        """The numbers of the replies that these were."""
        self._behind: list[deque[tuple[pb.Frame, pb.Instruction]]] = [deque()]
        """What was sent before the client received them: what comes after the instruction that calls back first, then
        what comes after each that its callback runs. They are executed when that instruction is done."""
        self._behind_bytes = 0
        self.held: list[pb.Reply] = []
        """Answers that leave at the end of the frame."""
        self._dropped: list[int] = []
        self._source: Iterator[pb.Instruction] = iter(())
        self._frame = pb.Frame()
        self._first_error: pb.Error | None = None
        self._fenced = f"another client has attached to session {self.id}"

    def owns(self, secret: str) -> bool:
        return hmac.compare_digest(self.secret.encode(), secret.encode())

    def touch(self) -> None:
        self.touched = time.monotonic()

    # ---- the stream ----

    @property
    def attached(self) -> bool:
        """Whether a stream is there, whose client keeps the session alive even where it is idle."""
        return self.outbox.attached

    def attach(self, stream: Stream, first: pb.Frame) -> None:
        """Read frames from a new stream, and have it take replies, in place of an older one.

        Args:
            first: its first frame, which says where its client is.

        Raises:
            Displaced: another client, or a later stream of this one, has attached meanwhile.
            Lost: the client lacks replies that are not there any more.
            SessionEnded: the session ended since it was found.
        """
        with self._attaching:
            if self.ended:
                raise SessionEnded
            self._displace(first.client, first.attempt)
            if first.takeover:
                self.outbox.detach(self._stream)
            else:
                self.outbox.attach(stream, first.received, self.begun)
            older, self._stream = self._stream, stream
            self.epoch += 1
            self._streams.put((self.epoch, stream, first.takeover))
            if self._thread.ident is None:
                self._thread.start()
            if older is not None:
                older.cut(refusal(grpc.StatusCode.ABORTED, "FENCED", self._fenced))

    def _displace(self, client: int, attempt: int) -> None:
        known = self._clients.get(client)
        if client and known is not None and (attempt <= known or next(reversed(self._clients)) != client):
            raise Displaced(self._fenced)
        self._clients.pop(client, None)
        self._clients[client] = attempt
        if len(self._clients) > MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def detach(self, stream: Stream) -> None:
        """A stream has ended: unless another took its place, the lease begins."""
        self.touch()
        with self._attaching:
            self.outbox.detach(stream)
            if self._stream is stream:
                self._stream = None

    def end(self) -> None:
        """End the session: its stream now, its thread after the instruction under way."""
        with self._attaching:
            self.ended = True
            self.epoch += 1
            self.outbox.close()
            if self._stream is not None:
                self._stream.cut()
            self._streams.put(None)
        self.transfers.clear()
        if self.segments is not None:
            self.segments.close()

    def cancel(self, last: int) -> None:
        """Stop the work of frames up to this one."""
        self.brake.cancel(last)

    def join(self, seconds: float) -> None:
        """Wait for the end of a session that was told to end."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        """Execute instructions until the session ends, across as many streams as that takes."""
        with np.errstate(all="ignore"):
            self.engine.select_device()
            self._source = self._instructions()
            try:
                for instruction in self._source:
                    self._execute(instruction)
            except SessionEnded:
                pass
            finally:
                # A thread's frames are the last to hold what the session held.
                self.client_tensors.clear()
                self.templates.clear()

    def _frames(self) -> Iterator[pb.Frame]:
        """The frames of one stream after another, as they come."""
        while (attached := self._streams.get()) is not None:
            epoch, stream, takeover = attached
            if takeover and epoch == self.epoch:
                while self._waiting:
                    answer = pb.Answer(callback=self._waiting[-1], error=GONE)
                    yield pb.Frame(seq=self.begun + 1, instructions=[pb.Instruction(answer=answer)])
                self._hand_over(epoch, stream)
            while epoch == self.epoch:
                try:
                    data = next(stream.frames, None)
                except grpc.RpcError:
                    self.detach(stream)
                    break  # cut, or fenced off by a newer one
                if epoch != self.epoch:
                    break
                if data is None:
                    stream.send()  # waits for what another thread sends
                    self.detach(stream)
                    stream.end()
                    break
                self.received_bytes += len(data)
                try:
                    frame = pb.Frame.FromString(data)
                except DecodeError as e:
                    self.fail(ValueError(f"a frame of {len(data)} bytes is not parseable as gradwire.v1.Frame: {e}"))
                    self.flush()
                    continue
                if frame.seq or frame.instructions:
                    yield frame
                if frame.received:  # looked at last: there is an answer to be sent
                    self.outbox.received(frame.received)

    def _hand_over(self, epoch: int, stream: Stream) -> None:
        """Tell a client that takes over what there is."""
        in_use = [*self.tensors, *self.hooks, *self.functions]
        attached = pb.Attached(
            last_seq=self.begun,
            highest_id=max((i for i in in_use if i < SERVER_IDS), default=0),
            highest_location=max(self._locations, default=0),
            limits=self.limits.message(),
            device=self.device,
            shared_memory=self.segments.path if self.segments else "",
        )
        for name, i in self.kept.items():
            t = self.tensors.get(i)
            if type(t) is Tensor:
                attached.kept.append(kept(t, i, name))
        self.transfers.clear()
        with self._attaching:
            if epoch != self.epoch:
                return
            first = self.outbox.take_over(stream, attached)
        stream.send(first)

    def _instructions(self) -> Iterator[pb.Instruction]:
        """Every instruction of every frame once, acknowledging each frame at its end.

        A generator that a callback goes on reading from, in the middle of a backward pass.
        """
        for frame in self._frames():
            if frame.seq <= self.begun:
                continue  # repeated after a broken connection
            if frame.seq != self.begun + 1:
                self.reply(error=pb.Error(type="RuntimeError", message=(
                    f"frame {frame.seq} came after frame {self.begun}: frames are numbered 1, 2, 3, ..."
                )))  # fmt: skip
                self.flush()
                continue
            self.begun = frame.seq
            self._frame = frame
            if self.transfers.lent:
                self.transfers.keep(frame.instructions)
            self.brake.enter(frame.seq)
            if len(frame.instructions) > self.limits.max_instructions:
                self.fail(ValueError(f"a frame holds at most {self.limits.max_instructions} instructions, "
                                     f"got {len(frame.instructions)}"))  # fmt: skip
            else:
                for location in frame.locations:
                    self._locations[location.id] = location
                for template in frame.templates:
                    learn(self, template)
                yield from frame.instructions
                self.instructions_run += len(frame.instructions)
            if self.held or not frame.more:
                self.flush(frame.seq)
            self._observe(self)
        raise SessionEnded

    def is_last(self, request: int) -> bool:
        """Whether nothing comes after this Get in its frame."""
        return self._frame.instructions[-1].get.request == request

    def reply(self, **kind: Any) -> None:
        """Answer at the end of the frame."""
        self.held.append(pb.Reply(**kind))

    def flush(self, acknowledged: int = 0) -> None:
        """Send the answers held, with the acknowledgement of a frame on the last of them."""
        held, self.held = self.held, []
        if acknowledged:
            if not held:
                held.append(pb.Reply())
            held[-1].acknowledged = acknowledged
        if self._dropped and held:
            dropped, self._dropped = self._dropped, []
            held[-1].dropped.extend(dropped)
        for reply in held:
            self.outbox.put(reply)

    # ---- instructions ----

    def _execute(self, instruction: pb.Instruction) -> None:
        """Run an instruction, and what had to wait for it because it called back."""
        self.perform(instruction)
        behind = self._behind[-1]
        if behind:
            here = self._frame
            while behind:
                self._frame, instruction = behind.popleft()
                self._behind_bytes -= instruction.ByteSize()
                self.brake.enter(self._frame.seq)
                if self.transfers.lent:
                    self.transfers.keep([instruction])
                self.perform(instruction)
            self._frame = here
            self.brake.enter(here.seq)

    def _defer(self, frame: pb.Frame, instruction: pb.Instruction) -> bool:
        """Have an instruction wait that was sent before the client knew of the callback whose answer is awaited."""
        if not frame.HasField("received") or frame.received >= self._asked[-1] or instruction.HasField("put"):
            return False
        behind = self._behind[bisect.bisect_right(self._asked, frame.received)]
        nbytes = self._behind_bytes + instruction.ByteSize()
        if nbytes > BEHIND_BYTES:
            self.fail(MemoryError(f"instructions of more than {BEHIND_BYTES} bytes wait for a callback to end"))
        elif len(behind) >= self.limits.max_instructions:
            self.fail(MemoryError(f"more than {self.limits.max_instructions} instructions wait for a callback to end"))
        else:
            behind.append((frame, instruction))
            self._behind_bytes = nbytes
        return True

    def perform(self, instruction: pb.Instruction) -> None:
        """Run one instruction; what it raises is answered."""
        self.engine.line = instruction.location
        kind = instruction.WhichOneof("kind")
        try:
            run = instructions.TABLE.get(kind or "")
            if run is None:
                raise ValueError("an instruction without a kind that this server knows")
            run(self, getattr(instruction, kind or ""))
        except SessionEnded:
            raise
        except Exception as e:
            self.fail(e)

    def location(self, i: int) -> pb.Location | None:
        """A place in the client's program."""
        return self._locations.get(i)

    def explain(self, e: BaseException, op: Op | None = None, ids: Iterable[int] = ()) -> pb.Error:
        """The error message, with the op, its tensors and the client's line, unless it has them already."""
        error = describe(e)
        if isinstance(e, Poisoned):
            return error
        error.node = getattr(e, "node", "")  # as a backward pass leaves it
        location = self.location(self.engine.line)
        if location is not None:
            error.location.CopyFrom(location)
        if op is not None:
            error.op = op.name
            for i in ids:
                t = self.tensors.get(i)
                if type(t) is Tensor:
                    error.arguments.append(repr(t.spec))
        return error

    def poison(self, results: Iterable[int], error: pb.Error, written: Iterable[int] = ()) -> None:
        """Have whoever reads these results, or what was to be written to, get the error; tell it where nobody can.

        An id that was already in use stays as it is; memory that was to be written to is poisoned under all its names.
        """
        if self._first_error is None and not self.brake.cancelled:
            self._first_error = error
        poisoned = self.brake.cancelled
        for i in results:
            if i not in self.tensors and 0 < i < SERVER_IDS:
                self.tensors[i] = Poison(error)
                poisoned = True
        found = [self.tensors.get(i) for i in written]
        poisoned = poisoned or any(type(t) is Poison for t in found)
        memory = [t for t in found if type(t) is Tensor]
        if memory:
            poisoned = True
            self.poison_memory(memory, error)
        if not poisoned:
            self.reply(error=error)

    def poison_memory(self, tensors: Iterable[Tensor], error: pb.Error) -> None:
        """Have whoever reads the memory of these, under any name, get the error."""
        storages = {id(t.storage) for t in tensors}
        for i, t in self.tensors.items():
            if type(t) is Tensor and id(t.storage) in storages:
                self.tensors[i] = Poison(error)

    def fail(self, e: BaseException, request: int = 0) -> None:
        """Answer with an error."""
        cause = self.explain(e)
        error = pb.Error()
        error.CopyFrom(cause)
        error.request = request
        if request:
            if self._first_error is cause:
                self._first_error = None  # told now
        elif self.brake.cancelled:
            return  # whoever cancelled knows
        elif self._first_error is None:
            self._first_error = error
        self.reply(error=error)

    def take_error(self) -> pb.Error | None:
        """The first error since this was last asked."""
        error, self._first_error = self._first_error, None
        return error

    # ---- tensors ----

    def tensor(self, i: int) -> Tensor:
        """The tensor of an id.

        Raises:
            ValueError: no tensor has it.
            Poisoned: the instruction that should have made it failed.
        """
        t = self.tensors.get(i)
        if type(t) is Tensor:
            return t
        if t is None:
            raise unknown_id(i)
        raise Poisoned(t.error)  # type: ignore[union-attr]

    def maybe(self, i: int) -> Tensor | None:
        return self.tensor(i) if i else None

    def check_fresh(self, i: int) -> None:
        """Raises:
        ValueError: the id is taken, or not the client's to choose, or there are too many.
        """
        if i in self.tensors:
            raise ValueError(f"tensor id {i} is already in use")
        if not 0 < i < SERVER_IDS:
            raise ValueError(f"tensor id {i} is out of range: clients choose from 1 to 2**63 - 1")
        if len(self.tensors) >= self.limits.max_tensors:
            raise MemoryError(f"the session has a limit of {self.limits.max_tensors} tensors")
        self.check_nodes()

    def check_nodes(self) -> None:
        """Raises:
        MemoryError: the graph is as large as it may be.
        """
        if self.engine.nodes >= self.limits.max_nodes:
            raise MemoryError(f"the session has a limit of {self.limits.max_nodes} graph nodes")

    def define(self, i: int, t: Tensor) -> None:
        self.check_fresh(i)
        self.tensors[i] = t

    def lend(self, t: Tensor | None) -> int:
        """An id of the server's choice, for a tensor that a callback hands to the client."""
        if t is None:
            return 0
        self._next_id += 1
        self.client_tensors[self._next_id] = t
        return self._next_id

    def put(self, array: np.ndarray[Any, Any], storage: Storage | None, requires_grad: bool) -> Tensor:
        """A leaf tensor of host memory, which it takes over on the CPU."""
        s = spec(array.shape, DTYPE[array.dtype])
        return Tensor(self.engine, to_device(self.engine.xp, array), s, storage, requires_grad)

    def decode(
        self, shape: tuple[int, ...], number: int, data: bytes | np.ndarray[Any, Any], own: bool
    ) -> np.ndarray[Any, Any]:
        """An array of bytes that came.

        Raises:
            ValueError: as many bytes did not come as shape and dtype make.
        """
        s: Spec = spec(shape, dtype_of(number))
        if len(data) != s.nbytes:
            raise ValueError(f"{s} takes {s.nbytes} bytes, got {len(data)}")
        array = np.frombuffer(data, NUMPY_DTYPE[s.dtype]).reshape(shape)
        if not own:
            made = aligned(np, s.nbytes).view(array.dtype).reshape(shape)
            made[...] = array
            return made
        return array

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> Tensor:
        return self.engine.keep(self.engine.xp.zeros(shape, NUMPY_DTYPE[dtype]))

    # ---- callbacks ----

    def call_back(self, gradients: list[Tensor | None], create_graph: bool, **kind: int) -> list[Tensor | None]:
        """Have the client run a hook or a function, executing what it streams meanwhile, until its answer."""
        if len(self._waiting) >= self.limits.max_callback_depth:
            raise RuntimeError(f"callbacks are nested deeper than {self.limits.max_callback_depth}")
        self._callbacks += 1
        me = self._callbacks
        ids = [self.lend(g) for g in gradients]
        specs = [pb.TensorSpec() if g is None else pb.TensorSpec(dtype=g.dtype.number, shape=g.shape)
                 for g in gradients]  # fmt: skip
        self.reply(callback=pb.Callback(id=me, gradients=ids, specs=specs, create_graph=create_graph,
                                        retain_graph=self.engine.retain_graph,
                                        backward=self.engine.passing[-1][0] if self.engine.passing else 0,
                                        **kind))  # fmt: skip
        self.flush()
        engine = self.engine
        mode, phase, line = engine.grad_enabled, engine.phase, engine.line
        engine.grad_enabled, engine.phase = create_graph, "forward"
        paused = self.brake.pause()
        self._waiting.append(me)
        self._asked.append(self.outbox.last)
        self._behind.append(deque())
        scope, self.tensors = self.tensors, self.client_tensors
        try:
            for instruction in self._source:
                if instruction.WhichOneof("kind") == "answer" and instruction.answer.callback == me:
                    answer = instruction.answer
                    if answer.error:
                        raise RuntimeError(answer.error)
                    return [self.maybe(i) for i in answer.results]
                if not self._defer(self._frame, instruction):
                    self._execute(instruction)
        finally:
            self.tensors = scope
            self._behind.pop()
            self._asked.pop()
            self._waiting.pop()
            self.brake.resume(paused)
            engine.grad_enabled, engine.phase, engine.line = mode, phase, line
        raise SessionEnded

    def _call_function(self, node: FunctionNode, grads: list[Tensor | None],
                       create_graph: bool) -> list[Tensor | None]:  # fmt: skip
        return self.call_back(grads, create_graph, function=node.function)

    def _unpack(self, number: int) -> list[Tensor]:
        return [t for t in self.call_back([], self.engine.grad_enabled, pack=number) if t is not None]

    def dropped(self, number: int) -> None:
        """A function, a hook or a pack is gone: the client is told with the next reply."""
        self._dropped.append(number)

    def node_of_function(self, function: int) -> FunctionNode:
        node = self.functions.get(function)
        if node is None:
            raise ValueError(f"function {function} is not part of a graph")
        return node

