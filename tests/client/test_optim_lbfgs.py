"""LBFGS on functions whose minimum is known, and what it counts."""

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim.lbfgs import Point, _lowest


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def valley(x):
    return (x**4).sum() + (x[0] - 2 * x[1]) ** 2


def minimize(f, params, turns, **options):
    """The losses before each step, how often ``f`` was asked, and the optimizer."""
    optimizer = optim.LBFGS(params, **options)
    asked = []

    def closure():
        optimizer.zero_grad()
        loss = f(torch.cat([torch.view_as_real(p).reshape(-1) if p.is_complex() else p.reshape(-1) for p in params]))
        loss.backward()
        asked.append(loss)
        return loss

    return [optimizer.step(closure).item() for _ in range(turns)], len(asked), optimizer


def double(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_the_valley_of_rosenbrock():
    params = [double([[0.2, 1.0], [0.5, 0.3]]), double([0.7])]
    losses, asked, optimizer = minimize(rosenbrock, params, 6, line_search_fn="strong_wolfe", tolerance_change=1e-15)
    assert losses == sorted(losses, reverse=True)
    for p in params:
        np.testing.assert_allclose(p.detach().numpy(), 1, atol=1e-7)
    state = optimizer.state_dict()["state"][0]
    assert state["func_evals"] == asked
    assert len(state["old_dirs"]) == len(state["old_stps"]) == len(state["ro"]) <= state["n_iter"]


def test_complex_parameters_are_pairs():
    p = torch.tensor([-1.2 + 1j, 0.5 + 0.3j], dtype=torch.complex128, requires_grad=True)
    q = double([-1.2, 1.0, 0.5, 0.3])
    for params in ([p], [q]):
        minimize(rosenbrock, params, 3, line_search_fn="strong_wolfe")
    np.testing.assert_array_equal(torch.view_as_real(p.detach()).numpy().reshape(-1), q.detach().numpy())


def test_without_a_search_steps_are_as_long_as_the_rate_says():
    """The first is the gradient's, made no longer than one in the sum of its parts."""
    p = double([3.0, -1.0])
    minimize(lambda x: (x * x).sum(), [p], 1, lr=0.5, max_iter=1)
    np.testing.assert_allclose(p.detach().numpy(), [3 - 0.5 * 6 / 8, -1 + 0.5 * 2 / 8])
    _, asked, optimizer = minimize(valley, [double([2.0, 1.5])], 4, lr=0.5, max_iter=5, history_size=2)
    assert asked == 4 * 5  # not after a step's last move
    assert len(optimizer.state_dict()["state"][0]["old_dirs"]) == 2


def test_bounds():
    _, asked, _ = minimize(valley, [double([2.0, 1.5])], 1, max_eval=3, line_search_fn="strong_wolfe")
    assert asked == 3
    p = double([0.0, 0.0])
    _, asked, optimizer = minimize(valley, [p], 1)  # there is nowhere to go
    assert asked == 1
    assert optimizer.state_dict()["state"][0]["n_iter"] == 0


def test_saved_and_loaded_it_goes_on_where_it_was():
    a = double([2.0, 1.5])
    _, _, optimizer = minimize(valley, [a], 2, max_iter=3)
    b = a.detach().clone().requires_grad_()
    other = optim.LBFGS([b])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["max_iter"] == 3
    for p, o in ((a, optimizer), (b, other)):

        def closure(p=p, o=o):
            o.zero_grad()
            loss = valley(p)
            loss.backward()
            return loss

        o.step(closure)
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_lowest_point_of_a_cubic():
    f, slope = lambda t: t**3 - 3 * t, lambda t: 3 * t * t - 3
    a, b = (Point(t, f(t), slope(t), None) for t in (-0.5, 3.0))
    assert _lowest(a, b, -0.5, 3) == _lowest(b, a, -0.5, 3) == pytest.approx(1)
    assert _lowest(a, b, 1.5, 3) == 1.5
    falling = Point(0.0, 0.0, -1.0, None), Point(1.0, -2.0, -1.0, None)
    assert _lowest(*falling, 0, 1) == 1
    straight = Point(0.0, 0.0, -1.0, None), Point(1.0, -1.0, -1.0, None)
    assert _lowest(*straight, 0, 1) == 0.5


def test_errors():
    p = double([1.0])
    with pytest.raises(ValueError, match=r"^LBFGS doesn't support per-parameter options \(parameter groups\)$"):
        optim.LBFGS([{"params": [p]}, {"params": [double([1.0])]}])
    with pytest.raises(ValueError, match=r"^Invalid learning rate: -1$"):
        optim.LBFGS([p], lr=-1)
    with pytest.raises(RuntimeError, match=r"^only 'strong_wolfe' is supported$"):
        minimize(lambda x: (x * x).sum(), [p], 1, line_search_fn="golden")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'closure'"):
        optim.LBFGS([p]).step()


def test_a_program_would_have_to_wait():
    f = torch.compile(lambda x: minimize(lambda y: (y * x).square().sum(), [double([1.0])], 1))
    with pytest.raises(RuntimeError, match=r"gradwire\.compile: .* reads"):
        f(torch.tensor(2.0))
