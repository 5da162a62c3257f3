"""Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from gradwire_proto.catalog.declare import op
from gradwire_proto.catalog.meta import pointwise

op("exp(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="e to the power of input.")
op("log(Tensor input) -> Tensor", meta=pointwise(floats=True), inplace=True, doc="Natural logarithm.")
op("real(Tensor input) -> Tensor", meta=pointwise("real"), doc="Real part.")
op("conj_physical(Tensor input) -> Tensor", meta=pointwise(), inplace=True, doc="Complex conjugate.")
