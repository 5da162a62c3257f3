"""Sessions that go from one process to another, and processes that come out of one another."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import gradwire as torch
from gradwire.session import _current_stack, connect, current


def run(program: str, *args: str, **kwargs) -> str:
    """What a program prints; nothing may go wrong with it, nor be said about it."""
    ran = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=60, **kwargs)
    said = [line for line in ran.stderr.splitlines() if "skipping fork() handlers" not in line]  # gRPC's own
    assert (ran.returncode, said) == (0, [])
    return ran.stdout


# ---- detach and attach ----


def test_a_session_goes_on_where_it_was():
    session = connect()
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (w * 3).sum().backward()
    y = w.t() * 2
    n = torch.arange(3)
    torch.manual_seed(3)
    left = session.detach({"w": w, "again": w, "y": y, "t": w.detach().t(), "n": n})
    with torch.attach(*left) as session:
        assert current() is session
        assert session.id == left.id
        w, y, t, n = (session.tensors[k] for k in ("w", "y", "t", "n"))
        assert session.tensors["again"] is w
        assert (w.shape, w.dtype, w.requires_grad, w.is_leaf) == ((2, 2), torch.float32, True, True)
        assert (n.shape, n.dtype, n.requires_grad) == ((3,), torch.int64, False)
        assert (t.stride(), t.is_contiguous(), t.tolist()) == ((1, 2), False, [[1.0, 3.0], [2.0, 4.0]])
        assert w.grad.tolist() == [[3.0, 3.0], [3.0, 3.0]]
        assert (y.requires_grad, y.is_leaf, y.grad_fn.name()) == (True, False, "MulBackward0")
        y.sum().backward()
        assert w.grad.tolist() == [[5.0, 5.0], [5.0, 5.0]]
        a = torch.rand(2)
        torch.manual_seed(3)
        assert torch.rand(2).tolist() == a.tolist()
        assert torch.tensor(np.ones((300, 1000))).sum().item() == 300_000.0


def test_what_detach_returns_hides_the_secret():
    session = connect()
    left = session.detach()
    for text in (repr(left), str(left), f"{left}"):
        assert left.secret not in text
        assert left.id in text
    assert pickle.loads(pickle.dumps(left)) == left
    torch.attach(*left).close()


def test_a_detached_session_can_not_be_used():
    session = connect()
    x = torch.ones(1)
    left = session.detach({"x": x})
    assert session not in _current_stack
    with pytest.raises(RuntimeError, match=r"was detached: gradwire.attach\(\) goes on with it"):
        x + 1
    session.close()  # and does not close what goes on elsewhere
    with torch.attach(*left) as session:
        assert session.tensors["x"].item() == 1.0
        del x  # nor free it


def test_detach_raises_what_failed_and_the_session_goes_on():
    with connect() as session, connect():
        x = torch.ones(1)
        with pytest.raises(RuntimeError, match="'x' is a tensor of"):
            session.detach({"x": x})
    with connect() as session:
        bad = torch.linalg.inv(torch.zeros(2, 2))
        with pytest.raises(torch.LinAlgError):
            session.detach({"bad": bad})
        with pytest.raises(torch.LinAlgError):
            session.detach({"bad": bad})
        assert torch.ones(1).item() == 1.0


def test_hooks_and_functions_stay_behind():
    session = connect()
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda g: g * 100)
    left = session.detach({"x": x})
    with torch.attach(*left) as session:
        x = session.tensors["x"]
        (x * 2).sum().backward()
        assert x.grad.tolist() == [2.0, 2.0]
        x.grad = None
        x.register_hook(lambda g: g * 10)
        (x * 2).sum().backward()
        assert x.grad.tolist() == [20.0, 20.0]


def test_attaching_displaces_who_is_there():
    with connect() as session:
        x = torch.ones(1)
        assert x.item() == 1.0
        with torch.attach(session.id, session._key.secret, session.target):
            assert torch.ones(1).item() == 1.0
            with pytest.raises(ConnectionError, match="another client has attached"):
                x.item()


def test_nobody_is_let_in_with_a_wrong_secret():
    with connect() as session:
        with pytest.raises(RuntimeError, match="no session '.*' with this secret"):
            torch.attach(session.id, "guess", session.target)
        with pytest.raises(RuntimeError, match="no session 'nowhere'"):
            torch.attach("nowhere", session._key.secret, session.target)


def test_another_process_goes_on():
    session = connect()
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    left = session.detach({"w": w})
    program = """
import sys
import gradwire as torch

with torch.attach(*sys.argv[1:]) as session:
    w = session.tensors["w"]
    y = (w * w.grad).sum()
    print(y.item())
    left = session.detach({"w": w, "y": y})
"""
    assert run(program, *left) == "10.0\n"
    with torch.attach(*left) as session:
        assert session.tensors["y"].item() == 10.0
        assert session.tensors["w"].requires_grad


def test_nothing_of_a_stream_is_left_to_be_finalized_when_the_program_ends():
    """gRPC's finalizer takes a lock, which a thread of gRPC's may hold that Python has stopped by then."""
    for leave in (lambda s: s.close(), lambda s: s.detach()):
        session = connect()
        assert torch.ones(1).item() == 1.0
        stream = weakref.ref(session.wire._replies)
        leave(session)
        assert stream() is None


def test_the_session_of_a_program_that_was_killed():
    """In the middle of a hook, even."""
    program = """
import os, signal
import gradwire as torch

session = torch.connect()
x = torch.ones(2, requires_grad=True)
y = x * 2
y.register_hook(lambda g: os.kill(os.getpid(), signal.SIGKILL))
print(*session._key.session_id.split(), session._key.secret, flush=True)
y.sum().backward()
"""
    with connect() as mine:
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                             env={**os.environ, "GRADWIRE_TARGET": mine.target})  # fmt: skip
        assert ran.returncode == -signal.SIGKILL
        with torch.attach(*ran.stdout.split(), mine.target):
            assert torch.ones(3).sum().item() == 3.0


# ---- forks ----


def test_a_forked_process_is_refused_the_session_and_leaves_it_alone():
    """It ends as any program does; or opens a session of its own, with a server of its own."""
    program = """
import os, sys, warnings
warnings.simplefilter("ignore")
import gradwire as torch

session = torch.current()
x = torch.ones(3, requires_grad=True)
print((x * 2).sum().item(), flush=True)
pid = os.fork()
if not pid:
    for f in (lambda: x * 2, lambda: x.tolist(), session.synchronize):
        try:
            f()
        except RuntimeError as e:
            print(e)
    session.close()
    print(session.closed, flush=True)
    if "own" in sys.argv:
        print(torch.ones(2).sum().item(), torch.current().target != session.target, flush=True)
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
print((x * 3).sum().item(), session.closed)
"""
    refused = "this gradwire session is that of the process this one was forked from, and can't be used here: open "
    refused += "another with gradwire.connect()\n"
    assert run(program) == "6.0\n" + 3 * refused + "True\n9.0 False\n"
    assert run(program, "own") == "6.0\n" + 3 * refused + "True\n2.0 True\n9.0 False\n"


def test_forked_workers_have_sessions_of_their_own():
    program = """
import multiprocessing, warnings
warnings.simplefilter("ignore")
import gradwire as torch

target = torch.current().target

def work(n):
    with torch.connect(target):
        return (torch.arange(n) * 2).sum().item()

if __name__ == "__main__":
    print(torch.ones(2).sum().item())
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, [2, 3, 4]))
    print(torch.ones(2).sum().item())
"""
    assert run(program) == "2.0\n[2, 6, 12]\n2.0\n"


def test_where_grpc_does_not_get_over_a_fork_that_is_said():
    program = """
import os, warnings
warnings.simplefilter("ignore")
import gradwire as torch

torch.ones(2).sum().item()
pid = os.fork()
if not pid:
    try:
        torch.connect()
    except RuntimeError as e:
        print(e, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    said = run(program, env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"})
    assert "forked from one that uses gRPC, whose support for that is off" in said


def test_a_process_that_outlives_its_parent_does_not_keep_the_server():
    program = """
import os, sys, warnings
warnings.simplefilter("ignore")
import gradwire as torch

torch.ones(2).sum().item()
if not os.fork():
    os.close(1), os.close(2)
    sys.stdin.read()
    os._exit(0)
print(torch.current().target, flush=True)
"""
    p = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert p.stdout is not None
    target = p.stdout.readline().strip()
    p.wait(60)
    with pytest.raises(ConnectionError):
        connect(target, timeout=0.2)
    p.communicate("")


# ---- the end ----


def test_a_program_ends_quietly_while_threads_use_its_session():
    """Some wait, some work; the program does not wait for those that are daemons, and does for those that are not."""
    program = """
import threading
import weakref
import gradwire as torch

x = torch.ones(3, requires_grad=True)
y = (x * 2).sum()
running = [threading.Event() for _ in range(4)]

def read(i):
    while True:
        torch.ones(2).sum().item()
        running[i].set()

def write(i):
    while True:
        z = x * 2
        running[i].set()

def last():
    print((x * 3).sum().item())

for i, f in enumerate((read, read, write, write)):
    threading.Thread(target=f, args=(i,), daemon=True).start()
for r in running:
    r.wait()
threading.Timer(0.1, last).start()
"""
    for _ in range(3):
        assert run(program) == "9.0\n"


def test_an_embedded_server_that_starts_last_ends_last():
    program = """
import gradwire as torch
from gradwire import embedded

first = torch.connect("unix:" + embedded.target()[5:])
embedded._process, kept = None, embedded._process
second = torch.connect()
print(torch.ones(2).sum().item(), first.target != second.target)
"""
    assert run(program) == "2.0 True\n"


def test_freeing_twice_and_what_is_not_there_is_nothing():
    with connect() as session:
        x = torch.ones(2)
        session.drop(x._id, 8)
        session.drop(10**9, 8)
        for _ in range(64):
            session.drop(x._id, 8)
        y = torch.ones(2)
        session.synchronize()
        with pytest.raises(ValueError, match="is unknown in this session"):
            x.tolist()
        del x
        assert y.tolist() == [1.0, 1.0]


def test_tensors_dropped_in_any_thread_after_the_session_are_nothing():
    with connect():
        tensors = [torch.ones(2) for _ in range(10)]
    t = threading.Thread(target=tensors.clear)
    t.start()
    t.join()
    assert not tensors
