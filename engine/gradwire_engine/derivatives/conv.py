"""Derivatives of convolution.

Input, weight and gradient make one trilinear form; convolution, its transposed and ``convolution_weight`` are its
three partial derivatives, so that each one's derivatives are the other two.
"""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.conv import expand_ints
from gradwire_proto.spec import Spec


def adjoint(g: Any, weight: Any, shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The transposed convolution of ``g`` to an input of this shape."""
    n = len(shape) - 2
    s, p, d = (expand_ints("", v, n) for v in (stride, padding, dilation))
    # What the stride left over at the end of the input is what the way back has to pad.
    extra = tuple(
        shape[i + 2] - ((g.shape[i + 2] - 1) * s[i] - 2 * p[i] + d[i] * (weight.shape[i + 2] - 1) + 1)
        for i in range(n)
    )
    return F.convolution(g, weight, None, s, p, d, True, extra, groups)


def forward(x: Any, weight: Any, shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The convolution of ``x`` to a result of this shape; past an output_padding above the stride it would go on."""
    made = F.convolution(x, weight, None, stride, padding, dilation, False, (0,), groups)
    for i in range(2, len(shape)):
        if made.shape[i] != shape[i]:
            made = F.slice(made, i, 0, shape[i])
    return made


def conv_input(g: Any, input_spec: Spec, weight: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
               groups: int) -> Any:  # fmt: skip
    if transposed:
        return forward(g, conj(weight), input_spec.shape, stride, padding, dilation, groups)
    return adjoint(g, conj(weight), input_spec.shape, stride, padding, dilation, groups)


def conv_weight(g: Any, input: Any, weight_spec: Spec, stride: Any, padding: Any, dilation: Any, transposed: bool,
                groups: int) -> Any:  # fmt: skip
    pair = (conj(input), g) if transposed else (g, conj(input))
    return F.convolution_weight(*pair, weight_spec.shape[2:], stride, padding, dilation, groups)


vjp("attach", input=lambda g: g)
vjp("convolution",
    input=conv_input,
    weight=conv_weight,
    bias=lambda g, input, weight: F.attach(F.attach(F.sum(g, (0, *range(2, g.ndim))), input), weight))  # fmt: skip
vjp("convolution_weight",
    grad=lambda g, grad_spec, input, stride, padding, dilation, groups:
        forward(conj(input), g, grad_spec.shape, stride, padding, dilation, groups),
    input=lambda g, grad, input_spec, stride, padding, dilation, groups:
        adjoint(conj(grad), g, input_spec.shape, stride, padding, dilation, groups))  # fmt: skip
vjp("im2col",
    input=lambda g, input_spec, kernel_size, dilation, padding, stride:
        F.col2im(g, input_spec.shape[-2:], kernel_size, dilation, padding, stride))  # fmt: skip
vjp("col2im",
    input=lambda g, kernel_size, dilation, padding, stride: F.im2col(g, kernel_size, dilation, padding, stride))
