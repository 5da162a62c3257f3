"""Special functions: gamma, error and Bessel functions."""

from __future__ import annotations
