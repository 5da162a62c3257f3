"""Kernels. Optimizer updates, made in place on the server."""

from __future__ import annotations
