"""Normalization as ``nn.functional`` has it, and under the names that torch itself has for some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import check_constant, ops
from gradwire.export import export
from gradwire.out import stored
from gradwire.tensor import Tensor


def _check_batch(size: Sequence[int], shown: Any) -> None:
    """Raise torch's error where a channel has one number, whose variance is 0."""
    count = size[0]
    for s in size[2:]:
        count *= s
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shown}")


def _trained(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
             bias: Tensor | None, momentum: float, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Normalization with the batch's mean and variance, towards which the running ones are moved."""
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if running is not None and running.numel() != input.shape[1]:
            raise RuntimeError(f"{name} should contain {input.shape[1]} elements not {running.numel()}")
    output, mean, var = ops.batch_norm(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        count = input.numel() // max(input.shape[1], 1)
        ops.batch_norm_update_(running_mean, running_var, mean.detach(), var.detach(), momentum, count)
    return output, mean, var


@export("batch_norm")
def torch_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                     running_var: Tensor | None, training: bool, momentum: float, eps: float,
                     cudnn_enabled: bool = True) -> Tensor:  # fmt: skip
    """Normalization of each channel: with the batch's mean and variance in training, else with the running ones."""
    if not input.numel():
        return input.clone()
    check_constant("native_batch_norm", running_mean=running_mean, running_var=running_var)
    if training:
        return _trained(input, running_mean, running_var, weight, bias, momentum, eps)[0]
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if running is None:
            raise RuntimeError(f"{name} must be defined in evaluation mode")
    return ops.batch_norm_eval(input, running_mean, running_var, weight, bias, eps)


@export("native_batch_norm", out=True)
def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                      running_var: Tensor | None, training: bool, momentum: float,
                      eps: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``batch_norm`` with the mean and the inverse deviation that it used in training."""
    if not training:
        output = torch_batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)
        nothing = ops.full((0,), 0, dtype=output.dtype)
        return output, nothing, nothing
    check_constant("native_batch_norm", running_mean=running_mean, running_var=running_var)
    output, mean, var = _trained(input, running_mean, running_var, weight, bias, momentum, eps)
    return output, mean.detach(), (var.detach() + eps).rsqrt()


@export("nn.functional.batch_norm")
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalization of each channel: with the batch's mean and variance in training, else with the running ones."""
    if training:
        _check_batch(input.shape, input.size())
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return torch_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


@export("instance_norm")
def torch_instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                        running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
                        cudnn_enabled: bool = True) -> Tensor:  # fmt: skip
    """Normalization of each channel of each instance."""
    check_constant("native_batch_norm", running_mean=running_mean, running_var=running_var)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return ops.batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    channels = input.shape[1]
    output, mean, var = ops.group_norm(input, channels, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        count = input.numel() // max(input.shape[0] * channels, 1)
        averages = [s.detach().reshape(-1, channels).mean(0) for s in (mean, var)]
        ops.batch_norm_update_(running_mean, running_var, *averages, momentum, count)
    return output


@export("nn.functional.instance_norm")
def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalization of each channel of each instance."""
    if use_input_stats:
        count = 1
        for s in input.shape[2:]:
            count *= s
        if count == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.size()}")
    return torch_instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)


@export("layer_norm", "nn.functional.layer_norm")
def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True) -> Tensor:  # fmt: skip
    """Normalization over the last dims."""
    made: Tensor = ops.layer_norm(input, normalized_shape, weight, bias, eps)[0]
    return made


@export("native_layer_norm")
def native_layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None,
                      eps: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``layer_norm`` with the mean and the inverse deviation that it used."""
    output, mean, var = ops.layer_norm(input, normalized_shape, weight, bias, eps)
    return output, mean.detach(), (var.detach() + eps).rsqrt()


@export("rms_norm", "nn.functional.rms_norm")
def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:  # fmt: skip
    """Division by the root of the mean square over the last dims."""
    if eps is None:
        eps = 2.0**-52 if input.dtype.to_real().itemsize == 8 else 2.0**-23
    if input.is_complex():
        dims = tuple(range(input.ndim - len(normalized_shape), input.ndim))
        made = input * (input.pow(2).mean(dims, keepdim=True) + eps).rsqrt()
        return made if weight is None else made * weight
    made = ops.rms_norm(input, normalized_shape, weight, eps)[0]
    return made


@export("group_norm")
def torch_group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
                     eps: float = 1e-5, cudnn_enabled: bool = True) -> Tensor:  # fmt: skip
    """Normalization over groups of channels."""
    made: Tensor = ops.group_norm(input, num_groups, weight, bias, eps)[0]
    return made


@export("nn.functional.group_norm")
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalization over groups of channels."""
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    if num_groups > 0:
        size = [input.shape[0] * input.shape[1] // num_groups, num_groups, *input.shape[2:]]
        _check_batch(size, size)
    return torch_group_norm(input, num_groups, weight, bias, eps)


@export("native_group_norm")
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int,
                      eps: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``group_norm`` with the mean and the inverse deviation that it used."""
    output = ops.group_norm(input, group, weight, bias, eps)[0]
    # Unlike in native_layer_norm, torch differentiates mean and deviation.
    each = input.reshape(N, group, C * HxW // group)
    return output, each.mean(-1), (each.var(-1, correction=0) + eps).rsqrt()


@export("nn.functional.local_response_norm")
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Tensor:  # fmt: skip
    """Division by a power of the mean square of neighbouring channels."""
    if input.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {input.ndim} dimensions)"
        )
    if not input.numel():
        return input
    padding = [*[0] * (2 * input.ndim - 4), size // 2, (size - 1) // 2]
    mean = ops.constant_pad_nd(input * input, padding, 0).unfold(1, size, 1).mean(-1)
    made: Tensor = input / (mean * alpha + k) ** beta
    return made


@export("nn.functional.normalize")
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Division by the norm along a dim, which counts as ``eps`` where smaller."""
    made: Tensor = input / input.norm(p, dim, keepdim=True).clamp_min(eps)
    return made if out is None else stored("div", made, out, (input,), True)
