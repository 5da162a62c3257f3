"""Kernels. Normalization: batch, layer, group, RMS."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.kernels.activation import wide
from gradwire_engine.registry import kernel
from gradwire_proto.catalog.norm import LAYOUTS, Layout


def _affine(y: Any, weight: Any, bias: Any, params: tuple[int, ...]) -> Any:
    """``y`` scaled and shifted, in its own memory."""
    if weight is not None:
        y *= weight.reshape(params)
    if bias is not None:
        y += bias.reshape(params)
    return y


def _standardize(xp: Any, input: Any, layout: Layout, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    view, dims, params = layout
    x = wide(xp, input).reshape(view)
    n = math.prod(view[d] for d in dims)
    mean = xp.sum(x, axis=dims, keepdims=True) / n
    y = x - mean
    var = xp.sum(y * y, axis=dims, keepdims=True) / n
    y *= 1 / xp.sqrt(var + eps)
    return _affine(y, weight, bias, params).reshape(input.shape), mean, var


@kernel("layer_norm")
def layer_norm(xp: Any, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    return _standardize(xp, input, LAYOUTS["layer_norm"](input.shape, normalized_shape), weight, bias, eps)


@kernel("group_norm")
def group_norm(xp: Any, input: Any, num_groups: int, weight: Any, bias: Any, eps: float) -> Any:
    return _standardize(xp, input, LAYOUTS["group_norm"](input.shape, num_groups), weight, bias, eps)


@kernel("batch_norm")
def batch_norm(xp: Any, input: Any, weight: Any, bias: Any, eps: float) -> Any:
    y, mean, var = _standardize(xp, input, LAYOUTS["batch_norm"](input.shape), weight, bias, eps)
    return y, mean.reshape(-1), var.reshape(-1)


@kernel("rms_norm")
def rms_norm(xp: Any, input: Any, normalized_shape: Any, weight: Any, eps: float) -> Any:
    _, dims, params = LAYOUTS["rms_norm"](input.shape, normalized_shape)
    x = wide(xp, input)
    y = x * x
    square = xp.mean(y, axis=dims, keepdims=True)
    y = xp.multiply(x, 1 / xp.sqrt(square + eps), out=y)
    return _affine(y, weight, None, params), square


@kernel("batch_norm_eval")
def batch_norm_eval(xp: Any, input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any,
                    eps: float) -> Any:  # fmt: skip
    _, _, params = LAYOUTS["batch_norm_eval"](input.shape)
    scale = 1 / xp.sqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    y = wide(xp, input) - running_mean.reshape(params)
    return _affine(y, scale, bias, params)


@kernel("batch_norm_update_")
def batch_norm_update_(xp: Any, running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: float,
                       count: int) -> None:  # fmt: skip
    running_mean[...] = running_mean * (1 - momentum) + mean * momentum
    # The running variance is of the population, hence the correction.
    running_var[...] = running_var * (1 - momentum) + var * (momentum * count / max(count - 1, 1))


@kernel("norm_backward")
def norm_backward(xp: Any, grad: Any, input: Any, mean: Any, var: Any, weight: Any, dim: Any, params: Any,
                  eps: float, fixed: bool = False) -> tuple[Any, Any, Any]:  # fmt: skip
    g, x, params = wide(xp, grad), wide(xp, input), tuple(params)
    r = 1 / xp.sqrt(var + eps)
    y = x * r if mean is None else x - mean
    if mean is not None:
        y *= r
    each = g * y
    if params == (0,):
        grad_weight = grad_bias = xp.zeros(0, input.dtype)
    else:
        lead = x.ndim - len(params)
        over = (*range(lead), *(i + lead for i, s in enumerate(params) if s == 1))
        grad_weight = xp.sum(each, axis=over).reshape(params)
        grad_bias = xp.sum(g, axis=over).reshape(params)
    if weight is not None:
        g = g * weight
        each *= weight
    if fixed:
        return g * r, grad_weight, grad_bias
    y *= xp.mean(each, axis=tuple(dim), keepdims=True)
    into = xp.subtract(g, y, out=each)
    if mean is not None:
        into -= xp.mean(g, axis=tuple(dim), keepdims=True)
    into *= r
    return into, grad_weight, grad_bias
