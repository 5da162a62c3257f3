"""Attention and embedding."""

from __future__ import annotations
