"""The server that starts by itself: a child process on a Unix socket, ended with the program."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading

_lock = threading.Lock()
_process: subprocess.Popen[str] | None = None
_target = ""
metrics_url = ""
"""Where the embedded server's metrics are, once it runs."""


def target() -> str:
    """The embedded server's address; the first call starts it.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    global _process, _target, metrics_url
    with _lock:
        if _process is not None and _process.poll() is None:
            return _target
        folder = tempfile.mkdtemp(prefix="gradwire-")
        path = os.path.join(folder, "s")
        process = subprocess.Popen(
            [sys.executable, "-m", "gradwire_server", "serve", "--listen", f"unix:{path}",
             "--metrics-listen", "127.0.0.1:0", "--log-level", "warning", "--die-with-parent",
             "--max-bytes", str(_memory() * 4 // 5)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the program's business
        )  # fmt: skip
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("gradwire metrics on "):
                metrics_url = line.split()[-1]
            if line.startswith("gradwire listening on "):
                break
        else:
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeError(
                "gradwire's embedded server did not start: install gradwire[server], or connect() to a server. "
                + "".join(lines).strip()
            )
        _process, _target = process, f"unix:{path}"
        atexit.register(_stop, process, folder)
        return _target


def disown() -> None:
    """In a forked process: the server is the parent's, and lives as long as that one does."""
    global _lock, _process, _target, metrics_url
    _lock = threading.Lock()
    if _process is None:
        return
    atexit.unregister(_stop)
    assert _process.stdin is not None and _process.stdout is not None
    _process.stdin.close()  # the server watches for the last one to close it
    _process.stdout.close()
    _process.returncode = 0  # not for this process to wait for
    _process, _target, metrics_url = None, "", ""


def _memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _stop(process: subprocess.Popen[str], folder: str) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)
