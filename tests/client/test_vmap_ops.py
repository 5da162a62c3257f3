"""Ops inside vmap: each comes to the same as on one example after the other, without being done so."""

from __future__ import annotations

import gradwire.nn.functional as F
import numpy as np
import pytest

import gradwire as torch
from gradwire_proto.batching import declare

SIZE = 3


@pytest.fixture(autouse=True)
def no_loop(monkeypatch):
    def refuse(c):
        raise AssertionError(f"{c.op.name} was done on one example after the other")

    monkeypatch.setattr(declare, "_each", refuse)
    monkeypatch.setattr(declare, "_each_in_place", refuse)


def numbers(*shape):
    return lambda rng: rng.normal(size=shape)


def integers(high, *shape):
    return lambda rng: rng.integers(0, high, shape)


def bits(*shape):
    return lambda rng: rng.random(shape) < 0.5


def positive(n):
    def make(rng):
        a = rng.normal(size=(n, n))
        return a @ a.T + n * np.eye(n)

    return make


X, V, M = numbers(4, 5), numbers(5), numbers(5, 5)
IMAGE, PIXELS = numbers(2, 4, 6, 6), numbers(4, 6, 6)
CASES = {
    # along dims
    "number": (lambda x: [x.sum(), x.max(), x.cumsum(0), x.softmax(0), x.flip(0), x.sort().values, x.t()], numbers()),
    "all": (lambda x: [x.max(), x.min(), x.median(), x.prod(), x.argmax(), *torch.aminmax(x), x.roll(2)], X),
    "order": (lambda x: [*x.topk(2, 0), *x.kthvalue(2), *x.mode(0), x.logcumsumexp(-1), *x.cummax(1)], X),
    "fft": (lambda x: [torch.fft.rfft(x, dim=0).abs(), torch.fft.irfft2(torch.fft.fft2(x))], X),
    "cross": (lambda x, y: torch.linalg.cross(x, y, dim=0), numbers(3, 2), numbers(3, 2)),
    "searchsorted": (lambda s, x: torch.searchsorted(s.sort().values, x), V, X),
    # shapes
    "joins": (lambda x, y: [torch.cat([x, y], -1), torch.stack([x, y]), torch.cat([x, y.new_zeros(0)])], X, X),
    "copies": (lambda x: [x.repeat(2, 1, 2), F.pad(x, (1, 2)), F.pad(x, (1, 1), "reflect"), torch.diag_embed(x)], X),
    "views": (lambda x: [x.view(2, -1), x.unfold(1, 2, 1), x.squeeze(), *x.chunk(2), x.mT, x[..., None, 1:3]], X),
    # products
    "addmm": (lambda b, x, y: torch.addmm(b, x, y, beta=0.5, alpha=2), V, X, M),
    "addmv": (lambda b, x, y: [torch.addmv(b, x, y), torch.addmv(b, x, y, beta=0)], numbers(4), X, V),
    "addr": (lambda b, x, y: [torch.addr(b, x, y), torch.outer(x, y), torch.vdot(x, x)], M, V, V),
    "addbmm": (lambda b, x, y: torch.addbmm(b, x, y), numbers(3, 5), numbers(2, 3, 4), numbers(2, 4, 5)),
    "linear": (lambda x, w, b: [F.linear(x, w, b), F.linear(x[0], w)], X, M, V),
    "bilinear": (lambda x, y: torch.einsum("ij,jk->ki", x, y), X, M),
    # linear algebra
    "solve": (lambda a, b: [torch.linalg.solve(a, b), torch.linalg.solve(a, b[:, 0])], positive(3), numbers(3, 2)),
    "triangular": (lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), positive(3), numbers(3, 2)),
    "cholesky": (lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a)), positive(3), numbers(3, 2)),
    "factors": (lambda a: [torch.linalg.lu(a)[1], torch.linalg.eigvals(a).abs().sum(), a.trace(), a.pinverse(),
                           torch.linalg.qr(a, mode="r")[1].abs()], positive(3)),
    "distances": (lambda x, y: torch.cdist(x, y), X, numbers(3, 5)),
    # indices
    "gather": (lambda x, i: [x.gather(1, i), x.take_along_dim(i, 1), x.scatter(1, i, 1.0), x.scatter_add(1, i, x)],
               X, integers(4, 4, 3)),
    "vector": (lambda x, i: [x.index_select(1, i), x.index_fill(1, i, 2.0), x.index_add(1, i, x[:, :3], alpha=2),
                             x[0].index_select(0, i)], X, integers(5, 3)),
    "copied": (lambda x, i, y: x.index_copy(0, i.argsort(), y), X, numbers(4), X),
    "index": (lambda x, i: [x[i], x[:, i], x[i, i], x[:, None, i], x.unsqueeze(0)[:, i, :, i]], numbers(4, 4, 5),
              integers(4, 2, 3)),
    "one": (lambda x, i: x[i], X, integers(4)),
    "index_put": (lambda x, i, y: [x.index_put((i,), y), x.index_put((i,), y, accumulate=True)], X, integers(1, 1),
                  numbers(5)),
    "index_put_behind": (lambda x, y: x.index_put((None, torch.tensor([[0], [2]])), y), numbers(4, 3, 2),
                         numbers(4, 2, 1, 2)),
    "take": (lambda x, i: [x.take(i), x.put(i, x[0, :1])], X, integers(20, 1)),
    "embedding": (lambda i, w: [F.embedding(i, w), F.embedding(i, w, padding_idx=1)], integers(4, 2, 3), X),
    "filled": (lambda x, m, v: [x.masked_fill(m, v), torch.where(m, x, v), x.fill(v)], X, bits(4, 5), numbers()),
    # images
    "convolution": (lambda x, w, b: [F.conv2d(x, w, b, stride=2), F.conv2d(x[0], w, b, padding=1)], IMAGE,
                    numbers(3, 4, 2, 3), numbers(3)),
    "transposed": (lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, groups=2), IMAGE, numbers(4, 3, 2, 3),
                   numbers(6)),
    "pools": (lambda x: [F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_max_pool2d(x, 3), F.adaptive_avg_pool2d(
        x, (2, 3)), F.interpolate(x, scale_factor=2), F.unfold(x, 2), F.pixel_shuffle(x, 2)], IMAGE),
    "planes": (lambda x: [F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 2)], PIXELS),
    "unpool": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), IMAGE),
    "bilinear_images": (lambda x: F.interpolate(x, size=(3, 9), mode="bilinear"), IMAGE),
    "grid": (lambda x, g: F.grid_sample(x, g, align_corners=False), IMAGE, numbers(2, 3, 3, 2)),
    # normalization and attention
    "layer_norm": (lambda x, w, b: [F.layer_norm(x, (5,), w, b), F.rms_norm(x, (5,), w)], X, V, V),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), IMAGE, numbers(4), numbers(4)),
    "batch_norm": (lambda x, w, b: [F.batch_norm(x, None, None, w, b, training=True), F.instance_norm(x, weight=w)],
                   IMAGE, numbers(4), numbers(4)),
    "batch_norm_eval": (lambda x, m, w: F.batch_norm(x, m, m.abs() + 1, w), IMAGE, numbers(4), numbers(4)),
    "attention": (lambda q, k, m: F.scaled_dot_product_attention(q, k, k, m), numbers(2, 3, 4), numbers(2, 5, 4),
                  bits(3, 5)),
    # losses
    "pairs": (lambda x, y: [F.mse_loss(x, y), F.huber_loss(x, y, reduction="sum"), F.l1_loss(x, y, reduction="none"),
                            F.binary_cross_entropy_with_logits(x, y.sigmoid(), pos_weight=y[0].exp())], X, X),
    "classes": (lambda x, y, w: [F.cross_entropy(x, y), F.nll_loss(x, y, w, ignore_index=1), F.cross_entropy(
        x[0], y[0], reduction="sum"), F.nll_loss(x, y, reduction="none")], X, integers(5, 4), numbers(5)),
    "class_maps": (lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), IMAGE, integers(4, 2, 6, 6)),
}  # fmt: skip


def several(found):
    return list(found) if isinstance(found, (list, tuple)) else [found]


@pytest.mark.parametrize("name", CASES)
def test_is_a_stack_of_examples(name):
    f, *makers = CASES[name]
    rng = np.random.default_rng(0)
    given = [np.stack([make(rng) for _ in range(SIZE)]) for make in makers]
    count = len(makers)
    for dims in {(0,) * count, (-1,) * count, (0, *[None] * (count - 1)), (None, *[0] * (count - 1))} - {(None,)}:
        def at(i, dims=dims):
            return [torch.tensor(a[0 if d is None else i]) for a, d in zip(given, dims, strict=True)]

        wanted = [several(f(*at(i))) for i in range(SIZE)]
        batches = [torch.tensor(a[0]) if d is None else torch.tensor(np.moveaxis(a, 0, d))
                   for a, d in zip(given, dims, strict=True)]  # fmt: skip
        got = torch.vmap(lambda *x: tuple(several(f(*x))), in_dims=dims)(*batches)
        for j, g in enumerate(got):
            want = torch.stack([w[j] for w in wanted])
            assert g.dtype is want.dtype
            np.testing.assert_allclose(g.numpy(), want.numpy(), rtol=1e-9, atol=1e-10, err_msg=f"{dims} {j}")


def test_in_place():
    def f(x, y, m):
        x = x.clone()
        x[0] += y[0]
        x[1] = y[1]
        x[m] = 7.0
        x.mul_(y).clamp_(max=3.0).masked_fill_(m, y[0, 0])
        x.index_add_(0, torch.tensor([1]), y[:1])
        x.t_()
        return x.unsqueeze_(0)

    rng = np.random.default_rng(1)
    x, y = (torch.tensor(rng.normal(size=(3, 4, 5))) for _ in range(2))
    m = torch.tensor(rng.random((3, 4, 5)) < 0.5)
    want = torch.stack([f(*e) for e in zip(x, y, m, strict=True)])
    np.testing.assert_allclose(torch.vmap(f)(x, y, m).numpy(), want.numpy(), rtol=1e-12)
    shifted = torch.vmap(lambda x: torch.as_strided_scatter(x, x[0, :3], (3,), (2,)))(x)
    np.testing.assert_array_equal(shifted[:, 0, ::2].numpy(), x[:, 0, :3].numpy())
    part = torch.vmap(lambda a, b: torch.select_scatter(a, b, 0, 1), in_dims=(None, 0))(x[0], y[:, 0])
    np.testing.assert_array_equal(part[:, 1].numpy(), y[:, 0].numpy())


def test_running_statistics_of_each_example():
    x = torch.tensor(np.random.default_rng(2).normal(size=(3, 8, 2)))
    mean, var = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)
    torch.vmap(lambda x, m, v: F.batch_norm(x, m, v, training=True))(x, mean, var)
    np.testing.assert_allclose(mean.numpy(), 0.1 * x.mean(1).numpy())
    np.testing.assert_allclose(var.numpy(), 0.9 + 0.1 * x.var(1).numpy())


def test_a_table_of_ones_own_ends_where_it_ends():
    with pytest.raises(RuntimeError, match="index out of range in self"):
        torch.vmap(F.embedding)(torch.tensor([[0, 1], [4, 0]]), torch.ones(2, 3, 2)).numpy()


def test_what_examples_cant_be_is_said_of_an_example():
    with pytest.raises(RuntimeError, match=r"shape '\[4\]' is invalid for input of size 3"):
        torch.vmap(lambda x: x.view(4))(torch.ones(2, 3))
