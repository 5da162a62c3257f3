"""Waits that end before the answer is there: Ctrl-C, deadlines; and sessions where every op waits."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import gradwire as torch
from gradwire import waits
from gradwire_server import transfers
from gradwire_server.metrics import Metrics
from gradwire_server.service import Service, serve
from gradwire_server.transfers import Upload
from tests.server.conftest import LIMITS
from tests.server.gate import Gate


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    service = Service("cpu", LIMITS, 8, Metrics())
    server, address = serve(service, f"unix:{tmp_path_factory.mktemp('s')}/s")
    yield service, address
    service.stop()
    server.stop(0).wait()


@pytest.fixture
def session(served):
    with torch.connect(served[1]) as s:
        yield s


@pytest.fixture
def gate(session, served):
    """What holds up ``exp`` on the server."""
    made = Gate(served[0].sessions[session.id], "exp")
    yield made
    made.open.set()


class HeldUp(Upload):
    """One whose bytes have to wait."""

    __slots__ = ()
    reached, open = threading.Event(), threading.Event()

    def write(self, turn, data):
        self.reached.set()
        assert self.open.wait(20)
        super().write(turn, data)


@pytest.fixture
def held_up(monkeypatch):
    """What holds up uploads."""
    monkeypatch.setattr(transfers, "Upload", HeldUp)
    yield HeldUp
    HeldUp.open.set()
    HeldUp.reached.clear()
    HeldUp.open.clear()


@pytest.fixture
def interrupt():
    """Have Ctrl-C pressed when this thread waits for the server."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    me = threading.get_ident()

    def press(reached: threading.Event) -> None:
        assert reached.wait(20)
        while not {"_read", "_go_on"}.intersection(functions(me)):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threads = []

    def arrange(reached: threading.Event) -> None:
        threads.append(threading.Thread(target=press, args=(reached,)))
        threads[-1].start()

    yield arrange
    for t in threads:
        t.join()
    signal.signal(signal.SIGINT, before)


def functions(thread: int) -> list[str]:
    """The names of the functions that a thread is in."""
    frame, names = sys._current_frames()[thread], []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def go_on(y):
    while True:
        y = y * 1.0


# ---- Ctrl-C ----


def test_ctrl_c_stops_what_was_sent_and_the_session_goes_on(session, gate, interrupt):
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    z = (y * 2).sum()
    z.backward()
    interrupt(gate.reached)
    with pytest.raises(KeyboardInterrupt):
        z.item()
    after = x * 3
    gate.open.set()
    assert after.tolist() == [3.0] * 3
    assert y.sum().item() == pytest.approx(3 * 2.718281828)  # it ran already
    session.synchronize()  # nothing failed
    with pytest.raises(RuntimeError, match="cancelled by the client"):
        z.item()
    with pytest.raises(RuntimeError, match="the tensor has no gradient"):
        x.grad.tolist()
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0] * 3


def test_the_line_that_was_cancelled_is_told(session, gate, interrupt):
    y = torch.ones(1).exp()
    z = y * 2
    interrupt(gate.reached)
    with pytest.raises(KeyboardInterrupt):
        z.item()
    gate.open.set()
    with pytest.raises(RuntimeError, match=f"(?s)cancelled by the client before it was done.*{__file__}"):
        z.item()


def test_ctrl_c_while_the_server_does_not_keep_up(session, gate, interrupt):
    """No value is asked for, but the window is full."""
    x = torch.ones(1)
    y = x.exp()
    interrupt(gate.reached)
    with pytest.raises(KeyboardInterrupt):
        go_on(y)
    gate.open.set()
    assert (x + 1).item() == 2.0


def test_ctrl_c_in_a_hook(session):
    x = torch.ones(2, requires_grad=True)
    y = x * 2

    def hook(g):
        raise KeyboardInterrupt

    handle = y.register_hook(hook)
    with pytest.raises(KeyboardInterrupt):
        y.sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_ctrl_c_in_a_value_that_a_hook_waits_for(session, gate, interrupt):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    handle = y.register_hook(lambda g: g.exp() * g.sum().exp().item())
    interrupt(gate.reached)
    with pytest.raises(KeyboardInterrupt):
        y.sum().backward()
    gate.open.set()
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_ctrl_c_in_an_upload(session, held_up, interrupt, served):
    interrupt(held_up.reached)
    with pytest.raises(KeyboardInterrupt):
        torch.ones(100_000) + torch.tensor([1.0] * 100_000)
    held_up.open.set()
    session.synchronize()
    assert not served[0].sessions[session.id].transfers._uploads
    assert torch.tensor([1.0] * 100_000).sum().item() == 100_000


def test_another_thread_may_cancel(session, gate):
    y = torch.ones(1).exp()
    z = y * 2
    threading.Thread(target=lambda: gate.reached.wait(20) and (session.cancel(), gate.open.set())).start()
    with pytest.raises(RuntimeError, match="cancelled by the client"):
        z.item()
    assert (y * 0).item() == 0


def test_ctrl_c_ends_minutes_of_work_in_another_process():
    program = (
        "import gradwire as torch, time\n"
        "x = torch.eye(2000, dtype=torch.float64)\n"
        "x.sum().item()\n"
        "y = x\n"
        "for _ in range(2000): y = y @ x\n"
        "print('waiting', flush=True)\n"
        "try: y.sum().item()\n"
        "except KeyboardInterrupt: print('stopped')\n"
        "print(x.sum().item())\n"
    )
    p = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout is not None
    assert p.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert (out, err) == ("stopped\n2000.0\n", "")


# ---- deadlines ----


def test_a_wait_past_the_deadline(session, gate):
    y = torch.ones(2).exp()
    late = pytest.raises(TimeoutError, match="no answer from the gradwire server by the deadline")
    with late, torch.deadline(0.05):
        y.sum().item()
    gate.open.set()
    assert y.sum().item() == pytest.approx(2 * 2.718281828)
    assert not session.wire._abandoned  # the late answer came, and was dropped
    assert not session.wire._arrived


def test_a_deadline_for_every_wait(served):
    with torch.connect(served[1], deadline=0.05) as session:
        gate = Gate(served[0].sessions[session.id], "exp")
        y = torch.ones(2).exp()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                y.tolist()
        gate.open.set()
        with torch.deadline(None):
            assert y.tolist() == pytest.approx([2.718281828] * 2)
        assert (y * 0).tolist() == [0.0, 0.0]


def test_deadlines_nest():
    with torch.deadline(50), torch.deadline(None):
        assert waits.due(None) == waits._due.at < time.monotonic() + 51
    assert waits.due(None) == float("inf")


def test_an_answer_in_time(session):
    with torch.deadline(20):
        for _ in range(3):
            assert torch.ones(2).sum().item() == 2.0


def test_a_deadline_in_an_upload(session, held_up, served):
    late = pytest.raises(TimeoutError, match="no answer from the gradwire server by the deadline")
    with late, torch.deadline(0.05):
        torch.tensor([1.0] * 100_000)
    held_up.open.set()
    session.synchronize()
    assert not served[0].sessions[session.id].transfers._uploads
    assert torch.tensor([1.0] * 100_000).sum().item() == 100_000


def test_a_deadline_while_another_thread_reads(session, gate):
    y = torch.ones(2).exp()
    seen = []
    reader = threading.Thread(target=lambda: seen.append(y.tolist()))
    reader.start()
    assert gate.reached.wait(20)
    while "_read" not in functions(reader.ident):
        time.sleep(0.001)
    with pytest.raises(TimeoutError), torch.deadline(0.05):
        (y * 2).tolist()
    gate.open.set()
    reader.join()
    assert seen == [pytest.approx([2.718281828] * 2)]


def test_a_deadline_while_the_server_does_not_keep_up(session, gate):
    y = torch.ones(1).exp()
    with pytest.raises(TimeoutError), torch.deadline(0.2):
        go_on(y)
    gate.open.set()
    assert torch.ones(1).item() == 1.0


def test_a_late_answer_beside_the_stream_is_freed(session, gate, served):
    x = torch.ones(100_000)
    y = x.exp()
    with pytest.raises(TimeoutError), torch.deadline(0.05):
        y.numpy()
    gate.open.set()
    session.synchronize()
    session.synchronize()
    kept = served[0].sessions[session.id].transfers
    assert not kept._downloads


def test_a_backward_past_the_deadline_is_done_all_the_same(session, gate):
    x = torch.ones(1, requires_grad=True)
    y = x.exp()
    y.register_hook(lambda g: g * 2)
    with pytest.raises(TimeoutError), torch.deadline(0.05):
        y.backward()
    gate.open.set()
    session.synchronize()
    assert x.grad.item() == pytest.approx(2 * 2.718281828)


# ---- sync ----


def test_a_session_where_every_op_waits(served):
    with torch.connect(served[1], sync=True):
        a = torch.zeros(2, 2)
        with pytest.raises(torch.LinAlgError, match="The diagonal element 1 is zero"):
            torch.linalg.inv(a)
        with pytest.raises(IndexError, match="index 5 is out of bounds"):
            torch.arange(3)[torch.tensor([5])]
        x = torch.ones(2, requires_grad=True)
        with torch.no_grad():
            x.mul_(3)
        y = x * 2
        y.register_hook(lambda g: g * (g * 2).sum().item())
        y.sum().backward()
        assert x.grad.tolist() == [8.0, 8.0]
        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            y.sum().backward()
        assert torch.tensor([[1.0] * 1000] * 300).sum().item() == 300_000.0
