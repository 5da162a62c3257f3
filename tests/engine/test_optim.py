"""Optimizer updates against a plain NumPy loop over many steps."""

import math

import numpy as np
import pytest

from gradwire_engine import Engine, Tensor
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.optim import NUMBERS
from tests.engine.harness import case, check

SHAPES = [(3, 4), (), (5,), (2, 2)]


def sgd(p, g, s, t, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["b"] = momentum * s["b"] + (1 - dampening) * g if t > 1 else g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(p, g, s, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False,
         amsgrad=False):  # fmt: skip
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    s["x"] = np.maximum(s.get("x", 0), s["v"]) if amsgrad else s["v"]
    return p - lr / (1 - beta1**t) * s["m"] / (np.sqrt(s["x"] / (1 - beta2**t)) + eps)


def rmsprop(p, g, s, t, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    step = g / (np.sqrt(s["v"] - s["m"] ** 2 if centered else s["v"]) + eps)
    s["b"] = momentum * s.get("b", 0) + step
    return p - lr * s["b"]


def adagrad(p, g, s, t, lr, lr_decay=0.0, weight_decay=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["v"] = s.get("v", 0) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)


def adadelta(p, g, s, t, lr, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g * g
    step = np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["v"] + eps) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * step * step
    return p - lr * step


def adamax(p, g, s, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * p
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["u"] = np.maximum(beta2 * s.get("u", 0), abs(g) + eps)
    return p - lr / (1 - beta1**t) * s["m"] / s["u"]


def nadam(p, g, s, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
          decoupled_weight_decay=False):  # fmt: skip
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    mu, following = (beta1 * (1 - 0.96 ** (i * momentum_decay) / 2) for i in (t, t + 1))
    product = s["product"] = s.get("product", 1) * mu
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    mean = following * s["m"] / (1 - product * following) + (1 - mu) * g / (1 - product)
    return p - lr * mean / (np.sqrt(s["v"] / (1 - beta2**t)) + eps)


def radam(p, g, s, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    if decoupled_weight_decay:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    mean = s["m"] / (1 - beta1**t)
    most = 2 / (1 - beta2) - 1
    length = most - 2 * t * beta2**t / (1 - beta2**t)
    if length <= 5:
        return p - lr * mean
    r = math.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
    return p - lr * mean * r * math.sqrt(1 - beta2**t) / (np.sqrt(s["v"]) + eps)


def asgd(p, g, s, t, lr, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0):
    g = g + weight_decay * p
    eta, mu = s.get("eta", lr), s.get("mu", 1)
    p = (1 - lambd * eta) * p - eta * g
    s["ax"] = s.get("ax", 0) + mu * (p - s.get("ax", 0))
    s["eta"], s["mu"] = lr / (1 + lambd * lr * t) ** alpha, 1 / max(1, t - t0)
    return p


def rprop(p, g, s, t, lr, eta_minus=0.5, eta_plus=1.2, least=1e-6, most=50.0):
    turn = np.sign(g * s.get("g", 0))
    factor = np.select([turn > 0, turn < 0], [eta_plus, eta_minus], 1)
    s["size"] = np.clip(s.get("size", lr) * factor, least, most)
    s["g"] = np.where(turn < 0, 0, g)
    return p - np.sign(s["g"]) * s["size"]


RULES = {
    "sgd_": sgd, "adam_": adam, "rmsprop_": rmsprop, "adagrad_": adagrad, "adadelta_": adadelta, "adamax_": adamax,
    "nadam_": nadam, "radam_": radam, "asgd_": asgd, "rprop_": rprop,
}  # fmt: skip
ONE = "one"
"""State that is one number a parameter, and starts from one."""
RUNS = [
    ("sgd_", [False], {"lr": 0.1}),
    ("sgd_", [True], {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("sgd_", [True], {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam_", [True, True, False], {"lr": 0.01}),
    ("adam_", [True, True, False], {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1}),
    ("adam_", [True, True, True], {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "amsgrad": True}),
    ("rmsprop_", [True, False, False], {"lr": 0.01, "weight_decay": 0.1}),
    ("rmsprop_", [True, True, True], {"lr": 0.01, "momentum": 0.5, "alpha": 0.9, "centered": True}),
    ("adagrad_", [True], {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    ("adadelta_", [True, True], {"lr": 1.0}),
    ("adadelta_", [True, True], {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("adamax_", [True, True], {"lr": 0.01}),
    ("adamax_", [True, True], {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.1}),
    ("nadam_", [True, True, ONE], {"lr": 0.01, "weight_decay": 0.1}),
    ("nadam_", [True, True, ONE], {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "momentum_decay": 0.1, "weight_decay": 0.1,
                                   "decoupled_weight_decay": True}),
    ("radam_", [True, True], {"lr": 0.01, "weight_decay": 0.1}),
    ("radam_", [True, True], {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1,
                              "decoupled_weight_decay": True}),
    ("radam_", [True, True], {"lr": 0.01, "beta2": 0.5}),
    ("asgd_", [True, ONE, ONE], {"lr": 0.1}),
    ("asgd_", [True, ONE, ONE], {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 5, "weight_decay": 0.1}),
    ("rprop_", [True, True], {"lr": 0.1}),
    ("rprop_", [True, True], {"lr": 0.1, "eta_minus": 0.6, "eta_plus": 1.5, "least": 0.08, "most": 0.3}),
]  # fmt: skip


def start(on, like):
    """What a piece of state starts from."""
    return np.ones((), like.dtype) if on is ONE else np.zeros_like(like)


def update(engine, name, params, state, steps, **kwargs):
    op = CATALOG[name]
    engine.apply(op, op.bind([tuple(params), *state, steps], kwargs, Tensor))


@pytest.mark.parametrize("lr_lives_on_the_server", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("name", "state", "kwargs"), RUNS)
def test_many_steps(name, state, kwargs, maximize, lr_lives_on_the_server):
    rng = np.random.default_rng(0)
    engine = Engine()
    want = [np.array(rng.standard_normal(s)) for s in SHAPES]
    params = [engine.wrap(a.copy(), requires_grad=True) for a in want]
    kept = [tuple(engine.wrap(start(on, a)) for a in want) if on else () for on in state]
    steps = engine.wrap(np.zeros(len(want), np.int64))
    memory, counts = [{} for _ in want], [0] * len(want)
    given = {k: v for k, v in kwargs.items() if k not in ("amsgrad", "centered")}
    if lr_lives_on_the_server:
        given["lr"] = engine.wrap(np.array(given["lr"]))
    for turn in range(20):
        for i, p in enumerate(params):
            if (i == 3 and turn < 5) or (i == 2 and turn % 3 == 0):
                p.grad = None
                continue
            g = np.array(rng.standard_normal(SHAPES[i]))
            p.grad = engine.wrap(g.copy())
            counts[i] += 1
            want[i] = RULES[name](want[i], -g if maximize else g, memory[i], counts[i], **kwargs)
        update(engine, name, params, kept, steps, maximize=maximize, **given)
    assert steps.array.tolist() == counts
    for p, w in zip(params, want, strict=True):
        np.testing.assert_allclose(p.array, w, rtol=1e-9)


@pytest.mark.parametrize(("name", "state", "kwargs"), RUNS)
def test_float32_stays_float32_and_counts_a_write(name, state, kwargs):
    engine = Engine()
    p = engine.wrap(np.ones((2, 3), np.float32), requires_grad=True)
    p.grad = engine.wrap(np.ones((2, 3), np.float32))
    kept = [(engine.wrap(start(on, p.array)),) if on else () for on in state]
    given = {k: v for k, v in kwargs.items() if k not in ("amsgrad", "centered")}
    update(engine, name, [p], kept, engine.wrap(np.zeros(1, np.int64)), **given)
    assert p.array.dtype == np.float32
    assert p.storage.version == 1
    assert p.grad.array.tolist() == np.ones((2, 3)).tolist()


# Without gradients nothing moves; the tables above hold the rest.
CASES = [
    case(name, (np.ones(2),), *[(np.ones(()),) if on is ONE else () for on in state], np.zeros(1, np.int64), 0.1,
         order=0, ref=lambda p, *rest: [p[0], *[x[0] for x in rest[:-2] if x], rest[-2]])
    for name, state in {name: state for name, state, _ in RUNS}.items()
]  # fmt: skip


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


@pytest.mark.parametrize("name", [n for n in CATALOG if n in RULES])
def test_state_must_fit(name):
    engine = Engine()
    p, steps = engine.wrap(np.ones(2)), engine.wrap(np.zeros(1, np.int64))
    lists = [q.name in NUMBERS for q in CATALOG[name].params if q.is_list][1:]
    fits = engine.wrap(np.ones(()))
    for state, count in (((p, p), steps), ((engine.wrap(np.ones(3)),), steps), ((p,), engine.wrap(np.zeros(2)))):
        with pytest.raises(RuntimeError, match="must be"):
            update(engine, name, [p], [(fits,) if number else state for number in lists], count, lr=0.1)
    for i in (i for i, number in enumerate(lists) if number):
        with pytest.raises(RuntimeError, match="as many as params, and without dimensions"):
            update(engine, name, [p], [(p,) if i == j else (fits,) if n else (p,) for j, n in enumerate(lists)], steps,
                   lr=0.1)  # fmt: skip
