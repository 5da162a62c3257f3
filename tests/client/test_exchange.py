"""Tensors from and to other programs' memory, and what NumPy and Python's own functions make of tensors."""

import copy
import math
import operator

import numpy as np
import pytest

import gradwire as torch
from gradwire.utils import dlpack


def test_buffers():
    data = bytearray(np.array([1, 2, 3], np.int32).tobytes())
    assert torch.frombuffer(data, dtype=torch.int32).tolist() == [1, 2, 3]
    assert torch.frombuffer(data, dtype=torch.int32, offset=4).tolist() == [2, 3]
    assert torch.frombuffer(data, dtype=torch.int32, offset=4, count=1).tolist() == [2]
    assert torch.frombuffer(bytearray(8), dtype=torch.float64, requires_grad=True).requires_grad
    assert torch.frombuffer(bytearray(b"\x80\x3f"), dtype=torch.bfloat16).item() == 1


@pytest.mark.parametrize(
    ("buffer", "options", "text"),
    [
        (3, {}, "object does not implement Python buffer protocol."),
        (b"", {}, r"both buffer length \(0\) and count \(-1\) must not be 0"),
        (b"1234", {"offset": 4}, r"offset \(4 bytes\) must be non-negative and no greater than buffer length"),
        (b"12345", {}, r"buffer length \(5 bytes\) after offset \(0 bytes\) must be a multiple of element size \(4\)"),
        (b"1234", {"count": 2}, r"requested buffer length \(2 \* 4 bytes\) after offset \(0 bytes\) must"),
    ],
)  # fmt: skip
def test_buffers_that_hold_no_tensor(buffer, options, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        torch.frombuffer(buffer, dtype=torch.int32, **options)


def test_dlpack():
    x = torch.arange(3.0)
    assert np.from_dlpack(x).tolist() == [0, 1, 2]
    assert x.__dlpack_device__() == (1, 0)
    a = np.arange(3)
    made = torch.from_dlpack(a)
    assert made.dtype is torch.int64
    a[0] = 5
    assert made.tolist() == [0, 1, 2]
    assert dlpack.from_dlpack(x).tolist() == [0, 1, 2]
    assert type(dlpack.to_dlpack(x)).__name__ == "PyCapsule"
    with pytest.raises(BufferError, match=r"Can't export tensors that require gradient, use tensor.detach\(\)"):
        x.requires_grad_().__dlpack__()
    with pytest.raises(ValueError, match="so that it is always a copy"):
        torch.from_dlpack(a, copy=False)


def test_what_numpy_makes_of_tensors_are_tensors():
    assert isinstance(np.sin(torch.ones(2)), torch.Tensor)
    assert np.isnan(torch.ones(2)).dtype is torch.uint8
    assert isinstance(np.float32(3) * torch.ones(2), torch.Tensor)


def test_python_numbers():
    assert int(torch.tensor([2.5])) == 2
    assert float(torch.tensor(1 + 0j)) == 1
    assert complex(torch.tensor(2)) == 2
    assert [10, 20][torch.tensor([1])] == 20
    assert math.floor(torch.tensor(2.5)) == 2
    for f in (int, float, complex):
        with pytest.raises(ValueError, match="^only one element tensors can be converted to Python scalars$"):
            f(torch.ones(2))
    with pytest.raises(RuntimeError, match="^value cannot be converted to type int64_t without overflow$"):
        int(torch.tensor(1j))
    with pytest.raises(RuntimeError, match="^value cannot be converted to type double without overflow$"):
        float(torch.tensor(1j))
    for wrong in (torch.tensor([1, 2]), torch.tensor(1.0)):
        with pytest.raises(TypeError, match="only integer tensors of a single element can be converted to an index"):
            operator.index(wrong)


def test_python_operators():
    x = torch.tensor([[1, 2], [3, 4]])
    assert reversed(x).tolist() == [[3, 4], [1, 2]]
    assert reversed(torch.tensor(1)).item() == 1
    assert 3 in x
    with pytest.raises(RuntimeError, match=r"Tensor.__contains__ only supports Tensor or scalar, .* a <class 'str'>\."):
        "a" in x  # noqa: B015
    with pytest.raises(TypeError, match="only implemented on integer and Boolean-type tensors"):
        ~torch.ones(2)
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \*\* or pow\(\)"):
        pow(x, 2, 5)
    with pytest.raises(IndexError, match=r"Dimension out of range .* got 2"):
        x.stride(2)


def test_copies():
    x = torch.ones(2, requires_grad=True)
    x.note = "mine"
    shallow = copy.copy(x)
    assert shallow.is_leaf
    assert shallow.requires_grad
    assert shallow.data_ptr() == x.data_ptr()
    assert copy.copy(x * 2).is_leaf
    assert copy.deepcopy(x).note == "mine"


def test_questions():
    x = torch.zeros(2, 3)
    assert torch.is_same_size(x, x + 1)
    assert not x.is_same_size(x.t())
    assert torch.is_signed(x)
    assert x.dim_order() == (0, 1)
    assert x.t().dim_order() == (1, 0)
    assert torch.tensor([2.0]).is_nonzero()
    assert torch.typename(x) == "torch.FloatTensor"
    assert torch.typename(3) == "int"
    assert torch.get_device(x) == (0 if x.is_cuda else -1)
    assert not x.is_shared()


@pytest.mark.filterwarnings("ignore:non-inplace resize is deprecated")
def test_resize():
    x = torch.zeros(2, 3)
    assert x.resize(3, 2).shape == (3, 2)
    with pytest.raises(RuntimeError, match=r"^requested resize to 4 \(4 elements in total\), but the given tensor has"):
        x.resize(4)


def test_unravel_index():
    places = torch.arange(12)
    made = torch.unravel_index(places, (2, 3, 2))
    for got, wanted in zip(made, np.unravel_index(np.arange(12), (2, 3, 2)), strict=True):
        assert got.tolist() == wanted.tolist()
    assert torch.unravel_index(torch.tensor(5), 6)[0].item() == 5
    with pytest.raises(TypeError, match="expected 'indices' to be integer dtype, but got torch.float32"):
        torch.unravel_index(torch.ones(1), (2,))
    with pytest.raises(ValueError, match=r"'shape' cannot have negative values, but got \(2, -3\)"):
        torch.unravel_index(places, (2, -3))
