"""LBFGS, which asks for the loss several times a step. It decides by numbers, so it waits for them: what one decision
needs is read at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gradwire.autograd.grad_mode import enable_grad, no_grad
from gradwire.dispatch import ops
from gradwire.optim.optimizer import Optimizer, Params, check, plain_rate
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


class Point(NamedTuple):
    """A point of the line that is searched."""

    t: float
    loss: float
    slope: float
    gradient: Any


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.5).

    Args:
        params: one group, whose gradients are taken as one long vector.
        max_iter: iterations a step.
        max_eval: evaluations a step; None for 1.25 times ``max_iter``.
        tolerance_grad: the largest gradient at which to stop.
        tolerance_change: the change of loss or parameters at which to stop.
        history_size: how many earlier steps shape the next.
        line_search_fn: "strong_wolfe", or None for steps of ``lr``.

    >>> import gradwire as torch
    >>> w = torch.tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = torch.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - torch.tensor([1.0, 2.0])) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure)
    tensor(40., grad_fn=<SumBackward0>)
    >>> w.tolist()
    [1.0, 2.0]
    """

    def __init__(self, params: Params, lr: float | Tensor = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None):  # fmt: skip
        check(lr)
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterate until a bound is met; ``closure`` clears the gradients, computes loss and gradients, and returns the
        loss. The first loss is given back."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        group = plain_rate(self.param_groups[0])
        lr = float(group["lr"])
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        gradient = self._gradient()
        loss, steepest, total = _read(first, gradient.abs().max(), gradient.abs().sum())
        state["func_evals"] += 1
        evaluations = iteration = 1
        while steepest > group["tolerance_grad"] and iteration <= group["max_iter"]:
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            state["prev_flat_grad"], before = gradient, loss
            t = min(1.0, 1.0 / total) * lr if state["n_iter"] == 1 else lr
            state.update(d=direction, t=t, prev_loss=before)
            slope, longest = _read(gradient.dot(direction), direction.abs().max())
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [p.clone() for p in group["params"]]
                line = _Line(self, closure, start, direction)
                found = line.search(t, Point(0, loss, slope, gradient), longest, group["tolerance_change"],
                                    group["max_eval"] - evaluations)  # fmt: skip
                loss, gradient, t, used = found.loss, found.gradient, found.t, line.evaluations
                self._move(t, direction)
                (steepest,) = _read(gradient.abs().max())
            else:
                self._move(t, direction)
                if iteration != group["max_iter"]:  # after the last move nobody asks where it led
                    with enable_grad():
                        now = closure()
                    gradient, used = self._gradient(), 1
                    loss, steepest = _read(now, gradient.abs().max())
            state["t"] = t
            state["func_evals"] += used
            evaluations += used
            iteration += 1
            if evaluations >= group["max_eval"] or longest * abs(t) <= group["tolerance_change"]:
                break
            if abs(loss - before) < group["tolerance_change"]:
                break
        return first

    def _direction(self, state: dict[str, Any], gradient: Any, size: int) -> Any:
        """Where to go: the gradient times the inverse Hessian as the history tells it, by two loops over that."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -gradient
        y = gradient - state["prev_flat_grad"]
        s = state["d"] * state["t"]
        ys = y.dot(s)
        if _read(ys)[0] > 1e-10:
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1 / ys)):
                state[name] = [*state[name], value][-size:]
            state["H_diag"] = ys / y.dot(y)
        memory = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
        q, shares = -gradient, []
        for y, s, ro in reversed(memory):
            shares.append(s.dot(q) * ro)
            q = q - shares[-1] * y
        r = q * state["H_diag"]
        for (y, s, ro), share in zip(memory, reversed(shares), strict=True):
            r = r + (share - y.dot(r) * ro) * s
        return r

    def _gradient(self) -> Any:
        """All gradients behind one another, complex ones as pairs."""
        made = []
        for p in self.param_groups[0]["params"]:
            g = ops.new_full(p, tuple(p.shape), 0) if p.grad is None else p.grad
            made.append((ops.view_as_real(g) if g.is_complex() else g).reshape(-1))
        return ops.cat(tuple(made))

    def _move(self, t: float, direction: Any) -> None:
        at = 0
        for p in self.param_groups[0]["params"]:
            part = ops.view_as_real(p) if p.is_complex() else p
            part.add_(direction[at : at + part.numel()].view(part.shape), alpha=t)
            at += part.numel()


class _Line:
    """What the loss is along a direction."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any], start: list[Tensor], direction: Any):
        self.optimizer, self.closure, self.start, self.direction = optimizer, closure, start, direction
        self.evaluations = 0

    def at(self, t: float) -> Point:
        """The loss and its slope there; the parameters are put back."""
        self.optimizer._move(t, self.direction)
        with enable_grad():
            loss = self.closure()
        gradient = self.optimizer._gradient()
        for p, value in zip(self.optimizer.param_groups[0]["params"], self.start, strict=True):
            p.copy_(value)
        self.evaluations += 1
        return Point(t, *_read(loss, gradient.dot(self.direction)), gradient)

    def search(self, t: float, start: Point, longest: float, tolerance: float, most: int, c1: float = 1e-4,
               c2: float = 0.9) -> Point:  # fmt: skip
        """A point that satisfies the strong Wolfe conditions, or the best after so many evaluations.

        Args:
            longest: the largest number of the direction.
        """

        def high(p: Point) -> bool:
            return p.loss > start.loss + c1 * p.t * start.slope

        def flat(p: Point) -> bool:
            return abs(p.slope) <= -c2 * start.slope

        before, now, turns = start, self.at(t), 0
        while turns < most and not (high(now) or (turns > 1 and now.loss >= before.loss)):
            if flat(now):
                return now
            if now.slope >= 0:
                break
            t = _lowest(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10)
            before, now = now, self.at(t)
            turns += 1
        else:
            if turns == most:
                before = start
        low, other = (before, now) if before.loss <= now.loss else (now, before)
        stuck = False
        while turns < most and abs(other.t - low.t) * longest >= tolerance:
            least, largest = sorted((low.t, other.t))
            t = _lowest(low, other, least, largest)
            margin = 0.1 * (largest - least)
            near = min(largest - t, t - least) < margin
            if near and (stuck or t >= largest or t <= least):
                t = largest - margin if abs(t - largest) < abs(t - least) else least + margin
                near = False
            stuck = near
            new = self.at(t)
            turns += 1
            if high(new) or new.loss >= low.loss:
                low, other = (low, new) if low.loss <= new.loss else (new, low)
                continue
            if flat(new):
                return new
            low, other = new, low if new.slope * (other.t - low.t) >= 0 else other
        return low


def _lowest(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic through two points with these slopes is lowest, within bounds."""
    if a.t > b.t:
        a, b = b, a
    d = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d * d - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    root = math.sqrt(square)
    below = b.slope - a.slope + 2 * root
    if not below:
        return (least + most) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + root - d) / below), least), most)


def _read(*values: Any) -> list[float]:
    """Numbers, of which those on the server are read at once."""
    there = [v.detach().to(dtypes.float64).reshape(()) for v in values if isinstance(v, Tensor)]  # type: ignore[attr-defined]
    read = iter(ops.stack(tuple(there)).tolist() if there else ())
    return [next(read) if isinstance(v, Tensor) else float(v) for v in values]


__all__ = ["LBFGS"]
