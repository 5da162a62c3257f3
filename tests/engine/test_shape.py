"""Views and rearrangements: values, derivatives to second order, torch's refusals."""

import numpy as np
import pytest

from gradwire_engine import Engine, grad
from gradwire_proto import dtypes
from tests.engine.harness import case, check, crand, host, rand, run


def pieces(a, sizes, axis):
    return np.split(a, np.cumsum(sizes)[:-1], axis)


def embedded(write):
    def ref(g, size, *args):
        out = np.zeros(size)
        write(out, g, *args)
        return out

    return ref


def set_select(out, g, dim, index):
    np.moveaxis(out, dim, 0)[index] = g


def set_slice(out, g, dim, start, end, step):
    np.moveaxis(out, dim, 0)[start:end:step] = np.moveaxis(g, dim, 0)


def set_diagonal(out, g, offset, dim1, dim2):
    for i in range(g.shape[-1]):
        np.moveaxis(out, (dim1, dim2), (0, 1))[i + max(-offset, 0), i + max(offset, 0)] = g[..., i]


def sum_windows(g, size, dim, length, step):
    out = np.zeros(size)
    for i in range(g.shape[dim]):
        np.moveaxis(out, dim, 0)[i * step : i * step + length] += np.moveaxis(np.take(g, i, dim), -1, 0)
    return out


PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def padded(a, pad, mode):
    widths = [(0, 0)] * (a.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    return np.pad(a, widths, mode=PAD_MODES[mode])


def unpadded(g, a, pad, mode):
    # The matrix of a linear map, transposed.
    return np.stack([padded(row, pad, mode) for row in np.eye(a.size)]) @ g


VIEWS = [
    case("view", rand(2, 6), (3, -1), ref=lambda a, s: a.reshape(s)),
    case("view_dtype", rand(2, 3), dtypes.int64, ref=lambda a, d: a.view("int64"), order=0),
    case("view_dtype", rand(2, 3), dtypes.complex64, ref=lambda a, d: a.view("complex64"), order=0, label="same size"),
    case("view_dtype", rand(2, 4), dtypes.complex128, ref=lambda a, d: a.view("complex128"), order=0, label="wider"),
    case("view_dtype", rand(2, 3), dtypes.int16, ref=lambda a, d: a.view("int16"), order=0, label="narrower"),
    case("alias", rand(3), ref=np.copy),
    case("expand", rand(3, 1), (2, -1, 4), ref=lambda a, s: np.broadcast_to(a, (2, 3, 4))),
    case("permute", rand(2, 3, 4), (2, 0, -2), ref=lambda a, d: a.transpose(2, 0, 1)),
    case("transpose", crand(2, 3, 4), 0, -1, ref=np.swapaxes),
    case("transpose", np.array(2.0), 0, -1, ref=lambda a, *_: a, label="0-d"),
    case("t", rand(2, 3), ref=np.transpose),
    case("t", rand(3), ref=np.copy, label="vector"),
    case("unsqueeze", rand(2, 3), -1, ref=np.expand_dims),
    case("squeeze", rand(1, 3, 1), ref=np.squeeze),
    case("squeeze", rand(1, 3, 1), (0, 1), ref=lambda a, d: a[0], label="dims"),
    case("select", rand(2, 3), -1, 1, ref=lambda a, d, i: a[:, 1]),
    case("slice", rand(2, 7), 1, 1, -1, 2, ref=lambda a, *_: a[:, 1:-1:2]),
    case("slice", rand(2, 7), 0, 5, 9, ref=lambda a, *_: a[5:9], label="empty"),
    case("diagonal", rand(3, 4, 2), 1, 0, 1, ref=np.diagonal),
    case("diagonal", rand(3, 4), -1, ref=np.diagonal, label="below"),
    case("diagonal", rand(3, 4), 9, ref=np.diagonal, label="outside"),
    case("unfold", rand(7), 0, 3, 2, ref=lambda a, *_: np.stack([a[0:3], a[2:5], a[4:7]])),
    case("unfold", rand(2, 5, 3), 1, 2, 1, label="inner",
         ref=lambda a, *_: np.stack([a[:, i : i + 2] for i in range(4)], 1).swapaxes(2, 3)),
    case("unbind", rand(3, 2), 1, ref=lambda a, d: [a[:, 0], a[:, 1]]),
    case("split", rand(5, 2), 2, ref=lambda a, n: pieces(a, [2, 2, 1], 0)),
    case("split_with_sizes", rand(2, 5), (1, 0, 4), 1, ref=pieces),
    case("select_backward", rand(3), (3, 2), 1, -1, ref=embedded(set_select)),
    case("slice_backward", rand(2, 2), (2, 5), 1, 1, 5, 2, ref=embedded(set_slice)),
    case("diagonal_backward", rand(2, 4), (4, 2, 5), 1, 0, 2, ref=embedded(set_diagonal)),
    case("unfold_backward", rand(3, 2, 3), (7, 2), 0, 3, 2, ref=sum_windows),
]
COPIES = [
    case("cat", (rand(2, 3), rand(2, 1), np.zeros(0)), 1, ref=lambda ts, d: np.concatenate(ts[:2], d)),
    case("cat", (rand(2), np.array([1, 2])), ref=np.concatenate, label="mixed"),
    case("stack", (rand(2, 3), crand(2, 3)), -1, ref=np.stack),
    case("flip", rand(2, 3), (0, -1), ref=np.flip),
    case("roll", rand(2, 3), (1, -2), (0, 1), ref=np.roll),
    case("roll", rand(2, 3), 4, ref=np.roll, label="flat"),
    case("repeat", rand(2, 3), (2, 1, 3), ref=np.tile),
    case("tril", rand(2, 3, 4), 1, ref=np.tril),
    case("triu_", rand(3, 3), -1, ref=np.triu),
    case("constant_pad_nd", rand(2, 3), (1, -1, 2, 0), 5.0,
         ref=lambda a, p, v: np.pad(a, ((2, 0), (1, 0)), constant_values=v)[:, :-1]),
    *[case("pad_edges", rand(2, 3, 4), (1, 2, 2, 1), mode, ref=padded, label=mode) for mode in PAD_MODES],
    *[case("pad_edges", rand(5), (-1, 2), mode, ref=lambda a, p, m: padded(a[1:], (0, 2), m), label=f"{mode} negative")
      for mode in ("reflect", "replicate")],
    *[case("pad_edges_backward", rand(6), rand(4), (1, 1), mode, ref=unpadded, label=mode) for mode in PAD_MODES],
]


CASES = [*VIEWS, *COPIES]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


X = rand(2, 3)
ERRORS = [
    ("view", (X, (4, 2)), RuntimeError, r"shape '\[4, 2\]' is invalid for input of size 6"),
    ("view", (X.T, (6,)), RuntimeError, "view size is not compatible with input tensor's size and stride"),
    ("expand", (X, (2, 4)), RuntimeError,
     r"The expanded size of the tensor \(4\) must match the existing size \(3\) at non-singleton dimension 1"),
    ("permute", (X, (0, 0)), RuntimeError, r"permute\(\): duplicate dims are not allowed."),
    ("permute", (X, (0,)), RuntimeError, r"input.dim\(\) = 2 is not equal to len\(dims\) = 1"),
    ("transpose", (X, 0, 5), IndexError, r"expected to be in range of \[-2, 1\], but got 5"),
    ("t", (rand(1, 2, 3),), RuntimeError, r"t\(\) expects a tensor with <= 2 dimensions, but self is 3D"),
    ("unsqueeze", (X, 5), IndexError, r"expected to be in range of \[-3, 2\], but got 5"),
    ("select", (X, 0, 9), IndexError, r"select\(\): index 9 out of range for tensor of size \[2, 3\] at dimension 0"),
    ("select", (np.array(1.0), 0, 0), IndexError, r"select\(\) cannot be applied to a 0-dim tensor."),
    ("slice", (X, 0, 0, 1, -1), RuntimeError, "slice step must be positive"),
    ("diagonal", (X, 0, 0, 0), RuntimeError, "diagonal dimensions cannot be identical 0, 0"),
    ("unfold", (X, 0, 5, 1), RuntimeError, "maximum size for tensor at dimension 0 is 2 but size is 5"),
    ("unfold", (X, 0, 1, 0), RuntimeError, "step is 0 but must be > 0"),
    ("unbind", (np.array(1.0),), IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    ("split", (X, -1), RuntimeError, "split expects split_size be non-negative, but got split_size=-1"),
    ("split", (X, 0), RuntimeError, "split_size can only be 0 if dimension size is 0, but got dimension size of 2"),
    ("split_with_sizes", (X, (1, 2)), RuntimeError, r"to sum exactly to 2 .*, but got split_sizes=\[1, 2\]"),
    ("cat", ((),), ValueError, r"torch.cat\(\): expected a non-empty list of Tensors"),
    ("cat", ((X, rand(2, 2)),), RuntimeError,
     "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 2 for tensor number 1"),
    ("cat", ((X, rand(3)),), RuntimeError, "Tensors must have same number of dimensions: got 2 and 1"),
    ("cat", ((X, np.array(1.0)),), RuntimeError, r"zero-dimensional tensor \(at position 1\) cannot be concatenated"),
    ("stack", ((rand(2), rand(3)),), RuntimeError,
     r"stack expects each tensor to be equal size, but got \[2\] at entry 0 and \[3\] at entry 1"),
    ("flip", (X, (0, 0)), RuntimeError, "dim 0 appears multiple times in the list of dims"),
    ("roll", (X, (1, 2), (0,)), RuntimeError, "shifts and dimensions must align. shifts: 2, dims:1"),
    ("repeat", (X, (2,)), RuntimeError, "Number of dimensions of repeat dims can not be smaller than number of dim"),
    ("tril", (rand(2), 0), RuntimeError, "tril: input tensor must have at least 2 dimensions"),
    ("constant_pad_nd", (X, (-2, -2)), RuntimeError, r"narrow\(\): length must be non-negative."),
    ("pad_edges", (X, (5, 1), "reflect"), RuntimeError,
     r"Padding size should be less than the corresponding input dimension, but got: padding \(5, 1\) at dimension 1"),
    ("pad_edges", (X, (7, 1), "circular"), RuntimeError, "Padding value causes wrapping around more than once."),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=lambda v: v if isinstance(v, str) else "")
def test_errors(op, args, kind, text):
    e = Engine()

    def wrap(v):
        if isinstance(v, tuple):
            return tuple(wrap(x) for x in v)
        if isinstance(v, np.ndarray) and not v.flags.c_contiguous:
            return e.call("t", e.wrap(v.T.copy()))
        return e.wrap(v.copy()) if isinstance(v, np.ndarray) else v

    with pytest.raises(kind, match=text):
        e.call(op, *[wrap(a) for a in args])


@pytest.mark.parametrize("c", VIEWS, ids=str)
def test_a_view_shares_memory_and_tells_its_strides(c):
    if c.op.endswith("_backward"):
        return
    results, leaves, _ = run(c)
    for r in results:
        assert np.shares_memory(r.array, leaves[0].array) or not r.spec.numel
        for size, have, told in zip(r.shape, r.array.strides, r.spec.strides, strict=True):
            assert size <= 1 or have == told * r.array.itemsize, c.op


@pytest.mark.parametrize("c", [c for c in COPIES if c.op not in ("cat", "stack")], ids=str)
def test_a_copy_shares_none(c):
    results, leaves, _ = run(c)
    assert not np.shares_memory(host(results[0]), host(leaves[0]))


@pytest.mark.parametrize(("op", "args"), [("flip", ((0,),)), ("roll", ((0,), (0,))), ("repeat", ((1, 1),)),
                                          ("pad_edges", ((), "circular")), ("constant_pad_nd", ((),))])  # fmt: skip
def test_even_where_nothing_changes(op, args):
    e = Engine()
    t = e.wrap(rand(1, 3))
    assert not np.shares_memory(e.call(op, t, *args).array, t.array)


def test_writing_through_a_view_reaches_the_base_and_its_history():
    e = Engine()
    x = e.wrap(rand(2, 3), requires_grad=True)
    y = e.call("mul", x, 2.0)
    e.call("mul_", e.call("select", y, 0, 1), 10.0)
    np.testing.assert_allclose(y.array, x.array * [[2.0], [20.0]])
    (g,) = grad(e, [y], [x], [e.wrap(np.ones((2, 3)))], retain_graph=False, create_graph=False, allow_unused=False)
    np.testing.assert_allclose(g.array, [[2.0] * 3, [20.0] * 3])


@pytest.mark.parametrize("op", ["split", "unbind"])
def test_one_of_many_views_may_not_be_written_to(op):
    e = Engine()
    y = e.call("mul", e.wrap(rand(2, 3), requires_grad=True), 2.0)
    views = e.call(op, y, 1) if op == "split" else e.call(op, y)
    with pytest.raises(RuntimeError, match=f"Output 0 of {op.capitalize()} is a view and is being modified inplace"):
        e.call("mul_", views[0], 2.0)
