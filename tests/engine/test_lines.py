"""Softmax, norms, pools and interpolation of large arrays, some lines at a time, come to what they do of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradwire_engine import Engine, grad, lines, maps, spread
from gradwire_engine.kernels import norm, pool
from tests.engine.harness import rand


def made(op: str, *args: Any) -> list[np.ndarray]:
    """The results of an op, and its gradients."""
    engine = Engine()
    values = [engine.wrap(a.copy(), True) if isinstance(a, np.ndarray) else a for a in args]
    results = engine.call(op, *values)
    results = results if isinstance(results, list) else [results]
    leaves = [v for v in values if getattr(v, "requires_grad", False)]
    g = engine.wrap(rand(*results[0].shape, seed=9))
    found = grad(engine, results[:1], leaves, [g], retain_graph=False, create_graph=False, allow_unused=True)
    return [t.array for t in (*results, *found) if t is not None]


SHAPES: list[tuple[tuple[int, ...], int]] = [((70, 40), 1), ((70, 40), 0), ((9, 30, 7), 1), ((500, 3, 2), 1),
                                             ((30, 100), -1), ((1200,), 0)]  # fmt: skip
CASES: list[tuple[Any, ...]] = [
    *[(op, rand(*shape), dim, None) for op in ("softmax", "log_softmax") for shape, dim in SHAPES],
    ("layer_norm", rand(40, 30), (30,), rand(30), rand(30, seed=1), 1e-5),
    ("layer_norm", rand(40, 5, 6), (5, 6), None, None, 1e-5),
    ("layer_norm", rand(40, 30), (30,), rand(30), None, 1e-5),
    ("group_norm", rand(8, 6, 10, 3), 3, rand(6), rand(6, seed=1), 1e-5),
    ("group_norm", rand(8, 6, 10, 3), 3, None, None, 1e-5),
    ("rms_norm", rand(40, 30), (30,), rand(30), 1e-5),
    ("group_norm", rand(8, 6, 10, 7), 3, rand(6), rand(6, seed=1), 1e-5),
    ("group_norm", rand(8, 6, 10, 7), 3, None, None, 1e-5),
    ("batch_norm", rand(8, 6, 10, 7), rand(6), rand(6, seed=1), 1e-5),
    ("batch_norm", rand(8, 6, 70), None, None, 1e-5),
    ("batch_norm_eval", rand(8, 6, 10, 7), rand(6), rand(6, low=0.5), rand(6, seed=1), rand(6, seed=2), 1e-5),
    ("batch_norm_eval", rand(8, 6, 70), rand(6), rand(6, low=0.5), None, None, 1e-5),
    *[(f"upsample_{mode}2d", rand(5, 2, 20, 9), (31, 70), False, ())
      for mode in ("nearest", "bilinear", "bicubic", "bicubic_aa")],
    ("upsample_bilinear2d", rand(5, 2, 31, 70), (20, 9), False, ()),
    ("upsample_linear1d", rand(5, 2, 200), (390,), True, ()),
    ("avg_pool2d", rand(5, 2, 20, 9), (3, 3), (2, 2), (1, 1), False, True, None),
    ("adaptive_avg_pool2d", rand(5, 2, 20, 9), (3, 4)),
    ("adaptive_avg_pool1d", rand(5, 2, 400), (3,)),
    ("convolution", rand(3, 4, 12, 9), rand(4, 1, 3, 2), rand(4), (2, 1), (1, 0), (1, 2), False, (0, 0), 4),
    ("convolution", rand(3, 4, 12, 9), rand(4, 1, 3, 2), None, (2, 1), (1, 1), (1, 2), True, (1, 0), 4),
    ("convolution", rand(3, 4, 40), rand(4, 1, 3), None, (1,), (1,), (1,), False, (0,), 4),
    ("max_pool1d_with_indices", rand(5, 2, 41), (3,), (2,), (1,), (1,), True),
    ("max_pool2d_with_indices", rand(5, 2, 20, 9), (2, 3), (2, 2), (1, 0), (1, 1), False),
    ("adaptive_max_pool1d", rand(5, 2, 41), (3,)),
    ("adaptive_max_pool1d", np.where(rand(5, 2, 41) > 1, np.nan, rand(5, 2, 41)), (3,)),
]


@pytest.mark.parametrize("c", CASES, ids=lambda c: f"{c[0]}-{'x'.join(map(str, c[1].shape))}")
def test_pieces_make_what_the_whole_does(c: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(*c)
    monkeypatch.setattr(lines, "PIECE", 128)
    monkeypatch.setattr(norm, "PIECE", 128)
    monkeypatch.setattr(maps, "PIECE", 128)
    monkeypatch.setattr(pool, "PIECE", 128)
    monkeypatch.setattr(spread, "WAKING", 0)
    for a, b in zip(made(*c), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
        assert a.dtype == b.dtype and a.shape == b.shape
