"""Sessions: a connection to a server, the ids of its tensors, and which session is current."""

from __future__ import annotations

import atexit
import collections
import itertools
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np

from gradwire import embedded, forks, shared, waits
from gradwire.bulk import Bulk
from gradwire.capture import Table, forbid, here
from gradwire.errors import OutOfMemoryError
from gradwire.wire import BACKOFF, SERVICE, SyncWire, Wire, rpc_exception
from gradwire_proto.codec import dtype_of
from gradwire_proto.spec import Spec
from gradwire_proto.v1 import gradwire_pb2 as pb

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

PROTOCOL_VERSION = 1
FREE_COUNT = 64
"""Dropped tensors that are told to the server at once."""
FREE_BYTES = 1 << 20
"""Their bytes, likewise."""
CLOSED = "this gradwire session is closed"
DETACHED = "this gradwire session was detached: gradwire.attach() goes on with it"
FORKED = (
    "this gradwire session is that of the process this one was forked from, and can't be used here: open another with "
    "gradwire.connect()"
)
STUCK = (
    "this process was forked from one that uses gRPC, whose support for that is off: start it another way than by "
    "forking, or without GRPC_ENABLE_FORK_SUPPORT=0"
)


class Session:
    """A session on a server. Made by :func:`connect`; a context manager that closes itself."""

    def __init__(
        self, target: str, device: str, token: str | None, seed: int, timeout: float, reconnect: float,
        deadline: float | None, sync: bool, key: pb.SessionKey | None = None,
    ):  # fmt: skip
        global _used
        if _stuck:
            raise RuntimeError(STUCK)
        _used = True
        self.target = target
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                # gRPC would stop asking after two pings without data: of a server that works for minutes on end, and of
                # one whose machine is gone.
                ("grpc.http2.max_pings_without_data", 0),
                # gRPC itself would wait a second, later two minutes, before it connects again; the wire knows better.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.min_reconnect_backoff_ms", 5000),  # what a server gets to accept a connection
            ],
        )
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        info = self._call("GetServerInfo", pb.GetServerInfoRequest(), pb.GetServerInfoResponse, timeout)
        if PROTOCOL_VERSION not in info.protocol_versions:
            raise RuntimeError(
                f"the server at {target} (version {info.version}) speaks protocol versions "
                f"{list(info.protocol_versions)}; this client speaks {PROTOCOL_VERSION}"
            )
        nonce = shared.nonce(info.shared_memory)
        opened: pb.OpenSessionResponse | pb.Attached
        self.seed = seed % 2**64 or 1 + secrets.randbits(63) if key is None else None
        """That the random numbers started from; None where it takes a look at the generator's state to know."""
        if key is None:
            opened = self._call(
                "OpenSession",
                pb.OpenSessionRequest(protocol_version=PROTOCOL_VERSION, device=device, seed=self.seed, client="python",
                                      shared_memory_nonce=nonce, request_id=secrets.token_bytes(16)),
                pb.OpenSessionResponse,
                timeout,
            )  # fmt: skip
            key = pb.SessionKey(session_id=opened.session_id, secret=opened.secret)
            takeover = 0.0
        else:
            takeover = timeout
        self.id: str = key.session_id
        self.closed = False
        self._why_closed = CLOSED
        self.sync = sync
        """Whether every op waits, and raises what is wrong with it."""
        self.tensors: dict[str, Tensor] = {}
        """Of an attached session: what :meth:`detach` was told to keep, by name."""
        self.functions: dict[int, Any] = {}
        """Custom functions that are part of a graph, by number."""
        self.raised: Exception | None = None
        """The user's exception that ended a callback: it is raised again where backward was called."""
        self.answers: list[Tensor | None] = []
        """What callbacks returned, kept until the backward pass that asked is over."""
        self.hooks: dict[int, Callable[..., Sequence[Tensor | None]]] = {}
        """Those that are not removed, and not gone with their graph, by number."""
        self.packs: dict[int, tuple[Callable[[Any], Any], list[Any]]] = {}
        """What hooks made of the tensors that ops saved, with the hook that makes tensors of it again, by number."""
        self.stray_hooks: set[int] = set()
        """Those of them of which the mirror can't tell where they are."""
        self.nodes: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """The graph's nodes that the program looks at, by the server's numbers."""
        self.passes: list[int] = []
        """The backward passes that call back, the innermost last, by the server's numbers."""
        self.leaves: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        """The leaves that require grad, by id."""
        self.last_write = 0
        """When a tensor that a graph may have saved was last written to, as a count of instructions."""
        self._key = key
        self._dead: collections.deque[int] = collections.deque()
        self._dead_bytes = 0
        self.wire = (SyncWire if sync else Wire)(
            self._channel, self._metadata, key, self._call_back, self._dropped, reconnect, deadline, takeover
        )
        if takeover:
            opened = self.wire.attached
        self.device: str = opened.device
        self.limits = opened.limits
        self.wire.told.max_templates = opened.limits.max_templates
        self.wire.most = opened.limits.max_instructions_per_frame
        self.programs = Table(opened.limits.max_templates + 1, opened.limits.max_programs)
        self.max_bytes: int = opened.limits.max_bytes
        self.new_id = itertools.count(self.wire.attached.highest_id + 1).__next__
        """A fresh tensor id; safe from any thread."""
        directory = shared.beneath(info.shared_memory, opened.shared_memory) if nonce else ""
        self._segments = shared.Pool(directory, self.wire)
        self._bulk = Bulk(self._channel, self._metadata, self._key, reconnect, self.wire.closing, deadline)
        _sessions.add(self)

    def _call(self, name: str, request: Any, response: Any, timeout: float, wait: bool = True) -> Any:
        call = self._channel.unary_unary(f"{SERVICE}{name}", type(request).SerializeToString, response.FromString)
        end = time.monotonic() + timeout
        while True:
            try:
                left = max(end - time.monotonic(), 0.0)
                return call(request, timeout=left, wait_for_ready=wait, metadata=self._metadata)
            except grpc.RpcError as e:
                code = e.code() if isinstance(e, grpc.Call) else None
                if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise ConnectionError(f"no gradwire server answers at {self.target} within {timeout} s") from None
                if code is not grpc.StatusCode.UNAVAILABLE or not wait:
                    raise rpc_exception(e) from None
                time.sleep(BACKOFF[0])

    # ---- ids ----

    def drop(self, i: int, nbytes: int) -> None:
        """Tell the server, with the next instructions, that a tensor is not needed any more. Safe in ``__del__``."""
        self._dead.append(i)
        self._dead_bytes += nbytes

    def instruction(self, nbytes: int = 0, names: Iterable[Tensor] = ()) -> pb.Instruction:
        """A fresh instruction in order; frees what was dropped before it. Call with ``wire.lock`` held.

        Args:
            nbytes: of the contents that it carries.
            names: the tensors that it will name, apart from new ones.

        Raises:
            RuntimeError: the session is closed.
        """
        self.tell_dead()
        made = self.wire.add(nbytes)
        if here.capture is not None:
            here.capture.instruction(self, made, names)
        return made

    def add_encoded(self, data: bytes) -> None:
        """Add an instruction that is encoded already, as :meth:`instruction` would."""
        self.tell_dead()
        self.wire.add_encoded(data)

    def add_call(self, words: list[int]) -> None:
        """Add a call of a template, as :meth:`instruction` would."""
        self.tell_dead()
        self.wire.add_call(words)

    def tell_dead(self, now: bool = False) -> None:
        """Tell the server of what was dropped, where it is worth it, or ``now``. Call with ``wire.lock`` held."""
        if self.closed:
            waits.freeze()
            raise RuntimeError(self._why_closed)
        dead = self._dead
        if len(dead) >= FREE_COUNT or self._dead_bytes >= FREE_BYTES or now:
            self._dead_bytes = 0
            self.wire.add().free.tensors.extend([dead.popleft() for _ in range(len(dead))])
        if self.programs.dead:
            self.wire.add().free.programs.extend(self.programs.told())

    # ---- values ----

    def put(self, array: np.ndarray[Any, Any], s: Spec, requires_grad: bool) -> int:
        """Send an array; the id of its tensor."""
        self.check_size(s)
        i = 0 if here.capture is None else here.capture.put(self, array, s, requires_grad)
        if i:
            return i
        i = self.new_id()
        if s.nbytes > self.limits.max_inline_bytes:
            self._put_bulk(i, array, s, requires_grad)
        else:
            with self.wire.lock:
                self._put(i, s, requires_grad, s.nbytes).data.data = array.tobytes()
        self.wire.relieve()
        return i

    def _put(self, i: int, s: Spec, requires_grad: bool, nbytes: int = 0) -> pb.Put:
        put = self.instruction(nbytes).put
        put.result = i
        put.data.dtype = s.dtype.number
        put.data.shape.extend(s.shape)
        put.requires_grad = requires_grad
        return put

    def _put_bulk(self, i: int, array: np.ndarray[Any, Any], s: Spec, requires_grad: bool) -> None:
        with self._segments.lend(s.nbytes) as segment:
            if segment is None:
                self._upload(i, np.asarray(array, order="C").reshape(-1).view(np.uint8).data)
            else:
                segment.fill(array)
            with self.wire.lock:
                put = self._put(i, s, requires_grad)
                if segment is None:
                    put.upload = i
                else:
                    put.segment = segment.name
                    segment.frame = self.wire.frame

    def _upload(self, i: int, data: memoryview) -> None:
        try:
            self._bulk.upload(i, data)
        except BaseException:
            with self.wire.lock:
                if not self.closed:
                    self.instruction().free.uploads.append(i)
            raise

    def get(self, i: int, nbytes: int) -> np.ndarray[Any, Any]:
        """A tensor's contents: waits for all that leads to it.

        Args:
            nbytes: how many it has.

        Raises:
            RuntimeError and others: what went wrong on the way, with the line it began at.
        """
        forbid("reads the value of a tensor", "return it and read it outside")
        if nbytes > self.limits.max_inline_bytes:
            return self._get_bulk(i, nbytes)
        data = self.wire.wait(self._ask(i)).value.data
        return np.ndarray(tuple(data.shape), numpy_dtype(data.dtype), bytearray(data.data))

    def _ask(self, i: int, segment: shared.Segment | None = None) -> int:
        """Request a tensor's contents."""
        request = self.wire.request()
        with self.wire.lock:
            get = self.instruction().get
            get.tensor, get.request = i, request
            if segment is not None:
                get.segment = segment.name
                segment.frame = self.wire.frame
        return request

    def _get_bulk(self, i: int, nbytes: int) -> np.ndarray[Any, Any]:
        with self._segments.lend(nbytes) as segment:
            request = self._ask(i, segment)
            if segment is not None:
                self.wire.flush()
                made = shared.fresh(nbytes)
                data = self.wire.wait(request).value.data
                segment.frame = 0
                segment.read(made)
            else:
                made = np.empty(nbytes, np.uint8)
                try:
                    data = self.wire.wait(request).value.data
                    self._bulk.download(request, made.data)
                finally:
                    # Given up or not, the server need not keep it.
                    with self.wire.lock:
                        if not self.closed:
                            self.instruction().free.downloads.append(request)
        return made.view(numpy_dtype(data.dtype)).reshape(tuple(data.shape))

    def check_size(self, s: Spec) -> None:
        """Raises:
        OutOfMemoryError: no session of this server could hold it.
        """
        if s.nbytes > self.limits.max_bytes:
            raise OutOfMemoryError(
                f"gradwire out of memory. Tried to allocate {s.nbytes / 2**30:.2f} GiB. The session has a limit of "
                f"{self.limits.max_bytes / 2**30:.2f} GiB."
            )

    def synchronize(self) -> None:
        """Wait until all is done.

        Raises:
            RuntimeError and others: the first failure since the last time.
        """
        forbid("waits for the server", "wait outside")
        request = self.wire.request()
        with self.wire.lock:
            self.instruction().synchronize.request = request
        self.wire.wait(request)

    def manual_seed(self, seed: int) -> None:
        """Restart the session's random numbers."""
        self.seed = None if here.capture is not None else seed % 2**64  # what is captured may do so any time
        with self.wire.lock:
            self.instruction().seed.seed = seed % 2**64

    # ---- callbacks ----

    def _call_back(self, m: pb.Callback) -> pb.Answer:
        from gradwire.autograd.function import answer

        return answer(self, m)

    def _dropped(self, number: int) -> None:
        """A function, a hook or a pack is gone with the graph that it was part of."""
        self.functions.pop(number, None)
        self.packs.pop(number, None)
        self.hooks.pop(number, None)
        self.stray_hooks.discard(number)

    # ---- life ----

    def close(self) -> None:
        """End the session and free what it holds on the server."""
        if self.closed:
            return
        forbid("closes a session", "close it outside")
        self._leave(CLOSED)
        try:
            self._call("CloseSession", pb.CloseSessionRequest(key=self._key), pb.CloseSessionResponse, 5.0, wait=False)
        except (RuntimeError, ConnectionError):
            pass  # the server is gone, and the session with it
        self._segments.close()
        self._channel.close()
        self.wire.let_go()

    def _leave(self, why: str) -> None:
        self.wire.close()
        self._bulk.close()
        self.closed, self._why_closed = True, why
        if self in _current_stack:
            _current_stack.remove(self)

    def detach(self, tensors: Mapping[str, Tensor] | None = None) -> Detached:
        """Leave the session as it is, for :func:`attach` to go on with: in this process or another, within its lease.

        Args:
            tensors: what is kept, with the graph behind it, by the names that ``attach(...).tensors`` will know it by.
                All other tensors are freed, hooks are removed, and what custom functions and hooks for saved tensors
                keep here can't be differentiated any more.

        Returns:
            What ``attach`` wants. Whoever has it has the session: its ``repr`` hides the secret, pickling it does not.

        Raises:
            RuntimeError and others: a failure since the last time that any was raised. The session goes on.
        """
        self.synchronize()
        with self.wire.lock:
            keep = self.instruction().keep
            keep.SetInParent()  # even where it is empty
            for name, t in (tensors or {}).items():
                if t._session is not self:
                    raise RuntimeError(f"'{name}' is a tensor of {t._session!r}, not of the session to detach from")
                keep.tensors[name] = t._id
        self.synchronize()
        self._leave(DETACHED)
        self._segments.close(leave=True)
        self._channel.close()
        self.wire.let_go()
        return Detached(self.id, self._key.secret, self.target)

    def cancel(self) -> None:
        """Have the server stop what it was sent, between two ops or two nodes of a graph, from any thread.

        What was not done by then is poisoned: reading it says "cancelled". What it would have written to stays as it
        was. The session goes on. Ctrl-C does the same while the program waits.
        """
        self.wire.cancel()

    def disown(self, why: str) -> None:
        """Have nothing more to do with a session that goes on elsewhere."""
        self.closed, self._why_closed = True, why
        # Threads that are not here may hold them.
        self.wire.lock = threading.RLock()
        self._segments = shared.Pool("", self.wire)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<gradwire.Session {self.id} on {self.target}, device {self.device}{', closed' * self.closed}>"


class Detached(NamedTuple):
    """What :meth:`Session.detach` leaves for :func:`attach`."""

    id: str
    secret: str
    target: str

    def __repr__(self) -> str:
        return f"Detached(id={self.id!r}, secret=..., target={self.target!r})"


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()
_current_stack: list[Session] = []
_default_lock = threading.Lock()
_inherited: list[Session] = []
"""Of the process that this one was forked from: they are not to be torn down here."""
_used = False
"""Whether a session was ever opened."""
_stuck = False
"""Whether no session can be opened in this process."""


def connect(
    target: str | None = None, device: str = "", token: str | None = None, *, seed: int = 0, timeout: float = 30.0,
    reconnect: float = 60.0, deadline: float | None = None, sync: bool = False,
) -> Session:  # fmt: skip
    """Open a session and make it current.

    Args:
        target: ``"host:port"`` or ``"unix:path"``; by default ``GRADWIRE_TARGET``, else an embedded server.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; by default ``GRADWIRE_DEVICE``, else the server's.
        token: a bearer token, sent with every call.
        seed: of the session's random numbers; 0 lets the server choose.
        timeout: seconds to wait for the server.
        reconnect: seconds to go on trying after a connection broke.
        deadline: seconds that any wait may take before it raises TimeoutError; see also :class:`gradwire.deadline`.
        sync: have every op wait, and raise at the call what only the data can show: slow, for debugging.

    Raises:
        ConnectionError: no server answers.
        RuntimeError: it refuses the device or the protocol version.

    >>> import gradwire
    >>> with gradwire.connect() as session:
    ...     gradwire.ones(2).sum().item()
    2.0
    """
    device = device or os.environ.get("GRADWIRE_DEVICE", "")
    return _begin(target, device, token, seed, timeout, reconnect, deadline, sync)


def attach(
    id: str, secret: str, target: str | None = None, token: str | None = None, *, timeout: float = 30.0,
    reconnect: float = 60.0, deadline: float | None = None, sync: bool = False,
) -> Session:  # fmt: skip
    """Go on with a session that :meth:`Session.detach` left, or whose program died, and make it current.

    A program that still has it is displaced. ``timeout`` is how long to wait for the server, which first finishes the
    instruction under way; the rest is as for :func:`connect`.

    Raises:
        ConnectionError: no server answers, or not in time.
        RuntimeError: there is no such session (any more).

    >>> import gradwire as torch
    >>> left = torch.connect().detach({"w": torch.ones(2)})
    >>> with torch.attach(*left) as session:
    ...     session.tensors["w"].sum().item()
    2.0
    """
    key = pb.SessionKey(session_id=id, secret=secret)
    session = _begin(target, "", token, 0, timeout, reconnect, deadline, sync, key)
    from gradwire.tensor import restore

    restore(session, session.wire.attached.kept)
    return session


def _begin(target: str | None, device: str, token: str | None, *rest: Any) -> Session:
    waits.freeze()
    target = target or os.environ.get("GRADWIRE_TARGET") or embedded.target()
    # Sessions end before the embedded server does: what is registered last is called first.
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    try:
        session = Session(target, device, token or os.environ.get("GRADWIRE_TOKEN"), *rest)
    except Exception:
        waits.freeze()
        raise
    _current_stack.append(session)
    return session


def current() -> Session:
    """The session that new tensors belong to; the first call connects as the defaults say."""
    if not _current_stack:
        with _default_lock:
            if not _current_stack:
                connect()
    return _current_stack[-1]


def forget_places() -> None:
    """Have the next op on each line of the program told with a location anew."""
    for session in list(_sessions):
        with session.wire.lock:
            session.wire.told.places.clear()


def _close_all() -> None:
    """End what is left when the program ends."""
    waits.exiting = True
    for session in list(_sessions):
        session.close()


def _after_fork() -> None:
    """In a forked process: leave alone what is its parent's, and be ready for a session of its own.

    gRPC's threads and connections are the parent's, too; see :mod:`gradwire.forks`.
    """
    global _default_lock, _stuck
    _stuck = _stuck or (_used and not forks.supported())
    for session in list(_sessions):
        session.disown(FORKED)
        _inherited.append(session)
    _sessions.clear()
    _current_stack.clear()
    _default_lock = threading.Lock()
    embedded.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_NUMPY: dict[int, np.dtype[Any]] = {}


def numpy_dtype(number: int) -> np.dtype[Any]:
    """NumPy's type for a wire number; bfloat16 is ml_dtypes'."""
    found = _NUMPY.get(number)
    if found is None:
        name = dtype_of(number).name
        if name == "bfloat16":
            import ml_dtypes

            found = np.dtype(ml_dtypes.bfloat16)
        else:
            found = np.dtype(name)
        _NUMPY[number] = found
    return found


__all__ = ["Detached", "Session", "attach", "connect", "current", "numpy_dtype"]
