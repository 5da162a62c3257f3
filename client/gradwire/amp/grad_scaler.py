"""torch.amp.GradScaler: losses scaled up, so that small gradients survive in float16."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gradwire import session as sessions
from gradwire.autograd.grad_mode import no_grad
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


@dataclass
class _Seen:
    """An optimizer since the last update."""

    largest: Tensor | None = None
    """Magnitude among its scaled gradients; None before they were unscaled."""
    stepped: bool = False
    _finite: bool | None = None

    def finite(self) -> bool:
        """Whether all gradients were. Waits, once."""
        if self._finite is None:
            self._finite = self.largest is None or math.isfinite(self.largest.item())
        return self._finite


class GradScaler:
    """Scales losses, and gradients back before an optimizer's step, which is left out where they overflowed; then the
    scale becomes smaller, and after many steps without that larger again.

    Args:
        device: ``"cpu"`` or ``"cuda"``; by default the latter, and where that isn't there, nothing is scaled.
        init_scale: the scale at first.
        growth_factor: what it is multiplied by after ``growth_interval`` steps in a row.
        backoff_factor: and by after an overflow.
        enabled: False for one that does nothing but call ``optimizer.step()``.

    ``step`` waits for the gradients.

    >>> import gradwire as torch
    >>> w = torch.ones(1, requires_grad=True)
    >>> optimizer, scaler = torch.optim.SGD([w], lr=0.5), torch.amp.GradScaler("cpu")
    >>> scaler.scale((w * 3).sum()).backward()
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w
    tensor([-0.5000], requires_grad=True)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True):  # fmt: skip
        if enabled and device == "cuda" and not sessions.current().device.startswith("cuda"):
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
            enabled = False
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._enabled = enabled
        self._scale, self._growth_factor, self._backoff_factor = float(init_scale), growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._used = False
        """Whether anything was scaled yet."""
        self._seen: dict[int, _Seen] = {}
        """By the optimizer's id."""

    def scale(self, outputs: Any) -> Any:
        """A tensor times the scale, or an iterable of them.

        Raises:
            ValueError: something else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            self._used = True
            return outputs * self._scale
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled  # type: ignore[call-arg]

    def unscale_(self, optimizer: Any) -> None:
        """Divide an optimizer's gradients by the scale, to look at them or clip them before the step. Nothing waits.

        Raises:
            RuntimeError: that was done, or the step taken, since the last update.
            ValueError: gradients of float16.
        """
        if not self._enabled:
            return
        self._must_be_used("unscale_")
        seen = self._seen.setdefault(id(optimizer), _Seen())
        if seen.stepped:
            raise RuntimeError("unscale_() is being called after step().")
        if seen.largest is not None:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        seen.largest = self._unscale(optimizer)

    def _unscale(self, optimizer: Any) -> Tensor | None:
        import gradwire as torch

        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g.dtype is dtypes.float16 for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients.")
        with no_grad():
            found = [torch.linalg.vector_norm(g, math.inf).float() for g in grads if g.numel()]  # type: ignore[attr-defined]
            for g in grads:
                g.mul_(1 / self._scale)
            return torch.stack(found).amax() if found else None  # type: ignore[attr-defined,no-any-return]

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()`` with gradients that are scaled back, if none of them overflowed; what it returns.

        Raises:
            RuntimeError: a second time since the last update, or with a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._must_be_used("step")
        if id(optimizer) not in self._seen:
            self.unscale_(optimizer)
        seen = self._seen[id(optimizer)]
        if seen.stepped:
            raise RuntimeError("step() has already been called since the last update().")
        if seen.largest is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        seen.stepped = True
        return optimizer.step(*args, **kwargs) if seen.finite() else None

    def update(self, new_scale: Any = None) -> None:
        """Find the scale for what comes next, or set it."""
        if not self._enabled:
            return
        self._must_be_used("update")
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not any(s.largest is not None for s in self._seen.values()):
            raise AssertionError("No inf checks were recorded prior to update.")
        elif not all(s.finite() for s in self._seen.values()):
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale, self._growth_tracker = self._scale * self._growth_factor, 0
        self._seen.clear()

    def _must_be_used(self, what: str) -> None:
        if not self._used:
            raise AssertionError(
                f"Attempted {what} but _scale is None.  This may indicate your script did not use scaler.scale(loss or "
                "outputs) earlier in the iteration."
            )

    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1 where nothing is scaled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what another's :meth:`state_dict` gave.

        Raises:
            RuntimeError: it is empty.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        for name in self.state_dict():
            setattr(self, f"_{name.lstrip('_')}", state_dict[name])


__all__ = ["GradScaler"]
