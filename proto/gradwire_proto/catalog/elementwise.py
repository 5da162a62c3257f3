"""Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Inferred, Op, op
from gradwire_proto.catalog.meta import pointwise
from gradwire_proto.spec import Spec



def _clamp(op: Op, input: Spec, min: Any, max: Any) -> Inferred:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    made: Inferred = pointwise()(op, input, min, max)
    if made.results[0].dtype.is_complex:
        raise RuntimeError("clamp is not supported for complex types")
    return made


op("exp(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="e to the power of input.")
op("sqrt(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Square root.")
op("sin(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Sine.")
op("cos(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Cosine.")
op("tanh(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Hyperbolic tangent.")
op("sigmoid(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, alias=("special.expit",),
   doc="1 / (1 + exp(-input)).")
op("abs(Tensor input) -> Tensor", meta=pointwise("real"), inplace=True, alias=("absolute",), doc="Absolute value.")
op("sgn(Tensor input) -> Tensor", meta=pointwise(), inplace=True, doc="input / abs(input), 0 at 0.")
op("maximum(Tensor input, Tensor other) -> Tensor", meta=pointwise(), doc="The larger of two; nan wins.")
op("minimum(Tensor input, Tensor other) -> Tensor", meta=pointwise(), doc="The smaller of two; nan wins.")
op("clamp(Tensor input, Tensor|Scalar? min=None, Tensor|Scalar? max=None) -> Tensor", meta=_clamp, inplace=True,
   alias=("clip",), doc="input moved into a range.")
op("log(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Natural logarithm.")
op("real(Tensor input) -> Tensor", meta=pointwise("real"), doc="Real part.")
op("conj_physical(Tensor input) -> Tensor", meta=pointwise(), inplace=True, doc="Complex conjugate.")
