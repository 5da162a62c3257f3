"""Derivatives of as_strided: what was read from the memory goes back to it."""

from __future__ import annotations

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

vjp("as_strided", input=lambda g, input_spec, stride, storage_offset:
    F.reshape(F.as_strided_backward(g, input_spec.numel, stride, storage_offset), input_spec.shape))  # fmt: skip
vjp("as_strided_backward", grad=lambda g, grad_spec, stride, storage_offset:
    F.as_strided(F.clone(g), grad_spec.shape, stride, storage_offset))  # fmt: skip
