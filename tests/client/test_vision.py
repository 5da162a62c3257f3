"""What nn.functional composes for images and sequences: convolution, pooling, interpolation, grids, attention."""

import numpy as np
import pytest

import gradwire as torch

F = torch.nn.functional


def rand(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def t(a, **kwargs):
    return torch.tensor(a, **kwargs)


def close(made, want):
    np.testing.assert_allclose(made.detach().numpy(), want, rtol=1e-6, atol=1e-9)


# ---- convolution ----


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_sample_alone_is_a_batch_of_one(n):
    x, w, b = t(rand(2, *[5] * n)), t(rand(3, 2, *[2] * n)), t(rand(3))
    conv, transposed = getattr(F, f"conv{n}d"), getattr(F, f"conv_transpose{n}d")
    close(conv(x, w, b, stride=2), conv(x.unsqueeze(0), w, b, 2).numpy()[0])
    v = t(rand(2, 3, *[2] * n))
    close(transposed(x, v, b, stride=2), transposed(x.unsqueeze(0), v, b, 2).numpy()[0])


def test_padding_by_name():
    x, w = rand(1, 1, 6), rand(1, 1, 4)
    close(F.conv1d(t(x), t(w), padding="valid")[0, 0], np.correlate(x[0, 0], w[0, 0]))
    close(F.conv1d(t(x), t(w), padding="same")[0, 0], np.correlate(np.pad(x[0, 0], (1, 2)), w[0, 0]))


def test_transposed_convolution_is_the_adjoint():
    x, y, w = t(rand(2, 3, 7, 6)), t(rand(2, 4, 3, 3)), t(rand(4, 3, 3, 2))
    there = (F.conv2d(x, w, stride=2) * y).sum()
    back = (F.conv_transpose2d(y, w, stride=2) * x).sum()
    close(there, back.numpy())


def test_fold_sums_what_unfold_repeats():
    x = t(rand(1, 2, 4, 5))
    blocks = F.unfold(x, (2, 3))
    assert blocks.shape == (1, 12, 9)
    counts = F.fold(F.unfold(torch.ones_like(x), (2, 3)), (4, 5), (2, 3))
    close(F.fold(blocks, (4, 5), (2, 3)) / counts, x.numpy())


# ---- pooling ----


def test_unpooling_puts_back_what_pooling_took():
    x = rand(1, 1, 4, 4)
    largest, where = F.max_pool2d(t(x), 2, return_indices=True)
    back = F.max_unpool2d(largest, where, 2).numpy()
    assert (back != 0).sum() == 4
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert F.max_unpool2d(largest, where, 2, output_size=(1, 1, 5, 5)).shape == (1, 1, 5, 5)


def test_norm_of_windows():
    x = rand(1, 1, 6)
    want = np.sqrt((x.reshape(1, 1, 3, 2) ** 2).sum(-1))
    close(F.lp_pool1d(t(x), 2, 2), want)
    close(F.lp_pool2d(t(x[..., None]), 2.0, (2, 1)), want[..., None])


def test_sizes_that_stay():
    x = t(rand(2, 4, 5))
    assert F.adaptive_avg_pool2d(x, (None, 2)).shape == (2, 4, 2)
    assert F.adaptive_max_pool2d(x, 1, return_indices=True)[1].shape == (2, 1, 1)


def test_fractional_windows_are_drawn_or_given():
    x = t(rand(1, 2, 7, 7))
    assert F.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.5)).shape == (1, 2, 3, 3)
    u = t(np.full((1, 2, 2), 0.5))
    a = F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=u)
    close(a, F.fractional_max_pool2d(x, 2, output_size=3, _random_samples=u).numpy())


# ---- interpolation, pixels, grids ----


def test_sizes_by_factor():
    x = t(np.arange(4.0).reshape(1, 1, 4))
    assert F.interpolate(x, scale_factor=2).tolist() == [[[0, 0, 1, 1, 2, 2, 3, 3]]]
    close(F.interpolate(x, scale_factor=0.5, mode="area")[0, 0], [0.5, 2.5])
    assert F.interpolate(x, scale_factor=1.6, mode="linear").shape == (1, 1, 6)
    close(F.interpolate(x, 7, mode="linear", align_corners=True)[0, 0], np.arange(7) / 2)


def test_older_names_of_interpolate():
    x = t(rand(1, 1, 3, 3))
    with pytest.warns(UserWarning, match="deprecated"):
        close(F.upsample_bilinear(x, 5), F.interpolate(x, 5, mode="bilinear", align_corners=True).numpy())
    with pytest.warns(UserWarning, match="deprecated"):
        close(F.upsample_nearest(x, scale_factor=2), F.interpolate(x, 6).numpy())


def test_pixels_and_channels_in_another_order():
    x = t(np.arange(8.0).reshape(1, 8, 1, 1))
    y = F.pixel_shuffle(x, 2)
    assert y.tolist() == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]
    close(F.pixel_unshuffle(y, 2), x.numpy())
    assert F.channel_shuffle(x, 2).reshape(8).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_identity_samples_the_image_itself(mode, align_corners):
    x = t(rand(1, 2, 4, 5))
    theta = t(np.array([[[1.0, 0, 0], [0, 1, 0]]]))
    grid = F.affine_grid(theta, (1, 2, 4, 5), align_corners=align_corners)
    close(F.grid_sample(x, grid, mode, align_corners=align_corners), x.numpy())


@pytest.mark.parametrize(("padding", "want"), [("zeros", 0.0), ("border", 3.0), ("reflection", 2.0)])
def test_beyond_the_edge(padding, want):
    x = t(np.arange(4.0).reshape(1, 1, 1, 4).repeat(2, 2))
    grid = t(np.array([[[[1 + 2 / 3, 0.0]]]]))  # one element beyond the last
    assert F.grid_sample(x, grid, "nearest", padding, align_corners=True).item() == want


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_gradient_of_a_grid(mode):
    grid = t(np.array([[[[0.3, -0.2], [0.1, 0.45]]]]), requires_grad=True)
    x = t(rand(1, 2, 4, 4), requires_grad=True)

    def f(grid):
        return F.grid_sample(x, grid, mode, "border", align_corners=False).sum()

    (g,) = torch.autograd.grad(f(grid), grid, create_graph=True)
    step = np.zeros(grid.shape)
    step[0, 0, 1, 0] = 1e-6
    slope = (f(grid + t(step)) - f(grid - t(step))).item() / 2e-6
    assert g[0, 0, 1, 0].item() == pytest.approx(slope, rel=1e-5)
    assert g.requires_grad


# ---- embedding and attention ----


def test_padding_gets_no_gradient_and_rows_are_scaled_down():
    w = t(np.array([[3.0, 4.0], [0.3, 0.4], [1.0, 0.0]]), requires_grad=True)
    out = F.embedding(t(np.array([0, 2, 0])), w, padding_idx=-1, max_norm=1.0)
    out.sum().backward()
    close(out, [[0.6, 0.8], [1, 0], [0.6, 0.8]])
    assert w.grad.tolist() == [[2, 2], [0, 0], [0, 0]]


BAGS = np.array([1, 2, 2, 0, 3])


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize(("mode", "run"), [("sum", np.sum), ("mean", np.mean), ("max", np.max)])
def test_bags(mode, run, padding):
    w = rand(4, 3)
    bags = [[i for i in b if i != padding] for b in ([1, 2], [], [2, 0, 3])]
    want = [run(w[b], 0) if b else np.zeros(3) for b in bags]
    weight = t(w, requires_grad=True)
    made = F.embedding_bag(t(BAGS), weight, t(np.array([0, 2, 2])), mode=mode, padding_idx=padding)
    close(made, want)
    made.sum().backward()
    assert weight.grad.shape == (4, 3)
    again = F.embedding_bag(t(BAGS), weight, t(np.array([0, 2, 2, 5])), mode=mode, padding_idx=padding,
                            include_last_offset=True)  # fmt: skip
    close(again, want)


def test_bags_of_one_length_and_weights():
    w, each = rand(4, 3), rand(2, 2)
    made = F.embedding_bag(t(np.array([[0, 1], [3, 3]])), t(w), mode="sum", per_sample_weights=t(each))
    close(made, [each[0] @ w[[0, 1]], each[1] @ w[[3, 3]]])


def test_one_hot_finds_out_how_many():
    assert F.one_hot(t([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert F.one_hot(t([1]), 4).tolist() == [[0, 1, 0, 0]]


def test_attention_shares_heads_and_looks_back():
    q, k, v = rand(1, 4, 3, 2), rand(1, 2, 3, 2, seed=1), rand(1, 2, 3, 5, seed=2)
    made = F.scaled_dot_product_attention(t(q), t(k), t(v), is_causal=True, enable_gqa=True)
    s = q @ np.swapaxes(k.repeat(2, 1), -1, -2) / np.sqrt(2)
    p = np.exp(s) * np.tril(np.ones((3, 3)))
    close(made, p / p.sum(-1, keepdims=True) @ v.repeat(2, 1))


def test_attention_with_dropout_keeps_the_mean():
    q, v = t(np.zeros((1, 8, 4))), t(np.ones((1, 64, 16)))
    k = t(np.zeros((1, 64, 4)))
    assert F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).mean().item() == pytest.approx(1, abs=0.15)
    assert F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).abs().sum().item() == 0


X = "torch.ones(1, 1, 4, 4)"


@pytest.mark.filterwarnings("ignore:Default grid_sample")
@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("F.conv2d(torch.ones(2, 3), torch.ones(4, 3, 3, 3))", RuntimeError,
         "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [2, 3]"),
        (f"F.conv2d({X}, torch.ones(1, 1, 3, 3), padding='same', stride=2)", RuntimeError,
         "padding='same' is not supported for strided convolutions"),
        (f"F.conv2d({X}, torch.ones(1, 1, 3, 3), padding='foo')", RuntimeError, "Invalid padding string: 'foo'"),
        (f"F.conv_transpose2d({X}, torch.ones(1, 1, 3, 3), padding='same')", TypeError,
         "conv_transpose2d(): argument 'padding' must be tuple of ints, not str"),
        (f"F.max_unpool2d({X}, {X}.long(), 2, output_size=(20, 20))", ValueError,
         'invalid output_size "(20, 20)" (dim 0 must be between 6 and 10)'),
        (f"F.fractional_max_pool2d({X}, 2)", ValueError,
         "fractional_max_pool2d requires specifying either an output_size or an output_ratio"),
        (f"F.interpolate({X}, 2, 3)", ValueError, "only one of size or scale_factor should be defined"),
        (f"F.interpolate({X})", ValueError, "either size or scale_factor should be defined"),
        (f"F.interpolate({X}, 2, mode='linear')", NotImplementedError,
         "Got 4D input, but linear mode needs 3D input"),
        (f"F.interpolate({X}, 2, mode='foo')", NotImplementedError,
         "Input Error: Only 3D, 4D and 5D input Tensors supported (got 4D) for the modes: nearest | linear | bilinear "
         "| bicubic | trilinear | lanczos | area | nearest-exact (got foo)"),
        (f"F.interpolate({X}, 2, align_corners=True)", ValueError,
         "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"),
        (f"F.pixel_shuffle({X}, 2)", RuntimeError,
         "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
         "input.size(-3)=1 is not divisible by 4"),
        (f"F.channel_shuffle({X}, 2)", RuntimeError,
         "Number of channels must be divisible by groups. Got 1 channels and 2 groups."),
        (f"F.grid_sample({X}, torch.ones(1, 3, 3))", RuntimeError,
         "grid_sampler(): expected grid to have size 2 in last dimension, but got grid with sizes [1, 3, 3]"),
        (f"F.grid_sample({X}, torch.ones(1, 3, 3, 2), mode='foo')", ValueError,
         "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: 'foo'"),
        ("F.affine_grid(torch.ones(1, 2, 2), (1, 1, 3, 3))", ValueError,
         "Expected a batch of 2D affine matrices of shape Nx2x3 for size (1, 1, 3, 3). Got torch.Size([1, 2, 2])."),
        ("F.embedding(torch.tensor([0]), torch.ones(3, 2), padding_idx=3)", AssertionError,
         "Padding_idx must be within num_embeddings"),
        ("F.embedding_bag(torch.tensor([0]), torch.ones(3, 2), torch.tensor([0]), mode='foo')", ValueError,
         "mode has to be one of sum, mean or max"),
        ("F.one_hot(torch.tensor([-1]))", RuntimeError, "Class values must be non-negative."),
        ("F.scaled_dot_product_attention(*[torch.ones(2, 3)] * 3, torch.ones(2, 2), is_causal=True)", RuntimeError,
         "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"),
        ("F.scaled_dot_product_attention(*[torch.ones(2, 3)] * 3, dropout_p=1.5)", RuntimeError,
         "dropout probability has to be between 0 and 1, but got 1.5"),
    ],
)  # fmt: skip
def test_errors(source, error, text):
    with pytest.raises(error) as e:
        eval(source).numpy()
    assert str(e.value).startswith(text)
