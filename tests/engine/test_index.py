"""Indexing: values, derivatives to second order, and torch's errors by type and text."""

import numpy as np
import pytest

from gradwire_engine import Engine
from tests.engine.harness import case, check, crand, rand

I = np.array  # noqa: E741 - reads as the indices it makes
MASK = I([[True, False, True], [False, True, True]])


def put(write):
    """A reference that changes a copy of its first argument."""

    def ref(a, *args, **kwargs):
        out = a.copy()
        write(out, *args, **kwargs)
        return out

    return ref


def along(index, dim):
    key = list(np.indices(index.shape))
    key[dim] = index
    return tuple(key)


def part(src, index):
    return src[tuple(slice(s) for s in index.shape)] if np.ndim(src) else src


def key(indices):
    return tuple(slice(None) if t is None else t for t in indices)


def set_keys(out, indices, values, accumulate=False):
    if accumulate:
        np.add.at(out, key(indices), values)
    else:
        out[key(indices)] = values


def set_scatter(out, dim, index, src):
    out[along(index, dim)] = part(src, index)


def add_scatter(out, dim, index, src):
    np.add.at(out, along(index, dim), part(src, index))


def set_masked(out, mask, source):
    out[mask] = source.ravel()[: mask.sum()]


def set_taken(out, index, source, accumulate=False):
    flat = out.reshape(-1)
    if accumulate:
        np.add.at(flat, index, source)
    else:
        flat[index] = source


def reduced(a, dim, index, src, reduce, include_self=True):
    groups = {}
    for place in np.ndindex(index.shape):
        target = list(place)
        target[dim] = index[place]
        groups.setdefault(tuple(target), []).append(src[place])
    out = a.copy()
    f = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
    for target, values in groups.items():
        out[target] = f([a[target], *values] if include_self else values)
    return out


ROWS = I([2, 0, 2])
INDEX = I([[0, 2, 1], [2, 2, 0]])
CASES = [
    case("where", MASK, rand(2, 3), crand(3), ref=np.where),
    case("where", MASK, 1.0, rand(3), ref=np.where, label="number"),
    case("index", rand(3, 4), (I([2, 0, 2]), None), ref=lambda a, i: a[i[0]]),
    case("index", crand(3, 4), (I([[2], [-1]]), I([1, 3, 1])), ref=lambda a, i: a[i[0], i[1]], label="broadcast"),
    case("index", rand(3, 2, 4), (I([2, 0]), None, I([1, 1])), ref=lambda a, i: a[i[0], :, i[2]], label="apart"),
    case("index", rand(1, 3), (I(0),), ref=lambda a, i: a[0], label="0-d"),
    case("index_backward", rand(3, 2), (4, 2), (ROWS,), ref=lambda g, s, i: put(set_keys)(np.zeros(s), i, g, True)),
    case("index_put", rand(3, 4), (I([2, 0]), None), rand(4), ref=put(set_keys)),
    case("index_put", rand(3, 4), (None, I([2, 0, 2])), rand(3, 1), True, ref=put(set_keys), label="accumulate"),
    case("index_put_", rand(3, 4), (I([2, 0]), I([1, 1])), rand(2), ref=put(set_keys)),
    case("gather", rand(3, 4), 1, INDEX, ref=lambda a, d, i: np.take_along_axis(a[:2], i, d)),
    case("gather", rand(3, 4), -2, INDEX, ref=lambda a, d, i: np.take_along_axis(a[:, :3], i, 0), label="rows"),
    case("gather", I(3.0), 0, I(0), ref=lambda a, d, i: a, label="0-d"),
    case("scatter", rand(2, 4), 1, I([[0, 3], [2, 1]]), rand(2, 3), ref=put(set_scatter)),
    case("scatter_", rand(3, 4), 0, I([[0, 2, 1, 1]]), 5.0, ref=put(set_scatter)),
    case("scatter_add", crand(3, 4), 1, INDEX, crand(2, 3), ref=put(add_scatter)),
    case("scatter_add_", rand(3), 0, I([0, 0, 2]), rand(4), ref=put(add_scatter)),
    *[case("scatter_reduce", rand(3, 4), 1, INDEX, rand(2, 3, seed=3), reduce, include_self=own, ref=reduced,
           label=f"{reduce}{'' if own else ' without self'}")
      for reduce in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)],
    case("scatter_reduce", I([0.0, 2.0]), 0, I([0, 0, 1, 1]), I([3.0, 4.0, 0.0, 0.0]), "prod", ref=reduced,
         label="zeros", tol=1e-4),
    case("index_select", rand(3, 4), 0, ROWS, ref=lambda a, d, i: a[i]),
    case("index_select", I(2.0), 0, I([0]), ref=lambda a, d, i: a, label="0-d"),
    case("index_add", rand(4, 3), -1, ROWS, rand(4, 3, seed=2), alpha=2.5,
         ref=lambda a, d, i, s, alpha: put(set_keys)(a, (None, i), s * alpha, True)),
    case("index_add_", rand(4), 0, I(1), np.array([2.0]), ref=lambda a, d, i, s: a + s * np.eye(4)[1]),
    case("index_copy", rand(3, 4), 0, I([2, 0]), rand(2, 4), ref=lambda a, d, i, s: put(set_keys)(a, (i,), s)),
    case("index_fill", rand(3, 4), 1, I([2, 0, -1]), I(7.0), ref=lambda a, d, i, s: put(set_keys)(a, (None, i), s)),
    case("index_fill_", rand(3), 0, I(1), 3.0, ref=lambda a, d, i, s: put(set_keys)(a, (i,), s)),
    case("masked_fill", rand(3), MASK, I(7.0), ref=lambda a, m, v: np.where(m, v, a)),
    case("masked_fill_", rand(2, 3), MASK, 2.0, ref=lambda a, m, v: np.where(m, v, a)),
    case("masked_scatter", rand(2, 3), MASK, rand(5), ref=put(set_masked)),
    case("masked_scatter_backward", rand(2, 3), MASK, (5,), ref=lambda g, m, s: np.append(g[m], 0)),
    case("take", rand(2, 3), I([[0, -1], [4, 0]]), ref=lambda a, i: a.ravel()[i]),
    case("put", rand(2, 3), I([0, -1, 3]), rand(3), ref=put(set_taken)),
    case("put_", rand(2, 3), I([0, 5, 0]), rand(3), True, ref=put(set_taken), label="accumulate"),
    case("nonzero", I([[0, 3], [1, 0]]), 2, ref=lambda a, n: np.argwhere(a), order=0),
    case("nonzero", I(4.0), 1, ref=lambda a, n: np.zeros((1, 0)), order=0, label="0-d"),
    case("repeat_index", I([2, 0, 1]), 3, ref=lambda r, n: np.repeat(np.arange(3), r), order=0),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


X, F32 = rand(2, 3), rand(2, 3).astype(np.float32)
OUT = "index 5 is out of bounds for dimension 0 with size 2"
ERRORS = [
    ("index", (X, (I([5]),)), IndexError, OUT),
    ("index", (X, (I([0.5]),)), IndexError, "tensors used as indices must be long, int, byte or bool tensors"),
    ("index", (X, (I([0, 1]), I([0, 1, 2]))), IndexError,
     r"could not be broadcast together with shapes \[2\], \[3\]"),
    ("index", (X, (None, None, I([0]))), IndexError, "too many indices for tensor of dimension 2"),
    ("index", (np.zeros(0), (I([0]),)), IndexError, "index is out of bounds for dimension with size 0"),
    ("index_put", (X, (I([-3]),), rand(3)), IndexError, "index -3 is out of bounds"),
    ("index_put", (X, (I([0]),), rand(2)), RuntimeError,
     r"shape mismatch: value tensor of shape \[2\] cannot be broadcast to indexing result of shape \[1, 3\]"),
    ("index_put", (F32, (I([0]),), rand(3)), RuntimeError,
     "Index put requires the source and destination dtypes match"),
    ("gather", (X, 0, I([[5]])), RuntimeError, OUT),
    ("gather", (X, 0, I([[-1]])), RuntimeError, "index -1 is out of bounds for dimension 0 with size 2"),
    ("gather", (X, 0, I([0])), RuntimeError, "Index tensor must have the same number of dimensions as input tensor"),
    ("gather", (X, 0, I([[0, 0, 0, 0]])), RuntimeError, "Size does not match at dimension 1"),
    ("gather", (X, 0, I([[0.0]])), RuntimeError, "Expected dtype int32/int64 for index"),
    ("scatter", (X, 0, I([[5]]), 1.0), RuntimeError, OUT),
    ("scatter", (F32, 0, I([[0]]), rand(1, 1)), RuntimeError, "Expected self.dtype to be equal to src.dtype"),
    ("scatter_add", (X, 0, I([[0, 1]]), rand(1, 1)), RuntimeError, r"to be no larger size than src \[1, 1\]"),
    ("scatter_reduce", (X, 0, I([[0]]), rand(1, 1), "foo"), RuntimeError, "reduce argument must be either sum, prod"),
    ("index_select", (X, 0, I([5])), IndexError, "index out of range in self"),
    ("index_select", (X, 0, I([[0]])), IndexError, "Index is supposed to be a vector"),
    ("index_select", (X, 5, I([0])), IndexError, "Dimension out of range"),
    ("index_add", (X, 0, I([5]), rand(1, 3)), RuntimeError, OUT),
    ("index_add", (X, 0, I([0]), rand(1, 2)), RuntimeError, "source tensor shape must match self tensor shape"),
    ("index_copy", (X, 0, I([5]), rand(1, 3)), IndexError, f"index_copy_\\(\\): {OUT}"),
    ("index_copy", (X, 0, I([0]), rand(2, 3)), IndexError, "Number of indices"),
    ("index_fill", (X, 0, I([5]), 1.0), IndexError, OUT),
    ("index_fill", (X, 0, I([0]), rand(2)), RuntimeError, "only supports a 0-dimensional value tensor"),
    ("masked_fill", (X, I([1, 0, 1]), 1.0), RuntimeError,
     "masked_fill_ only supports boolean masks, but got mask with dtype long int"),
    ("masked_fill", (X, MASK, 1j), RuntimeError, "value cannot be converted to type double without overflow|complex"),
    ("masked_fill_", (rand(1, 3), MASK, 1.0), RuntimeError, r"output with shape \[1, 3\] doesn't match"),
    ("masked_scatter", (X, MASK, rand(2)), RuntimeError, "Number of elements of source < number of ones in mask"),
    ("take", (X, I([9])), IndexError, "out of range: tried to access index 9 on a tensor of 6 elements."),
    ("put", (X, I([9]), rand(1)), IndexError, "out of range: tried to access index 9 on a tensor of 6 elements."),
    ("put", (X, I([0]), rand(2)), IndexError, "Expected source and index to have the same number of elements"),
    ("where", (X, X, X), RuntimeError, "where expected condition to be a boolean tensor"),
    ("nonzero", (X, 2), RuntimeError, "nonzero: 2 elements were said not to be zero, but there are 6"),
    ("repeat_index", (I([1, -2]), 1), RuntimeError, "repeats can not be negative"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=lambda v: v if isinstance(v, str) else "")
def test_errors(op, args, kind, text):
    e = Engine()

    def wrap(v):
        if isinstance(v, tuple):
            return tuple(wrap(x) for x in v)
        return e.wrap(v.copy()) if isinstance(v, np.ndarray) else v

    with pytest.raises(kind, match=text):
        e.call(op, *[wrap(a) for a in args])


def test_writing_outside_leaves_the_tensor_as_it_was():
    e = Engine()
    t = e.wrap(np.zeros((2, 3)))
    with pytest.raises(IndexError):
        e.call("index_put_", t, (e.wrap(I([0, 5])),), e.wrap(np.ones(3)))
    assert not t.array.any() and t.storage.version == 0


def test_a_result_has_memory_of_its_own():
    e = Engine()
    t = e.wrap(np.zeros((1, 3)))
    r = e.call("index", t, (e.wrap(I(0)),))
    e.call("fill_", t, 1.0)
    assert not r.array.any()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_long_rows_are_added_in_order(dim: int, dtype: str):
    shape, index = [6, 5, 7], np.array([3, 1, 3, 3, 0])
    start = (rand(*shape) * 9).astype(dtype)
    shape[dim] = len(index)
    rows = (rand(*shape, seed=1) * 9).astype(dtype)
    want = start.copy()
    for i, k in enumerate(index):
        at = (slice(None),) * dim
        want[(*at, k)] += rows[(*at, i)]
    engine = Engine()
    made = engine.call("index_add", engine.wrap(start), dim, engine.wrap(index), engine.wrap(rows), 1)
    np.testing.assert_allclose(made.array, want, rtol=1e-5, atol=1e-6)
