"""Adafactor and Muon against NumPy, and that their steps wait for nothing."""

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim.composed import _orthogonal


def rms(a):
    return np.sqrt(np.mean(a * a))


def adafactor(p, g, s, t, lr, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
    eps1 = 2.0**-52 if eps[0] is None else eps[0]
    beta = 1 - t**beta2_decay
    rate = max(eps[1], rms(p)) * min(lr, 1 / np.sqrt(t))
    p = p * (1 - lr * weight_decay)
    if p.ndim < 2:
        square = s["v"] = beta * s.get("v", 0) + (1 - beta) * g * g
    else:
        s["r"] = beta * s.get("r", 0) + (1 - beta) * np.mean(g * g, -1, keepdims=True)
        s["c"] = beta * s.get("c", 0) + (1 - beta) * np.mean(g * g, -2, keepdims=True)
        square = s["r"] * s["c"] / np.maximum(np.mean(s["r"], -2, keepdims=True), eps1)
    update = g / np.maximum(np.sqrt(square), eps1)
    return p - rate / max(1, rms(update) / d) * update


OPTIONS = [
    {"lr": 0.05},
    {"lr": 0.3, "beta2_decay": -0.3, "eps": (0.5, 0.7), "d": 2.0, "weight_decay": 0.1},
]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_adafactor(options, maximize):
    rng = np.random.default_rng(0)
    want = [np.array(rng.standard_normal(s)) for s in ((3, 4), (), (5,), (2, 3, 2))]
    params = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in want]
    optimizer = optim.Adafactor(params, maximize=maximize, **options)
    memory, counts = [{} for _ in want], [0] * len(want)
    for turn in range(12):
        for i, p in enumerate(params):
            p.grad = None
            if (i == 2 and turn < 5) or (i == 0 and turn % 3 == 1):
                continue
            g = np.array(rng.standard_normal(want[i].shape))
            p.grad = torch.tensor(g, dtype=torch.float64)
            counts[i] += 1
            want[i] = adafactor(want[i], -g if maximize else g, memory[i], counts[i], **options)
        optimizer.step()
    for p, w in zip(params, want, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-9)
    assert [int(optimizer.state[p]["step"].item()) for p in params] == counts
    assert sorted(optimizer.state_dict()["state"][0]) == ["col_var", "row_var", "step"]
    assert tuple(optimizer.state[params[3]]["col_var"].shape) == (2, 1, 2)


@pytest.mark.parametrize("shape", [(3, 4), (20, 7)])
def test_steps_of_muon_are_about_orthogonal(shape):
    g = np.random.default_rng(0).standard_normal(shape)
    group = {"ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7, "ns_steps": 5}
    got = _orthogonal(torch.tensor(g), group).float().numpy()
    u, values, v = np.linalg.svd(g, full_matrices=False)
    values /= np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    np.testing.assert_allclose(got, u * values @ v, atol=0.04)  # bfloat16
    assert ((values > 0.5) & (values < 1.5)).all()


@pytest.mark.parametrize(
    ("options", "factor"),
    [({}, 1.5**0.5), ({"nesterov": False}, 1.5**0.5), ({"adjust_lr_fn": "match_rms_adamw"}, 0.2 * 3**0.5)],
)
def test_muon(options, factor):
    start = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    p = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = optim.Muon([p], lr=0.1, weight_decay=0.5, **options)
    grads = [np.array([[1.0, 0], [0, 1], [0, 0]]), np.array([[0.0, 2], [2, 0], [0, 0]])]
    buffer = np.zeros_like(start)
    for g in grads:
        buffer = 0.95 * buffer + 0.05 * g
        step = 0.05 * g + 0.95 * buffer if options.get("nesterov", True) else buffer
        p.grad = torch.tensor(g, dtype=torch.float64)
        direction = _orthogonal(
            torch.tensor(step), {"ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7, "ns_steps": 5}
        )
        start = start * (1 - 0.1 * 0.5) - 0.1 * factor * direction.float().numpy()
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), start, atol=2e-3)
    np.testing.assert_allclose(optimizer.state[p]["momentum_buffer"].numpy(), buffer)


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_nothing_is_read_and_programs_do_the_same(name, monkeypatch):
    results = []
    for compiled in (False, True):
        p = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
        optimizer = getattr(optim, name)([p], lr=torch.tensor([0.1]))

        def step(x, p=p, optimizer=optimizer):
            optimizer.zero_grad()
            (p * x).square().sum().backward()
            optimizer.step()

        run = torch.compile(step) if compiled else step
        with monkeypatch.context() as m:
            m.setattr(torch.Tensor, "_values", lambda t: pytest.fail("a value was read"))
            for i in range(4):
                run(torch.tensor([1.0, i / 2]))
        results.append(p.detach().numpy())
        if compiled:
            assert run.plan().programs[0].runs == 3
    np.testing.assert_array_equal(*results)


P = "torch.tensor([[1.0, 2.0]], requires_grad=True)"


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (f"optim.Adafactor([{P}], lr=-1)", ValueError, "Learning rate should be >= 0 but is: -1"),
        (f"optim.Adafactor([{P}], lr={P})", ValueError, "Tensor lr must be 1-element"),
        (f"optim.Adafactor([{P}], beta2_decay=1)", ValueError, "beta2_decay should be <= 0 but is: 1"),
        (f"optim.Adafactor([{P}], eps=(-1, 0))", ValueError, "epsilon1 should be >= 0 but is: -1"),
        (f"optim.Adafactor([{P}], eps=(None, -1))", ValueError, "epsilon2 should be >= 0 but is: -1"),
        (f"optim.Adafactor([{P}], d=0.5)", ValueError, "Clipping threshold d should be >= 1 but is: 0.5"),
        (f"optim.Adafactor([{P}], weight_decay=-1)", ValueError, "weight_decay should be >= 0 but is: -1"),
        (f"optim.Muon([{P}], momentum=-1)", ValueError, "momentum should be >= 0 but is: -1"),
        (f"optim.Muon([{P}], adjust_lr_fn='x')", ValueError, "Adjust learning rate function x is not supported"),
        (f"optim.Muon([{P}[0].detach()])", ValueError,
         "Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([2])"),
        (f"stepped(optim.Muon, {P}, ns_steps=100)", ValueError,
         "Number of steps must be less than 100 for computational efficiency"),
        (f"stepped(optim.Muon, {P}, ns_coefficients=(1, 2))", ValueError,
         "Coefficients must be a tuple of exactly 3 values"),
        ("stepped(optim.Adafactor, torch.tensor([1j], requires_grad=True))", RuntimeError,
         "Adafactor does not support complex parameters"),
    ],
)  # fmt: skip
def test_errors(source, error, text):
    def stepped(make, p, **options):
        p.grad = torch.ones_like(p)
        make([p], **options).step()

    with pytest.raises(error) as e:
        eval(source, globals(), {"stepped": stepped})
    assert str(e.value) == text
