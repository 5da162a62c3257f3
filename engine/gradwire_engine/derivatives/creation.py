"""Derivatives. Ops that make tensors from nothing but sizes and numbers."""

from __future__ import annotations
