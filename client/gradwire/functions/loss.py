"""Losses as ``nn.functional`` has them: of numbers, of probabilities, of classes."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.capture import here
from gradwire.dispatch import check_constant, ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire_proto.dtypes import Category


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """``reduction``, or what torch's old arguments say in its place."""
    if size_average is None and reduce is None:
        return reduction
    old = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{old}' instead.", stacklevel=3
    )
    return old


def check_reduction(reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses as they are, their mean, or their sum."""
    check_reduction(reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _warn_of_sizes(input: Tensor, target: Tensor) -> None:
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _weighted(loss: Tensor, input: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Losses times weights; the mean is over the weights."""
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'.")
    loss = loss * weight
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.sum() / weight.sum()


@export("nn.functional.mse_loss")
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
             reduction: str = "mean", weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Squared differences."""
    _warn_of_sizes(input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    if weight is not None:
        return _weighted((input - target) ** 2, input, weight, reduction)
    return ops.mse_loss(input, target, reduction)


@export("nn.functional.l1_loss")
def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
            reduction: str = "mean", weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Absolute differences."""
    _warn_of_sizes(input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    loss = (input - target).abs()
    return reduced(loss, reduction) if weight is None else _weighted(loss, input, weight, reduction)


@export("nn.functional.smooth_l1_loss")
def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                   reduction: str = "mean", beta: float = 1.0) -> Tensor:  # fmt: skip
    """Quadratic below ``beta``, linear with slope 1 above."""
    _warn_of_sizes(input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    if beta == 0:
        return reduced((input - target).abs(), reduction)
    return ops.smooth_l1_loss(input, target, reduction, beta)


@export("nn.functional.huber_loss")
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Quadratic below ``delta``, linear with slope ``delta`` above."""
    _warn_of_sizes(input, target)
    if weight is None:
        return ops.huber_loss(input, target, reduction, delta)
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    return reduced(ops.huber_loss(input, target, "none", delta) * weight, reduction)


@export("nn.functional.binary_cross_entropy")
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:  # fmt: skip
    """Cross-entropy of probabilities of one class against another."""
    check_constant("binary_cross_entropy", weight=weight)
    return ops.binary_cross_entropy(input, target, weight, reduction_of(size_average, reduce, reduction))


@export("nn.functional.binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     size_average: bool | None = None, reduce: bool | None = None,
                                     reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Cross-entropy of ``sigmoid(input)``, stable."""
    reduction = reduction_of(size_average, reduce, reduction)
    check_constant("binary_cross_entropy_with_logits", weight=weight, pos_weight=pos_weight)
    return ops.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def _nll_name(input: Tensor) -> str:
    return "nll_loss_forward" if input.ndim < 3 else "nll_loss2d_forward"


@export("nn.functional.nll_loss")
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
             ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of each target class, weighted."""
    reduction = reduction_of(size_average, reduce, reduction)
    f = ops.nll_loss if input.ndim < 3 else ops.nll_loss2d
    check_constant(_nll_name(input), weight=weight)
    return f(input, target, weight, reduction, ignore_index)


@export("nn.functional.cross_entropy")
def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                  ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """Cross-entropy of ``softmax(input)`` against class indices, or against the probabilities of all classes."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input.shape == target.shape:
        return _of_probabilities(input, target, weight, reduction, ignore_index, label_smoothing)
    if label_smoothing:
        return _smoothed(input, target, weight, reduction, ignore_index, label_smoothing)
    check_constant(_nll_name(input), weight=weight)
    made: Tensor = ops.cross_entropy(input, target, weight, reduction, ignore_index)[0]
    return made


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")


def _per_class(weight: Tensor, ndim: int) -> Tensor:
    return weight.reshape((1, -1, *[1] * (ndim - 2)) if ndim > 1 else (-1,))


def _of_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
                      label_smoothing: float) -> Tensor:  # fmt: skip
    if not target.is_floating_point():
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype.legacy}"
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    _check_smoothing(label_smoothing)
    dim = min(input.ndim - 1, 1)
    classes = input.shape[dim]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    loss = ops.log_softmax(input, dim) * target
    if weight is not None:
        loss = loss * _per_class(weight, input.ndim)
    loss = -loss.sum(dim)
    return loss.sum() / (input.numel() // classes) if reduction == "mean" else reduced(loss, reduction)


def _smoothed(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
              label_smoothing: float) -> Tensor:  # fmt: skip
    """The loss of a target whose probability is shared out evenly in part."""
    _check_smoothing(label_smoothing)
    dim = min(input.ndim - 1, 1)
    classes = input.shape[dim]
    scores = ops.log_softmax(input, dim)
    exact = nll_loss(scores, target, weight, ignore_index=ignore_index, reduction=reduction)
    even = -(scores if weight is None else scores * _per_class(weight, input.ndim)).sum(dim)
    ignored = (target == ignore_index).reshape(even.shape)
    even = even.masked_fill(ignored, 0)
    if reduction == "mean":
        each = ops.where(ignored, 0, 1) if weight is None else weight[target.masked_fill(target == ignore_index, 0)]
        even = even.sum() / each.reshape(even.shape).masked_fill(ignored, 0).sum()
    else:
        even = reduced(even, reduction)
    return exact * (1 - label_smoothing) + even * (label_smoothing / classes)


@export("nn.functional.linear_cross_entropy")
def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
                         weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: Any = None) -> Tensor:  # fmt: skip
    """``cross_entropy`` of a linear layer."""
    if not 1 <= input.ndim <= 2:
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if linear_weight.ndim < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}")
    features, outputs = input.shape[-1], tuple(linear_weight.shape[:-1])
    if features != linear_weight.shape[-1]:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {features} and "
            f"{linear_weight.shape[-1]}, respectively"
        )
    if len(outputs) > 1 and input.ndim == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    if ignore_index is not None and target.dtype.is_floating_point:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    if linear_bias is not None:
        if tuple(linear_bias.shape) != outputs:
            raise RuntimeError(f"expected linear_bias shape {outputs}, got {tuple(linear_bias.shape)}")
        linear_bias = linear_bias.reshape(-1)
    scores = ops.linear(input, linear_weight.reshape(-1, features), linear_bias)
    return cross_entropy(
        scores.reshape((*input.shape[:-1], *outputs)), target, weight, reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index, label_smoothing=label_smoothing,
    )  # fmt: skip


@export("nn.functional.kl_div")
def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
           reduction: str = "mean", log_target: bool = False) -> Tensor:  # fmt: skip
    """Kullback-Leibler divergence of log-probabilities ``input`` from ``target``."""
    if size_average is not None or reduce is not None:
        reduction = reduction_of(size_average, reduce, reduction)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the "
            "same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    if input.dtype.category < Category.FLOAT or target.dtype.category < Category.FLOAT:
        raise RuntimeError("kl_div: Integral inputs not supported.")
    loss = target.exp() * (target - input) if log_target else ops.xlogy(target, target) - target * input
    if reduction != "batchmean":
        return reduced(loss, reduction)
    return loss.sum() / input.shape[0] if input.ndim else loss.sum()


@export("nn.functional.poisson_nll_loss")
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8, reduce: bool | None = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of Poisson counts; with ``full`` Stirling's term, too."""
    reduction = reduction_of(size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (target * (2 * math.pi)).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction)


@export("nn.functional.gaussian_nll_loss")
def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of normal numbers of given mean and variance."""
    if not isinstance(var, Tensor):
        var = ops.full(tuple(input.shape), var, dtype=input.dtype)
    negative = "var has negative entry/entries"
    if here.capture is not None:
        var = ops.require(var, ops.ge(var, 0), negative)
    elif bool((var < 0).any()):
        raise ValueError(negative)
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or sum(
            b for a, b in zip(input.shape, var.shape, strict=True) if a != b
        ) != 1:  # fmt: skip
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
