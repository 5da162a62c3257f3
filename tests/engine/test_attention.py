"""Embedding, one-hot codes and attention: values, derivatives to second order, errors."""

import numpy as np
import pytest

from gradwire_engine import Engine, grad
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


CASES = [
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
