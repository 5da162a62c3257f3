"""Normalization: batch, layer, group, RMS.

All are one thing: numbers are brought to mean 0 and variance 1 over some dims of a view of the input, then scaled and
shifted by parameters of a shape that broadcasts against that view. :data:`LAYOUTS` says which, op by op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradwire_proto.catalog.activation import need_float
from gradwire_proto.catalog.declare import Op, check_writable, op
from gradwire_proto.catalog.loss import statistic
from gradwire_proto.dtypes import float32
from gradwire_proto.spec import Spec, spec

Shape = tuple[int, ...]
Layout = tuple[Shape, Shape, Shape]
"""Shape of the view, dims that are averaged over, shape of the parameters."""


def _layer(shape: Shape, normalized_shape: Shape) -> Layout:
    ndim = len(shape)
    return shape, tuple(range(ndim - len(normalized_shape), ndim)), tuple(normalized_shape)


def _group(shape: Shape, num_groups: int) -> Layout:
    each, rest = shape[1] // num_groups, shape[2:]
    view = (shape[0], num_groups, each, *rest)
    return view, tuple(range(2, len(view))), (num_groups, each, *[1] * len(rest))


def _batch(shape: Shape, *_: Any) -> Layout:
    return shape, (0, *range(2, len(shape))), (shape[1], *[1] * (len(shape) - 2))


LAYOUTS: dict[str, Callable[..., Layout]] = {
    "layer_norm": _layer, "rms_norm": _layer, "group_norm": _group, "batch_norm": _batch, "batch_norm_eval": _batch,
}  # fmt: skip


def _kept(layout: Layout) -> Shape:
    """The shape of the averages, as they broadcast against the view."""
    view, dims, _ = layout
    return tuple(1 if i in dims else s for i, s in enumerate(view))


def _layer_norm(op: Op, input: Spec, normalized_shape: Shape, weight: Spec | None, *rest: Any) -> tuple[Spec, ...]:
    shape = list(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    bias = rest[0] if op.name == "layer_norm" else None
    for name, param in (("weight", weight), ("bias", bias)):
        if param is not None and param.shape != normalized_shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(param.shape)} and normalized_shape = {shape}"
            )
    if input.shape[-len(shape) :] != normalized_shape:
        raise RuntimeError(
            f"Given normalized_shape={shape}, expected input with shape [*, {', '.join(map(str, shape))}], but got "
            f"input of size{list(input.shape)}"
        )
    need_float("LayerNormKernelImpl", input.dtype)
    if op.name == "layer_norm":
        _check_types(input, weight, bias)
    return _results(op, input, _kept(_layer(input.shape, normalized_shape)))


def _check_types(input: Spec, *params: Spec | None) -> None:
    """Parameters have the input's type, or are float32 beside a smaller one."""
    small = input.dtype.itemsize < 4
    for p in params:
        if p is not None and p.dtype is not input.dtype and not (small and p.dtype is float32):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def _results(op: Op, input: Spec, averages: Shape) -> tuple[Spec, ...]:
    kept = spec(averages, statistic(input.dtype))
    return (spec(input.shape, input.dtype), *[kept] * (len(op.results) - 1))


def _group_norm(op: Op, input: Spec, num_groups: int, weight: Spec | None, bias: Spec | None, _: float) -> Any:
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    channels = input.shape[1]
    if num_groups < 1:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    for name, param in (("weight", weight), ("bias", bias)):
        if param is not None and param.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(param.shape)} and input of shape {list(input.shape)}"
            )
    need_float("GroupNormKernelImpl", input.dtype)
    _check_types(input, weight, bias)
    return _results(op, input, _kept(_group(input.shape, num_groups)))


def _check_channels(input: Spec, **params: Spec | None) -> int:
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    channels = input.shape[1]
    for name, param in params.items():
        if param is not None and param.numel != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {param.numel}")
    need_float("batch_norm", input.dtype)
    _check_types(input, *params.values())
    return channels


def _batch_norm(op: Op, input: Spec, weight: Spec | None, bias: Spec | None, _: float) -> Any:
    return _results(op, input, (_check_channels(input, weight=weight, bias=bias),))


def _batch_norm_eval(op: Op, input: Spec, running_mean: Spec, running_var: Spec, weight: Spec | None,
                     bias: Spec | None, _: float) -> Spec:  # fmt: skip
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    return spec(input.shape, input.dtype)


def _update(op: Op, running_mean: Spec, running_var: Spec, mean: Spec, var: Spec, *_: Any) -> tuple[Spec, Spec]:
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        check_writable(running)
        if running.numel != mean.numel:
            raise RuntimeError(f"{name} should contain {mean.numel} elements not {running.numel}")
    return running_mean, running_var


def _backward(op: Op, grad: Spec, input: Spec, mean: Spec | None, var: Spec, weight: Spec | None, dim: Shape,
              params: Shape, *_: Any) -> tuple[Spec, ...]:  # fmt: skip
    param = spec(tuple(params), input.dtype if weight is None else weight.dtype)
    return spec(input.shape, input.dtype), param, param


op("layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> "
   "(Tensor output, Tensor mean, Tensor var)", meta=_layer_norm, public=False, method=False,
   node="NativeLayerNormBackward0", doc="Normalization over the last dims; mean and variance are for the backward.")
op("rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float eps) -> (Tensor output, Tensor square)",
   meta=_layer_norm, public=False, method=False, node="FusedRmsNormBackward0",
   doc="Division by the root of the mean square over the last dims, which is for the backward.")
op("group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> "
   "(Tensor output, Tensor mean, Tensor var)", meta=_group_norm, public=False, method=False,
   node="NativeGroupNormBackward0", doc="Normalization over groups of channels.")
op("batch_norm(Tensor input, Tensor? weight=None, Tensor? bias=None, float eps=1e-05) -> "
   "(Tensor output, Tensor mean, Tensor var)", meta=_batch_norm, public=False, method=False,
   node="NativeBatchNormBackward0", doc="Normalization of each channel over the batch, with its mean and variance.")
op("batch_norm_eval(Tensor input, Tensor running_mean, Tensor running_var, Tensor? weight=None, Tensor? bias=None, "
   "float eps=1e-05) -> Tensor", meta=_batch_norm_eval, public=False, method=False, node="NativeBatchNormBackward0",
   doc="Normalization of each channel with a given mean and variance.")
op("batch_norm_update_(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor mean, Tensor var, float momentum, "
   "int count) -> (Tensor(a!), Tensor(b!))", meta=_update, differentiable=False, public=False, method=False,
   doc="Moves running statistics towards those of a batch with so many numbers a channel.")
op("norm_backward(Tensor grad, Tensor input, Tensor? mean, Tensor var, Tensor? weight, int[] dim, int[] params, "
   "float eps, bool fixed=False) -> (Tensor grad_input, Tensor grad_weight, Tensor grad_bias)", meta=_backward,
   public=False, method=False,
   doc="Gradients of a normalization over dims with parameters of a shape, which is (0) if there are none; centred "
       "where a mean is given; with fixed, mean and variance do not depend on the input.")
