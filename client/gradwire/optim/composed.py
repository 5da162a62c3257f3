"""Optimizers whose update of a parameter is composed of ops. They, too, read nothing, so a step waits for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.capture.record import paused
from gradwire.dispatch import ops
from gradwire.optim.fused import Group
from gradwire.optim.optimizer import Optimizer, Params, evaluated, one_element, plain_rate
from gradwire.tensor import Tensor
from gradwire.types import finfo
from gradwire_proto import dtypes


class Composed(Optimizer):
    """A subclass says what the state of a parameter is, and how to update it."""

    def _start(self, p: Tensor) -> dict[str, Tensor]:
        """The state before the first step."""
        raise NotImplementedError

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        """Move a parameter in place, given its gradient."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; ``closure`` computes the loss anew and is given back."""
        loss = evaluated(closure)
        with no_grad():
            for group in map(plain_rate, self.param_groups):
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    if p.is_complex():
                        raise RuntimeError(f"{type(self).__name__} does not support complex parameters")
                    if p not in self.state:
                        with paused():  # once, not each time
                            self.state[p] = self._start(p)
                    self._update(p, -p.grad if group.get("maximize") else p.grad, self.state[p], group)
        return loss


def _rms(t: Any) -> Any:
    """The root of the mean square of all elements."""
    return t.norm() / math.sqrt(t.numel())


class Adafactor(Composed):
    """Adam with sublinear memory: of a matrix's mean squares the rows' and the columns' means are kept.

    The rules are Shazeer and Stern's (arXiv:1804.04235), with torch's two changes: ``lr`` is the largest relative
    step, and ``eps[0]`` bounds the estimates from below, in place of being added to squares.
    """

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
                 foreach: bool | None = None, maximize: bool = False):  # fmt: skip
        one_element(lr)
        for wrong, text in (
            (not isinstance(lr, Tensor) and not lr >= 0, f"Learning rate should be >= 0 but is: {lr}"),
            (not beta2_decay <= 0, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is not None and not eps[0] >= 0, f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (not eps[1] >= 0, f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (not d >= 1, f"Clipping threshold d should be >= 1 but is: {d}"),
            (not weight_decay >= 0, f"weight_decay should be >= 0 but is: {weight_decay}"),
        ):
            if wrong:
                raise ValueError(text)
        super().__init__(params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
                                  "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize})  # fmt: skip

    def _start(self, p: Tensor) -> dict[str, Tensor]:
        shape = tuple(p.shape)
        made = {"step": ops.new_full(p, (), 0, dtype=dtypes.float32)}
        if len(shape) < 2:
            return made | {"variance": ops.new_full(p, shape, 0)}
        rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return made | {"row_var": ops.new_full(p, rows, 0), "col_var": ops.new_full(p, columns, 0)}

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        lr, (eps1, eps2) = group["lr"], group["eps"]
        least = finfo(p.dtype).eps if eps1 is None else eps1
        step = state["step"].add_(1).double()  # a number on the server, whatever the parameter's type
        share = (step ** group["beta2_decay"]).to(p.dtype)
        rate = (step**-0.5).clamp(max=lr) * _rms(p).double().clamp(min=eps2)
        if group["weight_decay"]:
            p.mul_(1 - lr * group["weight_decay"])
        if g.dim() > 1:
            rows = state["row_var"].lerp_((g * g).mean(-1, keepdim=True), share)
            columns = state["col_var"].lerp_((g * g).mean(-2, keepdim=True), share)
            square = rows @ columns / rows.mean(-2, keepdim=True).clamp(min=least)
        else:
            square = state["variance"].lerp_(g * g, share)
        update = g * square.clamp(min=least * least).rsqrt()
        p.sub_(update * (rate / (_rms(update).double() / group["d"]).clamp(min=1)).to(p.dtype))


class Muon(Composed):
    """Momentum made orthogonal, for the matrices of hidden layers (kellerjordan.github.io/posts/muon).

    Args:
        ns_coefficients: of the quintic polynomial that Newton and Schulz's iteration applies to the singular values.
        adjust_lr_fn: "original" (the same as None) scales the rate with the root of rows by columns, where there are
            more rows; "match_rms_adamw" so that steps are as large as AdamW's.

    Raises:
        ValueError: an option is out of range, or a parameter no matrix.
    """

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
                 nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None):  # fmt: skip
        one_element(lr)
        for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not isinstance(value, Tensor) and not value >= 0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}"
                    )

    def _start(self, p: Tensor) -> dict[str, Tensor]:
        return {"momentum_buffer": ops.new_full(p, tuple(p.shape), 0)}

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        buffer = state["momentum_buffer"].lerp_(g, 1 - group["momentum"])
        rows, columns = p.shape
        step = _orthogonal(g.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer, group)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        adamw = group["adjust_lr_fn"] == "match_rms_adamw"
        factor = 0.2 * math.sqrt(max(rows, columns)) if adamw else math.sqrt(max(1, rows / columns))
        p.sub_(step.to(p.dtype) * (group["lr"] * factor))


def _orthogonal(g: Any, group: Group) -> Any:
    """About the nearest orthogonal matrix, in bfloat16: its singular values are all near one."""
    a, b, c = group["ns_coefficients"]
    wide = g.bfloat16() if g.shape[0] <= g.shape[1] else g.bfloat16().T
    wide = wide / wide.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = wide @ wide.T
        wide = ops.addmm(wide, ops.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if g.shape[0] <= g.shape[1] else wide.T


__all__ = ["Adafactor", "Muon"]
