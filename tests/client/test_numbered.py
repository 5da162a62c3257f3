"""What torch has under a second name or with other arguments: losses and norms."""

import gradwire.nn.functional as F
import pytest

import gradwire as torch

ONES, SIGNS = torch.ones(2, 3), torch.tensor([1, -1])
X = torch.arange(6.0).view(2, 3)
LOSSES = {
    "binary_cross_entropy_with_logits": (X, ONES),
    "cosine_embedding_loss": (ONES, X, SIGNS),
    "hinge_embedding_loss": (X, ONES),
    "kl_div": (X, ONES),
    "margin_ranking_loss": (X, ONES, ONES),
    "triplet_margin_loss": (ONES, X, 2 * X),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean'")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    args = LOSSES[name]
    for number, reduction in ((0, "none"), (1, "mean"), (2, "sum")):
        made = getattr(torch, name)(*args, reduction=number)
        assert made.tolist() == getattr(F, name)(*args, reduction=reduction).tolist()
    assert getattr(torch, name)(*args).shape == getattr(F, name)(*args, reduction="none").shape


def test_losses_with_the_reduction_in_its_place():
    assert torch.poisson_nll_loss(X, ONES, True, False, 1e-8, 1) == F.poisson_nll_loss(X, ONES)
    assert torch.kl_div(X, ONES, 2, log_target=True) == F.kl_div(X, ONES, reduction="sum", log_target=True)
    lengths = torch.tensor([4, 4]), torch.tensor([2, 2])
    told = torch.zeros(4, 2, 3).log_softmax(2), torch.tensor([[1, 2], [2, 1]]), *lengths
    assert torch.ctc_loss(*told, 0, 2) == F.ctc_loss(*told, reduction="sum")


def test_norms():
    with pytest.warns(UserWarning, match="at::nuclear_norm is deprecated"):
        assert torch.nuclear_norm(torch.eye(3)).item() == 3
    with pytest.warns(UserWarning, match="at::frobenius_norm is deprecated"):
        assert torch.frobenius_norm(2 * torch.eye(3), 0).tolist() == [2, 2, 2]
    x = torch.randn(3, 4, 2)
    assert torch.norm_except_dim(x, 2, 1).shape == (1, 4, 1)
    torch.testing.assert_close(torch.norm_except_dim(x, 2, -1), x.norm())
    torch.testing.assert_close(torch.norm_except_dim(x, 2, 0).flatten(), x.flatten(1).norm(dim=1))


def test_functions_that_write():
    x = torch.zeros(2)
    assert torch.fill_(x, 3) is x
    assert x.tolist() == [3, 3]
    assert torch.addmv_(x, torch.eye(2), torch.ones(2)).tolist() == [4, 4]
    assert not torch.detach_(torch.ones(2, requires_grad=True) * 1).requires_grad
    assert [t.tolist() for t in torch.unsafe_split_with_sizes(torch.arange(3), [1, 2])] == [[0], [1, 2]]
    assert torch.arange(3)[:, torch.newaxis].shape == (3, 1)
