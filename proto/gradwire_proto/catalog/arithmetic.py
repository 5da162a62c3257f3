"""Arithmetic: + - * / ** and their kin, and the fused forms that optimizers are written in."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.creation import check_number
from gradwire_proto.catalog.declare import Inferred, Op, elementwise, op
from gradwire_proto.catalog.meta import Refusal, pointwise, unmade
from gradwire_proto.dtypes import Category, DType, bool_, int64
from gradwire_proto.spec import Spec

BOOL, INT, COMPLEX = Category.BOOL, Category.INT, Category.COMPLEX
CPP_NAME = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
            "int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char",
            "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}  # fmt: skip
"""What torch calls a type where it prints C++'s name."""


def check_alpha(compute: DType, alpha: Any) -> None:
    """torch's refusal of a factor that the common type can't hold."""
    if isinstance(alpha, bool) and compute is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, (float, complex)) and compute.category <= INT:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and not compute.is_complex:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")


@elementwise
def _sum(op: Op, input: Any, other: Any, alpha: Any) -> Inferred:
    made: Inferred = pointwise()(op, input, other, alpha)
    check_alpha(made.results[0].dtype, alpha)
    return made


@elementwise
def _difference(op: Op, input: Any, other: Any, alpha: Any) -> Inferred:
    bools = sum(isinstance(v, bool) or (isinstance(v, Spec) and v.dtype is bool_) for v in (input, other))
    if bools == 2:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
            "operator instead."
        )
    if bools:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    return _sum(op, input, other, alpha)


@elementwise
def _div(op: Op, input: Any, other: Any, rounding_mode: str | None) -> Any:
    if rounding_mode is None:
        return pointwise(floats=True)(op, input, other, rounding_mode)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    return pointwise(reject=unmade(f"div_{rounding_mode}_cpu", BOOL, COMPLEX))(op, input, other, rounding_mode)


@elementwise
def _pow(op: Op, input: Any, exponent: Any) -> Inferred:
    made: Inferred = pointwise(reject=unmade("pow", BOOL))(op, input, exponent)
    if isinstance(exponent, Spec):
        return made
    if made.results[0].dtype.category is INT and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return Inferred(made.results)  # the kernel sees the number itself, as a square needs no logarithm


@elementwise
def _square(op: Op, input: Spec) -> Any:
    return pointwise(int64 if input.dtype is bool_ else None)(op, input)


@elementwise
def _addcdiv(op: Op, input: Spec, tensor1: Spec, tensor2: Spec, value: Any) -> Any:
    if tensor1.dtype.category <= INT and tensor2.dtype.category <= INT:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as "
            "(input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as "
            "(input + value * tensor1 / tensor2) for float inputs. The future addcdiv behavior is just the latter "
            "implementation: (input + value * tensor1 / tensor2) for all dtypes."
        )
    made: Inferred = pointwise()(op, input, tensor1, tensor2, value)
    check_number(value, made.results[0].dtype)
    return made


@elementwise
def _addcmul(op: Op, input: Spec, tensor1: Spec, tensor2: Spec, value: Any) -> Any:
    made: Inferred = pointwise(reject=unmade("addcmul_cpu_out", BOOL))(op, input, tensor1, tensor2, value)
    check_number(value, made.results[0].dtype)
    return made


@elementwise
def _lerp(op: Op, input: Spec, end: Spec, weight: Any) -> Any:
    for name, v in (("end", end), ("weight", weight)):
        if isinstance(v, Spec) and v.dtype is not input.dtype:
            raise RuntimeError(
                f"expected dtype {CPP_NAME.get(input.dtype.name, 'bool')} for `{name}` but got dtype "
                f"{CPP_NAME.get(v.dtype.name, 'bool')}"
            )
    if input.dtype.category <= INT:
        kernel = "lerp_kernel_tensor" if isinstance(weight, Spec) else "lerp_kernel_scalar"
        raise NotImplementedError(f'"{kernel}" not implemented for \'{input.dtype.legacy}\'')
    if not isinstance(weight, Spec):
        check_number(weight, input.dtype)
    return pointwise()(op, input, end, weight)


op("add(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=_sum, inplace=True,
   doc="input + alpha * other.")
op("sub(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=_difference, inplace=True,
   alias=("subtract",), doc="input - alpha * other.")
op("rsub(Tensor input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor", meta=_difference, node="RsubBackward1",
   method=False, doc="other - alpha * input.")
op("mul(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=pointwise(), inplace=True, alias=("multiply",),
   doc="input * other.")
op("div(Tensor|Scalar input, Tensor|Scalar other, *, str? rounding_mode=None) -> Tensor", meta=_div, inplace=True,
   alias=("divide", "true_divide"), doc="input / other, as floats unless rounded down or toward zero.")
op("floor_divide(Tensor|Scalar input, Tensor|Scalar other) -> Tensor",
   meta=pointwise(reject=unmade("div_floor_cpu", BOOL, COMPLEX)), inplace=True, doc="input / other rounded down.")
op("remainder(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=pointwise(reject=[BOOL, COMPLEX]),
   inplace=True, doc="What floor division leaves; has the sign of other.")
op("fmod(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(reject=[BOOL, COMPLEX]), inplace=True,
   doc="What division toward zero leaves; has the sign of input.")
op("neg(Tensor input) -> Tensor", inplace=True, alias=("negative",), doc="-input.",
   meta=pointwise(reject={BOOL: Refusal(RuntimeError, "Negation, the `-` operator, on a bool tensor is not supported. "
                                        "If you are trying to invert a mask, use the `~` or `logical_not()` operator "
                                        "instead.")}))  # fmt: skip
op("positive(Tensor input) -> Tensor", doc="+input.",
   meta=pointwise(reject={BOOL: Refusal(RuntimeError, "The `+` operator, on a bool tensor is not supported.")}))
op("reciprocal(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="1 / input.")
op("square(Tensor input) -> Tensor", meta=_square, inplace=True, node="PowBackward0", doc="input * input.")
op("pow(Tensor|Scalar input, Tensor|Scalar exponent) -> Tensor", meta=_pow, inplace=True,
   doc="input ** exponent.")
op("addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
   meta=_addcmul, inplace=True, doc="input + value * tensor1 * tensor2.")
op("addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor", meta=_addcdiv, inplace=True,
   doc="input + value * tensor1 / tensor2.")
op("lerp(Tensor input, Tensor end, Tensor|Scalar weight) -> Tensor", meta=_lerp, inplace=True,
   node="LerpBackward0", doc="input + weight * (end - input).")
