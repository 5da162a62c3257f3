"""Kernels. Activations: relu and its relatives, softmax, gelu, gates."""

from __future__ import annotations
