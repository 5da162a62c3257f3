"""Derivatives. Activations: relu and its relatives, softmax, gelu, gates."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp

vjp("relu", input=lambda g, result: F.threshold_backward(g, result, 0))
vjp("threshold", input=lambda g, input, threshold: F.threshold_backward(g, input, threshold))
vjp("threshold_backward", grad=lambda g, input, threshold: F.threshold_backward(g, input, threshold))
vjp("leaky_relu", input=lambda g, input, negative_slope: F.leaky_relu_backward(g, input, negative_slope))
vjp("leaky_relu_backward",
    grad=lambda g, input, negative_slope: F.leaky_relu_backward(g, input, negative_slope),
    negative_slope=lambda g, grad, input: F.where(input > 0, 0, g * grad))  # fmt: skip
vjp("hardtanh", input=lambda g, input, min_val, max_val: F.hardtanh_backward(g, input, min_val, max_val))
vjp("hardtanh_backward", grad=lambda g, input, min_val, max_val: F.hardtanh_backward(g, input, min_val, max_val))
vjp("hardsigmoid", input=lambda g, input: F.hardtanh_backward(g / 6, input, -3, 3))
vjp("hardswish", input=lambda g, input:
    F.where(input <= -3, 0, F.where(input < 3, g * (input / 3 + 0.5), g)))  # fmt: skip
for _name in ("hardshrink", "softshrink"):
    vjp(_name, input=lambda g, input, lambd: F.hardshrink_backward(g, input, lambd))
vjp("hardshrink_backward", grad=lambda g, input, lambd: F.hardshrink_backward(g, input, lambd))
vjp("softplus", input=lambda g, input, beta, threshold:
    F.where(input * beta > threshold, g, g * F.sigmoid(input * beta)))  # fmt: skip
vjp("log_sigmoid", input=lambda g, input: g * F.sigmoid(-input))
vjp("prelu_kernel", input=lambda g, input, weight: F.leaky_relu_backward(g, input, weight),
                    weight=lambda g, input: F.where(input > 0, 0, g * input))  # fmt: skip


def elu(g: Any, input: Any, alpha: float, scale: float, input_scale: float) -> Any:
    # Clamped, since exp of a large input would be inf, and 0 * inf nan in the second derivative.
    below = F.exp(F.clamp(input, None, 0) * input_scale) * (alpha * scale * input_scale)
    return F.where(input > 0, g * scale, g * below)


def silu(g: Any, input: Any) -> Any:
    s = F.sigmoid(input)
    return g * (s * (input * (1 - s) + 1))


def mish(g: Any, input: Any) -> Any:
    t = F.tanh(F.softplus(input))
    return g * (t + input * F.sigmoid(input) * (1 - t * t))


def gelu_second(g: Any, grad: Any, input: Any, approximate: str) -> Any:
    square = input * input
    if approximate == "none":
        bend = F.exp(square * -0.5) * (2 - square) * (1 / math.sqrt(2 * math.pi))
    else:
        k, c = math.sqrt(2 / math.pi), 0.044715
        t = F.tanh((square * c + 1) * input * k)
        inner = (square * (3 * c) + 1) * k
        bend = (1 - t * t) * (inner + input * (input * (3 * k * c) - t * inner * inner))
    return g * grad * bend


vjp("elu", input=elu)
vjp("silu", input=silu)
vjp("mish", input=mish)
vjp("gelu", input=lambda g, input, result, approximate: F.gelu_backward(g, input, result, approximate=approximate))
vjp("gelu_backward",
    grad=lambda g, input, output, approximate: F.gelu_backward(g, input, output, approximate=approximate),
    input=gelu_second)  # fmt: skip


def softmax_output(g: Any, grad: Any, output: Any, dim: int) -> Any:
    return g * (grad - F.sum(grad * output, (dim,), True)) - grad * F.sum(g * output, (dim,), True)


vjp("softmax", input=lambda g, result, dim: F.softmax_backward(g, result, dim))
vjp("softmax_backward", grad=lambda g, output, dim: F.softmax_backward(g, output, dim), output=softmax_output)
vjp("log_softmax", input=lambda g, result, dim: F.log_softmax_backward(g, result, dim))
vjp("log_softmax_backward", grad=lambda g, output, dim: g - F.sum(g * F.exp(output), (dim,), True),
                            output=lambda g, grad, output, dim:
                                -g * F.exp(output) * F.sum(grad, (dim,), True))  # fmt: skip
