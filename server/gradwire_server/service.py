"""The gRPC service: sessions by id, streams to the threads that run them, bulk transfers, status codes."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection

from gradwire_engine import backend
from gradwire_proto import chunks
from gradwire_proto.catalog import CATALOG
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server import programs
from gradwire_server.errors import Displaced, SessionEnded, refusal, status
from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.outbox import Lost
from gradwire_server.session import Session
from gradwire_server.shared import SharedMemory
from gradwire_server.stream import Stream

log = logging.getLogger(__name__)
PROTOCOL_VERSIONS = (1,)
OBSERVE = 8192
"""Instructions after which a session's counts and times enter the metrics, if nobody asked before."""
SERVICE = pb.DESCRIPTOR.services_by_name["Gradwire"]


def abort(context: grpc.ServicerContext, why: grpc.Status) -> NoReturn:
    context.abort_with_status(why)
    raise AssertionError  # it raises


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, text: str) -> NoReturn:
    abort(context, refusal(code, reason, text))


def bad_field(context: grpc.ServicerContext, field: str, text: str) -> NoReturn:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
    abort(context, status(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {text}",
                          error_details_pb2.BadRequest(field_violations=[violation])))  # fmt: skip


def parse(kind: Any, field: str, message: bytes, context: grpc.ServicerContext) -> Any:
    """A message that came as bytes."""
    try:
        return kind.FromString(message)
    except DecodeError as e:
        bad_field(context, field, f"not parseable as {kind.DESCRIPTOR.full_name}: {e}")


class Service:
    """The RPCs. Sessions live here, and end when closed, when their lease runs out, or with the server."""

    def __init__(
        self, device: str, limits: Limits, max_sessions: int, metrics: Metrics, shared: SharedMemory | None = None
    ):
        backend.library(device)  # fails now rather than at the first session
        self.device = device
        self.limits = limits
        self.max_sessions = max_sessions
        self.metrics = metrics
        self.shared = shared
        self.sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        metrics.sessions_limit.set(max_sessions)
        metrics.sessions.set_function(lambda: len(self.sessions))
        metrics.kernels.before_scrape = self._before_scrape
        metrics.tensors.set_function(lambda: self._sum(lambda s: len(s.client_tensors)))
        metrics.tensor_bytes.set_function(lambda: self._sum(lambda s: s.engine.meter.used))
        metrics.nodes.set_function(lambda: self._sum(lambda s: s.engine.nodes))
        metrics.programs.set_function(lambda: self._sum(programs.count))
        self._reaper = threading.Thread(target=self._reap, name="gradwire-leases", daemon=True)
        self._reaper.start()

    def _sum(self, read: Callable[[Session], int]) -> int:
        return sum(read(s) for s in list(self.sessions.values()))

    def _before_scrape(self) -> None:
        for session in list(self.sessions.values()):
            self._count(session)
            self.metrics.take_times(session.engine)

    # ---- unary ----

    def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            version=metadata.version("gradwire"),
            protocol_versions=PROTOCOL_VERSIONS,
            devices=[self.device],
            max_inline_bytes=self.limits.max_inline_bytes,
            shared_memory=self.shared.path if self.shared else "",
        )

    def ListOps(self, request: pb.ListOpsRequest, context: grpc.ServicerContext) -> pb.ListOpsResponse:
        return pb.ListOpsResponse(
            ops=[
                pb.OpInfo(name=o.name, signature=o.signature, doc=o.doc, differentiable=o.differentiable,
                          aliases=o.aliases)
                for o in CATALOG.values()
            ]
        )  # fmt: skip

    def OpenSession(self, request: pb.OpenSessionRequest, context: grpc.ServicerContext) -> pb.OpenSessionResponse:
        if request.protocol_version not in PROTOCOL_VERSIONS:
            text = f"this server speaks protocol versions {list(PROTOCOL_VERSIONS)}, not {request.protocol_version}"
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_VERSION", text)
        device = request.device or self.device
        try:
            backend.library(device)
        except RuntimeError as e:
            bad_field(context, "device", str(e))
        with self._lock:
            if self._stopping.is_set():
                refuse(context, grpc.StatusCode.UNAVAILABLE, "STOPPING", "the server is stopping")
            session = self._opened(request.request_id) or self._open(device, request, context)
        return pb.OpenSessionResponse(
            session_id=session.id,
            secret=session.secret,
            limits=self.limits.message(),
            lease_seconds=self.limits.lease_seconds,
            device=session.device,
            shared_memory=session.segments.path if session.segments else "",
        )

    def _opened(self, request_id: bytes) -> Session | None:
        """The session that a request has opened whose answer was lost."""
        known = [s for s in self.sessions.values() if request_id and s.request_id == request_id]
        return known[0] if known else None

    def _open(self, device: str, request: pb.OpenSessionRequest, context: grpc.ServicerContext) -> Session:
        if len(self.sessions) >= self.max_sessions:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "MAX_SESSIONS",
                   f"the server has a limit of {self.max_sessions} sessions")  # fmt: skip
        session = Session(device, request.seed, self.limits, self._observe)
        session.request_id = request.request_id
        if self.shared is not None:
            session.segments = self.shared.accept(session.id, request.shared_memory_nonce)
        self.sessions[session.id] = session
        log.info("session opened", extra={"session": session.id, "client": request.client, "device": session.device})
        return session

    def CloseSession(self, request: pb.CloseSessionRequest, context: grpc.ServicerContext) -> pb.CloseSessionResponse:
        self._end(self._session(request.key, context), "closed")
        return pb.CloseSessionResponse()

    def Cancel(self, request: pb.CancelRequest, context: grpc.ServicerContext) -> pb.CancelResponse:
        self._session(request.key, context).cancel(request.last_seq)
        return pb.CancelResponse()

    # ---- the stream ----

    def Stream(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[bytes | None], None]
    ) -> None:
        """Hand a stream to its session, whose own thread reads the frames, executes them and sends the replies; this
        one only sends what there is when it attaches, for that one may be busy."""
        opening = next(requests, b"")
        first = parse(pb.Frame, "frame", opening, context)
        if not first.HasField("attach"):
            bad_field(context, "attach", "the first frame of a stream names the session and its secret")
        session = self._session(first.attach, context)
        stream = Stream(opening, requests, context, send)
        try:
            session.attach(stream, first)
        except Displaced as e:
            refuse(context, grpc.StatusCode.ABORTED, "FENCED", str(e))
        except Lost as e:
            refuse(context, grpc.StatusCode.DATA_LOSS, "REPLIES", str(e))
        except SessionEnded:
            self._session(first.attach, context)  # refuses what is not there any more
            raise
        if not context.add_callback(lambda: session.detach(stream)):
            session.detach(stream)  # it was cut already
        stream.send()

    def _observe(self, session: Session) -> None:
        session.frames_run += 1
        if session.instructions_run >= OBSERVE:
            self._count(session)
            self.metrics.take_times(session.engine)

    def _count(self, session: Session) -> None:
        """Enter and clear a session's counts."""
        for counter, of, name in (
            (self.metrics.frames, session, "frames_run"),
            (self.metrics.instructions, session, "instructions_run"),
            (self.metrics.received, session, "received_bytes"),
            (self.metrics.sent, session.outbox, "sent_bytes"),
        ):
            counter.inc(getattr(of, name))
            setattr(of, name, 0)

    # ---- bulk ----

    def Upload(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[pb.UploadResponse]:
        header = parse(pb.UploadRequest, "header", next(requests, b""), context).header
        if not header.upload:
            bad_field(context, "header", "the first message of an upload carries its header, with a number above 0")
        session = self._session(header.key, context)
        try:
            upload = session.transfers.upload(header.upload, header.nbytes)
            turn, received = upload.begin(header.attempt)
        except MemoryError as e:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "MAX_BYTES", str(e))
        except ValueError as e:
            bad_field(context, "header", str(e))
        except Displaced as e:
            refuse(context, grpc.StatusCode.ABORTED, "FENCED", str(e))
        yield pb.UploadResponse(received=received)
        for message in requests:
            data = chunks.unpack(chunks.UPLOAD_DATA, message)
            if data is None:
                data = memoryview(parse(pb.UploadRequest, "data", message, context).data)
            try:
                upload.write(turn, data)
            except ValueError as e:
                bad_field(context, "data", str(e))
            except Displaced as e:
                refuse(context, grpc.StatusCode.ABORTED, "FENCED", str(e))
            session.touch()
            self.metrics.received.inc(len(data))
        if upload.received != header.nbytes:
            bad_field(context, "data", f"{upload.received} bytes came of the {header.nbytes} that were announced")
        yield pb.UploadResponse(received=upload.received)

    def Download(self, request: pb.DownloadRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        session = self._session(request.key, context)
        try:
            found = session.transfers.download(request.download)
        except ValueError as e:
            refuse(context, grpc.StatusCode.NOT_FOUND, "DOWNLOAD", str(e))
        if request.offset > found.nbytes:
            bad_field(context, "offset", f"past the end of {found.nbytes} bytes")
        for at in range(request.offset, found.nbytes, chunks.CHUNK):
            session.touch()
            message = found.message(at)
            self.metrics.sent.inc(len(message))
            yield message

    # ---- sessions ----

    def _session(self, key: pb.SessionKey, context: grpc.ServicerContext) -> Session:
        """The session of a key. The answer to an unknown id and to a wrong secret is the same."""
        session = self.sessions.get(key.session_id)
        if session is None or not session.owns(key.secret):
            refuse(context, grpc.StatusCode.NOT_FOUND, "SESSION",
                   f"no session {key.session_id!r} with this secret: it was closed, expired, or never was")  # fmt: skip
        session.touch()
        return session

    def _end(self, session: Session, why: str) -> None:
        with self._lock:
            self.sessions.pop(session.id, None)
        session.end()
        self._count(session)
        self.metrics.take_times(session.engine)
        log.info("session %s", why, extra={"session": session.id})

    def _reap(self) -> None:
        limits = self.limits
        while not self._stopping.wait(min(1.0, limits.lease_seconds / 4, limits.max_instruction_seconds / 4)):
            self._look_after()

    def _look_after(self) -> None:
        """Apart from the loop, whose variables would keep the last session for as long as it waits."""
        now = time.monotonic()
        for session in list(self.sessions.values()):
            session.brake.watch()
            if not session.attached and now - session.touched > self.limits.lease_seconds:
                self.metrics.expired.inc()
                self._end(session, "expired")

    def stop(self) -> None:
        """Refuse new sessions and end the streams; what they had sent before is executed."""
        self._stopping.set()
        for session in list(self.sessions.values()):
            self._end(session, "ended with the server")
        if self.shared is not None:
            self.shared.close()


class BearerToken(grpc.ServerInterceptor):  # type: ignore[type-arg]  # not subscriptable at run time
    """Refuses calls that don't carry the server's token."""

    def __init__(self, token: str):
        self._expected = f"Bearer {token}".encode()

        def refuse_call(_: Any, context: grpc.ServicerContext) -> None:
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN", "this server wants a bearer token")

        self._refusals = {
            (False, False): grpc.unary_unary_rpc_method_handler(refuse_call),
            (False, True): grpc.unary_stream_rpc_method_handler(refuse_call),
            (True, False): grpc.stream_unary_rpc_method_handler(refuse_call),
            (True, True): grpc.stream_stream_rpc_method_handler(refuse_call),
        }

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = continuation(details)
        given = next((v for k, v in details.invocation_metadata if k == "authorization"), "")
        if handler is None or hmac.compare_digest(str(given).encode(), self._expected):
            return handler
        return self._refusals[handler.request_streaming, handler.response_streaming]


def handlers(service: Service) -> grpc.GenericRpcHandler[Any, Any]:
    """The service's methods as gRPC wants them. Frames and replies pass as bytes: a frame that can't be parsed is ours
    to answer, not the transport's to end the stream over. Chunks do, too: parsing would copy them."""
    kinds: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    table = {}
    for m in SERVICE.methods:
        kind = m.client_streaming, m.server_streaming
        request, response = getattr(pb, m.input_type.name), getattr(pb, m.output_type.name)
        table[m.name] = kinds[kind](
            counted(service.metrics, m.name, kind, getattr(service, m.name)),
            request_deserializer=None if m.name in ("Stream", "Upload") else request.FromString,
            response_serializer=None if m.name in ("Stream", "Download") else response.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(SERVICE.full_name, table)


def counted(metrics: Metrics, name: str, kind: tuple[bool, bool], run: Callable[..., Any]) -> Callable[..., Any]:
    """A method that counts itself under go-grpc-prometheus's names."""
    types = {(False, False): "unary", (False, True): "server_stream", (True, False): "client_stream",
             (True, True): "bidi_stream"}  # fmt: skip
    labels = (types[kind], SERVICE.full_name, name)
    started, seconds = metrics.rpc_started.labels(*labels), metrics.rpc_seconds.labels(*labels)

    def handled(context: grpc.ServicerContext, began: float) -> None:
        code = context.code()  # type: ignore[attr-defined]
        if isinstance(code, int):
            code = next(c for c in grpc.StatusCode if c.value[0] == code)
        text = "OK" if code is None else "".join(w.capitalize() for w in code.name.split("_"))
        metrics.rpc_handled.labels(*labels, text).inc()
        seconds.observe(time.perf_counter() - began)

    def count(request: Any, context: grpc.ServicerContext, *send: Any) -> Any:
        began = time.perf_counter()
        started.inc()
        if not context.add_callback(lambda: handled(context, began)):
            handled(context, began)
        return run(request, context, *send)

    # As gRPC's own health service does it: the call is open until something, on any thread, sends None.
    count.experimental_non_blocking = name == "Stream"  # type: ignore[attr-defined]
    return count


def serve(service: Service, listen: str, token: str = "") -> tuple[grpc.Server, str]:
    """Start serving, where there is a token to callers that have it.

    Returns:
        The server, and the address it listens on, with its port where 0 was asked for.

    Raises:
        RuntimeError: the address can't be listened on.
    """
    server = grpc.server(
        ThreadPoolExecutor(service.max_sessions + 32, thread_name_prefix="rpc"),  # a transfer holds one, a stream none
        interceptors=[BearerToken(token)] if token else [],
        options=[
            ("grpc.max_receive_message_length", service.limits.max_message_bytes),
            ("grpc.max_send_message_length", service.limits.max_message_bytes),
            ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake to be told, not shared with
            # Either side asks the other every 30 s whether it is there. That keeps an idle client's connection open
            # through whatever is in between, and ends one whose machine or network is gone without a word: its stream
            # fails 10 s later, and its lease begins. Clients that ask more often than every 10 s are sent away.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ],
    )
    server.add_generic_rpc_handlers((handlers(service),))
    reflection.enable_server_reflection((SERVICE.full_name, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(listen)
    server.start()
    address = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
    return server, address

