"""torch's oldest constructors, the classes of tensors by type, and Python functions on elements."""

import numpy as np
import pytest

import gradwire as torch


def test_tensors_from_sizes():
    for made in (torch.Tensor(2, 3), torch.Tensor(torch.Size([2, 3])), torch.FloatTensor(size=(2, 3))):
        assert made.shape == (2, 3)
        assert made.dtype is torch.float32
    assert torch.Tensor().shape == torch.Tensor(device="cpu").shape == (0,)
    assert torch.LongTensor(3).dtype is torch.int64


def test_tensors_from_values():
    assert repr(torch.Tensor([[1, 2], [3, 4]])) == "tensor([[1., 2.],\n        [3., 4.]])"
    assert torch.Tensor((2, 3)).tolist() == [2, 3]
    assert torch.Tensor(range(3)).tolist() == torch.Tensor(np.arange(3)).tolist() == [0, 1, 2]
    assert torch.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert torch.BoolTensor([1, 0]).tolist() == [True, False]
    assert torch.HalfTensor([1]).dtype is torch.float16
    assert torch.tensor([1, 2]).new([3.5]).dtype is torch.int64
    assert torch.tensor([1.0]).new(2, 2).shape == (2, 2)


def test_a_tensor_of_a_tensor_shares_its_memory_and_history():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    made = torch.Tensor(x)
    (made * made).sum().backward()
    assert x.grad.tolist() == [2, 4]
    n = torch.tensor([1, 2])
    torch.Tensor(n)[0] = 5
    assert n.tolist() == [5, 2]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: torch.Tensor(2.5), TypeError, r"^new\(\): data must be a sequence \(got float\)$"),
        (lambda: torch.Tensor(1, 2.5), TypeError, r"failed to unpack the object at pos 2 with error"),
        (lambda: torch.Tensor("a"), TypeError, r"^new\(\): invalid data type 'str'$"),
        (lambda: torch.Tensor([1], dtype=torch.int64), TypeError, r"got \(list, dtype=torch.dtype\), but expected one"),
        (lambda: torch.Tensor(-1), RuntimeError, r"^Trying to create tensor with negative dimension -1: \[-1\]$"),
        (lambda: torch.LongTensor(torch.ones(1)), TypeError, r"^expected TensorOptions\(dtype=long int, .* \(got Tens"),
        (lambda: torch.ones(1).type("foo"), ValueError, "^invalid type: 'foo'$"),
        (lambda: torch.ones(1).type(3), TypeError, "^dtype must be a type, str, or dtype object$"),
        (lambda: torch.ones(1).type_as(1), TypeError, r"^type_as\(\): argument 'other' \(position 1\) must be Tensor"),
        (lambda: torch.set_default_tensor_type(torch.IntTensor), TypeError, "only floating-point types are supported"),
        (lambda: torch.ones(1, requires_grad=True).apply_(abs), RuntimeError, r"Use var.detach\(\).apply_\(\) instead"),
        (lambda: torch.ones(1).map_(3, max), TypeError, r"^map_\(\): argument 'other' \(position 1\) must be Tensor"),
        (lambda: torch.ones(1).map_(torch.tensor([1]), max), TypeError, r"^map_: expected torch.FloatTensor for "),
        (lambda: torch.ones(3).fill_diagonal_(1), RuntimeError, "^dimensions must larger than 1$"),
        (lambda: torch.ones(3, 3, 2).fill_diagonal_(1), RuntimeError, "^all dimensions of input must be of equal len"),
    ],
)  # fmt: skip
def test_refusals(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


def test_types_as_classes():
    x = torch.tensor([1])
    assert isinstance(x, torch.LongTensor)
    assert not isinstance(x, torch.FloatTensor)
    assert repr(torch.LongTensor) == "<class 'torch.LongTensor'>"
    assert torch.LongTensor.dtype is torch.int64
    assert x.type() == "torch.LongTensor"
    for name in (torch.DoubleTensor, "torch.DoubleTensor", torch.float64):
        assert x.type(name).dtype is torch.float64
    torch.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert torch.Tensor([1]).dtype is torch.float64
    finally:
        torch.set_default_tensor_type(torch.FloatTensor)


def test_classes_of_ones_own():
    class Mine(torch.Tensor):
        pass

    made = Mine([1.0, 2.0])
    assert type(made) is Mine
    assert (made + 1).tolist() == [2, 3]
    x = torch.ones(2, requires_grad=True)
    (x.as_subclass(Mine) * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]
    with pytest.raises(TypeError, match="class that does not inherit from Tensor is not possible"):
        x.as_subclass(int)


def test_functions_on_elements():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.apply_(lambda v: v * v) is x
    assert x.tolist() == [[1, 4], [9, 16]]
    assert x.map_(torch.tensor([1.0, 10.0]), lambda a, b: a + b).tolist() == [[2, 14], [10, 26]]
    assert x.map2_(x, torch.ones(2), lambda a, b, c: a - b + c).tolist() == [[1, 1], [1, 1]]
    assert torch.tensor([1, 2]).apply_(lambda v: 2.5).tolist() == [2, 2]


def test_fill_diagonal():
    assert torch.zeros(2, 3).fill_diagonal_(5).tolist() == [[5, 0, 0], [0, 5, 0]]
    assert torch.zeros(5, 2).fill_diagonal_(1).sum(1).tolist() == [1, 1, 0, 0, 0]
    wrapped = torch.zeros(5, 2).fill_diagonal_(1, wrap=True)
    assert wrapped.tolist() == [[1, 0], [0, 1], [0, 0], [1, 0], [0, 1]]
    cube = torch.zeros(2, 2, 2).fill_diagonal_(1)
    assert cube.nonzero().tolist() == [[0, 0, 0], [1, 1, 1]]
    w = torch.ones(2, 2, requires_grad=True)
    (w * 2).fill_diagonal_(7).sum().backward()
    assert w.grad.tolist() == [[0, 2], [2, 0]]
