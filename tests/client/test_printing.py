"""Tensors print as torch prints them: strings recorded from torch 2.13."""

import math
from typing import Any

import numpy as np
import pytest

from gradwire import printing
from gradwire_proto import dtypes

NAMES = {"arange": np.arange, "zeros": np.zeros, "ones": np.ones, "nan": math.nan, "inf": math.inf}

RECORDED: list[tuple[str, str, dict[str, Any], str]] = [
    ("[1.0, 2.0]", "float32", {}, """\
tensor([1., 2.])"""),
    ("[[0.5, -1.25], [3.0, 4.0]]", "float32", {}, """\
tensor([[ 0.5000, -1.2500],
        [ 3.0000,  4.0000]])"""),
    ("2.5", "float32", {"requires_grad": True}, """\
tensor(2.5000, requires_grad=True)"""),
    ("[1, 2, 3]", "int64", {}, """\
tensor([1, 2, 3])"""),
    ("[0.0, 0.0]", "float64", {}, """\
tensor([0., 0.], dtype=torch.float64)"""),
    ("[True, False]", "bool", {}, """\
tensor([ True, False])"""),
    ("7", "int64", {}, """\
tensor(7)"""),
    ("[1e-8, 1.0]", "float32", {}, """\
tensor([1.0000e-08, 1.0000e+00])"""),
    ("[1.5, 2e9]", "float32", {}, """\
tensor([1.5000e+00, 2.0000e+09])"""),
    ("[100000000.0, 1.0]", "float32", {}, """\
tensor([1.0000e+08, 1.0000e+00])"""),
    ("[nan, inf, -inf, 0.0]", "float32", {}, """\
tensor([nan, inf, -inf, 0.])"""),
    ("[nan, 0.25, -inf]", "float32", {}, """\
tensor([   nan, 0.2500,   -inf])"""),
    ("[nan, 3.0, -inf]", "float32", {}, """\
tensor([nan, 3., -inf])"""),
    ("[1+2j, -0.5-0j]", "complex64", {}, """\
tensor([ 1.0000+2.j, -0.5000+0.j])"""),
    ("[[1e-6+1j, 3j]]", "complex128", {}, """\
tensor([[1.0000e-06+1.j, 0.0000e+00+3.j]], dtype=torch.complex128)"""),
    ("3-1j", "complex64", {}, """\
tensor(3.-1.j)"""),
    ("[0.1, 1000.0]", "bfloat16", {}, """\
tensor([1.0010e-01, 1.0000e+03], dtype=torch.bfloat16)"""),
    ("[0.1, 1.0]", "float16", {}, """\
tensor([0.1000, 1.0000], dtype=torch.float16)"""),
    ("[1, 200]", "uint8", {}, """\
tensor([  1, 200], dtype=torch.uint8)"""),
    ("[-0.0, 0.0]", "float32", {}, """\
tensor([-0., 0.])"""),
    ("[]", "float32", {}, """\
tensor([])"""),
    ("[]", "int64", {}, """\
tensor([], dtype=torch.int64)"""),
    ("zeros((0, 3))", "float32", {}, """\
tensor([], size=(0, 3))"""),
    ("zeros((2, 0, 1))", "float64", {}, """\
tensor([], size=(2, 0, 1), dtype=torch.float64)"""),
    ("arange(20)", "float32", {}, """\
tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,
        14., 15., 16., 17., 18., 19.])"""),
    ("arange(30) / 7", "float64", {"requires_grad": True}, """\
tensor([0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,
        1.2857, 1.4286, 1.5714, 1.7143, 1.8571, 2.0000, 2.1429, 2.2857, 2.4286,
        2.5714, 2.7143, 2.8571, 3.0000, 3.1429, 3.2857, 3.4286, 3.5714, 3.7143,
        3.8571, 4.0000, 4.1429], dtype=torch.float64, requires_grad=True)"""),
    ("arange(24).reshape(2, 3, 4)", "int64", {}, """\
tensor([[[ 0,  1,  2,  3],
         [ 4,  5,  6,  7],
         [ 8,  9, 10, 11]],

        [[12, 13, 14, 15],
         [16, 17, 18, 19],
         [20, 21, 22, 23]]])"""),
    ("arange(2000)", "float32", {}, """\
tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,
        1.9990e+03])"""),
    ("arange(1600).reshape(40, 40) / 3", "float32", {"grad_fn": "DivBackward0"}, """\
tensor([[0.0000e+00, 3.3333e-01, 6.6667e-01,  ..., 1.2333e+01, 1.2667e+01,
         1.3000e+01],
        [1.3333e+01, 1.3667e+01, 1.4000e+01,  ..., 2.5667e+01, 2.6000e+01,
         2.6333e+01],
        [2.6667e+01, 2.7000e+01, 2.7333e+01,  ..., 3.9000e+01, 3.9333e+01,
         3.9667e+01],
        ...,
        [4.9333e+02, 4.9367e+02, 4.9400e+02,  ..., 5.0567e+02, 5.0600e+02,
         5.0633e+02],
        [5.0667e+02, 5.0700e+02, 5.0733e+02,  ..., 5.1900e+02, 5.1933e+02,
         5.1967e+02],
        [5.2000e+02, 5.2033e+02, 5.2067e+02,  ..., 5.3233e+02, 5.3267e+02,
         5.3300e+02]], grad_fn=<DivBackward0>)"""),
    ("arange(1200).reshape(3, 400)", "int32", {}, """\
tensor([[   0,    1,    2,  ...,  397,  398,  399],
        [ 400,  401,  402,  ...,  797,  798,  799],
        [ 800,  801,  802,  ..., 1197, 1198, 1199]], dtype=torch.int32)"""),
    ("arange(1001) * (1 - 0.5j)", "complex64", {}, """\
tensor([   0.+0.0000j,    1.-0.5000j,    2.-1.0000j,  ...,
         998.-499.0000j,  999.-499.5000j, 1000.-500.0000j])"""),
    ("ones((2, 2, 2, 1))", "float32", {}, """\
tensor([[[[1.],
          [1.]],

         [[1.],
          [1.]]],


        [[[1.],
          [1.]],

         [[1.],
          [1.]]]])"""),
    ("arange(16)", "float32", {"grad_fn": "torch::autograd::CopySlices"}, """\
tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,
        14., 15.], grad_fn=<CopySlices>)"""),
    ("[1.0, 2.0]", "float32", {"device": "cuda:0"}, """\
tensor([1., 2.], device='cuda:0')"""),
]


def shown(array: np.ndarray, dtype: str, **kw: Any) -> str:
    """The repr of a tensor of which only the edges are at hand."""
    shape = array.shape
    for dim, n in printing.edges(shape).items():
        index = [*range(n), *range(shape[dim] - n, shape[dim])]
        array = array.take(index, dim)
    return printing.tensor_str(array, dtypes.BY_NAME[dtype], shape=shape, **kw)


@pytest.mark.parametrize(("numbers", "dtype", "kw", "want"), RECORDED)
def test_recorded(numbers, dtype, kw, want):
    array = np.asarray(eval(numbers, NAMES))
    if dtype == "bfloat16":
        import ml_dtypes

        array = array.astype(ml_dtypes.bfloat16)
    else:
        array = array.astype(dtype)
    assert shown(array, dtype, **kw) == want


def test_only_edges_are_asked_for():
    assert printing.edges((10, 100)) == {}
    assert printing.edges((6, 1000)) == {1: 3}
    assert printing.edges((7, 1000, 2)) == {0: 3, 1: 3}
    assert printing.edges(()) == {}


def test_all_elements_will_do_as_well():
    x = np.arange(2000.0)
    assert printing.tensor_str(x, dtypes.float32) == shown(x, "float32")


def test_options():
    x = np.array([1.0, 2.123456, 3.0])
    with printing.printoptions(precision=2):
        assert shown(x, "float32") == "tensor([1.00, 2.12, 3.00])"
    with printing.printoptions(sci_mode=True, precision=1):
        assert shown(x, "float32") == "tensor([1.0e+00, 2.1e+00, 3.0e+00])"
    with printing.printoptions(threshold=5):
        assert shown(np.arange(10), "int64") == "tensor([0, 1, 2,  ..., 7, 8, 9])"
    with printing.printoptions(threshold=5, edgeitems=0):
        assert shown(np.arange(10), "int64") == "tensor([...], size=(10,))"
    with printing.printoptions(profile="short", linewidth=20):
        assert shown(x, "float32") == "tensor([1.00, 2.12,\n        3.00])"
    with printing.printoptions(profile="full"):
        assert printing.edges((10**6,)) == {}
    assert printing.get_printoptions() == {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
    }  # fmt: skip


def test_default_dtype_goes_unnamed():
    x = np.ones(1)
    assert shown(x, "float64", default_dtype=dtypes.float64) == "tensor([1.])"
    assert shown(x, "float32", default_dtype=dtypes.float64) == "tensor([1.], dtype=torch.float32)"
    assert shown(x + 0j, "complex128", default_dtype=dtypes.float64) == "tensor([1.+0.j])"


def test_a_long_suffix_starts_a_line():
    got = shown(np.arange(18.0), "float64", grad_fn="SomeLongNameBackward0")
    assert got.endswith("14., 15., 16., 17.], dtype=torch.float64,\n       grad_fn=<SomeLongNameBackward0>)")
