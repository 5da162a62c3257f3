"""Embedding, one-hot codes and attention: values, derivatives to second order, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine, grad
from gradwire_engine.kernels import attention as kernels
from tests.engine.harness import case, check, crand, rand

WORDS = np.array([[1, 0, 3], [3, 3, 2]])


def embedding_backward(g, indices, rows, padding, by_frequency):
    out = np.zeros((rows, g.shape[-1]), g.dtype)
    for at in np.ndindex(*indices.shape):
        if indices[at] != padding:
            out[indices[at]] += g[at] / ((indices == indices[at]).sum() if by_frequency else 1)
    return out


def renorm(weight, indices, max_norm, norm_type):
    weight = weight.copy()
    for i in np.unique(indices):
        n = (np.abs(weight[i]) ** norm_type).sum() ** (1 / norm_type)
        if n > max_norm:
            weight[i] *= max_norm / (n + 1e-7)
    return weight


def attention(q, k, v, mask, is_causal, scale):
    s = scale * (q @ np.swapaxes(k, -1, -2))
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if is_causal:
        s = np.where(np.tril(np.ones(s.shape[-2:])), s, -np.inf)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(top == -np.inf, 0, top))
    total = p.sum(-1, keepdims=True)
    total[total == 0] = np.inf
    return p / total @ v, np.log(total)[..., 0] + np.where(top == -np.inf, 0, top)[..., 0]


def attention_backward(g, q, k, v, mask, out, logs, is_causal, scale):
    p = attention(q, k, np.eye(k.shape[-2]), mask, is_causal, scale)[0]
    dp = g @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    return ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ g


Q, K, V = rand(2, 3, 4), rand(2, 5, 4, seed=1), rand(2, 5, 3, seed=2)
MASK = rand(3, 5, seed=3) > -0.5
MASK[1] = False
CASES = [
    case("bag_numbers", np.array([0, 2, 2, 3]), 5, False, ref=lambda *_: np.array([0, 0, 2, 3, 3]), order=0),
    case("bag_numbers", np.array([0, 2, 5]), 5, True, ref=lambda *_: np.array([0, 0, 1, 1, 1]), order=0, label="last"),
    # The logarithms are for attention's own backward, and have no gradient.
    case("attention", Q, K, V, None, False, 0.5, ref=attention, results=(0,)),
    case("attention", rand(3, 4), rand(3, 4, seed=1), rand(3, 2), None, True, 0.5, ref=attention, results=(0,),
         label="causal"),
    case("attention", Q, K, V, MASK, False, 0.5, ref=attention, results=(0,), label="mask"),
    case("attention", Q, K, V, rand(2, 3, 5), False, 0.5, ref=attention, results=(0,), label="bias"),
    case("attention", rand(2, 1, 3, 4), rand(3, 5, 4), V[:1], rand(1, 5), False, 0.5, ref=attention, results=(0,),
         label="broadcast"),
    case("attention_backward", rand(2, 3, 3), Q, K, V, None, *attention(Q, K, V, None, False, 0.5), False, 0.5,
         ref=attention_backward, order=0),
    case("attention_backward", rand(2, 3, 3), Q, K, V, MASK, *attention(Q, K, V, MASK, False, 0.5), False, 0.5,
         ref=attention_backward, order=0, label="mask"),
    case("embedding", rand(4, 2), WORDS, ref=lambda w, i: w[i]),
    case("embedding", rand(4, 2), WORDS.astype(np.int32), 3, ref=lambda w, i, p: w[i], order=0, label="padding"),
    case("embedding", rand(4, 2), WORDS, -1, True, ref=lambda w, i, *_: w[i], order=0, label="frequency"),
    case("embedding", crand(4, 2), WORDS, ref=lambda w, i: w[i], label="complex"),
    case("embedding", rand(4, 2), np.array(2), ref=lambda w, i: w[i], label="scalar"),
    case("embedding_dense_backward", rand(2, 3, 2), WORDS, 5, -1, False, ref=embedding_backward),
    case("embedding_dense_backward", rand(2, 3, 2), WORDS, 5, 3, True, ref=embedding_backward, label="frequency"),
    case("embedding_renorm_", rand(4, 2), WORDS[0], 1.0, 2.0, ref=renorm, order=0),
    case("embedding_renorm_", rand(4, 2), WORDS[0], 1.0, 1.0, ref=renorm, order=0, label="1"),
    case("one_hot", WORDS, 5, ref=lambda i, n: np.eye(n, dtype=int)[i], order=0),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize("block", [1, 7, 40])
def test_attention_in_blocks(block, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", block)
    for c in CASES:
        if c.op == "attention":
            check(c)


def test_attention_without_keys():
    engine = Engine()
    out, _ = engine.call("attention", engine.wrap(Q), engine.wrap(K[:, :0]), engine.wrap(V[:, :0]), None, False, 1.0)
    assert out.array.tolist() == np.zeros((2, 3, 3)).tolist()


def test_gradient_that_leaves_out_padding_and_divides_by_frequency():
    engine = Engine()
    weight, g = engine.wrap(rand(4, 2), requires_grad=True), rand(2, 3, 2, seed=1)
    for padding, by_frequency in ((3, False), (-1, True), (1, True)):
        out = engine.call("embedding", weight, engine.wrap(WORDS), padding, by_frequency)
        (made,) = grad(engine, [out], [weight], [engine.wrap(g)], retain_graph=False, create_graph=False,
                       allow_unused=False)  # fmt: skip
        np.testing.assert_allclose(made.array, embedding_backward(g, WORDS, 4, padding, by_frequency))


@pytest.mark.parametrize(
    ("op", "args", "error", "text"),
    [
        ("embedding", (rand(3), WORDS), RuntimeError, "'weight' must be 2-D"),
        ("embedding", (rand(3, 2), WORDS), IndexError, "index out of range in self"),
        ("embedding", (rand(4, 2), -WORDS), IndexError, "index out of range in self"),
        ("embedding", (rand(4, 2), rand(2)), RuntimeError,
         "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
         "torch.DoubleTensor instead (while checking arguments for embedding)"),
        ("embedding_dense_backward", (rand(2, 3, 2), WORDS, 3, -1, False), IndexError, "index out of range in self"),
        ("embedding_renorm_", (rand(3, 2), WORDS, 1.0, 2.0), IndexError,
         "select(): index 3 out of range for tensor of size [3, 2] at dimension 0"),
        ("bag_numbers", (np.array([1, 2]), 3, False), RuntimeError,
         "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, "
         "got 1"),
        ("bag_numbers", (np.array([0, 5]), 3, False), RuntimeError,
         "offsets[-1] can not be greater than input's length 3 but got offsets[-1] of 5"),
        ("attention", (Q, K, V[:, :3], None, False, 1.0), RuntimeError,
         "mat1 and mat2 shapes cannot be multiplied (3x5 and 3x3)"),
        ("attention", (Q, K, V, rand(3, 4), False, 1.0), RuntimeError,
         "The size of tensor a (5) must match the size of tensor b (4) at non-singleton dimension 2"),
        ("one_hot", (WORDS, 3), RuntimeError, "Class values must be smaller than num_classes."),
        ("one_hot", (-WORDS, 5), RuntimeError, "Class values must be non-negative."),
        ("one_hot", (WORDS, 0), RuntimeError, "Class values must be smaller than num_classes."),
        ("one_hot", (rand(2), 4), RuntimeError, "one_hot is only applicable to index tensor of type LongTensor."),
    ],
)  # fmt: skip
def test_errors(op, args, error, text):
    engine = Engine()
    with pytest.raises(error) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text
