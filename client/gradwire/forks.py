"""Imports gRPC so that it gets over a fork: told nothing, it may leave the forked process stuck in its first call.

gRPC looks for the word when it is imported, so this comes before all that imports it. It is too late where the program
has imported gRPC before; and what the environment says goes.
"""

from __future__ import annotations

import os

NAME = "GRPC_ENABLE_FORK_SUPPORT"
OFF = ("0", "false", "no", "off")

if NAME in os.environ:
    import grpc as grpc
else:
    os.environ[NAME] = "1"
    try:
        import grpc as grpc
    finally:
        del os.environ[NAME]  # not for other programs


def supported() -> bool:
    """Whether a forked process can use gRPC after its parent has."""
    return os.environ.get(NAME, "").lower() not in OFF
