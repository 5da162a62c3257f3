"""What the SDK composes of products and factorizations: einsum, tensordot, norms, solvers under torch's names."""

import numpy as np
import pytest

import gradwire as torch

linalg = torch.linalg
RNG = np.random.default_rng(3)
A, B, C = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))
T, S = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 4, 5))
SQUARE = RNG.standard_normal((2, 3, 3)) + 3 * np.eye(3)


def same(got, want, tol=1e-9):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=tol, atol=tol)


@pytest.mark.parametrize(("equation", "operands"), [
    ("ij,jk->ik", (A, B)), ("ij,jk", (A, B)), ("ij,jk->ki", (A, B)), ("ij,jk,kl->il", (A, B, C)),
    ("bij,bjk->bik", (T, S)), ("bij,bjk->", (T, S)), ("bij,bjk->b", (T, S)), ("bij,bjk->kib", (T, S)),
    ("ii", (SQUARE[0],)), ("ii->i", (SQUARE[0],)), ("bii->b", (SQUARE,)), ("ij->ji", (A,)), ("ij->", (A,)),
    ("i,j->ij", (A[0], B[0])), ("i,i->i", (A[0], A[1])), ("i,i->", (A[0], A[1])), ("ij,kl->", (A, B)),
    ("...ij,...jk->...ik", (T, S)), ("...i,i->...", (T, C[:, 0])), ("...ij->...ji", (T,)), ("i...->...", (T,)),
    ("ij...,j->i...", (T, A[0])), ("aB", (A,)), (" i j , j k -> i k", (A, B)), ("bij,bij->bij", (T, T)),
])  # fmt: skip
def test_einsum(equation, operands):
    tensors = [torch.tensor(x) for x in operands]
    want = np.einsum(equation.replace(" ", ""), *operands)
    same(torch.einsum(equation, *tensors), want)
    same(torch.einsum(equation, tensors), want)


def test_einsum_with_lists_of_numbers():
    same(torch.einsum(torch.tensor(A), [0, 1], torch.tensor(B), [1, 2]), A @ B)
    same(torch.einsum(torch.tensor(A), [0, 1], torch.tensor(B), [1, 2], [2, 0]), (A @ B).T)
    same(torch.einsum(torch.tensor(T), [..., 1], [1, ...]), np.moveaxis(T, -1, 0))


def test_einsum_broadcasts_a_size_of_1():
    same(torch.einsum("ij,ij->ij", torch.tensor(A[:, :1]), torch.tensor(A)), A[:, :1] * A)
    same(torch.einsum("ij,jk->ik", torch.tensor(A[:, :1]), torch.tensor(B)), (A[:, :1] * np.ones((2, 3))) @ B)


def test_einsum_has_a_gradient():
    a, b = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
    torch.einsum("ij,jk->ik", a, b).sum().backward()
    same(a.grad, np.broadcast_to(B.sum(1), A.shape))
    same(b.grad, np.broadcast_to(A.sum(0)[:, None], B.shape))


@pytest.mark.parametrize(("equation", "shapes", "text"), [
    ("ij,jk", [(2, 3), (2, 3)], "subscript j has size 2 for operand 1 which does not broadcast with previously seen "
                                "size 3"),
    ("ij->ik", [(2, 3)], "output subscript k does not appear in the equation for any input operand"),
    ("ij->ii", [(2, 3)], "output subscript i appears more than once in the output"),
    ("ij,jk->ik", [(2, 3)], "fewer operands were provided than specified in the equation"),
    ("ij", [(2, 3), (2, 3)], "more operands were provided than specified in the equation"),
    ("ijk->ik", [(2, 3)], "the number of subscripts in the equation (3) does not match the number of dimensions (2) "
                          "for operand 0 and no ellipsis was given"),
    ("i1->i", [(3, 3)], "invalid subscript given at index 1 in the equation string, subscripts must be in [a-zA-Z]"),
    ("ii", [(3, 2)], "subscript i is repeated for operand 0 but the sizes don't match, 2 != 3"),
    ("i.j", [(3, 2)], "found '.' for operand 0 that is not part of any ellipsis"),
    ("...i,...i->...", [(3, 2), (4, 2)],
     "dimension 0 covered by ellipsis in operand 1has size 4 which does not broadcast with previously seen ellipsis "
     "with size 3 for the respective dimension"),
])  # fmt: skip
def test_equations_that_do_not_fit(equation, shapes, text):
    with pytest.raises(RuntimeError) as e:
        torch.einsum(equation, *[torch.ones(s) for s in shapes])
    assert str(e.value) == f"einsum(): {text}"


def test_matmul_is_the_op_that_torch_runs():
    a, v, t = (torch.tensor(x, requires_grad=True) for x in (SQUARE[0], SQUARE[0, 0], SQUARE))
    nodes = [
        (a @ a).grad_fn,
        (a @ v).grad_fn,
        (v @ v).grad_fn,
        (t @ t).grad_fn,
        torch.nn.functional.linear(a, a).grad_fn,
    ]
    assert [n.name() for n in nodes] == ["MmBackward0", "MvBackward0", "DotBackward0", "BmmBackward0", "AddmmBackward0"]


def test_products():
    a, b = torch.tensor(A), torch.tensor(B)
    same(torch.tensordot(torch.tensor(T), torch.tensor(S), ([0, 2], [0, 1])), np.tensordot(T, S, ([0, 2], [0, 1])))
    same(torch.tensordot(a, b, 1), A @ B)
    same(torch.tensordot(a, b, 0), np.tensordot(A, B, 0))
    same(torch.kron(a, b), np.kron(A, B))
    same(torch.kron(a, b[0]), np.kron(A, B[0]))
    same(torch.inner(a, torch.tensor(B.T)), np.inner(A, B.T))
    same(torch.chain_matmul(a, b, torch.tensor(C)), A @ B @ C)
    same(linalg.multi_dot([a[0], b, torch.tensor(C)]), A[0] @ B @ C)
    same(linalg.vecdot(torch.tensor(T), torch.tensor(T), dim=1), (T * T).sum(1))
    w, bias = RNG.standard_normal((6, 3, 4)), RNG.standard_normal(6)
    x = RNG.standard_normal((2, 4))
    same(torch.nn.functional.bilinear(a, torch.tensor(x), torch.tensor(w), torch.tensor(bias)),
         np.einsum("bi,oij,bj->bo", A, w, x) + bias)  # fmt: skip


@pytest.mark.parametrize("ord", ["fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_matrix_norm(ord, keepdim):
    same(linalg.matrix_norm(torch.tensor(T), ord, (0, 2), keepdim), np.linalg.norm(T, ord, (0, 2), keepdims=keepdim))
    same(linalg.norm(torch.tensor(A), ord), np.linalg.norm(A, ord))


@pytest.mark.parametrize("p", [None, 2, -2, "fro", "nuc", 1, -1, np.inf, -np.inf])
def test_cond(p):
    same(linalg.cond(torch.tensor(SQUARE), p), np.linalg.cond(SQUARE, p))


def test_cond_of_a_singular_matrix():
    assert linalg.cond(torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]), 1).tolist() == [np.inf, np.inf]


def test_rank():
    rank_1 = np.stack([np.ones((3, 3)), np.diag([1.0, 1e-3, 0])])
    assert linalg.matrix_rank(torch.tensor(rank_1)).tolist() == [1, 2]
    assert linalg.matrix_rank(torch.tensor(rank_1), hermitian=True).tolist() == [1, 2]
    assert linalg.matrix_rank(torch.tensor(rank_1), atol=0.1).tolist() == [1, 1]
    assert linalg.matrix_rank(torch.tensor(rank_1), rtol=0.1).tolist() == [1, 1]
    assert linalg.matrix_rank(torch.tensor(rank_1), atol=torch.tensor([4.0, 0.1])).tolist() == [0, 1]


def test_solvers():
    a, b = torch.tensor(SQUARE), torch.tensor(RNG.standard_normal((2, 3, 2)))
    same(a @ linalg.solve(a, b), b.numpy())
    same(linalg.solve(a, b.mT, left=False) @ a, b.mT.numpy())
    same(linalg.solve(a, b[..., 0]), np.linalg.solve(SQUARE, b.numpy()[..., :1])[..., 0])
    same(linalg.inv_ex(a).inverse, np.linalg.inv(SQUARE))
    same(torch.pinverse(torch.tensor(A)), np.linalg.pinv(A))
    over = linalg.lstsq(torch.tensor(B.T), torch.tensor(RNG.standard_normal((4, 1))))
    assert over.rank == 3 and over.residuals.shape == (1,)
    lu, pivots = linalg.lu_factor(a)
    p, lower, upper = torch.lu_unpack(lu, pivots)
    same(p @ lower @ upper, SQUARE)
    for left in (True, False):
        right = b if left else b.mT
        for adjoint in (True, False):
            x = linalg.lu_solve(lu, pivots, right, left=left, adjoint=adjoint)
            m = a.mH if adjoint else a
            same(m @ x if left else x @ m, right.numpy())
    same(linalg.tensorinv(torch.tensor(SQUARE[0].reshape(3, 3)), ind=1), np.linalg.inv(SQUARE[0]))
    t = RNG.standard_normal((2, 3, 6))
    same(linalg.tensorsolve(torch.tensor(t), torch.tensor(A)), np.linalg.tensorsolve(t, A))


def test_factors():
    q, r = torch.qr(torch.tensor(B), some=False)
    same(q @ r, B)
    u, s, v = torch.svd(torch.tensor(B))
    same(u @ torch.diag(s) @ v.mT, B)
    assert torch.svd(torch.tensor(B), compute_uv=False).U.shape == (3, 3)
    positive = SQUARE @ SQUARE.swapaxes(-1, -2)
    lower = linalg.cholesky(torch.tensor(positive))
    same(torch.cholesky_inverse(lower), np.linalg.inv(positive), 1e-7)
    same(torch.cholesky_solve(torch.tensor(SQUARE), lower), np.linalg.solve(positive, SQUARE), 1e-7)
    same(torch.logdet(torch.tensor(positive)), np.linalg.slogdet(positive)[1])
    assert np.isnan(torch.logdet(-torch.eye(3)).item())


def test_reflections():
    h, tau = np.linalg.qr(RNG.standard_normal((4, 3)), mode="raw")
    raw = torch.tensor(np.ascontiguousarray(h.T))
    q = linalg.householder_product(raw, torch.tensor(tau)).numpy()
    same(torch.tensor(q.T @ q), np.eye(3))
    other = torch.tensor(RNG.standard_normal((4, 2)))
    turned = torch.ormqr(raw, torch.tensor(tau), other)
    same(torch.ormqr(raw, torch.tensor(tau), turned, transpose=True), other.numpy())
    same(torch.ormqr(raw, torch.tensor(tau), other.mT, left=False), (other.mT @ torch.ormqr(raw, torch.tensor(tau),
         torch.eye(4, dtype=torch.float64))).numpy())  # fmt: skip


@pytest.mark.parametrize("n", [-2, 0, 1, 2, 5])
def test_matrix_power(n):
    same(torch.matrix_power(torch.tensor(SQUARE), n), np.linalg.matrix_power(SQUARE, n))


def test_powers_of_numbers():
    same(torch.vander(torch.tensor(A[0]), 4), np.vander(A[0], 4))
    same(torch.vander(torch.tensor(A[0]), increasing=True), np.vander(A[0], increasing=True))
    same(linalg.vander(torch.tensor(A)), np.stack([np.vander(row, increasing=True) for row in A]))


def test_distances():
    a, b = torch.tensor(A), torch.tensor(B.T)
    same(torch.cdist(a, b), np.linalg.norm(A[:, None] - B.T, axis=-1))
    same(torch.nn.functional.pairwise_distance(a, b[:2], eps=0.0), np.linalg.norm(A - B.T[:2], axis=-1))
    want = (A[0] @ A[1]) / np.linalg.norm(A[0]) / np.linalg.norm(A[1])
    same(torch.cosine_similarity(a[0], a[1], dim=0), want)
    with pytest.raises(ValueError, match="fast is not a valid value for compute_mode"):
        torch.cdist(a, b, compute_mode="fast")


def test_a_singular_matrix_is_told_when_read():
    with pytest.raises(linalg.LinAlgError, match="linalg.inv: The diagonal element 2 is zero"):
        linalg.inv(torch.ones(2, 2)).tolist()


@pytest.mark.parametrize(("run", "text"), [
    (lambda: torch.tensordot(torch.ones(3, 2), torch.ones(3, 2), 1),
     "contracted dimensions need to match, but first has size 2 in dim -1 and second has size 3 in dim 0"),
    (lambda: torch.inner(torch.ones(2), torch.ones(3)),
     "inner() the last dimension must match on both input tensors but got shapes [2] and [3]"),
    (lambda: linalg.multi_dot([torch.ones(2, 3)]), "multi_dot(): expected at least 2 tensors but got 1"),
    (lambda: linalg.multi_dot([torch.ones(2, 3), torch.ones(2, 3)]),
     "multi_dot(): tensors 0 and 1 with shapes [2, 3] and [2, 3] cannot be multiplied"),
    (lambda: torch.cross(torch.ones(2, 2), torch.ones(2, 2)), "no dimension of size 3 in input"),
    (lambda: linalg.matrix_norm(torch.ones(3, 3), 3), "linalg.matrix_norm: Order 3 not supported."),
    (lambda: linalg.matrix_norm(torch.ones(3, 3), dim=(0, 0)),
     "linalg.matrix_norm: dims must be different. Got (0, 0)"),
    (lambda: linalg.cond(torch.ones(3, 3), 3), "linalg.cond got an invalid norm type: 3"),
    (lambda: linalg.norm(torch.ones(2, 3, 3), 2),
     "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got 3D."),
    (lambda: torch.nn.functional.bilinear(torch.ones(2, 3), torch.ones(2, 4), torch.ones(5, 3, 3)),
     "bilinear(): input2 size does not match weight size: got 4 but expected 3"),
    (lambda: linalg.vander(torch.ones(3), N=1), "N must be greater than 1."),
    (lambda: linalg.lu(torch.ones(2, 2), pivot=False),
     "linalg.lu_factor: LU without pivoting is not implemented on the CPU"),
    (lambda: linalg.tensorinv(torch.ones(2, 3, 5)),
     "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got 5 != 6"),
])  # fmt: skip
def test_refusals(run, text):
    with pytest.raises(RuntimeError) as e:
        run()
    assert str(e.value) == text


@pytest.mark.parametrize("norm", [torch.norm, torch.linalg.norm, torch.linalg.vector_norm])
def test_gradient_of_a_norm_that_counts_is_none(norm):
    x = torch.tensor([1.0, 0.0], requires_grad=True)
    (g,) = torch.autograd.grad(norm(x, 0), x, allow_unused=True)
    assert g is None
    norm(x, 0).backward()
    assert x.grad is None
