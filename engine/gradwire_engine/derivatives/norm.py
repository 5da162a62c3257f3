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
from gradwire_proto.spec import Spec


def gradients(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias: Spec | None, layout: Layout, eps: float,
              fixed: bool = False) -> tuple[Any, Any, Any]:  # fmt: skip
    """Of input, weight and bias; all by one op, since they have most of the work in common."""
    view, dims, params = layout
    if weight is None and bias is None:
        params = (0,)
    w = None if weight is None else F.reshape(weight, params)
    into, scale, shift = F.norm_backward(
        F.reshape(g, view), F.reshape(input, view), mean, var, w, dims, params, eps, fixed
    )
    return (
        F.reshape(into, input.shape),
        None if weight is None else F.reshape(scale, weight.shape),
        None if bias is None else F.reshape(shift, bias.shape),
    )


def layer_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, normalized_shape: Any,
               eps: float) -> Any:  # fmt: skip
    layout = LAYOUTS["layer_norm"](input.shape, normalized_shape)
    return gradients(g, input, mean, var, weight, bias_spec, layout, eps)


def rms_norm(g: Any, input: Any, square: Any, weight: Any, normalized_shape: Any, eps: float) -> Any:
    layout = LAYOUTS["rms_norm"](input.shape, normalized_shape)
    return gradients(g, input, None, square, weight, None, layout, eps)[:2]


def group_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, num_groups: int,
               eps: float) -> Any:  # fmt: skip
    layout = LAYOUTS["group_norm"](input.shape, num_groups)
    return gradients(g, input, mean, var, weight, bias_spec, layout, eps)


def _batch(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, fixed: bool) -> Any:
    layout = LAYOUTS["batch_norm"](input.shape)
    params = layout[2]
    return gradients(g, input, F.reshape(mean, params), F.reshape(var, params), weight, bias, layout, eps, fixed)


def batch_norm(g: Any, input: Any, mean: Any, var: Any, weight: Any, bias_spec: Any, eps: float) -> Any:
    return _batch(g, input, mean, var, weight, bias_spec, eps, False)


def batch_norm_eval(g: Any, input: Any, running_mean: Any, running_var: Any, weight: Any, bias_spec: Any,
                    eps: float) -> Any:  # fmt: skip
    into, scale, shift = _batch(g, input, running_mean, running_var, weight, bias_spec, eps, True)
    return into, None, None, scale, shift


vjp("layer_norm", layer_norm)
vjp("rms_norm", rms_norm)
vjp("group_norm", group_norm)
vjp("batch_norm", batch_norm)
vjp("batch_norm_eval", batch_norm_eval)


def backward(gs: Any, grad: Any, input: Any, mean: Any, var: Any, weight: Any, dim: Any, params: Any, eps: float,
             fixed: bool) -> Any:  # fmt: skip
    """The gradient of input is r P(v) with v = grad weight, that of weight the sum of grad y, that of bias of grad.

    Unless they are fixed, mean and variance are parts of the input: they are made from it anew, for the derivative
    after this one, and nothing flows to them.
    """
    u, scaled, shifted = gs
    n = math.prod(input.shape[d] for d in dim) or 1

    def average(x: Any) -> Any:
        return F.sum(x, tuple(dim), True) / n

    def centred(x: Any) -> Any:
        return x if mean is None else x - average(x)

    def project(v: Any) -> Any:
        return v if fixed else centred(v) - y * average(v * y)

    x = input - mean if fixed else centred(input)
    r = ((var if fixed else average(x * x)) + eps) ** -0.5
    y = x * r
    back, into = r * project(u), None
    if not fixed:
        v = grad if weight is None else grad * weight
        a, b = average(u * y), average(v * y)
        c = average(u * centred(v)) - a * b
        into = -(r * r) * (c * y + project(b * u + a * v))
    through = back if weight is None else back * weight
    if tuple(params) != (0,):
        through = through + scaled * y + shifted
        of_scale = r * project(grad * scaled)
        into = of_scale if into is None else into + of_scale
    return through, into, None, None, None if weight is None else grad * back


vjp("norm_backward", backward)
