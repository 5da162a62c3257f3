"""Schedules that go down and up: cosines, triangles, and one cycle for a whole training."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

from gradwire.optim.lr_scheduler.base import Schedule, check_optimizer, each_group, rates, set_rate
from gradwire.optim.optimizer import Optimizer


def _cosine(start: Any, end: Any, part: float) -> Any:
    """From one value to another along half a cosine."""
    return end + (start - end) * ((1 + math.cos(math.pi * part)) / 2)


def _linear(start: Any, end: Any, part: float) -> Any:
    return start + (end - start) * part


class CosineAnnealingLR(Schedule):
    """The rate along half a cosine, from the initial one to ``eta_min`` in ``T_max`` epochs, and back."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        t, present = self.last_epoch, rates(self.optimizer)
        if self._is_initial:
            return present
        if self._step_count == 1 and t > 0:  # nothing to go on from
            return self._get_closed_form_lr()
        turn = math.pi / self.T_max
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom, where the ratio below is 0 / 0
            return [
                lr + (base - self.eta_min) * (1 - math.cos(turn)) / 2
                for base, lr in zip(self.base_lrs, present, strict=True)
            ]
        ratio = (1 + math.cos(turn * t)) / (1 + math.cos(turn * (t - 1)))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in present]

    def _get_closed_form_lr(self) -> list[Any]:
        return [_cosine(base, self.eta_min, self.last_epoch / self.T_max) for base in self.base_lrs]


class CosineAnnealingWarmRestarts(Schedule):
    """The rate along half a cosine again and again: in ``T_0`` epochs, then in ``T_mult`` times as many, and so on
    (arXiv:1608.03983)."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        return [_cosine(base, self.eta_min, self.T_cur / self.T_i) for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to a given one, which may be a fraction.

        Raises:
            ValueError: the epoch is negative.
        """
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        elif epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
        self.last_epoch = math.floor(epoch)
        self._set(self._called())


class _Cycle(Schedule):
    """A schedule under which the momentum goes the other way than the rate, if asked: that of SGD, or Adam's beta1."""

    cycle_momentum: bool
    use_beta1: bool

    def _start_momentum(self, base: Any, most: Any, begins: bool) -> tuple[list[Any], list[Any]]:
        """What it goes between, for each group; groups that begin get the most."""
        optimizer = self.optimizer
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.use_beta1 = "betas" in optimizer.defaults
        least = each_group("base_momentum", optimizer, base)
        largest = each_group("max_momentum", optimizer, most)
        if begins:
            for low, high, group in zip(least, largest, optimizer.param_groups, strict=True):
                group["max_momentum"], group["base_momentum"] = high, low
            self._set_momentum(largest)
        return least, largest

    def _set_momentum(self, values: list[Any]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            if self.use_beta1:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value


SCALES: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "triangular": ("cycle", lambda gamma, x: 1.0),
    "triangular2": ("cycle", lambda gamma, x: 1 / 2.0 ** (x - 1)),
    "exp_range": ("iterations", lambda gamma, x: gamma**x),
}
"""By mode: what counts, cycles or steps, and how high the peak is by then."""


class CyclicLR(_Cycle):
    """The rate up and down between two bounds, the upper of which may come down (arXiv:1506.01186).

    Args:
        base_lr, max_lr: the bounds; one, or one a group.
        step_size_up, step_size_down: steps up and down; down as many as up, if not told.
        mode: "triangular", "triangular2" (half as high every cycle), or "exp_range" (``gamma`` as high every step).
        scale_fn, scale_mode: how high, as a function of the cycle or, if "iterations", the step; ``mode`` is ignored.
        cycle_momentum: whether the momentum goes the other way, between base_momentum and max_momentum.
    """

    def __init__(self, optimizer: Optimizer, base_lr: Any, max_lr: Any, step_size_up: int = 2000,
                 step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
                 scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
                 cycle_momentum: bool = True, base_momentum: Any = 0.8, max_momentum: Any = 0.9,
                 last_epoch: int = -1):  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = each_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_rate(group, lr)
        self.max_lrs = each_group("max_lr", optimizer, max_lr)
        up, down = float(step_size_up), float(step_size_up if step_size_down is None else step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        if mode not in SCALES and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom: Any = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else SCALES[mode][0]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """How high the peak is in cycle, or step, ``x``."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)  # type: ignore[no-any-return]
        return SCALES[self.mode][1](self.gamma, x)

    def _rates(self) -> list[Any]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        up = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height = up * self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums, strict=True)
            self._set_momentum([_linear(high, low, height) for low, high in bounds])
        return [_linear(low, high, height) for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer and functions; of a callable object, its attributes."""
        f = self._scale_fn_custom
        saved = None if f is None or isinstance(f, FunctionType) else dict(vars(f))
        return {**super().state_dict(), "_scale_fn_custom": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; a function stays."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None:
            vars(self._scale_fn_custom).update(state_dict["_scale_fn_custom"])


def _phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
    """Where a part of a cycle ends, and between which of the group's options it goes."""
    return {"end_step": end, "start_lr": lr[0], "end_lr": lr[1], "start_momentum": f"{momentum[0]}_momentum",
            "end_momentum": f"{momentum[1]}_momentum"}  # fmt: skip


class OneCycleLR(_Cycle):
    """One cycle for a whole training: up from max_lr / div_factor, and down to ``final_div_factor`` times less than
    that (arXiv:1708.07120).

    Args:
        max_lr: the largest rate; one, or one a group.
        total_steps: how many steps there are; or ``epochs`` times ``steps_per_epoch``.
        pct_start: the part of them that goes up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum goes the other way, between base_momentum and max_momentum.
        three_phase: come down as fast as up, then down to the least.

    Raises:
        ValueError: an option is wrong, or there were more steps than told.
    """

    def __init__(self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None, epochs: int | None = None,
                 steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
                 cycle_momentum: bool = True, base_momentum: Any = 0.85, max_momentum: Any = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1):  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if total_steps is not None:
            counts = {"total_steps": total_steps}
        elif epochs is not None and steps_per_epoch is not None:
            counts = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
        else:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        for name, count in counts.items():
            if not isinstance(count, int) or count <= 0:
                raise ValueError(f"Expected positive integer {name}, but got {count}")
        self.total_steps = total = math.prod(counts.values())
        up, down = ("initial_lr", "max_lr"), ("max", "base")
        if three_phase:
            self._schedule_phases = [
                _phase(float(pct_start * total) - 1, up, down),
                _phase(float(2 * pct_start * total) - 2, up[::-1], down[::-1]),
                _phase(total - 1, ("initial_lr", "min_lr"), ("max", "max")),
            ]
        else:
            self._schedule_phases = [
                _phase(float(pct_start * total) - 1, up, down),
                _phase(total - 1, ("max_lr", "min_lr"), down[::-1]),
            ]
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        if last_epoch == -1:
            for most, group in zip(each_group("max_lr", optimizer, max_lr), optimizer.param_groups, strict=True):
                group["initial_lr"], group["max_lr"] = most / div_factor, most
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"Tried to step {t} times. The specified number of total steps is {self.total_steps}")
        phases = self._schedule_phases
        i = next((i for i, phase in enumerate(phases) if t <= phase["end_step"]), len(phases) - 1)
        phase, start = phases[i], phases[i - 1]["end_step"] if i else 0.0
        part = (t - start) / (phase["end_step"] - start)
        anneal = _cosine if self._anneal_func_type == "cos" else _linear
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            self._set_momentum([anneal(g[phase["start_momentum"]], g[phase["end_momentum"]], part) for g in groups])
        return [anneal(g[phase["start_lr"]], g[phase["end_lr"]], part) for g in groups]
