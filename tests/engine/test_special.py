"""Special functions: values, derivatives to second order, errors."""

import numpy as np
import pytest
from scipy import special

from gradwire_engine import Engine, grad
from gradwire_proto.dtypes import BY_NAME
from tests.engine.harness import case, check, crand, host, rand, run

POSITIVE, UNIT = rand(4, low=0.3, high=3.0), rand(4, low=-0.9, high=0.9)

POLYNOMIALS = {
    "chebyshev_polynomial_t": special.eval_chebyt,
    "chebyshev_polynomial_u": special.eval_chebyu,
    "chebyshev_polynomial_v": lambda n, x: special.eval_jacobi(n, -0.5, 0.5, x) / special.eval_jacobi(n, -0.5, 0.5, 1),
    "chebyshev_polynomial_w": lambda n, x: (
        (2 * n + 1) * special.eval_jacobi(n, 0.5, -0.5, x) / special.eval_jacobi(n, 0.5, -0.5, 1)
    ),
    "shifted_chebyshev_polynomial_t": special.eval_sh_chebyt,
    "shifted_chebyshev_polynomial_u": special.eval_sh_chebyu,
    "shifted_chebyshev_polynomial_v": lambda n, x: POLYNOMIALS["chebyshev_polynomial_v"](n, 2 * x - 1),
    "shifted_chebyshev_polynomial_w": lambda n, x: POLYNOMIALS["chebyshev_polynomial_w"](n, 2 * x - 1),
    "hermite_polynomial_h": special.eval_hermite,
    "hermite_polynomial_he": special.eval_hermitenorm,
    "laguerre_polynomial_l": special.eval_laguerre,
    "legendre_polynomial_p": special.eval_legendre,
}

CASES = [
    case("erf", rand(3), ref=special.erf),
    case("erf_", rand(3), ref=special.erf),
    case("erf", np.array([1, 2]), ref=lambda a: special.erf(a.astype("f4")), label="ints"),
    case("erfc", rand(3), ref=special.erfc),
    case("erfinv", UNIT, ref=special.erfinv),
    case("lgamma", rand(4), ref=special.gammaln),
    case("digamma", POSITIVE, ref=special.digamma),
    case("i0", rand(3), ref=special.i0),
    case("polygamma", 0, POSITIVE, ref=special.polygamma, label="0"),
    case("polygamma", 2, POSITIVE, ref=special.polygamma),
    case("mvlgamma", 2 + POSITIVE, 3, ref=special.multigammaln),
    case("igamma", np.array([0.5, 2.0, 3.0]), POSITIVE[:3], ref=special.gammainc, order=0),
    case("igammac", np.array([0.5, 2.0, 3.0]), POSITIVE[:3], ref=special.gammaincc, order=0),
    case("xlogy", rand(2, 3), rand(3, low=0.5), ref=special.xlogy),
    case("xlogy", 2.0, POSITIVE, ref=special.xlogy, label="number"),
    case("special_erfcx", rand(3), ref=special.erfcx),
    case("special_ndtr", rand(3), ref=special.ndtr),
    case("special_ndtri", np.abs(UNIT), ref=special.ndtri),
    case("special_log_ndtr", 3 * rand(4), ref=special.log_ndtr),
    case("special_entr", POSITIVE, ref=special.entr),
    case("special_i0e", rand(3), ref=special.i0e),
    case("special_i1", rand(3), ref=special.i1),
    case("special_i1e", rand(3), ref=special.i1e),
    case("special_bessel_j0", rand(3), ref=special.j0),
    case("special_bessel_j1", rand(3), ref=special.j1),
    case("special_bessel_y0", POSITIVE, ref=special.y0),
    case("special_bessel_y1", POSITIVE, ref=special.y1),
    case("special_modified_bessel_i0", rand(3), ref=special.i0),
    case("special_modified_bessel_i1", rand(3), ref=special.i1),
    case("special_modified_bessel_k0", POSITIVE, ref=special.k0),
    case("special_modified_bessel_k1", POSITIVE, ref=special.k1),
    case("special_scaled_modified_bessel_k0", POSITIVE, ref=special.k0e),
    case("special_scaled_modified_bessel_k1", POSITIVE, ref=special.k1e),
    case("special_spherical_bessel_j0", np.array([0.0, 0.5]), ref=lambda x: special.spherical_jn(0, x)),
    case("special_xlog1py", rand(2, 3), rand(3, low=-0.5), ref=special.xlog1py),
    case("special_zeta", 2.5, POSITIVE, ref=special.zeta),
    case("special_zeta", POSITIVE + 1, 2.0, ref=special.zeta, order=0, label="exponent"),
    *(case(f"special_{name}", 2 * rand(4, 1), np.array([0, 1, 2, 5, 9]), ref=lambda x, n, f=f: f(n, x))
      for name, f in POLYNOMIALS.items()),
    case("special_legendre_polynomial_p", rand(2), -1, ref=lambda x, n: 0 * x, label="negative degree"),
    case("special_legendre_polynomial_p", rand(2), 2.7, ref=lambda x, n: special.eval_legendre(2, x), label="cut"),
    case("special_hermite_polynomial_h", 0.5, np.array([1.0, 2.0]), ref=lambda x, n: n * [1, -0.5], label="number"),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def gradient(engine, result, leaf):
    ones = engine.wrap(np.ones_like(host(result)))
    with np.errstate(all="ignore"):
        (g,) = grad(engine, [result], [leaf], [ones], retain_graph=False, create_graph=False, allow_unused=False)
    return host(g)


@pytest.mark.parametrize(("name", "sign"), [("igamma", 1), ("igammac", -1)])
def test_incomplete_gamma_has_the_derivative_of_its_second_argument(name, sign):
    engine = Engine()
    a, x = np.array([0.5, 2.0, 3.0]), POSITIVE[:3]
    leaf = engine.wrap(x, requires_grad=True)
    g = gradient(engine, engine.call(name, engine.wrap(a), leaf), leaf)
    np.testing.assert_allclose(g, sign * x ** (a - 1) * np.exp(-x) / special.gamma(a), rtol=1e-12)


UNKNOWN = [case("igamma", POSITIVE, 1 + POSITIVE), case("special_zeta", 1 + POSITIVE, 2.0)]


@pytest.mark.parametrize("c", UNKNOWN, ids=str)
def test_what_nobody_can_differentiate(c):
    (result,), leaves, engine = run(c)
    with pytest.raises(NotImplementedError, match=r"the derivative for '(igamma: input|zeta)' is not implemented\."):
        gradient(engine, result, leaves[0])


ZERO = np.array([0.0])
SUBGRADIENTS = [
    (case("special_i1", ZERO), [0.5]),
    (case("special_i1e", ZERO), [0.5]),
    (case("special_i0e", ZERO), [0.0]),
    (case("xlogy", ZERO, 0.0), [0.0]),
    (case("special_xlog1py", ZERO, -1.0), [0.0]),
    (case("special_entr", ZERO), [np.inf]),
]


@pytest.mark.parametrize(("c", "want"), SUBGRADIENTS, ids=str)
def test_subgradient(c, want):
    (result,), leaves, engine = run(c)
    np.testing.assert_array_equal(gradient(engine, result, leaves[0]), want)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_small_floats(name):
    engine = Engine()
    x = engine.call("to_dtype", engine.wrap(POSITIVE), BY_NAME[name])
    for op, ref in (("erf", special.erf), ("lgamma", special.gammaln), ("special_i1", special.i1)):
        made = engine.call(op, x)
        assert made.spec.dtype.name == name
        np.testing.assert_allclose(made.array.astype("f8"), ref(x.array.astype("f8")), rtol=1e-2)


ERRORS = [
    (case("erf", crand(2)), NotImplementedError, "\"erf_vml_cpu\" not implemented for 'ComplexDouble'"),
    (case("igamma", np.array([1]), np.array([1])), NotImplementedError, "\"igamma_cpu\" not implemented for 'Long'"),
    (case("special_i1", crand(2)), NotImplementedError, "\"i1_cpu\" not implemented for 'ComplexDouble'"),
    (case("polygamma", -1, rand(2)), RuntimeError, "polygamma(n, x) does not support negative n."),
    (case("mvlgamma", rand(2), 0), RuntimeError, "p has to be greater than or equal to 1"),
]


@pytest.mark.parametrize(("c", "error", "text"), ERRORS, ids=str)
def test_error(c, error, text):
    with pytest.raises(error) as e:
        run(c)
    assert e.type is error
    assert str(e.value) == text
