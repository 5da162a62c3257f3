"""Dual numbers: tangents, what has none, and refusals."""

import numpy as np
import pytest

import gradwire as torch

fw = torch.autograd.forward_ad


def test_tangents_follow_the_ops():
    x, v = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0])
    with fw.dual_level():
        dual = fw.make_dual(x, v)
        found = fw.unpack_dual(dual * dual)
        np.testing.assert_allclose(found.tangent.detach().numpy(), [2, 40])
        assert fw.unpack_dual(dual).tangent is v
        assert fw.unpack_dual(x * 2).tangent is None
    assert fw.unpack_dual(dual).tangent is None


def test_two_duals_and_a_backward_pass_through_the_tangent():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    one = torch.ones(2)
    with fw.dual_level():
        tangent = fw.unpack_dual(fw.make_dual(x, one) ** 3 + fw.make_dual(one, one) * 2).tangent
        np.testing.assert_allclose(tangent.detach().numpy(), [5, 14])
        np.testing.assert_allclose(torch.autograd.grad(tangent.sum(), x)[0].detach().numpy(), [6, 12])


def test_refusals():
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="no level exists"):
        fw.make_dual(x, x)
    with pytest.raises(RuntimeError, match="not the last one"):
        fw.exit_dual_level()
    with fw.dual_level():
        with pytest.raises(RuntimeError, match="Nested forward mode AD"):
            fw.enter_dual_level()
        with pytest.raises(RuntimeError, match=r"size \[2\] while the given forward gradient is of size \[3\]"):
            fw.make_dual(x, torch.ones(3))
        with pytest.raises(ValueError, match="Expected primal to be floating point or complex"):
            fw.make_dual(torch.tensor([1]), x)
