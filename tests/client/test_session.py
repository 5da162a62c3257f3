"""Sessions as a program meets them: several at once, errors with their line, limits, threads, closing."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import gradwire as torch
from gradwire.session import connect, current


def line() -> int:
    return sys._getframe(1).f_lineno


@pytest.fixture
def session():
    with connect() as s:
        yield s


def test_sessions_are_context_managers_and_nest():
    outer = current()
    with connect() as inner:
        assert current() is inner
        x = torch.ones(2)
        assert x._session is inner
    assert current() is outer
    assert inner.closed
    assert repr(inner).endswith("closed>")


def test_a_closed_session_says_so(session):
    x = torch.ones(2)
    session.close()
    with pytest.raises(RuntimeError, match="this gradwire session is closed"):
        x + x


def test_tensors_of_two_sessions_do_not_mix(session):
    x = torch.ones(2)
    with connect():
        y = torch.ones(2)
        with pytest.raises(RuntimeError, match="Expected all tensors to be of the same session"):
            x + y


def test_a_deferred_error_names_op_shapes_and_line(session):
    at = line() + 1
    y = torch.linalg.inv(torch.zeros(2, 2))
    z = (y * 2).sum()
    with pytest.raises(torch.LinAlgError) as e:
        z.item()
    assert "linalg.inv: The diagonal element 1 is zero" in str(e.value)
    assert f"{__file__}:{at}" in str(e.value)
    assert "float32[2, 2]" in str(e.value)
    assert torch.ones(2).sum().item() == 2.0  # the session goes on


def test_an_index_out_of_range_poisons_only_its_results(session):
    x = torch.arange(3)
    bad = x[torch.tensor([5])]
    good = x[torch.tensor([1])]
    assert good.item() == 1
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 3"):
        bad.item()


def test_an_error_that_no_result_carries_comes_out_at_the_next_wait(session):
    loss = torch.linalg.inv(torch.zeros(2, 2, requires_grad=True)).sum()
    loss.backward()
    with pytest.raises(torch.LinAlgError):
        torch.ones(1).item()


def test_synchronize_raises_the_first_error_once(session):
    torch.linalg.inv(torch.zeros(2, 2))
    with pytest.raises(torch.LinAlgError):
        session.synchronize()
    session.synchronize()


def test_ten_terabytes_are_refused_at_the_call(session):
    with pytest.raises(torch.OutOfMemoryError, match=r"Tried to allocate 10240.00 GiB"):
        torch.zeros(10 * 2**40 // 4)
    assert torch.ones(2).sum().item() == 2.0


def test_nothing_waits(session):
    """A thousand ops, and not one answer was read."""
    x = torch.ones(4, requires_grad=True)
    session.synchronize()
    before = session.wire._requests
    for _ in range(10):
        y = x
        for _ in range(100):
            y = y * 1.01
        x.grad = None
        y.sum().backward()
        with torch.no_grad():
            x -= 0.1 * x.grad
        assert (x.shape, x.dtype, y.requires_grad) == ((4,), torch.float32, True)
    assert session.wire._requests == before
    assert np.isfinite(x.detach().numpy()).all()


def test_dropped_tensors_are_freed(session):
    for _ in range(1000):
        torch.ones(100) + 1
    session.synchronize()
    x = torch.ones(1)
    assert len(session._dead) <= 2 * 64
    assert x.item() == 1


def test_big_tensors_go_beside_the_stream(session):
    a = np.random.default_rng(0).standard_normal((700, 1000)).astype("f4")
    x = torch.tensor(a)
    assert (x * 2).numpy() == pytest.approx(a * 2)
    assert torch.tensor(a.T).numpy().tobytes() == a.T.tobytes()


def test_the_seed_decides_the_random_numbers():
    with connect(seed=5):
        a = torch.rand(3).tolist()
        torch.manual_seed(5)
        assert torch.rand(3).tolist() == a
    with connect(seed=5):
        assert torch.rand(3).tolist() == a
        assert torch.rand(3).tolist() != a


def test_threads_share_a_session(session):
    wrong = []

    def work(seed: int) -> None:
        a = np.random.default_rng(seed).standard_normal(8)
        x = torch.tensor(a, requires_grad=True)
        for _ in range(30):
            (g,) = torch.autograd.grad((x * x * x).sum(), x)
            with torch.no_grad():
                if not np.allclose(g.numpy(), 3 * a * a) or (x * 2).requires_grad:
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_nobody_there():
    with pytest.raises(ConnectionError, match="no gradwire server answers at unix:/nowhere within"):
        connect("unix:/nowhere", timeout=0.2)


def test_an_exception_in_a_hook_comes_out_of_backward(session):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()
    assert (x * 2).sum().item() == 4


def test_a_value_read_inside_a_hook(session):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append((g * 3).sum().item()))
    y.sum().backward()
    assert seen == [6.0]


def test_a_backward_inside_a_backward(session):
    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                again = x.detach().requires_grad_()
                again.exp().sum().backward()
            return g * again.grad

    x = torch.zeros(2, requires_grad=True)
    Inner.apply(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_program_ends_quietly_with_tensors_left():
    program = "import gradwire as torch\nx = torch.ones(3, requires_grad=True)\ny = (x * 2).sum()\ny.backward()\n"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
