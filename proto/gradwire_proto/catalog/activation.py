"""Activations: relu and its relatives, softmax, gelu, gates."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Inferred, Meta, Op, elementwise, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype, wrap_dim
from gradwire_proto.dtypes import Category, DType, bool_
from gradwire_proto.spec import Spec, spec


def need_float(label: str, dtype: DType) -> None:
    """Raise torch's error where a kernel that torch calls ``label`` is not made for a type."""
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"{label}\" not implemented for '{dtype.legacy}'")


def floats(label: str) -> Meta:
    """The rule of an element-wise op for floating point tensors, with the label that torch's errors use."""

    @elementwise
    def rule(op: Op, input: Spec, *_: Any) -> Inferred:
        need_float(label, input.dtype)
        return Inferred((spec(input.shape, input.dtype),), input.dtype)

    return rule


@elementwise
def _silu(op: Op, input: Spec) -> Inferred:
    if input.dtype.category < Category.FLOAT:
        need_float("silu_cpu", input.dtype)
    return Inferred((spec(input.shape, input.dtype),), input.dtype)


@elementwise
def _relu(op: Op, input: Spec) -> Inferred:
    if input.dtype is bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    if input.dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    return Inferred((spec(input.shape, input.dtype),), input.dtype)


@elementwise
def _threshold(op: Op, input: Spec, *_: Any) -> Inferred:
    if input.dtype.category in (Category.BOOL, Category.COMPLEX):
        raise NotImplementedError(f"\"threshold_cpu\" not implemented for '{input.dtype.legacy}'")
    return Inferred((spec(input.shape, input.dtype),), input.dtype)


@elementwise
def _gelu(op: Op, input: Spec, approximate: str) -> Inferred:
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    need_float("GeluKernelImpl", input.dtype)
    return Inferred((spec(input.shape, input.dtype),), input.dtype)


LARGEST = {"float16": "65504", "bfloat16": "3.38953e+38", "float32": "3.40282e+38", "float64": "1.79769e+308"}


@elementwise
def _softshrink(op: Op, input: Spec, lambd: float) -> Inferred:
    need_float("softshrink_check", input.dtype)
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be in range [0, {LARGEST[input.dtype.name]}] for input dtype {input.dtype.legacy}, but found "
            f"{lambd:g}"
        )
    return Inferred((spec(input.shape, input.dtype),), input.dtype)


def _softmax(op: Op, input: Spec, dim: int, dtype: DType | None) -> Spec:
    wrap_dim(dim, input.ndim)
    need_float(f"{op.name}_lastdim_kernel_impl", dtype or input.dtype)
    return spec(input.shape, dtype or input.dtype)


@elementwise
def of_two(op: Op, first: Spec, second: Spec, *_: Any) -> Inferred:
    """The rule of a fused backward: the shapes of gradient and saved tensor broadcast, their types promote."""
    compute = common_dtype((first, second))
    return Inferred((spec(broadcast_shapes(first.shape, second.shape), compute),), compute)


op("relu(Tensor input) -> Tensor", meta=_relu, inplace=True, doc="input where positive, else 0.")
op("threshold(Tensor input, Scalar threshold, Scalar value) -> Tensor", meta=_threshold, inplace=True, method=False,
   doc="input where above the threshold, else the value.")
op("threshold_backward(Tensor grad, Tensor input, Scalar threshold) -> Tensor", meta=of_two, public=False,
   method=False, doc="Gradient of threshold and relu.")
for _signature in (
    "leaky_relu_backward(Tensor grad, Tensor input, Tensor|Scalar negative_slope) -> Tensor",
    "hardtanh_backward(Tensor grad, Tensor input, Scalar min_val, Scalar max_val) -> Tensor",
    "hardshrink_backward(Tensor grad, Tensor input, Scalar lambd) -> Tensor",
):
    op(_signature, meta=of_two, public=False, method=False, doc=f"Gradient of {_signature.partition('_backward')[0]}.")
op("leaky_relu(Tensor input, Scalar negative_slope=0.01) -> Tensor", meta=floats("leaky_relu_cpu"), inplace=True,
   public=False, method=False, doc="input where positive, else a small slope times input.")
op("elu(Tensor input, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor", meta=floats("elu_cpu"),
   inplace=True, public=False, method=False,
   doc="scale * (input where positive, else alpha * (exp(input_scale * input) - 1)).")
op("gelu(Tensor input, *, str approximate='none') -> Tensor", meta=_gelu, inplace=True, public=False, method=False,
   alias=("nn.functional.gelu",), doc="input times the normal distribution function of input.")
op("gelu_backward(Tensor grad, Tensor input, Tensor output, *, str approximate='none') -> Tensor", meta=of_two,
   public=False, method=False, doc="Gradient of gelu, whose output tells most of it.")
op("silu(Tensor input) -> Tensor", meta=_silu, inplace=True, public=False, method=False,
   doc="input * sigmoid(input).")
op("mish(Tensor input) -> Tensor", meta=floats("mish_cpu"), inplace=True, public=False, method=False,
   doc="input * tanh(softplus(input)).")
op("hardtanh(Tensor input, Scalar min_val=-1, Scalar max_val=1) -> Tensor", meta=_threshold, inplace=True,
   public=False, method=False, doc="input moved into a range; no gradient on its borders.")
op("hardsigmoid(Tensor input) -> Tensor", meta=floats("hardsigmoid_cpu"), inplace=True, public=False, method=False,
   doc="input / 6 + 1/2 moved into the range from 0 to 1.")
op("hardswish(Tensor input) -> Tensor", meta=floats("hardswish_cpu"), inplace=True, public=False, method=False,
   doc="input * hardsigmoid(input).")
op("hardshrink(Tensor input, Scalar lambd=0.5) -> Tensor", meta=floats("hardshrink_cpu"),
   alias=("nn.functional.hardshrink",), doc="input, and 0 where its size is at most lambd.")
op("softshrink(Tensor input, Scalar lambd=0.5) -> Tensor", meta=_softshrink, public=False, method=False,
   alias=("nn.functional.softshrink",), doc="input moved towards 0 by lambd, and no further than 0.")
op("softplus(Tensor input, Scalar beta=1, Scalar threshold=20) -> Tensor", meta=floats("softplus_cpu"), public=False,
   method=False, alias=("nn.functional.softplus",),
   doc="log(1 + exp(beta * input)) / beta; input itself where beta * input is above the threshold.")
op("log_sigmoid(Tensor input) -> Tensor", meta=floats("log_sigmoid_cpu"), public=False, method=False,
   alias=("nn.functional.logsigmoid",), doc="log(sigmoid(input)).")
op("prelu_kernel(Tensor input, Tensor weight) -> Tensor", meta=of_two, public=False, method=False,
   doc="input where positive, else weight times input.")
op("softmax(Tensor input, int dim, dtype? dtype=None) -> Tensor", meta=_softmax, alias=("special.softmax",),
   doc="exp(input) over its sum along a dim.")
op("softmax_backward(Tensor grad, Tensor output, int dim) -> Tensor", meta=of_two, public=False, method=False,
   doc="Gradient of softmax.")
op("log_softmax(Tensor input, int dim, dtype? dtype=None) -> Tensor", meta=_softmax, alias=("special.log_softmax",),
   doc="Logarithm of softmax.")
op("log_softmax_backward(Tensor grad, Tensor output, int dim) -> Tensor", meta=of_two, public=False, method=False,
   doc="Gradient of log_softmax.")
