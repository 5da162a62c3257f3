"""torch.nn.utils: what works on sequences."""

from __future__ import annotations

from gradwire.nn.utils import rnn

__all__ = ["rnn"]
