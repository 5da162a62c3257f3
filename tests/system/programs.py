"""Programs drawn at random, and what they come to: through the SDK and a server, or on an engine in this process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradwire as torch
from gradwire_engine import Engine, backward, grad
from gradwire_engine.backend import to_host
from gradwire_engine.graph import FunctionNode
from gradwire_engine.tensor import Tensor
from tests.devices import DEVICE

Step = tuple[str, int, int]
"""What to do, with which tensor and which other, counted round what there is."""
STEPS = ("tanh", "sin", "add", "mul", "inplace", "cube", "hook", "backward", "grad", "grad_graph", "read")
LEAVES = [[0.5, -1.25, 0.75], [1.5, 0.25, -0.5], [-0.875, 0.375, 1.125]]


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3.0 * x * x


@dataclass
class Library:
    """What a program is written in."""

    leaf: Callable[[list[float]], Any]
    call: Callable[..., Any]
    """An op by name."""
    cube: Callable[[Any], Any]
    hook: Callable[[Any, float], Any]
    backward: Callable[[Any], None]
    grad: Callable[[Any, Any, bool], Any]
    gradient: Callable[[Any], Any]
    read: Callable[[Any], bytes]


def run(program: list[Step], do: Library) -> list[bytes]:
    """Every value that the program reads, then those of all its tensors and gradients."""
    leaves = [do.leaf(values) for values in LEAVES]
    pool, seen = list(leaves), []
    for kind, i, j in program:
        a, b = pool[i % len(pool)], pool[j % len(pool)]
        if kind in ("tanh", "sin"):
            pool.append(do.call(kind, a))
        elif kind in ("add", "mul"):
            pool.append(do.call("tanh", do.call(kind, a, b)))
        elif kind == "inplace":
            pool.append(do.call("mul_", do.call("add", a, a), b))
        elif kind == "cube":
            pool.append(do.cube(do.call("tanh", do.call("add", a, leaves[j % 3]))))
        elif kind == "hook":
            pool.append(do.call("add", a, leaves[j % 3]))
            do.hook(pool[-1], 0.5 + 0.125 * (j % 5))
        elif kind == "backward":
            do.backward(do.call("sum", do.call("mul", a, leaves[j % 3])))
        elif kind in ("grad", "grad_graph"):
            leaf = leaves[j % 3]
            pool.append(do.call("tanh", do.grad(do.call("sum", do.call("mul", a, leaf)), leaf, kind == "grad_graph")))
        else:
            seen.append(do.read(a))
        del pool[3:-9]  # so that there is something to free
    return seen + [do.read(t) for t in pool] + [do.read(do.gradient(t)) for t in leaves]


def draw(seed: int, steps: int) -> list[Step]:
    rng = random.Random(seed)
    return [(rng.choice(STEPS), rng.randrange(1000), rng.randrange(1000)) for _ in range(steps)]


def remote() -> Library:
    """The SDK on its current session."""

    def gradient(t: Any) -> Any:
        return torch.zeros(3, dtype=torch.float64) if t.grad is None else t.grad

    return Library(
        leaf=lambda values: torch.tensor(values, dtype=torch.float64, requires_grad=True),
        call=lambda name, *args: getattr(args[0], name)(*args[1:]),
        cube=Cube.apply,
        hook=lambda t, scale: t.register_hook(lambda g: g * scale),
        backward=lambda t: t.backward(retain_graph=True),
        grad=lambda t, leaf, graph: torch.autograd.grad(t, leaf, retain_graph=True, create_graph=graph)[0],
        gradient=gradient,
        read=lambda t: t.detach().numpy().tobytes(),
    )


def local() -> Library:
    """An engine, as the server drives one."""
    engine = Engine(DEVICE)
    saved: dict[int, Tensor] = {}

    def with_mode(enabled: bool, compute: Callable[[], Any]) -> Any:
        before, engine.grad_enabled = engine.grad_enabled, enabled
        try:
            return compute()
        finally:
            engine.grad_enabled = before

    def cube(x: Tensor) -> Tensor:
        y = with_mode(False, lambda: engine.call("mul", engine.call("mul", x, x), x))
        number = len(saved) + 1
        saved[number] = x
        made: Tensor = engine.record_function("CubeBackward", number, [x], [y], [True])[0]
        return made

    def call_function(node: FunctionNode, grads: list[Any], create_graph: bool) -> list[Any]:
        x = saved[node.function]

        def compute() -> Tensor:
            times: Tensor = engine.call("mul", engine.call("mul", engine.call("mul", grads[0], 3.0), x), x)
            return times

        return [with_mode(create_graph, compute)]

    engine.call_function = call_function
    names = iter(range(1, 1 << 30))
    return Library(
        leaf=lambda values: engine.wrap(np.array(values), requires_grad=True),
        call=engine.call,
        cube=cube,
        hook=lambda t, scale: engine.add_hook(t, next(names), lambda g: engine.call("mul", g, scale)),
        backward=lambda t: backward(engine, [t], [None], retain_graph=True, create_graph=False),
        grad=lambda t, leaf, graph: grad(engine, [t], [leaf], [None], retain_graph=True, create_graph=graph,
                                         allow_unused=False)[0],
        gradient=lambda t: engine.wrap(np.zeros(3)) if t.grad is None else t.grad,
        read=lambda t: to_host(t.array).tobytes(),
    )
