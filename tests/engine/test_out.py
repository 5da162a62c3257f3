"""Every kernel that takes ``out`` writes there just what it makes without, also where ``out`` is an argument."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from gradwire_engine import Engine, Tensor
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.registry import KERNELS
from gradwire_proto.catalog import CATALOG

FILES = sorted(p.stem for p in Path(__file__).parent.glob("test_*.py") if p.stem != Path(__file__).stem)
CASES = [
    c
    for file in FILES
    for c in getattr(importlib.import_module(f"tests.engine.{file}"), "CASES", [])
    if type(c).__name__ == "Case" and not CATALOG[c.op].writes and KERNELS[c.op].out and not KERNELS[c.op].rng
]


class Recorder(Engine):
    """Keeps the last kernel call that it makes: case and arguments."""

    def _call(self, case, args, out=None):
        self.last = case, args
        return super()._call(case, args, out)


def calls(c, floats):
    """The kernel call of a case, its float64 arrays in the type ``floats``."""
    engine = Recorder()
    engine.grad_enabled = False

    def convert(v):
        if isinstance(v, np.ndarray):
            return engine.wrap(v.astype(floats) if v.dtype == np.float64 else v.copy())
        return tuple(map(convert, v)) if isinstance(v, (list, tuple)) else v

    op = CATALOG[c.op]
    args = [convert(a) for a in c.args]
    if c.before is not None:
        args = list(c.before(engine, *args))
    engine.apply(op, op.bind(args, {k: convert(v) for k, v in c.kwargs.items()}, Tensor))
    return engine.last


def same(a, b):
    assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def test_there_is_something_to_test():
    assert len({c.op for c in CASES}) > 100


@pytest.mark.parametrize("floats", ["float64", "float32"])
@pytest.mark.parametrize("c", CASES, ids=str)
@np.errstate(all="ignore")
def test_out(c, floats):
    case, args = calls(c, floats)
    kernel = case.kernel

    def run(args, **out):
        made = kernel.run(np, *args, **case.kwargs, **out)
        return list(made) if type(made) in (tuple, list) else [made]

    want = [np.asarray(a).astype(NUMPY_DTYPE[s.dtype]) for a, s in zip(run(args), case.made, strict=True)]
    out = [np.full(s.shape, 7, NUMPY_DTYPE[s.dtype]) for s in case.made]
    made = run(args, out=out[0] if len(out) == 1 else tuple(out))
    for a, b, w in zip(made, out, want, strict=True):
        assert np.shares_memory(a, b) or not a.size
        same(b, w)
    if f"{c.op}_" not in CATALOG:
        return
    elementwise = case.op.infer(case.specs).compute is not None
    for i, a in enumerate(args if elementwise else args[:1]):
        if isinstance(a, np.ndarray) and (a.shape, a.dtype) == (want[0].shape, want[0].dtype):
            mine = [x.copy() if isinstance(x, np.ndarray) else x for x in args]
            run(mine, out=mine[i])
            same(mine[i], want[0])


def test_blocks_are_written_to_a_window_too():
    engine = Engine()
    x = np.random.default_rng(0).standard_normal((300, 400)).astype("f4")
    t = engine.wrap(x.copy())
    engine.call("gelu_", engine.call("slice", t, 1, 0, 400, 2))
    same(t.array[:, ::2].copy(), engine.call("gelu", engine.wrap(x[:, ::2].copy())).array)
    same(t.array[:, 1::2].copy(), x[:, 1::2].copy())
