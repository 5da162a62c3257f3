"""A proxy between client and server that does to their connection what networks do: by a plan, and on command.

Every connection gets a :class:`Fault` from a schedule, which knows it by its number: a run is what its seed makes it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["up", "down"]
"""Up is from client to server."""


@dataclass(frozen=True)
class Fault:
    """What happens to one connection."""

    up: int | None = None
    """Cut when this many bytes have gone up."""
    down: int | None = None
    reset: bool = False
    """Cut at once, with a TCP reset where it is TCP; else what was taken before the cut still arrives, then the end."""
    piece: int = 65536
    """Bytes are passed on at most so many at a time."""
    delay: float = 0.0
    """Seconds that every byte takes, each way; the order stays."""


@dataclass(eq=False)
class Connection:
    fault: Fault
    writers: dict[Direction, asyncio.StreamWriter]
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def cut(self, reset: bool) -> None:
        for w in self.writers.values():
            if not reset:
                w.close()
                continue
            sock = w.get_extra_info("socket")
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            w.transport.abort()


class Proxy:
    """Listens on loopback, or on a Unix socket where given one, and passes on to ``target``. A context manager.

    Args:
        target: ``unix:path`` or ``host:port``.
        schedule: the fault of the n-th connection, from 0.
        listen: ``unix:path``; a port of loopback if empty.
    """

    def __init__(self, target: str, schedule: Callable[[int], Fault] = lambda n: Fault(), listen: str = ""):
        self.target = target
        self.schedule = schedule
        self.address = listen
        self.accepted = 0
        self.cuts = 0
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        """Bytes of all connections so far."""
        self._refusing = False
        self._healed = False
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ---- on command; each has happened when it returns ----

    def cut(self, reset: bool = True) -> None:
        """Cut every connection there is."""

        async def run() -> None:
            for c in list(self._open):
                self._cut(c, reset)

        self._do(run())

    def stall(self, *directions: Direction) -> None:
        """Pass nothing on, and take no more than is on the way: what is behind it feels the pressure."""

        async def run() -> None:
            for d in directions:
                self._flowing[d].clear()

        self._do(run())

    def go(self) -> None:
        """Let both directions flow."""

        async def run() -> None:
            for event in self._flowing.values():
                event.set()

        self._do(run())

    def heal(self) -> None:
        """Do nothing more to connections, those there are included."""

        async def run() -> None:
            self._healed = True

        self._do(run())

    def refuse(self, refusing: bool) -> None:
        """Drop connections as they come."""

        async def run() -> None:
            self._refusing = refusing

        self._do(run())

    # ---- inside the loop ----

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        for event in self._flowing.values():
            event.set()
        if self.address:
            self._server = await asyncio.start_unix_server(self._serve, self.address.removeprefix("unix:"))
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _close(self) -> None:
        self._server.close()
        for c in list(self._open):
            self._cut(c, reset=True)
        for t in list(self._tasks):
            t.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self, c: Connection, reset: bool) -> None:
        if c in self._open:
            self._open.discard(c)
            self.cuts += 1
            c.cut(reset)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = Fault() if self._healed else self.schedule(self.accepted)
        self.accepted += 1
        if self._refusing or 0 in (fault.up, fault.down):
            self.cuts += 1
            writer.transport.abort()
            return
        try:
            if self.target.startswith("unix:"):
                far, out = await asyncio.open_unix_connection(self.target.removeprefix("unix:"))
            else:
                host, _, port = self.target.rpartition(":")
                far, out = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        c = Connection(fault, {"up": out, "down": writer})
        self._open.add(c)
        for direction, source in (("up", reader), ("down", far)):
            task = self._loop.create_task(self._pump(c, direction, source))  # type: ignore[arg-type]
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, c: Connection, direction: Direction, source: asyncio.StreamReader) -> None:
        """Pass one direction on until it ends or is to be cut, then end both."""
        sink, limit = c.writers[direction], getattr(c.fault, direction)
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)
        late = self._loop.create_task(self._deliver(due, sink)) if c.fault.delay else None
        try:
            while data := await source.read(c.fault.piece):
                await self._flowing[direction].wait()
                if limit is not None and not self._healed:
                    data = data[: limit - c.passed[direction]]
                if late is not None:
                    await due.put((self._loop.time() + c.fault.delay, data))
                else:
                    sink.write(data)
                    await sink.drain()
                c.passed[direction] += len(data)
                self.passed[direction] += len(data)
                if c.passed[direction] == limit and not self._healed:
                    self._cut(c, c.fault.reset)
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if late is not None:
                late.cancel()
            if c in self._open:
                self._open.discard(c)
                c.cut(reset=False)

    async def _deliver(self, due: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while True:
            when, data = await due.get()
            await asyncio.sleep(when - self._loop.time())
            sink.write(data)
            await sink.drain()


def at(direction: Direction, offset: int, reset: bool = False) -> Callable[[int], Fault]:
    """The schedule that cuts the first connection at an offset, and leaves the others alone."""
    first = Fault(up=offset, reset=reset) if direction == "up" else Fault(down=offset, reset=reset)
    return lambda n: first if n == 0 else Fault()


def at_random(seed: int, least: int, most: int, cuts: int, piece: int = 65536) -> Callable[[int], Fault]:
    """The schedule that cuts each of the first connections after so many bytes of one direction or the other."""
    draw = random.Random(seed)
    faults = []
    for _ in range(cuts):
        offset, up, reset = draw.randrange(least, most), draw.random() < 0.5, draw.random() < 0.5
        faults.append(Fault(offset if up else None, None if up else offset, reset, piece))
    return lambda n: faults[n] if n < cuts else Fault(piece=piece)


def until(happened: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something to happen, which it must."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)
