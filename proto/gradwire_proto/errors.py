"""Exceptions that engine, server and client share."""

from __future__ import annotations


class LinAlgError(RuntimeError):
    """A matrix is singular, not positive-definite, or an iteration did not converge: torch.linalg.LinAlgError."""
