"""Modules called with other tensors: what is refused, tied, and given back."""

from __future__ import annotations

import pytest

import gradwire as torch
from gradwire import nn
from gradwire.nn.utils import stateless


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count = self.count + 1
        return self.b(self.a(x))


def test_tied_tensors_and_buffers():
    net, x = Tied(), torch.ones(1, 2)
    call = torch.func.functional_call
    given = {"a.weight": 2 * torch.eye(2), "count": torch.tensor(5.0)}
    assert call(net, given, x).tolist() == [[4, 4]]
    assert given["count"].item() == 6
    assert net.count.item() == 0
    both = {"a.weight": 2 * torch.eye(2), "b.weight": torch.eye(2)}
    assert call(net, both, x, tie_weights=False).tolist() == [[2, 2]]
    with pytest.raises(ValueError, match=r"got multiple values for keys \['a.weight', 'b.weight'\], which are tied"):
        call(net, both, x)


def test_names_and_dicts_that_are_refused():
    m, x, call = nn.Linear(2, 2), torch.ones(1, 2), torch.func.functional_call
    with pytest.raises(RuntimeError, match="reparametrizing for Linear:\n\tUnexpected.*: 'x'.\n\tMissing.*: 'bias'."):
        call(m, {"weight": torch.eye(2), "x": torch.eye(2)}, x, strict=True)
    with pytest.raises(AttributeError, match="Linear has no attribute `a`"):
        call(m, {"a.b": torch.eye(2)}, x)
    with pytest.raises(ValueError, match="Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts"):
        call(m, 3, x)
    with pytest.raises(ValueError, match=r"\['bias'\] appeared in multiple dictionaries; behavior of functional call"):
        call(m, ({"bias": torch.ones(2)}, {"bias": torch.ones(2)}), x)
    call(m, {"more": torch.ones(2)}, x)
    assert not hasattr(m, "more")


def test_the_old_path_warns():
    with pytest.warns(FutureWarning, match="Please use `torch.func.functional_call` instead"):
        made = stateless.functional_call(nn.Linear(2, 2, bias=False), {"weight": 2 * torch.eye(2)}, torch.ones(2))
    assert made.tolist() == [2, 2]


def test_stacked_modules_are_alike():
    with pytest.raises(RuntimeError, match="Expected all models to have the same training/eval mode"):
        torch.func.stack_module_state([nn.Linear(2, 2), nn.Linear(2, 2).eval()])
    with pytest.raises(RuntimeError, match="Expected weight from each model to have the same .requires_grad"):
        torch.func.stack_module_state([nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)])
