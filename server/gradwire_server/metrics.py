"""What Prometheus reads: kernel times from the engines, counts from the sessions, RPCs by go-grpc-prometheus's names.

Times are gathered by the engine in plain lists and enter a histogram many at a time, or when Prometheus asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gradwire_engine import Engine

KERNEL_BUCKETS = tuple(m * 10.0**e for e in range(-6, 1) for m in (1, 2.5, 5)) + (10.0,)
"""Upper bounds in seconds: 1 us to 10 s."""


class KernelSeconds(Collector):
    """The histogram ``gradwire_kernel_seconds{op,device,phase}``, fed with many observations at a time."""

    def __init__(self) -> None:
        self._bounds = np.array(KERNEL_BUCKETS) * 1e9
        self._counts: dict[tuple[str, str, str], np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        self._sums: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()
        self.before_scrape: Callable[[], None] = lambda: None
        """Brings in what engines have noted since they were last asked."""

    def observe(self, op: str, device: str, phase: str, nanoseconds: Sequence[int]) -> None:
        """Enter the times of several runs of one kernel."""
        where = np.searchsorted(self._bounds, np.array(nanoseconds, np.float64), side="left")
        counts = np.bincount(where, minlength=len(self._bounds) + 1)
        key = (op, device, phase)
        with self._lock:
            have = self._counts.get(key)
            self._counts[key] = counts if have is None else have + counts
            self._sums[key] = self._sums.get(key, 0.0) + sum(nanoseconds) / 1e9

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "gradwire_kernel_seconds", "Time kernels took.", labels=["op", "device", "phase"]
        )
        self.before_scrape()
        with self._lock:
            rows = [(k, c.copy(), self._sums[k]) for k, c in self._counts.items()]
        for key, counts, total in rows:
            upto = np.cumsum(counts).tolist()
            names = [*map(_bound, KERNEL_BUCKETS), "+Inf"]
            family.add_metric(list(key), [(n, float(c)) for n, c in zip(names, upto, strict=True)], total)
        yield family


def _bound(seconds: float) -> str:
    return f"{seconds:.10f}".rstrip("0").rstrip(".") if seconds < 1 else f"{seconds:.1f}"


class Metrics:
    """Every metric of a server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self.registry)
        self.kernels = KernelSeconds()
        self._taking = threading.Lock()
        self.registry.register(self.kernels)

        def counter(name: str, doc: str, *labels: str) -> Counter:
            return Counter(name, doc, labels, registry=self.registry)

        def gauge(name: str, doc: str) -> Gauge:
            return Gauge(name, doc, registry=self.registry)

        self.frames = counter("gradwire_frames", "Frames executed.")
        self.instructions = counter("gradwire_instructions", "Instructions executed.")
        self.errors = counter("gradwire_errors", "Instructions that failed, by exception.", "type")
        self.sessions = gauge("gradwire_sessions", "Sessions open.")
        self.sessions_limit = gauge("gradwire_sessions_limit", "Sessions that may be open.")
        self.expired = counter("gradwire_sessions_expired", "Sessions ended because their lease ran out.")
        self.tensors = gauge("gradwire_tensors", "Tensor ids in use, over all sessions.")
        self.tensor_bytes = gauge("gradwire_tensor_bytes", "Bytes that tensors hold, over all sessions.")
        self.nodes = gauge("gradwire_graph_nodes", "Recorded nodes alive, over all sessions.")
        self.programs = gauge("gradwire_programs", "Programs defined, over all sessions.")
        self.received = counter("gradwire_received_bytes", "Bytes of frames and uploads received.")
        self.sent = counter("gradwire_sent_bytes", "Bytes of replies and downloads sent.")
        rpc = ("grpc_type", "grpc_service", "grpc_method")
        self.rpc_started = counter("grpc_server_started", "RPCs started.", *rpc)
        self.rpc_handled = counter("grpc_server_handled", "RPCs completed, by code.", *rpc, "grpc_code")
        self.rpc_seconds = Histogram("grpc_server_handling_seconds", "Time RPCs took.", rpc, registry=self.registry)

    def take_times(self, engine: Engine) -> None:
        """Enter and clear an engine's times, from any thread."""
        with self._taking:
            for plan in list(engine.plans):
                plan.settle()
            for (op, phase), times in list(engine.times.items()):
                taken = times[:]
                if taken:
                    del times[: len(taken)]  # what is noted meanwhile comes after it
                    self.kernels.observe(op, engine.device, phase, taken)

    def names(self) -> Iterator[str]:
        for family in self.registry.collect():
            yield family.name
