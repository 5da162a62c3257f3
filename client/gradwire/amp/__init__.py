"""torch.amp: mixed precision."""

from __future__ import annotations

from gradwire.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from gradwire.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
