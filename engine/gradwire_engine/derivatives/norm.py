"""Derivatives. Normalization: batch, layer, group, RMS.

With y the normalized numbers, r what the centred ones were multiplied by, and P(v) = v - mean(v) - y mean(v y), which
is its own adjoint, the differentials are dy = r P(dx) and dr = -r r mean(y dx).
"""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.norm import LAYOUTS, Layout


def gradients(g: Any, input: Any, mean: Any, var: Any, weight: Any, layout: Layout, eps: float) -> tuple[Any, Any, Any]:
    """Of input, weight and bias; all through one op, since they have most of the work in common."""
    view, dims, params = layout
    g, x = F.reshape(g, view), F.reshape(input, view)
    w = None if weight is None else F.reshape(weight, params)
    into, scale = F.norm_backward(g, x, mean, var, w, dims, eps)
    return F.reshape(into, input.shape), None if weight is None else F.reshape(scale, weight.shape), g


def bias_of(g: Any, bias_spec: Any, layout: Layout) -> Any:
    """What a shift of all positions gets: the gradient summed to its shape."""
    return None if bias_spec is None else F.reshape(F.sum_to(g, layout[2]), bias_spec.shape)


def layer_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, normalized_shape: Any,
               eps: float) -> Any:  # fmt: skip
    layout = LAYOUTS["layer_norm"](input.shape, normalized_shape)
    into, scale, g = gradients(g, input, mean, var, weight, layout, eps)
    return into, scale, bias_of(g, bias_spec, layout)


def rms_norm(g: Any, input: Any, square: Any, weight: Any, normalized_shape: Any, eps: float) -> Any:
    layout = LAYOUTS["rms_norm"](input.shape, normalized_shape)
    return gradients(g, input, None, square, weight, layout, eps)[:2]


def group_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, num_groups: int,
               eps: float) -> Any:  # fmt: skip
    layout = LAYOUTS["group_norm"](input.shape, num_groups)
    into, scale, g = gradients(g, input, mean, var, weight, layout, eps)
    return into, scale, bias_of(g, bias_spec, layout)


def batch_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, eps: float) -> Any:
    layout = LAYOUTS["batch_norm"](input.shape)
    mean, var = F.reshape(mean, layout[2]), F.reshape(var, layout[2])
    into, scale, g = gradients(g, input, mean, var, weight, layout, eps)
    return into, scale, bias_of(g, bias_spec, layout)


vjp("layer_norm", layer_norm)
vjp("rms_norm", rms_norm)
vjp("group_norm", group_norm)
vjp("batch_norm", batch_norm)


def eval_scale(input: Any, running_var: Any, eps: float) -> Any:
    return F.reshape((running_var + eps) ** -0.5, LAYOUTS["batch_norm_eval"](input.shape)[2])


def eval_input(g: Any, input: Any, running_var: Any, weight: Any, eps: float) -> Any:
    scale = eval_scale(input, running_var, eps)
    return g * scale if weight is None else g * (scale * F.reshape(weight, scale.shape))


def eval_weight(g: Any, input: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
    scale = eval_scale(input, running_var, eps)
    y = (input - F.reshape(running_mean, scale.shape)) * scale
    return F.reshape(F.sum_to(g * y, scale.shape), running_mean.shape)


def eval_bias(g: Any, input_spec: Any, bias_spec: Any) -> Any:
    return bias_of(g, bias_spec, LAYOUTS["batch_norm_eval"](input_spec.shape))


vjp("batch_norm_eval", input=eval_input, weight=eval_weight, bias=eval_bias)


def backward(gs: Any, grad: Any, input: Any, mean: Any, var: Any, weight: Any, dim: Any, eps: float) -> Any:
    """The gradient of input is r P(v) with v = grad weight, that of weight the sum of grad y.

    Mean and variance are part of the input, so nothing flows to them; here they are made from it anew.
    """
    u, scaled = gs
    n = math.prod(input.shape[d] for d in dim) or 1

    def average(x: Any) -> Any:
        return F.sum(x, tuple(dim), True) / n

    def centred(x: Any) -> Any:
        return x if mean is None else x - average(x)

    x = centred(input)
    r = (average(x * x) + eps) ** -0.5
    y = x * r

    def project(v: Any) -> Any:
        return centred(v) - y * average(v * y)

    v = grad if weight is None else grad * weight
    a, b = average(u * y), average(v * y)
    c = average(u * centred(v)) - a * b
    into = -(r * r) * (c * y + project(b * u + a * v))
    back = r * project(u)
    if weight is None:
        return back, into, None, None, None
    return back * weight + scaled * y, into + r * project(grad * scaled), None, None, grad * back


vjp("norm_backward", backward)
