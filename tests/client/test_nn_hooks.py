"""Hooks of modules: of the old kind, of all modules, and of what modules are given."""

from __future__ import annotations

import pytest

import gradwire as torch
from gradwire import nn
from gradwire.nn.modules import module as of_all


def test_backward_hooks_of_the_old_kind_are_their_nodes():
    m, seen = nn.Linear(2, 3), []
    m.register_backward_hook(lambda module, grad_input, grad_output: seen.append((len(grad_input), grad_output)))
    m(torch.ones(2, 2)).sum().backward()
    ((count, (grad,)),) = seen
    assert count == 3  # of the bias, the input and the weight
    assert grad.tolist() == [[1, 1, 1]] * 2
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full backward hooks"):
        m.register_full_backward_hook(lambda *args: None)


def test_backward_hooks_without_inputs_that_require_grad():
    m = nn.Linear(2, 3)
    m.register_full_backward_hook(lambda module, grad_input, grad_output: grad_input)
    with pytest.warns(UserWarning, match="Full backward hook is firing when gradients are computed with"):
        m(torch.ones(2, 2)).sum().backward()
    m.register_full_backward_hook(lambda module, grad_input, grad_output: (1,))
    with pytest.warns(UserWarning, match="Full"), pytest.raises(RuntimeError, match="no input requires gradient"):
        m(torch.ones(2, 2)).sum().backward()


def test_results_that_no_backward_hook_can_see():
    class Named(nn.Module):
        def forward(self, x):
            return {"a": x * 2}

    m, seen = Named(), []
    m.register_full_backward_hook(lambda *args: seen.append(args))
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="module output should be a Tensor or a tuple of Tensors but received"):
        made = m(x)
    made["a"].sum().backward()
    assert x.grad.tolist() == [2, 2]
    assert seen == []


def test_hooks_of_all_modules():
    seen = []
    handles = [
        of_all.register_module_forward_pre_hook(lambda m, args: seen.append(("before", type(m).__name__))),
        of_all.register_module_forward_hook(lambda m, args, result: seen.append(("after", type(m).__name__))),
        of_all.register_module_full_backward_hook(lambda m, gi, go: seen.append(("back", type(m).__name__))),
        of_all.register_module_full_backward_pre_hook(lambda m, go: seen.append(("reached", type(m).__name__))),
    ]
    try:
        nn.Sequential(nn.ReLU())(torch.ones(1, requires_grad=True)).backward()
    finally:
        for h in handles:
            h.remove()
    nn.ReLU()(torch.ones(1))
    assert seen == [
        ("before", "Sequential"), ("before", "ReLU"), ("after", "ReLU"), ("after", "Sequential"),
        ("reached", "Sequential"), ("reached", "ReLU"), ("back", "ReLU"), ("back", "Sequential"),
    ]  # fmt: skip


def test_hooks_of_members():
    seen = []
    twice = of_all.register_module_parameter_registration_hook(lambda m, name, p: nn.Parameter(torch.full_like(p, 2)))
    handles = [
        twice,
        of_all.register_module_buffer_registration_hook(lambda m, name, b: seen.append(name)),
        of_all.register_module_module_registration_hook(lambda m, name, sub: seen.append(name)),
    ]
    try:
        net = nn.Sequential(nn.BatchNorm1d(2))
    finally:
        for h in handles:
            h.remove()
    assert net[0].weight.tolist() == [2, 2]
    assert seen == ["running_mean", "running_var", "num_batches_tracked", "0"]


def test_a_module_that_was_not_initialized_says_so():
    class Hasty(nn.Module):
        def __init__(self, value):
            self.value = value

    for value, text in ((nn.Parameter(torch.ones(1)), "cannot assign parameters before Module.__init__"),
                        (nn.ReLU(), "cannot assign module before"), (nn.Buffer(torch.ones(1)), "cannot assign buffer"),
                        ):  # fmt: skip
        with pytest.raises(AttributeError, match=text):
            Hasty(value)
    with pytest.raises(AttributeError, match="'Hasty' object has no attribute '_backward_hooks'"):
        Hasty(3)(torch.ones(1))
