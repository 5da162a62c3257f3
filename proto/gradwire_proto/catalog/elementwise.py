"""Element-wise functions: exponentials, trigonometry, rounding, extremes of two; complex numbers and their parts."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Op, elementwise, op
from gradwire_proto.catalog.meta import Refusal, pointwise, unmade
from gradwire_proto.dtypes import Category, float16, float32, float64, int32
from gradwire_proto.spec import Spec, spec

BOOL, INT, COMPLEX = Category.BOOL, Category.INT, Category.COMPLEX


def _refused(text: str, error: type[Exception] = RuntimeError) -> dict[Category, Refusal]:
    return {COMPLEX: Refusal(error, text)}


# Smooth functions of one tensor, integers as floats.

for _name, _aliases, _doc in (
    ("sqrt", (), "Square root."),
    ("rsqrt", (), "1 / sqrt(input)."),
    ("exp", (), "e to the power of input."),
    ("exp2", ("special.exp2",), "2 to the power of input."),
    ("expm1", ("special.expm1",), "exp(input) - 1, exact near 0."),
    ("log", (), "Natural logarithm."),
    ("log2", (), "Logarithm to base 2."),
    ("log10", (), "Logarithm to base 10."),
    ("log1p", ("special.log1p",), "log(1 + input), exact near 0."),
    ("sin", (), "Sine."),
    ("cos", (), "Cosine."),
    ("tan", (), "Tangent."),
    ("asin", ("arcsin",), "Inverse sine."),
    ("acos", ("arccos",), "Inverse cosine."),
    ("atan", ("arctan",), "Inverse tangent."),
    ("sinh", (), "Hyperbolic sine."),
    ("cosh", (), "Hyperbolic cosine."),
    ("tanh", (), "Hyperbolic tangent."),
    ("asinh", ("arcsinh",), "Inverse hyperbolic sine."),
    ("acosh", ("arccosh",), "Inverse hyperbolic cosine."),
    ("atanh", ("arctanh",), "Inverse hyperbolic tangent."),
    ("sigmoid", ("special.expit",), "1 / (1 + exp(-input))."),
    ("sinc", ("special.sinc",), "sin(pi input) / (pi input), 1 at 0."),
):
    op(f"{_name}(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, alias=_aliases, doc=_doc)

op("logit(Tensor input, float? eps=None) -> Tensor", meta=pointwise(floats=True, reject=[COMPLEX]), inplace=True,
   alias=("special.logit",), doc="log(input / (1 - input)), input first clamped to [eps, 1 - eps].")
op("deg2rad(Tensor input) -> Tensor", inplace=True, doc="Degrees as radians.",
   meta=pointwise(floats=True, reject=_refused("deg2rad is not supported for complex tensors.")))
op("rad2deg(Tensor input) -> Tensor", inplace=True, doc="Radians as degrees.",
   meta=pointwise(floats=True, reject=_refused("rad2deg is not supported for complex tensors.")))


# Rounding and signs.

for _name, _aliases, _doc in (
    ("ceil", (), "Rounded up."),
    ("floor", (), "Rounded down."),
    ("trunc", ("fix",), "Rounded toward zero."),
):
    op(f"{_name}(Tensor input) -> Tensor", inplace=True, alias=_aliases, doc=_doc,
       meta=pointwise(reject=unmade(f"{_name}_vml_cpu", BOOL)
                      | _refused(f"{_name} is not supported for complex inputs", NotImplementedError)))  # fmt: skip


@elementwise
def _round(op: Op, input: Spec, decimals: int) -> Any:
    if decimals:
        return pointwise(reject=[BOOL, INT, COMPLEX])(op, input, decimals)
    return pointwise(reject=unmade("round_vml_cpu", BOOL, COMPLEX))(op, input, decimals)


def _frexp(op: Op, input: Spec) -> Any:
    if not input.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return spec(input.shape, input.dtype), spec(input.shape, int32)


op("round(Tensor input, *, int decimals=0) -> Tensor", meta=_round, inplace=True, alias=("special.round",),
   doc="Rounded to so many decimals, halves to even.")
op("frac(Tensor input) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]), inplace=True,
   doc="What trunc takes away.")
op("frexp(Tensor input) -> (Tensor mantissa, Tensor exponent)", meta=_frexp, public=False, method=False,
   doc="Mantissa in [0.5, 1) and exponent of 2.")
op("abs(Tensor input) -> Tensor", meta=pointwise("real", reject=[BOOL]), inplace=True, alias=("absolute",),
   doc="Absolute value.")
op("sign(Tensor input) -> Tensor", inplace=True, doc="-1, 0 or 1.",
   meta=pointwise(reject=_refused("Unlike NumPy, torch.sign is not intended to support complex numbers. Please use "
                                  "torch.sgn instead.", NotImplementedError)))  # fmt: skip
op("sgn(Tensor input) -> Tensor", meta=pointwise(), inplace=True, doc="input / abs(input), 0 at 0.")
op("nan_to_num(Tensor input, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor", meta=pointwise(),
   inplace=True, doc="nan as 0 and infinities as the largest numbers, or as given.")


# Functions of two tensors and more.


_bounded = pointwise(reject=_refused("clamp is not supported for complex types", NotImplementedError))


@elementwise
def _clamp(op: Op, input: Spec, min: Any, max: Any) -> Any:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if None not in (min, max) and isinstance(min, Spec) is not isinstance(max, Spec):
        kinds = ", ".join("Tensor" if isinstance(v, Spec) else type(v).__name__ for v in (min, max))
        raise TypeError(f"{op.name}() received an invalid combination of arguments - got ({kinds})")
    return _bounded(op, input, min, max)


@elementwise
def _heaviside(op: Op, input: Spec, values: Spec) -> Any:
    if input.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return pointwise()(op, input, values)


for _name, _doc in (("maximum", "The larger of two; nan wins."), ("minimum", "The smaller of two; nan wins."),
                    ("fmax", "The larger of two; nan loses."), ("fmin", "The smaller of two; nan loses.")):  # fmt: skip
    op(f"{_name}(Tensor input, Tensor other) -> Tensor", doc=_doc,
       meta=pointwise(reject=_refused(f"{_name} not implemented for complex tensors.")))

op("clamp(Tensor input, Tensor|Scalar? min=None, Tensor|Scalar? max=None) -> Tensor", meta=_clamp, inplace=True,
   alias=("clip",), doc="input moved into a range.")
op("clamp_min(Tensor input, Tensor|Scalar min) -> Tensor", meta=_bounded, inplace=True,
   doc="input, but no less than min.")
op("clamp_max(Tensor input, Tensor|Scalar max) -> Tensor", meta=_bounded, inplace=True,
   doc="input, but no more than max.")
op("atan2(Tensor input, Tensor other) -> Tensor", meta=pointwise(floats=True, reject=[COMPLEX]), inplace=True,
   alias=("arctan2",), doc="The angle of the point (other, input).")
op("hypot(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]), inplace=True,
   doc="Length of the hypotenuse.")
op("logaddexp(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT]),
   doc="log(exp(input) + exp(other)) without overflow.")
op("logaddexp2(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]),
   doc="log2(2 ** input + 2 ** other) without overflow.")
op("copysign(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(floats=True, reject=[COMPLEX]),
   inplace=True, doc="abs(input) with the sign of other.")
op("nextafter(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]), inplace=True,
   doc="The next representable number toward other.")
op("heaviside(Tensor input, Tensor values) -> Tensor", meta=_heaviside, inplace=True,
   doc="0 below 0, values at 0, 1 above.")
op("ldexp(Tensor input, Tensor other) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="input * 2 ** other.")


# Complex numbers and their parts.

_PART_TYPES = (float16, float32, float64)


@elementwise
def _parts(op: Op, first: Spec, second: Spec) -> Any:
    if first.dtype not in _PART_TYPES or second.dtype not in _PART_TYPES:
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {first.dtype.legacy} and "
            f"{second.dtype.legacy}"
        )
    if first.dtype is not second.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {first.dtype.legacy} but got scalar type {second.dtype.legacy} for "
            "second argument"
        )
    return pointwise(first.dtype.to_complex())(op, first, second)


def _part(op: Op, input: Spec) -> Spec:
    if not input.dtype.is_complex:
        if op.name == "imag":
            raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
        return input
    return spec(input.shape, input.dtype.to_real(), tuple(2 * s for s in input.strides))


def _view_as_real(op: Op, input: Spec) -> Spec:
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return spec((*input.shape, 2), input.dtype.to_real(), (*(2 * s for s in input.strides), 1))


def _view_as_complex(op: Op, input: Spec) -> Spec:
    if input.dtype not in (float32, float64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{input.dtype.legacy}"
        )
    if not input.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    *shape, two = input.shape
    *strides, step = input.strides
    if two != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if step != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in strides):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return spec(tuple(shape), input.dtype.to_complex(), tuple(s // 2 for s in strides))


op("real(Tensor(a) input) -> Tensor(a)", meta=_part, method=False, doc="Real part.")
op("imag(Tensor(a) input) -> Tensor(a)", meta=_part, method=False, doc="Imaginary part.")
op("view_as_real(Tensor(a) input) -> Tensor(a)", meta=_view_as_real, method=False,
   doc="Real and imaginary parts along a last dimension of size 2.")
op("view_as_complex(Tensor(a) input) -> Tensor(a)", meta=_view_as_complex, method=False,
   doc="The two numbers along the last dimension as one complex number.")
op("complex(Tensor real, Tensor imag) -> Tensor", meta=_parts, method=False, doc="real + 1j * imag.")
op("polar(Tensor abs, Tensor angle) -> Tensor", meta=_parts, method=False, doc="abs * exp(1j * angle).")
op("angle(Tensor input) -> Tensor", meta=pointwise("real", floats=True),
   doc="The angle of a complex number; of a real one 0 or pi.")
op("conj_physical(Tensor input) -> Tensor", meta=pointwise(), inplace=True, doc="Complex conjugate.")
