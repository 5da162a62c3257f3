"""Layers, functions and names that few programs use, and what layers refuse when they are made."""

from __future__ import annotations

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn

F = nn.functional


def test_convolution_over_steps():
    torch.manual_seed(0)
    x, w, b = torch.randn(5, 2, 3), torch.randn(3, 3, 4), torch.randn(4)
    made = F.conv_tbc(x, w, b, pad=1)
    padded = np.pad(x.numpy(), ((1, 1), (0, 0), (0, 0)))
    wanted = sum(padded[k : k + 5] @ w[k].numpy() for k in range(3)) + b.numpy()
    np.testing.assert_allclose(made.tolist(), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="Input must have 3 dims: time, batch, in_channel"):
        torch.conv_tbc(x[0], w, b)


def test_response_norm_over_channels():
    x = torch.randn(2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    layer = nn.CrossMapLRN2d(3, alpha=0.5, beta=0.75, k=2)
    assert repr(layer) == "CrossMapLRN2d(3, alpha=0.5, beta=0.75, k=2)"
    squares = x.detach().numpy() ** 2
    near = [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 2, 3, 4], [0, 3, 4]]
    sums = np.stack([squares[:, at].sum(1) for at in near], 1)
    np.testing.assert_allclose(layer(x).tolist(), x.detach().numpy() * (2 + 0.5 / 3 * sums) ** -0.75)
    assert torch.autograd.gradcheck(layer, (x,))
    with pytest.raises(ValueError, match="CrossMapLRN2d: Expected input to be 4D, got 3D instead"):
        layer(x[0])


def test_bags_of_one_length_have_no_last_offset():
    bag = nn.EmbeddingBag(5, 2, mode="sum", padding_idx=1, include_last_offset=True)
    rows = bag.weight.detach().numpy()
    np.testing.assert_allclose(bag(torch.tensor([[0, 1], [2, 3]])).tolist(), [rows[0], rows[2] + rows[3]], rtol=1e-6)
    frozen = nn.EmbeddingBag.from_pretrained(torch.ones(2, 2), mode="sum")
    assert not frozen.weight.requires_grad
    assert frozen(torch.tensor([[0, 1]])).tolist() == [[2, 2]]
    with pytest.raises(AssertionError, match="Shape of weight does not match num_embeddings and embedding_dim"):
        nn.EmbeddingBag(3, 2, _weight=torch.ones(2, 2))


@pytest.mark.parametrize(("make", "text"), [
    (lambda: nn.MultiMarginLoss(p=3), "only p == 1 and p == 2 supported"),
    (lambda: nn.MultiMarginLoss(weight=torch.ones(2, 2)), "expected weight to be None or 1D tensor, got 2D instead"),
    (lambda: nn.TripletMarginLoss(margin=0), "TripletMarginLoss: expected margin to be greater than 0, got 0 instead"),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=0), "DistanceLoss: expected margin to be greater than 0, got 0"),
    (lambda: nn.MultiLabelSoftMarginLoss(reduction="x")(torch.ones(2), torch.ones(2)), "x is not valid"),
], ids=range(5))  # fmt: skip
def test_losses_that_cannot_be(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_old_names():
    with pytest.warns(FutureWarning, match="`nn.init.eye` is now deprecated in favor of `nn.init.eye_`"):
        assert nn.init.eye(torch.empty(1, 2)).tolist() == [[1, 0]]
    with pytest.warns(FutureWarning, match="`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead"):
        assert isinstance(nn.NLLLoss2d(), nn.NLLLoss)
    with pytest.warns(FutureWarning, match="`nn.Container` is deprecated"):
        assert repr(nn.Container(a=nn.ReLU())) == "Container(\n  (a): ReLU()\n)"
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        nn.Linear(0, 3)
    assert nn.init.calculate_gain("relu", "not looked at") == 2**0.5


def test_names_that_are_lacking_say_why():
    with pytest.raises(AttributeError, match="module 'gradwire.nn' has no attribute 'SyncBatchNorm': a session"):
        nn.SyncBatchNorm(3)
    assert not hasattr(nn, "Linea")


def test_ways_to_compute_attention():
    from gradwire.nn.attention import SDPBackend, sdpa_kernel

    x = torch.randn(1, 1, 3, 4)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        made = F.scaled_dot_product_attention(x, x, x)
    assert torch.equal(made, F.scaled_dot_product_attention(x, x, x))
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend or a list of"), sdpa_kernel(3):
        pass


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda: nn.Unflatten(1, 3), TypeError, "unflattened_size must be a tuple of ints, but found type int"),
    (lambda: nn.Unflatten(1, (2, "x")), TypeError, "must be tuple of ints, but found element of type str at pos 1"),
    (lambda: nn.Hardtanh(1, -1), AssertionError, r"max_val \(-1\) must be greater than min_val \(1\)"),
    (lambda: nn.Sigmoid(3), TypeError, r"Sigmoid.__init__\(\) takes 1 positional argument but 2 were given"),
    (lambda: nn.ReLU(1, 2), TypeError, r"ReLU.__init__\(\) takes from 1 to 2 positional arguments but 3 were given"),
    (lambda: nn.Threshold(1), TypeError, r"Threshold.__init__\(\) missing 1 required positional argument: 'value'"),
    (lambda: nn.BatchNorm1d(4)(torch.ones(3, 5)), RuntimeError, "running_mean should contain 5 elements not 4"),
    (lambda: nn.LayerNorm(4)(torch.ones(3, 4).double()), RuntimeError, "mixed dtype .CPU.: all inputs must share same"),
    (lambda: nn.GroupNorm(2, 4)(torch.ones(3, 4).double()), RuntimeError, "mixed dtype"),
    (lambda: nn.BatchNorm1d(4).eval()(torch.ones(3, 4).double()), RuntimeError, "mixed dtype"),
    (lambda: nn.ConvTranspose1d(2, 2, 3, 2)(torch.ones(1, 2, 3), output_size=(9,)), ValueError,
     r"requested an output size of \(9,\), but valid sizes range from \[7\] to \[8\]"),
    (lambda: nn.Unfold(5)(torch.ones(1, 1, 4, 4)), RuntimeError, r"padding=\(0, 0\), calculated shape of the array"),
    (lambda: nn.InstanceNorm1d(2).load_state_dict(dict(nn.BatchNorm1d(2, affine=False).state_dict())), RuntimeError,
     'Unexpected running stats buffer.s. "running_mean" and "running_var" for InstanceNorm1d with track_running_stats'),
])  # fmt: skip
def test_layers_refuse_in_torchs_words(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_smaller_types_are_normalized_by_float32_parameters():
    assert nn.LayerNorm(4)(torch.ones(3, 4).half()).dtype is torch.float16
    assert nn.BatchNorm1d(4)(torch.randn(3, 4).bfloat16()).dtype is torch.bfloat16


def test_layers_warn_of_arguments():
    with pytest.warns(FutureWarning, match="keyword argument `min_value` is deprecated and renamed to `min_val`"):
        nn.Hardtanh(min_value=-2)
    with pytest.warns(UserWarning, match="input's size at dim=1 does not match num_features"):
        nn.InstanceNorm1d(3)(torch.ones(2, 4, 5))


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda: nn.Parameter(torch.tensor([1])), RuntimeError, "Only Tensors of floating point and complex dtype can req"),
    (lambda: F.pad(torch.ones(1, 2, 3, 4), (1, 1), "odd"), NotImplementedError, "Unrecognised padding mode odd"),
    (lambda: F.multi_margin_loss(torch.ones(1, 4), torch.tensor([9])).item(), RuntimeError, "target out of range"),
    (lambda: F.multilabel_margin_loss(torch.ones(2), torch.tensor([0, 9])).item(), RuntimeError,
     "argument #2 'target' is out of range"),
    (lambda: F.ctc_loss(torch.ones(4, 1, 3), torch.tensor([[1]]), (9,), (1,)), RuntimeError,
     "got value 9 .while checking arguments for ctc_loss_allocate_outputs"),
])  # fmt: skip
def test_functions_refuse_in_torchs_words(make, error, text):
    with pytest.raises(error, match=text):
        make()
