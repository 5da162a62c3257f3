"""A server in this process behind the proxy, a short conversation with it, and what it counts.

``python -m tests.system.faults --every`` cuts the conversation at every byte offset rather than at some.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradwire as torch
from gradwire.session import Session, connect
from gradwire_server.limits import Limits
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from gradwire_server.session import Session as ServerSession
from tests.system.programs import Cube
from tests.system.proxy import Direction, Fault, Proxy, at

Counts = dict[tuple[str, str], int]
"""Kernels run, by op and phase."""


class Local:
    """A server on a Unix socket of this process."""

    def __init__(self, folder: Path, limits: Limits):
        self.folder = folder
        self.service = Service("cpu", limits, 32, Metrics())
        self.server, self.address = serve(self.service, f"unix:{folder}/s")
        self._proxies = itertools.count()

    def proxy(self, schedule: Callable[[int], Fault] = lambda n: Fault()) -> Proxy:
        return Proxy(self.address, schedule, f"unix:{self.folder}/p{next(self._proxies)}")

    def session(self, of: Session) -> ServerSession:
        """The server's end of a client's session."""
        return self.service.sessions[of.id]

    def counts(self) -> Counts:
        found = {}
        for family in self.service.metrics.kernels.collect():
            for s in family.samples:
                if s.name.endswith("_count"):
                    found[s.labels["op"], s.labels["phase"]] = int(s.value)
        return found

    @contextlib.contextmanager
    def counting(self, into: Counts) -> Iterator[None]:
        """Count the kernels run by sessions that live meanwhile: they must have been closed before it ends."""
        before = self.counts()
        yield
        for k, n in self.counts().items():
            if n != before.get(k, 0):
                into[k] = n - before.get(k, 0)

    def run(self, program: Callable[[Session, Proxy], Any], schedule: Callable[[int], Fault], **options: Any) -> Any:
        """What a program comes to behind a proxy, which kernels ran for it, and the proxy that it had."""
        counts: Counts = {}
        with self.counting(counts), self.proxy(schedule) as proxy, connect(proxy.address, **options) as session:
            end = self.session(session)
            made = program(session, proxy)
            proxy.heal()  # so that the session is closed at once, and not by its lease
            session.close()
            end.join(20)
        return made, counts, proxy


@contextlib.contextmanager
def local(limits: Limits | None = None) -> Iterator[Local]:
    with tempfile.TemporaryDirectory(prefix="gradwire-") as folder:
        made = Local(Path(folder), limits or Limits())
        yield made
        made.service.stop()
        made.server.stop(0).wait()


def talk(*_: Any) -> list[bytes]:
    """A bit of everything: in-place, hooks, a custom function, saved tensors that are kept here, a graph of a gradient,
    backward, values."""
    x = torch.tensor([0.5, -1.25], requires_grad=True)
    y = x * 3
    y.mul_(2)
    y.register_hook(lambda g: g * 0.5)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach() * 2, lambda t: t / 2):
        z = Cube.apply(y.tanh())
    y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: (grad_inputs[0] * 2, *grad_inputs[1:]))
    (g,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    (g * g).sum().backward()
    return [t.detach().numpy().tobytes() for t in (z, g, x.grad)]


def lengths(server: Local) -> dict[Direction, int]:
    """The bytes of an undisturbed conversation."""
    return dict(server.run(talk, lambda n: Fault())[2].passed)


def offsets(server: Local, stride: int) -> list[tuple[Direction, int, bool]]:
    """Where to cut: every ``stride`` bytes, now with a reset and now without."""
    found: list[tuple[Direction, int, bool]] = []
    for direction, n in lengths(server).items():
        found += [(direction, i, i // stride % 2 == 0) for i in range(0, n, stride)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults")
    parser.add_argument("--every", action="store_true", help="cut at every offset, not at every 16th")
    stride = 1 if parser.parse_args().every else 16
    wrong = 0
    with local() as server:
        want, counts, _ = server.run(talk, lambda n: Fault())
        places = offsets(server, stride)
        for direction, i, reset in places:
            got = server.run(talk, at(direction, i, reset))
            if got[:2] != (want, counts):
                wrong += 1
                print(f"wrong when cut after {i} bytes {direction}, reset={reset}: {got[:2]}")
    print(f"{len(places)} conversations cut, {wrong} came out wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
