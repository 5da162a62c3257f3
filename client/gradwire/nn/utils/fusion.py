"""Layers made of two, and layers whose first values nobody wants."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import gradwire as torch
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter


def _fused(weight: Any, bias: Any, mean: Any, var: Any, eps: float, gamma: Any, beta: Any,
           axis: int) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a layer whose outputs, along an axis of the weight, are normalized and then scaled."""
    flag = bias is not None and bias.requires_grad
    dtype = weight.dtype if bias is None else bias.dtype
    bias = torch.zeros_like(mean) if bias is None else bias
    gamma = torch.ones_like(mean) if gamma is None else gamma
    beta = torch.zeros_like(mean) if beta is None else beta
    scale = gamma * torch.rsqrt(var + eps)
    shape = [-1 if d == axis else 1 for d in range(weight.ndim)]
    made, shift = (weight * scale.reshape(shape)).to(weight.dtype), ((bias - mean) * scale + beta).to(dtype)
    return Parameter(made, weight.requires_grad), Parameter(shift, flag)


def fuse_conv_bn_weights(conv_w: Any, conv_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any,
                         transpose: bool = False) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a convolution that does what a batch norm does after it in evaluation."""
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any,
                           bn_b: Any) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a linear layer that does what a batch norm does after it in evaluation."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _fuse(layer: Any, bn: Any, axis: int) -> Any:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    made = copy.deepcopy(layer)
    made.weight, made.bias = _fused(
        made.weight, made.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, axis
    )
    return made


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that does what a batch norm does after it; both must be in evaluation."""
    return _fuse(conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of a linear layer that does what a batch norm does after it; both must be in evaluation."""
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    return _fuse(linear, bn, 0)


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A layer with any values in its parameters: here those that it draws, which cost the program nothing."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    return module_cls(*args, **kwargs)


def convert_conv2d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """The module: here the order of a weight in memory is the server's to choose."""
    return module


convert_conv3d_weight_memory_format = convert_conv2d_weight_memory_format

__all__ = [
    "convert_conv2d_weight_memory_format",
    "convert_conv3d_weight_memory_format",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "skip_init",
]
