"""Order statistics and scans: values, derivatives to second order, torch's errors."""

import numpy as np
import pytest

from gradwire_engine.backend import accumulate
from tests.engine.harness import case, check, crand, rand, run

inf, nan = np.inf, np.nan
odd = np.array([[2.0, 1.0, 2.0, 1.0, 3.0], [nan, 5.0, 4.0, 4.0, 6.0]])


def sorted_along(a, dim=-1, descending=False, stable=False):
    at = np.argsort(-a if descending else a, axis=dim, kind="stable")
    return np.take_along_axis(a, at, dim), at


def first_of(a, k, dim=-1, largest=True, sorted=True):
    return tuple(np.take(x, range(k), axis=dim) for x in sorted_along(a, dim, largest))


def kth(a, k, dim=-1, keepdim=False):
    return tuple(np.take(x, [k - 1] if keepdim else k - 1, axis=dim) for x in sorted_along(a, dim))


def running(better):
    def ref(a, dim):
        values, at = a.copy(), np.zeros(a.shape, int)
        rows, places = np.moveaxis(values, dim, 0), np.moveaxis(at, dim, 0)
        for i in range(1, len(rows)):
            keep = ~better(rows[i], rows[i - 1])
            rows[i] = np.where(keep, rows[i - 1], rows[i])
            places[i] = np.where(keep, places[i - 1], i)
        return values, at
    return ref


def scan(a, b, dim, reverse):
    y = np.zeros_like(b)
    n = a.shape[dim]
    a, b, out = (np.moveaxis(v, dim, 0) for v in (a, b, y))
    for i in range(n - 1):
        if reverse:
            out[n - 2 - i] = a[n - 1 - i] * out[n - 1 - i] + b[n - 1 - i]
        else:
            out[i + 1] = a[i] * out[i] + b[i]
    return y


def products(a, dim, reverse):
    return np.stack([np.prod(a[..., i + 1 :] if reverse else a[..., :i], axis=-1) for i in range(a.shape[-1])], -1)


CASES = [
    case("sort", rand(2, 5), ref=sorted_along),
    case("sort", np.array([2.0, 1.0, nan, 1.0]), 0, True, ref=lambda *_: ([nan, 2, 1, 1], [2, 0, 1, 3]), order=0,
         label="descending"),
    case("sort", np.array(2.0), ref=lambda a: (a, 0), label="0d"),
    case("topk", rand(4, 2), 2, 0, ref=first_of),
    case("topk", rand(2, 5), 3, largest=False, ref=first_of, label="smallest"),
    case("kthvalue", rand(2, 5), 2, ref=kth),
    case("kthvalue", rand(3, 2), 2, 0, True, ref=kth, label="keepdim"),
    case("median_all", rand(2, 3), ref=lambda a: np.sort(a.ravel())[2]),
    case("nanmedian_all", odd, ref=np.nanmedian, order=0),
    case("nanmedian_all", rand(2, 3), ref=lambda a: np.sort(a.ravel())[2], label="grad"),
    case("median_dim", rand(2, 5), 1, ref=lambda a, dim: kth(a, 3, dim)),
    case("median_dim", odd, 1, ref=lambda a, dim: ([2, nan], [0, 0]), order=0, label="nan"),
    case("nanmedian_dim", odd, 1, True, ref=lambda a, *_: ([[2], [4]], [[0], [3]]), order=0),
    case("nanmedian_dim", rand(2, 5), 1, ref=lambda a, dim: kth(a, 3, dim), label="grad"),
    case("mode", odd, ref=lambda a: ([1, 4], [3, 3]), order=0),
    case("mode", rand(3, 2), 0, True, ref=lambda a, *_: kth(a, 1, 0, True), label="grad"),
    case("cumsum", rand(2, 3), 1, ref=np.cumsum),
    case("cumsum", np.array([True, True]), 0, ref=np.cumsum, label="bools"),
    case("cumsum_", rand(2, 3), 0, ref=np.cumsum),
    case("cumprod", rand(2, 5), -1, ref=np.cumprod),
    case("cumprod", crand(4, 2), 0, ref=np.cumprod, label="complex"),
    case("cumprod", np.array([2.0, 0.0, 3.0, 0.0, 1.5]), 0, ref=np.cumprod, label="zeros"),
    case("cumprod", np.array(2.0), 0, ref=lambda a, dim: a, label="0d"),
    case("logcumsumexp", rand(2, 5), 1, ref=lambda a, dim: np.log(np.cumsum(np.exp(a), dim))),
    case("logcumsumexp", crand(5), 0, ref=lambda a, dim: np.log(np.cumsum(np.exp(a), dim)), label="complex"),
    case("logcumsumexp", np.array([-inf, -inf, 1000.0, 1000.0]), 0, order=0,
         ref=lambda a, dim: np.array([-inf, -inf, 1000, 1000 + np.log(2)]), label="large"),
    case("cummax", rand(5, 2), 0, ref=running(np.greater_equal)),
    case("cummax", np.array([1, 1, nan, 3, nan]), 0, ref=lambda a, dim: ([1, 1, nan, nan, nan], [0, 1, 2, 2, 4]),
         order=0, label="nan"),
    case("cummin", rand(2, 5), -1, ref=running(np.less_equal)),
    case("exclusive_cumprod", rand(2, 5), 1, False, ref=products),
    case("exclusive_cumprod", crand(2, 4), 1, True, ref=products, label="reverse"),
    case("linear_scan", rand(2, 7), rand(2, 7, seed=1), 1, False, ref=scan),
    case("linear_scan", crand(5, 2), crand(5, 2, seed=1), 0, True, ref=scan, label="reverse"),
    case("searchsorted", np.arange(4.0), np.array([[1.0, 0.5], [nan, 9.0]]), ref=np.searchsorted, order=0),
    case("searchsorted", np.arange(4.0), 2, right=True, ref=lambda a, v, right: 3, order=0, label="scalar"),
    case("searchsorted", np.sort(rand(2, 5)), rand(2, 3), side="right", order=0, label="rows",
         ref=lambda a, v, side: np.stack([np.searchsorted(r, x, side) for r, x in zip(a, v, strict=True)])),
    case("searchsorted", np.array([3, 1, 2]), np.array([2]), sorter=np.array([1, 2, 0]), out_int32=True,
         ref=lambda *_, **kw: np.array([1]), order=0, label="sorter"),
    case("histc", rand(20), 4, -1, 1, ref=lambda a, n, *r: np.histogram(a, n, r)[0], order=0),
    case("histc", rand(20), 4, ref=lambda a, n: np.histogram(a, n)[0], order=0, label="range of the data"),
    case("bincount_sized", np.array([1, 3, 1]), None, 5, ref=lambda *_: np.array([0, 2, 0, 1, 0]), order=0),
    case("bincount_sized", np.array([1, 3, 1]), np.array([1.0, 2.0, 4.0]), 4,
         ref=lambda *_: np.array([0, 5, 0, 2]), order=0, label="weights"),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)

COMPLEX, BOOL, EMPTY = np.zeros(2, complex), np.zeros(2, bool), np.zeros((2, 0))
S = "torch.searchsorted(): "
ERRORS = [
    ("sort", [COMPLEX], RuntimeError, " Sort does not support complex dtypes on CPU"),
    ("topk", [rand(2, 3), 4], RuntimeError, "selected index k out of range"),
    ("topk", [rand(2, 3), 1, 2], IndexError,
     "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    ("topk", [BOOL, 1], RuntimeError, "topk does not support bool dtypes on CPU"),
    ("kthvalue", [rand(2, 3), 0], RuntimeError, "kthvalue(): selected number k out of range for dimension 1"),
    ("kthvalue", [EMPTY, 1], IndexError, "kthvalue(): Expected reduction dim 1 to have non-zero size."),
    ("median_dim", [EMPTY, 1], IndexError, "median(): Expected reduction dim 1 to have non-zero size."),
    ("median_all", [BOOL], NotImplementedError, "\"median_cpu\" not implemented for 'Bool'"),
    ("mode", [COMPLEX], NotImplementedError, "\"mode_cpu\" not implemented for 'ComplexDouble'"),
    ("cummax", [COMPLEX, 0], NotImplementedError, "\"cummax_cpu\" not implemented for 'ComplexDouble'"),
    ("logcumsumexp", [BOOL, 0], NotImplementedError, "\"logcumsumexp_out_cpu\" not implemented for 'Bool'"),
    ("cumsum", [rand(2), 1], IndexError, "Dimension out of range (expected to be in range of [-1, 0], but got 1)"),
    ("searchsorted", [rand(2, 3), rand(3, 3)], RuntimeError, f"{S}boundaries tensor should be 1 dimension or the "
     "first N-1 dimensions of boundaries tensor and input value tensor must match, but we got boundaries tensor "
     "[2, 3] and input value tensor [3, 3]"),
    ("searchsorted", [rand(2, 3), 1.0], RuntimeError, f"{S}input value can be a scalar only when boundaries tensor "
     "dimension is 1, but we got boundaries tensor dim(2) and input value's dim(0) numel(1)"),
    ("histc", [rand(2), 0], RuntimeError, "torch.histogram(): bins must be > 0, but got 0 for dimension 0"),
    ("histc", [rand(2), 3, 5, 1], RuntimeError, "torch.histc: max must be larger than min"),
    ("histc", [np.array([1, 2])], NotImplementedError, "\"histogram_cpu\" not implemented for 'Long'"),
    ("histc", [np.array([inf, 1.0])], RuntimeError, "torch.histc: range of [1, inf] is not finite"),
    ("bincount_sized", [np.array([-1]), None, 2], RuntimeError,
     "bincount only supports 1-d non-negative integral inputs."),
    ("bincount_sized", [np.array([2]), None, 2], RuntimeError,
     "bincount only supports 1-d non-negative integral inputs."),
]


@pytest.mark.parametrize(("op", "args", "error", "text"), ERRORS)
def test_refusals(op, args, error, text):
    with pytest.raises(error) as e:
        run(case(op, *args))
    assert str(e.value) == text


@pytest.mark.parametrize(("kwargs", "text"), [
    ({"side": "x"}, "side can only be 'left' or 'right' but got x"),
    ({"side": "left", "right": True}, "side and right can't be set to opposites, got side of left while right was "
     "True"),
    ({"sorter": np.array([0])}, "boundary and sorter must have the same size, but got boundary tensor [2]and got "
     "sorter tensor [1]"),
    ({"sorter": np.array([0, 1], np.int32)}, "sorter must be a tensor of long dtype but got dtype Int"),
    ({"sorter": np.array([0, 2])}, "sorter index out of range"),
], ids=str)  # fmt: skip
def test_searchsorted_refusals(kwargs, text):
    with pytest.raises(RuntimeError) as e:
        run(case("searchsorted", rand(2), rand(2), **kwargs))
    assert str(e.value) == S + text


def test_scans_without_the_librarys_own():
    # What runs where a library's ufuncs can't accumulate.
    class Other:
        maximum = np.maximum

    a = rand(9, 2)
    np.testing.assert_array_equal(accumulate(Other, np.maximum, a), np.maximum.accumulate(a))
