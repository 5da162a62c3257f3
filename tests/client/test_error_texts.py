"""torch's own words, where several checks compete for the first."""

import gradwire.nn.functional as F
import pytest

import gradwire as torch


def x() -> torch.Tensor:
    return torch.zeros(4, 6)


PAD = "pad must be non-negative, but got pad: -1"
CASES = [
    (lambda: torch.linspace(0, 3, 1.0), TypeError, "linspace() received an invalid combination of arguments - got "
     "(int, int, float), but expected one of:\n * (Tensor start, Tensor end, int steps)"),
    (lambda: torch.linspace(torch.zeros(2), 1, 3), RuntimeError, "linspace only supports 0-dimensional start and end "
     "tensors, but got start with 1 dimension(s) and end with 0 dimension(s)."),
    (lambda: torch.arange(0, 64, 0.5, out=torch.empty(0, dtype=torch.long)), ValueError, "step must be nonzero"),
    (lambda: torch.hsplit(x(), "abc"), TypeError, "hsplit() received an invalid combination of arguments - got "
     "(Tensor, str)"),
    (lambda: torch.zeros(5).vsplit(0), RuntimeError, "torch.vsplit requires a tensor with at least 2 dimension, but "
     "got a tensor with 1 dimensions!"),
    (lambda: x().narrow(1, torch.tensor([1]), 1), RuntimeError, "start must be an 0-dim integral Tensor."),
    (lambda: torch.narrow_copy(x(), 0, 0, -1), RuntimeError, "start (0) + length (-1) exceeds dimension size (4)."),
    (lambda: torch.zeros(1).view(0, -1), RuntimeError, "shape '[0, -1]' is invalid for input of size 1"),
    (lambda: torch.roll(torch.zeros(()), 0, 0), IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    (lambda: torch.view_copy(x(), (5,)), RuntimeError, "shape '[5]' is invalid for input of size 24"),
    (lambda: torch.zeros(2, 3, 4).t_(), RuntimeError, "t_() expects a tensor with <= 2 dimensions, but self is 3D"),
    (lambda: torch.ones(2).long().masked_fill(torch.tensor(True), torch.tensor(1j)), RuntimeError,
     "value cannot be converted to type int64_t without overflow"),
    (lambda: torch.tensor([1.0, -1.0]).multinomial(2, True), RuntimeError,
     "invalid multinomial distribution (encountering probability entry < 0)"),
    (lambda: torch.ormqr(*[torch.zeros(())] * 3), RuntimeError, "torch.ormqr: input must have at least 2 dimensions."),
    (lambda: torch.linalg.lstsq(*[torch.zeros(())] * 2), RuntimeError,
     "torch.linalg.lstsq: input must have at least 2 dimensions."),
    (lambda: torch.empty_permuted((2, 3), (0, 0)), RuntimeError, "Duplicate dim not allowed"),
    (lambda: F.avg_pool2d(torch.zeros(0, 1, 49), 2, 50, -1), RuntimeError, PAD),
    (lambda: F.max_pool1d(torch.zeros(0, 1, 49), 2, 50, -1, return_indices=True), RuntimeError, PAD),
    (lambda: F.adaptive_avg_pool2d(x(), (2, 2)), ValueError, "Input dimension should be at least 3"),
    (lambda: F.conv2d(torch.zeros(1, 1, 4, 3), torch.zeros(1, 2, 2), padding="same"), RuntimeError,
     "Expected 3-dimensional input for 3-dimensional weight[1, 2, 2], but got 4-dimensional input"),
    (lambda: F.rrelu(x(), 0.3, 0.1), RuntimeError, "Lower bound should be less than or equal to the upper bound"),
    (lambda: F.multi_margin_loss(x(), torch.zeros(4), reduction="abc"), ValueError,
     "abc is not a valid value for reduction"),
    (lambda: F.multi_margin_loss(x(), torch.zeros(4)), RuntimeError, "expected scalar type Long but found Float"),
    (lambda: F.multilabel_margin_loss(x(), torch.zeros(4)), RuntimeError,
     "inconsistent target size: [4] for input of size: [4, 6]"),
    (lambda: F.linear_cross_entropy(torch.zeros(3), torch.zeros(2, 4, 3), torch.zeros(2, 4)), RuntimeError,
     "K-dimensional loss defined by linear_weight shape (2, 4, 3) requires batched input, (N, 3), got unbatched"),
]  # fmt: skip


def test_padding_that_keeps_the_size_takes_one_sample():
    made = F.conv3d(torch.ones(1, 4, 4, 4), torch.ones(1, 1, 1, 1, 1), padding="same")
    assert tuple(made.shape) == (1, 4, 4, 4)


@pytest.mark.parametrize(("f", "kind", "text"), CASES, ids=[text[:40] for _, _, text in CASES])
def test_error(f, kind, text):
    with pytest.raises(kind) as e:
        f().numpy()
    assert type(e.value) is kind
    assert str(e.value).startswith(text)


@pytest.mark.parametrize("f", [torch.xlogy, torch.bitwise_and, torch.special.zeta])
def test_ops_of_numbers_alone_are_refused(f):
    with pytest.raises(TypeError, match=r"received an invalid combination of arguments - got \(int, int\), but"):
        f(2, 3)
