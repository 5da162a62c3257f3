"""Approximate decompositions are exact where the rank is as low as was said."""

import pytest

import gradwire as torch
from gradwire.autograd import gradcheck


@pytest.mark.parametrize(("m", "n"), [(7, 5), (5, 7)])
def test_svd(m, n):
    torch.manual_seed(0)
    A = torch.randn(2, m, 2, dtype=torch.float64) @ torch.randn(2, 2, n, dtype=torch.float64)
    u, s, v = torch.svd_lowrank(A, q=3)
    torch.testing.assert_close(u @ torch.diag_embed(s) @ v.mT, A)
    torch.testing.assert_close(s, torch.linalg.svdvals(A)[..., :3], rtol=1e-7, atol=1e-7)


def test_pca_is_of_what_is_centered():
    torch.manual_seed(0)
    A = torch.randn(6, 4, dtype=torch.float64) + 3
    u, s, v = torch.pca_lowrank(A)
    centered = A - A.mean(0)
    torch.testing.assert_close(u @ torch.diag(s) @ v.mT, centered)
    _, s, _ = torch.pca_lowrank(A, center=False)
    torch.testing.assert_close(s, torch.linalg.svdvals(A))


def test_gradients():
    A = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda A: torch.svd_lowrank(A, q=3)[1], (A,))


def test_refusals():
    A = torch.ones(5, 4)
    with pytest.raises(ValueError, match=r"q\(=7\) must be non-negative integer and not greater than min\(m, n\)=4"):
        torch.pca_lowrank(A, q=7)
    with pytest.raises(ValueError, match=r"niter\(=-1\) must be non-negative integer"):
        torch.pca_lowrank(A, niter=-1)
