"""Checks one op against an independent reference, and its derivatives against finite differences to second order.

A family's test file holds a table of cases and one parametrized test:

    CASES = [case("hypot", rand(3, 2), rand(2), ref=np.hypot), ...]

    @pytest.mark.parametrize("c", CASES, ids=str)
    def test_op(c):
        check(c)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gradwire_engine import Engine, Tensor, grad
from gradwire_engine.backend import NUMPY_DTYPE, to_host
from gradwire_proto.catalog import CATALOG
from tests.devices import DEVICE
from tests.engine.replay import Program, no_grad

STEP = 1e-6


def host(t: Tensor) -> np.ndarray:
    """A tensor's elements as a NumPy array."""
    return to_host(t.array)


@dataclass
class Case:
    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ref: Callable[..., Any] | None
    order: int = 2
    """How many derivatives to check; 0 for ops without."""
    tol: float = 1e-5
    label: str = field(default="")
    constant: tuple[int, ...] = ()
    """Positional arguments that want no gradient."""
    results: tuple[int, ...] | None = None
    """Which results to differentiate, where some are only for the backward."""
    before: Callable[..., Any] | None = None
    """``before(engine, *args)`` gives the op's arguments: where a function of symmetric matrices is checked, say."""
    after: Callable[..., Any] | None = None
    """``after(engine, *results)`` gives what is checked: where an op's results are unique but for a sign, say."""

    def __str__(self) -> str:
        return f"{self.op}{'-' + self.label if self.label else ''}"


def case(op: str, *args: Any, ref: Callable[..., Any] | None = None, order: int = 2, tol: float = 1e-5,
         label: str = "", constant: tuple[int, ...] = (), results: tuple[int, ...] | None = None,
         before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None,
         **kwargs: Any) -> Case:  # fmt: skip
    """A case: NumPy arrays become tensors (float and complex ones require grad), the rest is passed as it is.

    ``ref`` takes what the op takes, arrays in place of tensors, and returns the expected result or results; leave it
    out only for ops whose numbers are random.
    """
    return Case(op, args, kwargs, ref, order, tol, label, constant, results, before, after)


def rand(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Reproducible float64 numbers in a range."""
    return np.random.default_rng(seed + 17 * len(shape)).uniform(low, high, shape)


def crand(*shape: int, seed: int = 0) -> np.ndarray:
    """Reproducible complex128 numbers."""
    return rand(*shape, seed=seed) + 1j * rand(*shape, seed=seed + 1)


def _convert(engine: Engine, v: Any, leaves: list[Tensor], wants: bool) -> Any:
    if isinstance(v, np.ndarray):
        t = engine.wrap(v.copy(), requires_grad=wants and v.dtype.kind in "fc")
        if t.requires_grad:
            leaves.append(t)
        return t
    if isinstance(v, (list, tuple)):
        return tuple(_convert(engine, x, leaves, wants) for x in v)
    return v


def run(c: Case, engine: Engine | None = None, wants: bool = True) -> tuple[list[Tensor], list[Tensor], Engine]:
    """Results, leaves and engine of a case."""
    engine = engine or Engine(DEVICE)
    leaves: list[Tensor] = []
    args = [_convert(engine, a, leaves, wants and i not in c.constant) for i, a in enumerate(c.args)]
    kwargs = {k: _convert(engine, v, leaves, wants) for k, v in c.kwargs.items()}
    op = CATALOG[c.op]
    if op.writes:
        # a leaf can't be written to: work on copies, which have a history
        args = [_copies(engine, a) if op.params[i].writes else a for i, a in enumerate(args)]
    if c.before is not None:
        args = list(c.before(engine, *args))
    with np.errstate(all="ignore"):
        results = engine.apply(op, op.bind(args, kwargs, Tensor))
    return (results if c.after is None else list(c.after(engine, *results))), leaves, engine


def _copies(engine: Engine, v: Any) -> Any:
    return tuple(_copies(engine, x) for x in v) if isinstance(v, tuple) else engine.call("clone", v)


def check(c: Case) -> None:
    """Values against the reference, types and shapes against the meta rule, derivatives against differences."""
    results, leaves, _ = run(c)
    for r in results:
        assert r.array.shape == r.spec.shape
        assert r.array.dtype == NUMPY_DTYPE[r.spec.dtype]
    if c.ref is not None:
        plain = [list(a) if isinstance(a, tuple) and any(isinstance(x, np.ndarray) for x in a) else a
                 for a in c.args]  # fmt: skip
        with np.errstate(all="ignore"):
            want = c.ref(*plain, **c.kwargs)
        want = list(want) if isinstance(want, (tuple, list)) else [want]
        assert len(want) == len(results)
        for r, w in zip(results, want, strict=True):
            single = r.spec.dtype.is_floating_point and r.spec.dtype.itemsize < 8
            np.testing.assert_allclose(host(r), w, rtol=1e-6 if single else 1e-9, atol=1e-11)
    if c.order and CATALOG[c.op].differentiable and leaves:
        _differences(c)
        _batched(c)
    _replayed(c)


def _replayed(c: Case) -> None:
    """Compare what a plan makes of the op and its gradients, on other numbers than those it was made with."""
    sides = []
    for planned in (False, True):
        engine = Engine(DEVICE, seed=3)
        program: Any = partial(_whole, c)
        if planned:
            program = Program(engine, program)
        made: list[Any] = []
        with np.errstate(all="ignore"):
            for scale in (1.0, 0.999, 1.0):
                tensors = [engine.wrap(np.asarray(a * scale if a.dtype.kind in "fc" else a.copy()),
                                       a.dtype.kind in "fc" and i not in c.constant)
                           for i, a in _arrays(c)]  # fmt: skip
                results = program(*tensors) if planned else program(engine, *tensors)
                made.append([*results, *tensors])
        sides.append(made)
    for streamed, replayed in zip(*sides, strict=True):
        for a, b in zip(streamed, replayed, strict=True):
            assert a.spec is b.spec and a.requires_grad is b.requires_grad
            assert a.storage.version == b.storage.version
            np.testing.assert_allclose(host(b), host(a), rtol=1e-9, atol=1e-11, err_msg=f"{c.op}: replayed")


def _arrays(c: Case) -> list[tuple[int, np.ndarray]]:
    """The arrays of a case, each with the position of its argument; those of keywords come last."""
    found: list[tuple[int, np.ndarray]] = []

    def look(i: int, v: Any) -> None:
        if isinstance(v, np.ndarray):
            found.append((i, v))
        elif isinstance(v, (list, tuple)):
            for x in v:
                look(i, x)

    for i, v in enumerate((*c.args, *c.kwargs.values())):
        look(i, v)
    return found


def _whole(c: Case, engine: Engine, *tensors: Tensor) -> list[Tensor]:
    """The op's results and the gradients of what it is made from, apart from their history."""
    rest = list(tensors)

    def fill(v: Any) -> Any:
        if isinstance(v, np.ndarray):
            return rest.pop(0)
        return tuple(fill(x) for x in v) if isinstance(v, (list, tuple)) else v

    op = CATALOG[c.op]
    args = [fill(a) for a in c.args]
    if op.writes:
        args = [_copies(engine, a) if op.params[i].writes else a for i, a in enumerate(args)]
    kwargs = {k: fill(v) for k, v in c.kwargs.items()}
    if c.before is not None:
        args = list(c.before(engine, *args))
    results = engine.apply(op, op.bind(args, kwargs, Tensor))
    roots = [r for i, r in enumerate(results) if r.requires_grad and (c.results is None or i in c.results)]
    leaves = [t for t in tensors if t.requires_grad]
    if c.after is not None:
        results = list(c.after(engine, *results))
        roots = [r for r in results if r.requires_grad]
    gs: list[Any] = []
    if c.order and roots and leaves:
        weights = no_grad(engine, lambda: [engine.call("cos", r) for r in roots])
        gs = grad(engine, roots, leaves, weights, retain_graph=False, create_graph=False, allow_unused=True)
    return no_grad(engine, lambda: [engine.call("clone", t) for t in (*results, *(g for g in gs if g is not None))])


def _differences(c: Case) -> None:
    """Compare vjp(u) along a random direction with central differences; then the same for the gradient itself."""
    rng = np.random.default_rng(5)

    def like(a: np.ndarray) -> np.ndarray:
        d = rng.standard_normal(a.shape)
        return np.asarray(d + 1j * rng.standard_normal(a.shape) if a.dtype.kind == "c" else d)

    results, leaves, _ = run(c)
    start = [host(t).copy() for t in leaves]
    keep = [i for i, r in enumerate(results) if r.requires_grad and (c.results is None or i in c.results)]
    assert keep, f"{c.op}: no result requires grad"
    u = [like(host(results[i])) for i in keep]
    v = [like(a) for a in start]

    def values(point: list[np.ndarray]) -> float:
        out = _at(c, point)[0]
        return sum(float((np.conj(w) * host(out[i])).real.sum()) for i, w in zip(keep, u, strict=True))

    def gradients(point: list[np.ndarray], graph: bool) -> tuple[list[Tensor | None], list[Tensor], Engine]:
        out, ls, engine = _at(c, point)
        with np.errstate(all="ignore"):
            gs = grad(engine, [out[i] for i in keep], ls, [engine.wrap(w.copy()) for w in u],
                      retain_graph=graph, create_graph=graph, allow_unused=True)  # fmt: skip
        return gs, ls, engine

    def moved(by: float) -> list[np.ndarray]:
        return [np.asarray(a + by * d) for a, d in zip(start, v, strict=True)]

    def dot(gs: list[Any], ds: list[np.ndarray]) -> float:
        return sum(float((np.conj(d) * host(g)).real.sum()) for g, d in zip(gs, ds, strict=True) if g is not None)

    numeric = (values(moved(STEP)) - values(moved(-STEP))) / (2 * STEP)
    np.testing.assert_allclose(dot(gradients(start, False)[0], v), numeric, rtol=c.tol, atol=c.tol,
                               err_msg=f"{c.op}: first derivative")  # fmt: skip
    if c.order < 2:
        return
    gs, ls, engine = gradients(start, True)
    np.testing.assert_allclose(dot(gs, v), numeric, rtol=c.tol, atol=c.tol, err_msg=f"{c.op}: under create_graph")
    live = [i for i, g in enumerate(gs) if g is not None and g.requires_grad]
    w = [like(a) for a in start]

    def first(point: list[np.ndarray]) -> float:
        made = gradients(point, False)[0]
        return sum(float((np.conj(w[i]) * host(made[i])).real.sum()) for i in range(len(w)) if made[i] is not None)

    numeric = (first(moved(STEP)) - first(moved(-STEP))) / (2 * STEP)
    if not live:
        np.testing.assert_allclose(numeric, 0, atol=1e-4, err_msg=f"{c.op}: second derivative has no graph")
        return
    with np.errstate(all="ignore"):
        hs = grad(engine, [gs[i] for i in live], ls, [engine.wrap(w[i].copy()) for i in live],
                  retain_graph=False, create_graph=False, allow_unused=True)  # fmt: skip
    np.testing.assert_allclose(dot(hs, v), numeric, rtol=10 * c.tol, atol=10 * c.tol,
                               err_msg=f"{c.op}: second derivative")  # fmt: skip


def _batched(c: Case) -> None:
    """Compare gradients of two rows in one pass with those of each, under create_graph as well."""
    results, leaves, engine = run(c)
    outs = [r for i, r in enumerate(results) if r.requires_grad and (c.results is None or i in c.results)]
    rng = np.random.default_rng(7)
    rows = [rng.standard_normal((2, *r.shape)).astype(NUMPY_DTYPE[r.dtype]) for r in outs]
    with np.errstate(all="ignore"):
        for graph in (True, False) if c.order > 1 else (False,):
            found = grad(engine, outs, leaves, [engine.wrap(w) for w in rows], retain_graph=True, create_graph=graph,
                         allow_unused=True, batched=True)  # fmt: skip
            for i in range(2):
                want = grad(engine, outs, leaves, [engine.wrap(w[i].copy()) for w in rows], retain_graph=True,
                            create_graph=graph, allow_unused=True)  # fmt: skip
                for t, a, b in zip(leaves, found, want, strict=True):
                    assert (a is None) is (b is None)
                    if a is not None and b is not None:
                        assert a.shape == (2, *t.shape) and a.dtype is t.dtype and a.spec.contiguous
                        assert a.requires_grad is b.requires_grad
                        np.testing.assert_allclose(host(a)[i], host(b), rtol=1e-9, atol=1e-11,
                                                   err_msg=f"{c.op}: rows")  # fmt: skip


def _at(c: Case, point: list[np.ndarray]) -> tuple[list[Tensor], list[Tensor], Engine]:
    """The case with its differentiable arrays replaced, in order."""
    rest = list(point)

    def swap(v: Any) -> Any:
        if isinstance(v, np.ndarray) and v.dtype.kind in "fc":
            return rest.pop(0)
        if isinstance(v, (list, tuple)):
            return tuple(swap(x) for x in v)
        return v

    args = tuple(a if i in c.constant else swap(a) for i, a in enumerate(c.args))
    return run(replace(c, args=args, kwargs={k: swap(v) for k, v in c.kwargs.items()}))
