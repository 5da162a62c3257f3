"""Where the tests run: ``GRADWIRE_DEVICE=cuda make test`` runs them through CuPy on a GPU."""

from __future__ import annotations

import os

import pytest

DEVICE = os.environ.get("GRADWIRE_DEVICE") or "cpu"
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="expects what torch says of tensors on the CPU")
