"""Derivatives. Losses."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp


def share(g: Any, reduction: str, of: Any) -> Any:
    """The gradient of each loss, from that of their mean, of their sum, or of themselves."""
    return g / (math.prod(of.shape) or 1) if reduction == "mean" else g


def mse(g: Any, input: Any, target: Any, reduction: str) -> Any:
    d = input - target
    return d * share(g * 2, reduction, d)


def smooth_l1(g: Any, input: Any, target: Any, reduction: str, beta: float) -> Any:
    d = input - target
    return share(g, reduction, d) * (F.clamp(d / beta, -1, 1) if beta else F.sgn(d))


def huber(g: Any, input: Any, target: Any, reduction: str, delta: float) -> Any:
    d = input - target
    return share(g, reduction, d) * F.clamp(d, -delta, delta)




vjp("mse_loss", input=mse, target=lambda g, input, target, reduction: -mse(g, input, target, reduction))
vjp("smooth_l1_loss", input=smooth_l1, target=lambda g, input, target, reduction, beta:
    -smooth_l1(g, input, target, reduction, beta))  # fmt: skip
vjp("huber_loss", input=huber, target=lambda g, input, target, reduction, delta:
    -huber(g, input, target, reduction, delta))  # fmt: skip
vjp("soft_margin_loss", input=lambda g, input, target, reduction:
    -share(g, reduction, input) * target * F.sigmoid(-target * input))  # fmt: skip


def weighted(g: Any, weight: Any) -> Any:
    return g if weight is None else g * weight


def bce_input(g: Any, input: Any, target: Any, weight: Any, reduction: str) -> Any:
    slope = (input - target) / F.clamp((1 - input) * input, 1e-12, None)
    return weighted(share(g, reduction, input), weight) * slope


def bce_target(g: Any, input: Any, target: Any, weight: Any, reduction: str) -> Any:
    slope = F.clamp(F.log(1 - input), -100, None) - F.clamp(F.log(input), -100, None)
    return weighted(share(g, reduction, input), weight) * slope


def logits_input(g: Any, input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    s = F.sigmoid(input)
    slope = s - target if pos_weight is None else s * ((pos_weight - 1) * target + 1) - pos_weight * target
    return weighted(share(g, reduction, slope), weight) * slope


def logits_target(g: Any, input: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    slope = -input if pos_weight is None else (1 - pos_weight) * F.log_sigmoid(input) - input
    return weighted(share(g, reduction, slope), weight) * slope


vjp("binary_cross_entropy", input=bce_input, target=bce_target)
vjp("binary_cross_entropy_with_logits", input=logits_input, target=logits_target)

for _name in ("nll_loss", "nll_loss2d"):
    vjp(_name, input=lambda g, input, target, weight, reduction, ignore_index:
        F.nll_loss_backward(g, input, target, weight, reduction, ignore_index))  # fmt: skip
vjp("nll_loss_backward", grad=lambda g, target, weight, reduction, ignore_index:
    F.nll_loss(g, target, weight, reduction, ignore_index))  # fmt: skip


# The gradient of cross_entropy is that of log_softmax applied to that of nll_loss: s - p * sum(s) with p the
# softmax of the input and s the gradient of nll_loss. logsumexp is part of the input, so nothing flows to it.
def cross_entropy_grad(g: Any, input: Any, target: Any, weight: Any, reduction: str, ignore_index: int) -> Any:
    dim = min(input.ndim - 1, 1)
    across = g - F.sum(g * F.softmax(input, dim), (dim,), True)
    return F.nll_loss(across, target, weight, reduction, ignore_index)


def cross_entropy_input(g: Any, grad: Any, input: Any, target: Any, weight: Any, reduction: str,
                        ignore_index: int) -> Any:  # fmt: skip
    dim = min(input.ndim - 1, 1)
    s = F.nll_loss_backward(grad, input, target, weight, reduction, ignore_index)
    return -F.softmax_backward(g, F.softmax(input, dim), dim) * F.sum(s, (dim,), True)


vjp("cross_entropy", input=lambda g, input, target, weight, logsumexp, reduction, ignore_index:
    F.cross_entropy_backward(g, input, target, weight, logsumexp, reduction, ignore_index))  # fmt: skip
vjp("cross_entropy_backward", grad=cross_entropy_grad, input=cross_entropy_input)
