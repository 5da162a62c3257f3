"""The embedded server: it starts by itself, serves the program, and is gone when the program is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

PROGRAM = """
import gradwire as torch, os, sys
from gradwire import embedded
x = torch.tensor([-3.0, 2.0, 5.0], requires_grad=True)
x.pow(3).sum().backward()
print(x.grad.tolist(), embedded._process.pid, embedded.target(), flush=True)
sys.stdin.read()
"""


def start() -> tuple[subprocess.Popen[str], int, str]:
    environment = {k: v for k, v in os.environ.items() if k != "GRADWIRE_TARGET"}
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line.startswith("[27.0, 12.0, 75.0] "), program.communicate()[1]
    _, pid, target = line.rsplit(maxsplit=2)
    return program, int(pid), target


def gone(pid: int) -> bool:
    """Whether the process ends, within a generous time."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_it_ends_with_the_program_and_leaves_nothing():
    program, pid, target = start()
    _, err = program.communicate("", timeout=30)
    assert (program.returncode, err) == (0, "")
    assert gone(pid)
    assert not os.path.exists(os.path.dirname(target.removeprefix("unix:")))


def test_it_ends_when_the_program_is_killed():
    program, pid, _ = start()
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=30)
    assert gone(pid)
