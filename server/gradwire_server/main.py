"""The command line: ``gradwire serve`` and ``gradwire demo``."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.service import SERVICE, Service, serve
from gradwire_server.shared import SharedMemory

log = logging.getLogger("gradwire_server")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="gradwire", description="PyTorch's autograd as a network service.")
    p.add_argument("--version", action="version", version=f"gradwire {metadata.version('gradwire')}")
    commands = p.add_subparsers(dest="command", required=True)
    s = commands.add_parser("serve", help="run a server", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    d = Limits()
    s.add_argument("--listen", default="127.0.0.1:50051", help="host:port or unix:path of the gRPC service")
    s.add_argument("--metrics-listen", default="", help="host:port of the Prometheus endpoint; none if empty")
    s.add_argument("--health-listen", default="", help="host:port of a gRPC health service of its own; none if empty")
    s.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    s.add_argument("--token-file", default="", help="file with the bearer token that clients must send; none if empty")
    s.add_argument("--max-sessions", type=int, default=256)
    s.add_argument("--max-bytes", type=size, default=d.max_bytes, help="tensor bytes a session, e.g. 4GiB")
    s.add_argument("--max-tensors", type=int, default=d.max_tensors, help="tensors a session")
    s.add_argument("--max-programs", type=int, default=d.max_programs, help="programs a session; 0 for none")
    s.add_argument("--max-instruction-seconds", type=float, default=d.max_instruction_seconds, metavar="SECONDS",
                   help="what a backward pass, or a program, may take; inf for any time")
    s.add_argument("--lease", type=float, default=d.lease_seconds, help="seconds a session outlives its stream")
    s.add_argument("--shared-memory", default="/dev/shm", metavar="DIRECTORY",
                   help="a file system in memory, for the tensors of clients on this machine; none if empty")
    s.add_argument("--grace", type=float, default=5.0, help="seconds that RPCs get to end after SIGTERM")
    s.add_argument("--log-format", choices=("text", "json"), default="text")
    s.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    s.add_argument("--die-with-parent", action="store_true", help=argparse.SUPPRESS)
    demo = commands.add_parser("demo", help="train a classifier on handwritten digits", add_help=False)
    demo.add_argument("rest", nargs=argparse.REMAINDER)
    return p


def size(text: str) -> int:
    """A number of bytes: ``4GiB``, ``500MB``, ``1024``."""
    m = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", text.strip().upper())
    if m is None:
        raise argparse.ArgumentTypeError(f"not a size: {text!r}")
    return int(float(m[1]) * (1024 if m[3] else 1000) ** " KMGT".index(m[2] or " "))


class JsonLines(logging.Formatter):
    """One JSON object a line, with what ``extra`` carries."""

    def format(self, record: logging.LogRecord) -> str:
        known = ("session", "client", "device")
        row = {"time": self.formatTime(record), "level": record.levelname.lower(), "message": record.getMessage()}
        row |= {k: getattr(record, k) for k in known if hasattr(record, k)}
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row)


def set_up_logging(form: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def split_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise SystemExit(f"gradwire: expected host:port, got {text!r}")
    return host.strip("[]") or "0.0.0.0", int(port)


def serve_health(listen: str) -> tuple[grpc.Server, health.HealthServicer]:
    """A gRPC health service on an address and a thread pool of its own, so that no load starves a probe."""
    server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="health"))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(listen)
    server.start()
    return server, servicer


def stop_with_parent(stop: threading.Event) -> None:
    """Stop when the pipe that a parent process holds open closes, however the parent ended."""
    sys.stdin.buffer.read()
    stop.set()


def share_memory(root: str) -> SharedMemory | None:
    """Where clients on this machine may put tensors; None where that can't be."""
    try:
        return SharedMemory(root) if root else None
    except OSError as e:
        log.info("no shared memory for clients on this machine: %s", e)
        return None


def run_server(o: argparse.Namespace) -> int:
    set_up_logging(o.log_format, o.log_level)
    limits = Limits(max_bytes=o.max_bytes, max_tensors=o.max_tensors, max_programs=o.max_programs,
                    max_instruction_seconds=o.max_instruction_seconds, lease_seconds=o.lease)  # fmt: skip
    metrics = Metrics()
    try:
        service = Service(o.device, limits, o.max_sessions, metrics, share_memory(o.shared_memory))
        token = Path(o.token_file).read_text().strip() if o.token_file else ""
        server, address = serve(service, o.listen, token)
        probes = serve_health(o.health_listen) if o.health_listen else None
        if o.metrics_listen:
            host, port = split_address(o.metrics_listen)
            scraped, _ = start_http_server(port, host, metrics.registry)
            print(f"gradwire metrics on http://{host}:{scraped.server_port}/metrics", flush=True)
    except (RuntimeError, OSError) as e:
        print(f"gradwire: {e}", file=sys.stderr)
        return 1
    # A recorded graph is many small objects and hardly a cycle: looking at the young ones every 700 allocations, as is
    # the collector's default, would be a tenth of the time that an op takes.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    # A frame that has come waits for the interpreter while another is executed: for 5 ms, were it for the default.
    sys.setswitchinterval(0.0002)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if probes:
        for name in ("", SERVICE.full_name):
            probes[1].set(name, health_pb2.HealthCheckResponse.SERVING)
    print(f"gradwire listening on {address}", flush=True)
    if o.die_with_parent:
        threading.Thread(target=stop_with_parent, args=(stop,), daemon=True).start()
    stop.wait()
    log.info("stopping")
    if probes:
        probes[1].enter_graceful_shutdown()
    service.stop()
    server.stop(o.grace).wait()
    if probes:
        probes[0].stop(0).wait()
    return 0


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["demo"]:
        # The demo is a client's program: the server's packages don't import it.
        os.execv(sys.executable, [sys.executable, "-m", "gradwire.demo", *argv[1:]])
    return run_server(parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
