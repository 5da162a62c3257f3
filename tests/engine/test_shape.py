"""Views and rearrangements: values, derivatives to second order, torch's refusals."""

import numpy as np
import pytest

from tests.engine.harness import case, check, crand, rand


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


@pytest.mark.parametrize("c", [*VIEWS, *COPIES], ids=str)
def test_op(c):
    check(c)
