#!/usr/bin/env python3
"""The time of each op's kernel, and of its derivative, beside PyTorch's on the same numbers.

    python bench/op_families.py                         # everything, the worst of each family first
    python bench/op_families.py --family index order    # some families
    python bench/op_families.py --op softmax --size 4000000 --backward

The engine runs in this process: no server, no wire. Both use all cores. The two take turns, for several milliseconds
each, and what they do in the first ones is not counted, while threads of the other may still spin. What is printed are
medians in microseconds, and the median of the ratios of each turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from gradwire_engine import Engine, Tensor, grad  # first, for it has memory reused: PyTorch's, too
from gradwire_proto.catalog import CATALOG

import torch  # isort: skip
from op_cases import FAMILIES, Case  # isort: skip

MOST = 3.0
"""The ratio from which on a line is marked."""
SETTLE, TURN = 0.002, 0.006
"""Seconds of each turn that are not counted, and those that are."""
TURNS = 5
Run = Callable[[], Any]


def turn(run: Run) -> float:
    """Seconds that a call takes, the median over a turn."""
    end = perf_counter() + SETTLE
    while True:
        run()
        if perf_counter() > end:
            break
    took: list[float] = []
    end = perf_counter() + TURN
    while not took or (perf_counter() < end and len(took) < 100):
        began = perf_counter()
        run()
        took.append(perf_counter() - began)
    return median(took)


def compare(mine: Run, theirs: Run) -> tuple[float, float, float]:
    """Microseconds of each, and the ratio of the first to the second."""
    turns = [(turn(mine), turn(theirs)) for _ in range(TURNS)]
    return median(a for a, _ in turns) * 1e6, median(b for _, b in turns) * 1e6, median(a / b for a, b in turns)


def _map(f: Callable[[np.ndarray[Any, Any]], Any], v: Any) -> Any:
    if isinstance(v, np.ndarray):
        return f(v)
    return tuple(_map(f, x) for x in v) if isinstance(v, tuple) else v


def _arrays(v: Any) -> list[Any]:
    if isinstance(v, tuple):
        return [a for x in v for a in _arrays(x)]
    return [v] if isinstance(v, np.ndarray) else []


def _forward(case: Case) -> tuple[Run, Run]:
    engine = Engine()
    values = list(_map(lambda a: engine.wrap(a.copy()), case.args))
    given = [torch.from_numpy(a.copy()) for a in _arrays(case.args)]
    op = CATALOG[case.op]
    return lambda: engine.apply(op, values), lambda: case.torch(*given)


def _backward(case: Case) -> tuple[Run, Run]:
    engine = Engine()
    leaves: list[Tensor] = []

    def wrapped(a: np.ndarray[Any, Any]) -> Tensor:
        t = engine.wrap(a.copy(), requires_grad=a.dtype.kind in "fc")
        leaves.extend([t] if t.requires_grad else [])
        return t

    results = engine.apply(CATALOG[case.op], list(_map(wrapped, case.args)))
    given = [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind in "fc") for a in _arrays(case.args)]
    made = case.torch(*given)
    theirs = [t for t in (made if isinstance(made, (tuple, list)) else [made]) if t.requires_grad]
    mine = [t for t in results if t.requires_grad][: len(theirs)]
    theirs = theirs[: len(mine)]
    wanted = [t for t in given if t.requires_grad]
    rng = np.random.default_rng(1)
    grads = [rng.standard_normal(t.shape).astype(t.array.dtype) for t in mine]
    g, h = [engine.wrap(a.copy()) for a in grads], [torch.from_numpy(a.copy()) for a in grads]
    return (
        lambda: grad(engine, mine, leaves, list(g), retain_graph=True, create_graph=False, allow_unused=True),
        lambda: torch.autograd.grad(theirs, wanted, h, retain_graph=True, allow_unused=True),
    )


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", nargs="*", default=[], help="only these")
    p.add_argument("--op", nargs="*", default=[], help="only lines whose name begins so")
    p.add_argument("--size", type=int, default=1_000_000, help="numbers in an argument, about")
    p.add_argument("--forward", action="store_true", help="kernels alone")
    p.add_argument("--backward", action="store_true", help="derivatives alone")
    o = p.parse_args()
    np.seterr(all="ignore")
    worst = 0
    for family in FAMILIES:
        rows = []
        for case in family(o.size):
            if (o.family and case.family not in o.family) or (o.op and not case.name.startswith(tuple(o.op))):
                continue
            for label, pair in (("", _forward), (" backward", _backward)):
                if (o.backward and not label) or (label and (o.forward or not case.backward)):
                    continue
                try:
                    rows.append((case.family, case.name + label, *compare(*pair(case))))
                except Exception as e:  # a line that cannot run is a finding
                    print(f"{case.family:14} {case.name + label:44} {type(e).__name__}: {str(e)[:110]}")
        for name, line, mine, theirs, ratio in sorted(rows, key=lambda r: (r[0], -r[4])):
            mark = "  *" if ratio > MOST else ""
            worst += bool(mark)
            print(f"{name:14} {line:44} {mine:10.0f} us  torch {theirs:10.0f} us  ratio {ratio:6.2f}{mark}", flush=True)
    print(f"{worst} lines above {MOST:g}")


if __name__ == "__main__":
    main()
