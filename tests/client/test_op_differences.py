"""Where calls of ops that are seldom made could differ from torch: results, types, gradients and refusals."""

import math

import gradwire.nn.functional as F
import pytest

import gradwire as torch


def ones(*shape, **kwargs):
    return torch.ones(*shape, **kwargs)


def leaf(*shape):
    return torch.ones(*shape, requires_grad=True)


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_a_comparison_in_place_cuts_off_what_it_overwrites(name):
    x, y = leaf(2), leaf(2)
    a = getattr(x * 2, f"{name}_")(y)
    assert a.grad_fn.name() == f"{name.capitalize()}Backward1"
    assert [g.tolist() for g in torch.autograd.grad(a.sum(), (x, y))] == [[0, 0], [0, 0]]
    assert getattr(x * 2, f"{name}_")(1.0).grad_fn.name() == f"{name.capitalize()}Backward0"


def test_draws_give_what_they_are_drawn_by_a_gradient_of_zero():
    x = torch.tensor([0.25, 0.5], requires_grad=True)
    assert torch.autograd.grad(torch.poisson(x).sum(), x)[0].tolist() == [0, 0]
    assert torch.autograd.grad((x * 1).normal_().sum(), x)[0].tolist() == [0, 0]


def test_a_composed_op_in_place_finds_what_its_derivative_needs():
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    want = torch.autograd.grad(torch.renorm(x, 2, 0, 1.0).sum(), x)[0]
    assert torch.equal(torch.autograd.grad((x * 1).renorm_(2, 0, 1.0).sum(), x)[0], want)
    want = torch.autograd.grad(torch.polygamma(1, x).sum(), x)[0]
    assert torch.equal(torch.autograd.grad((x * 1).polygamma_(1).sum(), x)[0], want)


def test_second_derivatives_of_an_outer_product_of_two_types():
    x, y = leaf(2), torch.tensor([1j, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(torch.outer(x, y).abs().sum(), x, create_graph=True)
    assert g.tolist() == [3, 3]
    assert g.requires_grad


def test_hamming_distances_have_a_gradient_of_zero():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert torch.autograd.grad(torch.cdist(x, x.detach(), p=0.0).sum(), x)[0].tolist() == [[0, 0], [0, 0]]


def test_gradients_of_pairwise_distances_are_refused_their_own():
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    (g,) = torch.autograd.grad(F.pdist(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="the derivative for '_pdist_backward' is not implemented"):
        torch.autograd.grad(g.sum(), x)


SORTER = {"right": True, "sorter": torch.tensor([1, 0])}


VALUES = [
    (lambda: torch.searchsorted(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), **SORTER), [1, 2]),
    (lambda: torch.sum(ones(2, 3), (0, True)), 6),
    (lambda: ones(4).view(2, True, 2), [[[1, 1]], [[1, 1]]]),
    (lambda: torch.arange(0.0, -8.001, -4.0, dtype=torch.int32), [0, -4, -8]),
    (lambda: torch.arange(0, 2, 0.5, dtype=torch.uint8), [0, 0, 0, 0]),
    (lambda: torch.tensordot(*[ones(1, 3, dtype=torch.int8)] * 2, ([0], [0])), [[1, 1, 1]] * 3),
    (lambda: torch.tensordot(ones(1, dtype=torch.int8), ones(3, dtype=torch.int8), 1), 3),
    (lambda: F.bilinear(*[ones(1, 2, dtype=torch.int16)] * 2, ones(1, 2, 2, dtype=torch.int16)), [[4]]),
    (lambda: torch.addmm(*[ones(2, 2, dtype=torch.int16)] * 3, beta=0.6, alpha=1.7), [[2, 2], [2, 2]]),
    (lambda: torch.baddbmm(*[ones(1, 2, 2, dtype=torch.uint8)] * 3, beta=1.6, alpha=0.6), [[[1, 1], [1, 1]]]),
    (lambda: F.max_pool1d(torch.arange(6).reshape(1, 2, 3), 2, return_indices=True)[1], [[[1], [1]]]),
    (lambda: F.avg_pool2d(torch.arange(4.0).reshape(1, 2, 2), 2, out=torch.empty(0)), [[[1.5]]]),
    (lambda: F.normalize(3 * ones(1, 2, 1), out=torch.empty(0)).square(), [[[0.5], [0.5]]]),
    (lambda: F.silu(torch.tensor([0j])), [0]),
    (lambda: torch.tensor(1.0).mH, 1),
    (lambda: torch.tensor(1.0).mT, 1),
    (lambda: ones(2, dtype=torch.bool).conj_physical_(), [True, True]),
    (lambda: torch.unravel_index(torch.tensor([200], dtype=torch.uint8), (4, 100))[1], [0]),
    (lambda: F.multilabel_soft_margin_loss(torch.tensor([0.0, 0.0]), ones(1, 2), reduction="sum"), math.log(2)),
    (lambda: torch.native_group_norm(ones(0, 2), None, None, 0, 2, 1, 1, 1e-5)[1].sum(), 0),
    (lambda: torch.masked.cumsum(ones(2, dtype=torch.int16), 0), [1, 2]),
    (lambda: torch.masked.argmax(torch.tensor([1.0, 3.0, 2.0]), mask=torch.tensor([True, False, True])), 2),
]  # fmt: skip


@pytest.mark.parametrize(("f", "want"), VALUES)
def test_a_value(f, want):
    made = f().tolist()
    assert made == (pytest.approx(want) if isinstance(made, float) else want) or torch.allclose(f(), torch.tensor(want))


def test_types_that_stay():
    short, mask = ones(2, dtype=torch.int16), torch.tensor([True, False])
    assert torch.masked.cumsum(short, 0, mask=mask).dtype is torch.int16
    assert torch.masked.cumprod(short, 0, mask=mask).dtype is torch.int16
    assert torch.masked.logsumexp(short, 0, mask=mask).dtype is torch.int16
    assert torch.masked.argmin(ones(2), mask=mask).dtype is torch.float32
    assert F.bilinear(short[None], short[None], ones(1, 2, 2, dtype=torch.int16)).dtype is torch.int16
    assert torch.tensordot(short, ones(1, dtype=torch.int16), 1).dtype is torch.int16


def test_what_is_its_own():
    x = leaf(2)
    assert torch.positive(x) is x
    assert x.conj_physical() is x
    assert x.real is x


def test_a_tensor_assigned_to_a_view_of_all_of_it():
    x = torch.tensor(2.0)
    x[None] = x
    assert x.tolist() == 2
    assert x.expand(1).stride() == (1,)
    assert ones(3).expand(2, 1, 3).stride() == (0, 3, 1)


def test_out_takes_a_copy_of_what_is_its_own():
    x, out = ones(2), torch.empty(0)
    torch.conj_physical(x, out=out).add_(1)
    assert x.tolist() == [1, 1]
    assert out.tolist() == [2, 2]


def test_masked_statistics_of_integers():
    x, mask = torch.tensor([1, 2, 5]), torch.tensor([True, False, True])
    assert torch.masked.var(x, mask=mask).tolist() == 8
    assert torch.masked.std(x, 0, mask=mask, dtype=torch.float64).tolist() == pytest.approx(8**0.5)
    assert torch.masked.median(x, 0, mask=mask).dtype is torch.int64
    assert torch.masked.median(x, 0, mask=mask).tolist() == 1


def test_numbers_alone():
    assert torch.add(2, 3).dtype is torch.int64
    assert torch.div(True, 2).tolist() == 0.5
    assert torch.floor_divide(7, 2).tolist() == 3
    with pytest.raises(TypeError, match=r"^pow\(\) received an invalid combination of arguments - got \(int, int\)"):
        torch.pow(2, 3)


def test_comparisons_take_out_of_what_requires_grad():
    assert torch.lt(leaf(2), 2, out=torch.empty(0, dtype=torch.bool)).tolist() == [True, True]


def test_out_was_written_to():
    out = torch.empty(0)
    torch.add(ones(2), 1, out=out)
    assert out._version == 1


def test_an_imaginary_number_is_true():
    x = torch.zeros(2, dtype=torch.bool)
    x[0] = 1j
    assert x.tolist() == [True, False]


@pytest.mark.parametrize(("f", "text"), [
    (lambda: ones(2).topk(), "topk() missing 1 required positional arguments: \"k\""),
    (lambda: ones(2).hypot_(1.0), "hypot_(): argument 'other' (position 1) must be Tensor, not float"),
    (lambda: torch.hypot(ones(2), 1.0), "hypot(): argument 'other' (position 2) must be Tensor, not float"),
    (lambda: ones(2).logcumsumexp(0, True), "logcumsumexp() takes 1 positional argument but 2 were given"),
    (lambda: ones(2).sin(1), "TensorBase.sin() takes no arguments (1 given)"),
    (lambda: ones(2).clamp(ones(2), 1.5), "clamp() received an invalid combination of arguments - got (Tensor, float)"),
])  # fmt: skip
def test_a_refused_argument(f, text):
    with pytest.raises(TypeError) as e:
        f()
    assert str(e.value) == text


def constant(function, argument):
    return (f"The function '{function}' is not differentiable with respect to argument '{argument}'. This input cannot "
            "have requires_grad True.")  # fmt: skip


ONE = torch.tensor([1])
REFUSED = [
    (lambda: F.binary_cross_entropy(ones(2), ones(2), weight=leaf(2)), constant("binary_cross_entropy", "weight")),
    (lambda: F.binary_cross_entropy_with_logits(ones(2), ones(2), pos_weight=leaf(2)),
     constant("binary_cross_entropy_with_logits", "pos_weight")),
    (lambda: F.nll_loss(ones(1, 2), ONE, weight=leaf(2)), constant("nll_loss_forward", "weight")),
    (lambda: F.cross_entropy(ones(1, 2, 1), ONE[None], weight=leaf(2)), constant("nll_loss2d_forward", "weight")),
    (lambda: F.soft_margin_loss(ones(2), leaf(2)), constant("soft_margin_loss", "target")),
    (lambda: F.multi_margin_loss(ones(1, 2), ONE, weight=leaf(2)), constant("multi_margin_loss", "weight")),
    (lambda: F.batch_norm(ones(3, 2), leaf(2), ones(2)), constant("native_batch_norm", "running_mean")),
    (lambda: F.instance_norm(ones(3, 2, 4), ones(2), leaf(2)), constant("native_batch_norm", "running_var")),
    (lambda: F.silu(ones(2, dtype=torch.complex64, requires_grad=True)),
     "silu does not support automatic differentiation for outputs with complex dtype."),
    (lambda: ones(2, dtype=torch.int16).hypot_(ones(3, 2, dtype=torch.complex64)),
     "output with shape [2] doesn't match the broadcast shape [3, 2]"),
    (lambda: ones(2, dtype=torch.int16).hypot_(ones(2, dtype=torch.complex64)),
     "result type ComplexFloat can't be cast to the desired output type Short"),
    (lambda: ones(2).view(2).requires_grad_().add_(1),
     "a view of a leaf Variable that requires grad is being used in an in-place operation."),
    (lambda: leaf(2).bitwise_or_(1), "a leaf Variable that requires grad is being used in an in-place operation."),
    (lambda: ones(2)[None, 5], "index 5 is out of bounds for dimension 1 with size 2"),
    (lambda: ones(2, dtype=torch.complex64).abs_(), "In-place abs is not supported for complex tensors."),
    (lambda: F.embedding(ONE, ones(2, 2, dtype=torch.complex64, requires_grad=True)),
     "embedding does not support automatic differentiation for outputs with complex dtype."),
    (lambda: torch.geqrf(ones(2, 2, dtype=torch.complex64, requires_grad=True)),
     "geqrf does not support automatic differentiation for outputs with complex dtype."),
    (lambda: torch.triangular_solve(ones(2, 2), ones(2, 2, dtype=torch.double)), "Expected b and A to have the same "
     "dtype, but found b of type Float and A of type Double instead."),
    (lambda: torch.linalg.matrix_norm(ones(2, 2), "nuc", (-1, 2)),
     "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    (lambda: torch.lu_unpack(ones(1, 5), torch.tensor([2], dtype=torch.int32))[0].tolist(),
     "pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive.Did you properly pass the result of "
     "lu_factor?"),
    (lambda: torch.lu_unpack(torch.tensor(1.0), torch.tensor([2], dtype=torch.int32)),
     "torch.lu_unpack: Expected tensor with 2 or more dimensions. Got size: [] instead"),
    (lambda: torch.inner(ones(2), ones(2, dtype=torch.double)), "both inputs should have same dtype"),
    (lambda: F.cosine_similarity(ones(2, dtype=torch.complex64), ones(2), 0),
     "expected common dtype to be floating point, yet common dtype is ComplexFloat"),
    (lambda: F.glu(ones(2, dtype=torch.int16)), "\"glu_cpu\" not implemented for 'Short'"),
    (lambda: torch.addcmul(*[ones(1)] * 3, value=1j), "value cannot be converted to type float without overflow"),
    (lambda: torch.lerp(ones(1), ones(1), 1j), "value cannot be converted to type float without overflow"),
    (lambda: ones(2, 3).__setitem__(5, 1j), "value cannot be converted to type float without overflow"),
    (lambda: ones(2)[[0.5],], "tensors used as indices must be long, int, byte or bool tensors"),
    (lambda: torch.index_reduce(ones(2), 0, ONE[None], ones(1), "mean"),
     "index_reduce_(): Index is supposed to be a vector, but got dim: 2 with type: Long and size: [1, 1]"),
    (lambda: torch.index_reduce(ones(2, 2), 0, ONE, ones(2, 1), "mean"),
     "index_reduce_(): Number of indices (1) should be equal to source.size(dim): (2), for dim: 0"),
    (lambda: torch.index_add(torch.tensor(1), 0, ONE - 1, ONE), "source tensor shape must match self tensor shape, "
     "excluding the specified dimension. Got self.shape = [] source.shape = [1]"),
    (lambda: torch.cross(ones(3), ones(3, dtype=torch.int64), 0), "expected scalar type Float but found Long"),
    (lambda: torch.linalg.cross(*[ones(3, dtype=torch.bool)] * 2), "\"cross\" not implemented for 'Bool'"),
    (lambda: torch.linalg.vecdot(ones(3), ones(3, dtype=torch.double)), "linalg.vecdot: Expected x and y to have the "
     "same dtype, but found x of type Float and y of type Double instead"),
    (lambda: ones(2, 2, dtype=torch.bool).trace(), "\"trace\" not implemented for 'Bool'"),
    (lambda: torch.triu_indices(2, 2, dtype=torch.int16), "\"triu_indices\" not implemented for 'Short'"),
    (lambda: F.kl_div(ones(2), ones(2, dtype=torch.int64), reduction="sum"), "kl_div: Integral inputs not supported."),
    (lambda: torch.lu_solve(ones(2, 1), torch.eye(2), torch.tensor([1, 2, 3], dtype=torch.int32)),
     "linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix"),
    (lambda: torch.lu_solve(ones(2, 1), torch.eye(2)[None], torch.tensor([1, 2], dtype=torch.int32)),
     "linalg.lu_solve: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with shape [2] instead"),
    (lambda: torch.linalg.householder_product(ones(2), ones(2)),
     "torch.linalg.householder_product: input must have at least 2 dimensions."),
    (lambda: F.bilinear(ones(1, 2), ones(1, 2, dtype=torch.int16), ones(1, 2, 2)),
     "All tensors must have the same dtype, got input1: float, input2: short int, weight: float"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "text"), REFUSED)
def test_a_refusal(f, text):
    with pytest.raises((RuntimeError, IndexError)) as e:
        f()
    assert str(e.value).partition("\n[in ")[0] == text
