"""Special functions: gamma, error, Bessel and entropy functions."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Meta, Op, elementwise, op
from gradwire_proto.catalog.meta import Refusal, pointwise, unmade
from gradwire_proto.dtypes import Category
from gradwire_proto.spec import Spec

BOOL, INT, COMPLEX = Category.BOOL, Category.INT, Category.COMPLEX


def _real(kernel: str) -> Meta:
    return pointwise(floats=True, reject=unmade(kernel, COMPLEX))


def _polygamma(op: Op, n: int, input: Spec) -> Any:
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _real("polygamma")(op, n, input)


@elementwise
def _mvlgamma(op: Op, input: Spec, p: int) -> Any:
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    no_bools = {BOOL: Refusal(RuntimeError, "The input tensor may not be a boolean tensor.")}
    return pointwise(floats=True, reject=no_bools | unmade("mvlgamma", COMPLEX))(op, input, p)


for _name, _aliases, _kernel, _doc in (
    ("erf", ("special.erf",), "erf_vml_cpu", "Error function."),
    ("erfc", ("special.erfc",), "erfc_vml_cpu", "1 - erf(input)."),
    ("erfinv", ("special.erfinv",), "erfinv_vml_cpu", "Inverse of the error function."),
    ("lgamma", ("special.gammaln",), "lgamma_vml_cpu", "Logarithm of the gamma function's absolute value."),
    ("digamma", ("special.digamma", "special.psi"), "digamma", "Derivative of lgamma."),
    ("i0", ("special.i0",), "i0_vml_cpu", "Modified Bessel function of order 0."),
):
    op(f"{_name}(Tensor input) -> Tensor", meta=_real(_kernel), inplace=True, alias=_aliases, doc=_doc)

op("polygamma(int n, Tensor input) -> Tensor", meta=_polygamma, method=False, alias=("special.polygamma",),
   doc="The n-th derivative of digamma.")
op("mvlgamma(Tensor input, int p) -> Tensor", meta=_mvlgamma, inplace=True, alias=("special.multigammaln",),
   doc="Logarithm of the multivariate gamma function of dimension p.")
op("igamma(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]), inplace=True,
   alias=("special.gammainc",), doc="Lower incomplete gamma function of shape input at other, regularized.")
op("igammac(Tensor input, Tensor other) -> Tensor", meta=pointwise(reject=[BOOL, INT, COMPLEX]), inplace=True,
   alias=("special.gammaincc",), doc="1 - igamma(input, other).")
op("xlogy(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_real("xlogy_cpu"), inplace=True,
   alias=("special.xlogy",), doc="input * log(other), 0 where input is 0.")

# What torch has in torch.special alone.

for _name, _kernel, _doc in (
    ("erfcx", "erfcx_cpu", "exp(input ** 2) * erfc(input)."),
    ("ndtr", "erf_vml_cpu", "Distribution function of the normal distribution."),
    ("ndtri", "ndtri_cpu", "Inverse of ndtr."),
    ("log_ndtr", "log_ndtr_cpu", "log(ndtr(input)) without underflow."),
    ("entr", "entr_cpu", "-input * log(input), 0 at 0."),
    ("i0e", "i0e_cpu", "exp(-abs(input)) * i0(input)."),
    ("i1", "i1_cpu", "Modified Bessel function of order 1."),
    ("i1e", "i1e_cpu", "exp(-abs(input)) * i1(input)."),
):
    op(f"special_{_name}(Tensor input) -> Tensor", meta=_real(_kernel), alias=(f"special.{_name}",), public=False,
       method=False, doc=_doc)

for _name, _doc in (
    ("bessel_j0", "Bessel function of the first kind of order 0."),
    ("bessel_j1", "Bessel function of the first kind of order 1."),
    ("bessel_y0", "Bessel function of the second kind of order 0."),
    ("bessel_y1", "Bessel function of the second kind of order 1."),
    ("modified_bessel_i0", "Modified Bessel function of the first kind of order 0."),
    ("modified_bessel_i1", "Modified Bessel function of the first kind of order 1."),
    ("modified_bessel_k0", "Modified Bessel function of the second kind of order 0."),
    ("modified_bessel_k1", "Modified Bessel function of the second kind of order 1."),
    ("scaled_modified_bessel_k0", "exp(input) * modified_bessel_k0(input)."),
    ("scaled_modified_bessel_k1", "exp(input) * modified_bessel_k1(input)."),
    ("spherical_bessel_j0", "sin(input) / input, 1 at 0."),
):
    op(f"special_{_name}(Tensor input) -> Tensor", meta=_real(f"{_name}_cpu"), differentiable=False,
       alias=(f"special.{_name}",), public=False, method=False, doc=_doc)

op("special_xlog1py(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_real("xlog1py_cpu"),
   alias=("special.xlog1py",), public=False, method=False, doc="input * log1p(other), 0 where input is 0.")
op("special_zeta(Tensor|Scalar input, Tensor|Scalar other) -> Tensor", meta=_real("zeta_cpu"), alias=("special.zeta",),
   public=False, method=False, doc="Hurwitz zeta function: the sum of (other + k) ** -input over k.")

for _name, _doc in (
    ("chebyshev_polynomial_t", "Chebyshev polynomial of the first kind, of degree n: cos(n * acos(x))."),
    ("chebyshev_polynomial_u", "Chebyshev polynomial of the second kind, of degree n."),
    ("chebyshev_polynomial_v", "Chebyshev polynomial of the third kind, of degree n."),
    ("chebyshev_polynomial_w", "Chebyshev polynomial of the fourth kind, of degree n."),
    ("shifted_chebyshev_polynomial_t", "chebyshev_polynomial_t(2 * x - 1, n)."),
    ("shifted_chebyshev_polynomial_u", "chebyshev_polynomial_u(2 * x - 1, n)."),
    ("shifted_chebyshev_polynomial_v", "chebyshev_polynomial_v(2 * x - 1, n)."),
    ("shifted_chebyshev_polynomial_w", "chebyshev_polynomial_w(2 * x - 1, n)."),
    ("hermite_polynomial_h", "Hermite polynomial of the physicists, of degree n."),
    ("hermite_polynomial_he", "Hermite polynomial of the probabilists, of degree n."),
    ("laguerre_polynomial_l", "Laguerre polynomial of degree n."),
    ("legendre_polynomial_p", "Legendre polynomial of degree n."),
):
    op(f"special_{_name}(Tensor|Scalar x, Tensor|Scalar n) -> Tensor", meta=_real(f"{_name}_cpu"),
       differentiable=False, alias=(f"special.{_name}",), public=False, method=False, doc=_doc)
