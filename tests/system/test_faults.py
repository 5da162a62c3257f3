"""Connections cut everywhere: the same bits come out as from an undisturbed run, and every kernel ran exactly once."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradwire as torch
from gradwire.session import Session, connect
from tests.system.faults import Local, offsets, talk
from tests.system.processes import serve
from tests.system.programs import STEPS, draw, remote, run
from tests.system.programs import local as engine
from tests.system.proxy import Fault, Proxy, at, at_random, until

STRIDE = 1 if os.environ.get("GRADWIRE_EVERY_OFFSET") else 32
"""Bytes between the places where the short conversation is cut."""
CUTS = 550


def test_a_short_conversation_cut_anywhere(server: Local):
    want, counts, _ = server.run(talk, lambda n: Fault())
    assert sum(counts.values()) > 20
    for direction, i, reset in offsets(server, STRIDE):
        got, ran, _ = server.run(talk, at(direction, i, reset))
        assert got == want, (direction, i, reset)
        assert ran == counts, (direction, i, reset)
    assert not server.service.sessions  # not one was opened unheard


@pytest.mark.parametrize("piece", [1, 7])
def test_a_conversation_in_tiny_pieces(server: Local, piece: int):
    want, counts, _ = server.run(talk, lambda n: Fault())
    assert server.run(talk, lambda n: Fault(piece=piece))[:2] == (want, counts)


def test_a_long_program_cut_hundreds_of_times(server: Local):
    program = draw(1, 3800)
    want, counts, _ = server.run(lambda *_: run(program, remote()), lambda n: Fault())
    got, ran, proxy = server.run(lambda *_: run(program, remote()), at_random(2, 300, 1100, CUTS))
    assert proxy.cuts >= 500
    assert got == want == run(program, engine())
    assert ran == counts


def test_tensors_in_shared_memory_are_those_that_were_sent(tmp_path: Path):
    arrays = [np.random.default_rng(i).standard_normal(100_000) for i in range(20)]
    schedule = at_random(6, 300, 900, 30)
    with serve(tmp_path) as process, Proxy(process.address, schedule, f"unix:{tmp_path}/p") as proxy:
        with connect(proxy.address) as session:
            assert session._segments._directory
            for a in arrays:
                x = torch.tensor(a)
                tripled = (x * 3).numpy()
                x += 1
                assert tripled.tobytes() == (a * 3).tobytes()
                assert x.numpy().tobytes() == (a + 1).tobytes()
            proxy.heal()
        assert proxy.cuts > 5


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(
    program=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(0, 30)), max_size=25),
    seed=st.integers(0, 1000),
)
def test_any_program_comes_to_what_the_engine_makes_of_it(shared: Local, program: Any, seed: int):
    got, _, _ = shared.run(lambda *_: run(program, remote()), at_random(seed, 0, 3000, 3, piece=997))
    assert got == run(program, engine())


@pytest.fixture(scope="module")
def shared(server: Local) -> Local:
    """Hypothesis wants no fixture that is made anew for each example; this one is not."""
    return server


def test_big_tensors_resume_where_they_were_cut(server: Local):
    a = np.random.default_rng(3).standard_normal(500_000)

    def there_and_back(*_: Any) -> bytes:
        return (torch.tensor(a) * 2).numpy().tobytes()

    draw = random.Random(4)
    faults = [Fault(up=draw.randrange(900_000), reset=bool(i % 2)) for i in range(5)]
    faults += [Fault(down=draw.randrange(900_000), reset=bool(i % 2)) for i in range(5)]
    faults += [Fault(up=draw.randrange(100_000, 2_000_000)) for i in range(3)]
    got, ran, proxy = server.run(there_and_back, lambda n: faults[n] if n < len(faults) else Fault())
    assert got == (a * 2).tobytes()
    assert ran == {("mul", "forward"): 1}
    assert proxy.accepted > 5


def test_a_captured_step_that_is_cut(server: Local):
    def train(*_: Any) -> list[bytes]:
        torch.manual_seed(1)
        w = torch.tensor([[0.5, -0.25], [1.0, 0.75]], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.5)

        @torch.compile
        def step(x: Any) -> Any:
            loss = torch.dropout((x @ w).tanh(), 0.25, True).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        batches = [torch.tensor(np.random.default_rng(i).standard_normal((3, 2))) for i in range(8)]
        seen = [step(batches[i % 8]).detach().numpy().tobytes() for i in range(150)]
        seen.append(step.steps(batches * 4).numpy().tobytes())
        return [*seen, w.detach().numpy().tobytes()]

    want, counts, _ = server.run(train, lambda n: Fault())
    got, ran, proxy = server.run(train, at_random(7, 0, 3000, 60))
    assert got == want
    assert ran == counts
    assert counts["mm", "replay"] > 150
    assert proxy.cuts > 10


def test_threads_share_a_session_that_is_cut(server: Local):
    def share(*_: Any) -> dict[int, list[bytes]]:
        made: dict[int, list[bytes]] = {}

        def work(seed: int) -> None:
            x = torch.tensor(np.random.default_rng(seed).standard_normal(4), requires_grad=True)
            found = []
            for _ in range(40):
                x = torch.autograd.grad((x * x * x).sum(), x)[0].tanh().requires_grad_()
                with torch.no_grad():
                    found.append((x * 2).numpy().tobytes())
            made[seed] = found

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return made

    want, counts, _ = server.run(share, lambda n: Fault())
    got, ran, proxy = server.run(share, at_random(5, 0, 3000, 40))
    assert (got, ran) == (want, counts)
    assert len(got) == 4
    assert proxy.cuts > 5


def test_a_reply_lost_after_execution_comes_again(server: Local):
    def program(session: Session, proxy: Proxy) -> Any:
        x = torch.tensor([2.0, 3.0])
        session.synchronize()
        proxy.stall("down")
        end, got = server.session(session), []
        begun = end.begun
        reader = threading.Thread(target=lambda: got.append((x * x).tolist()))
        reader.start()
        until(lambda: end.begun > begun and end.outbox._kept)
        proxy.cut()
        proxy.go()
        reader.join(20)
        return got

    got, ran, proxy = server.run(program, lambda n: Fault())
    assert got == [[4.0, 9.0]]
    assert ran == {("mul", "forward"): 1}
    assert proxy.accepted == 2
