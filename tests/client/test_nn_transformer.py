"""Attention of several heads and transformers against NumPy, and refusals."""

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn


def softmax(v):
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(m, q, k, v, mask=0.0):
    """Output and the heads' weights of one example, by the definition."""
    w = {name: p.detach().numpy() for name, p in m.named_parameters()}
    parts = np.split(w["in_proj_weight"], 3) if "in_proj_weight" in w else [w[f"{n}_proj_weight"] for n in "qkv"]
    q, k, v = (x @ a.T + b for x, a, b in zip((q, k, v), parts, np.split(w["in_proj_bias"], 3), strict=True))
    if "bias_k" in w:
        k, v = np.vstack([k, w["bias_k"][0]]), np.vstack([v, w["bias_v"][0]])
    if m.add_zero_attn:
        k, v = np.vstack([k, 0 * k[:1]]), np.vstack([v, 0 * v[:1]])
    heads = zip(*(np.split(x, m.num_heads, -1) for x in (q, k, v)), strict=True)
    made = [(softmax(a @ b.T / np.sqrt(m.head_dim) + mask), c) for a, b, c in heads]
    output = np.concatenate([s @ c for s, c in made], -1)
    return output @ w["out_proj.weight"].T + w["out_proj.bias"], np.array([s for s, _ in made])


@pytest.mark.parametrize("more", [{}, {"kdim": 3, "vdim": 5}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_attention_of_several_heads(more):
    m = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64, **more)
    q, k, v = (torch.randn(2, n, e, dtype=torch.float64) for n, e in ((4, 8), (5, m.kdim), (5, m.vdim)))
    output, weights = m(q, k, v, average_attn_weights=False)
    fast, none = m(q, k, v, need_weights=False)
    assert none is None
    for i in range(2):
        wanted, shares = attention(m, *(t[i].numpy() for t in (q, k, v)))
        for made, want in ((output[i], wanted), (fast[i], wanted), (weights[i], shares)):
            np.testing.assert_allclose(made.detach().numpy(), want, atol=1e-12)
        np.testing.assert_allclose(m(q[i], k[i], v[i])[1].detach().numpy(), shares.mean(0), atol=1e-12)


@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_leave_keys_out(need_weights):
    m = nn.MultiheadAttention(8, 2, dtype=torch.float64)
    x = torch.randn(4, 1, 8, dtype=torch.float64)
    a = x[:, 0].numpy()
    later = np.triu(np.ones((4, 4), bool), 1)
    padding = np.array([False, False, True, False])
    made = m(x, x, x, torch.tensor(padding[None]), need_weights, torch.tensor(later))[0]
    wanted = attention(m, a, a, a, np.where(later | padding, -np.inf, 0))[0]
    np.testing.assert_allclose(made[:, 0].detach().numpy(), wanted, atol=1e-12)
    made = m(x, x, x, None, need_weights, torch.tensor(later), is_causal=True)[0]
    np.testing.assert_allclose(made[:, 0].detach().numpy(), attention(m, a, a, a, np.where(later, -np.inf, 0))[0])


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def feed(layer, x):
    w1, b1, w2, b2 = (p.detach().numpy() for m in (layer.linear1, layer.linear2) for p in (m.weight, m.bias))
    return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2


@pytest.mark.parametrize("first", [False, True])
def test_a_transformer_is_attention_and_a_network(first):
    model = nn.Transformer(8, 2, 2, 1, 16, dropout=0.0, norm_first=first, dtype=torch.float64)
    src, tgt = torch.randn(5, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)

    def add(x, part):
        return x + part(norm(x)) if first else norm(x + part(x))

    memory, y = src.numpy(), tgt.numpy()
    for layer in model.encoder.layers:
        memory = add(memory, lambda x, m=layer.self_attn: attention(m, x, x, x)[0])
        memory = add(memory, lambda x, m=layer: feed(m, x))
    memory = norm(memory)
    later = np.where(np.triu(np.ones((4, 4), bool), 1), -np.inf, 0)
    for layer in model.decoder.layers:
        y = add(y, lambda x, m=layer.self_attn: attention(m, x, x, x, later)[0])
        y = add(y, lambda x, m=layer.multihead_attn: attention(m, x, memory, memory)[0])
        y = add(y, lambda x, m=layer: feed(m, x))
    mask = model.generate_square_subsequent_mask(4, dtype=torch.float64)
    np.testing.assert_array_equal(mask.numpy(), later)
    captured = torch.compile(lambda s, t: model(s, t, tgt_mask=mask))
    for run in (captured, captured, lambda s, t: model(s, t, tgt_mask=mask, tgt_is_causal=True)):
        np.testing.assert_allclose(run(src, tgt).detach().numpy(), norm(y), atol=1e-10)


def test_names_and_refusals():
    assert list(nn.TransformerEncoderLayer(8, 2, 4).state_dict())[:5] == [
        "self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias",
        "linear1.weight",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="embed_dim must be divisible by num_heads"):
        nn.MultiheadAttention(7, 2)
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not x"):
        nn.TransformerEncoderLayer(8, 2, activation="x")
    x = torch.rand(4, 2, 8)
    with pytest.raises(RuntimeError, match=r"The shape of the 2D attn_mask is .*3, 3.*, but should be \(4, 4\)"):
        nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=torch.rand(3, 3))
    with pytest.raises(RuntimeError, match="the batch number of src and tgt must be equal"):
        nn.Transformer(8, 2, 1, 1, 4)(x, torch.rand(4, 3, 8))
