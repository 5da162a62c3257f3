"""torch's protocol for other tensors, without torch: a module in its place says what its functions are called."""

import sys
from types import SimpleNamespace

import pytest

import gradwire
from gradwire import Tensor

DType = type("dtype", (), {"__module__": "torch", "__repr__": lambda self: "torch.float64"})
"""As torch's, by name and module."""


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(overrides=SimpleNamespace(resolve_name=lambda f: f.name)))


def given(name, *args, types=(Tensor,), **kwargs):
    return Tensor.__torch_function__(SimpleNamespace(name=name), types, args, kwargs)


@pytest.mark.parametrize(
    ("name", "args", "want"),
    [
        ("torch.sum", (), 6.0),
        ("torch.Tensor.sum", (), 6.0),
        ("torch.nn.functional.relu", (), [1.0, 2.0, 3.0]),
        ("torch.fft.fftshift", (), [3.0, 1.0, 2.0]),
        ("torch.mul", (2,), [2.0, 4.0, 6.0]),
    ],
)
def test_torchs_functions_call_ours(name, args, want):
    made = given(name, gradwire.tensor([1.0, 2.0, 3.0]), *args)
    assert isinstance(made, Tensor)
    assert made.tolist() == want


def test_torchs_types_become_ours():
    x = gradwire.tensor([1.0, 2.0])
    assert given("torch.sum", x, dtype=DType()).dtype is gradwire.float64
    assert given("torch.Tensor.to", x, DType()).dtype is gradwire.float64


def test_what_is_not_here_is_left_to_torch():
    x = gradwire.tensor(1.0)
    assert given("torch.nothing_of_the_kind", x) is NotImplemented
    assert given("torch.nn.nothing.relu", x) is NotImplemented
    assert given(None, x) is NotImplemented
    assert given("torch.sum", x, types=(Tensor, int)) is NotImplemented
