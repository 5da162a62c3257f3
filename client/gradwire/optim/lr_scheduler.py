"""``torch.optim.lr_scheduler``: learning rates that change with the epochs.

A schedule computes the next rate from the present one, so that several can be used on one optimizer. A rate that is a
tensor is written to, so that a captured program sees it.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.optim.optimizer import Optimizer
from gradwire.tensor import Tensor

RESUMED = (
    "param 'initial_lr' is not specified in param_groups[{}] when resuming scheduler with last_epoch >= 0.\n"
    "This typically happens when:\n"
    "1. You're trying to resume training from a checkpoint but haven't properly loaded the optimizer state\n"
    "2. You're using last_epoch >= 0 for a fresh training run (not recommended)"
)


class LRScheduler:
    """A schedule. A subclass says in :meth:`get_lr` what the rates of the groups are in epoch ``last_epoch``."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, Tensor) else lr)  # type: ignore[attr-defined]
            elif "initial_lr" not in group:
                raise KeyError(RESUMED.format(i))
        self.base_lrs: list[Any] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[Any] = []
        self.step()

    def get_lr(self) -> list[Any]:
        """The rates of this epoch."""
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        with no_grad():
            _set(self.optimizer, self.get_lr())
        self._last_lr = self._present()

    def _present(self) -> list[Any]:
        return [g["lr"] for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer and functions."""
        return {k: v for k, v in vars(self).items() if k != "optimizer" and not _has_functions(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        vars(self).update(state_dict)


def _set(optimizer: Optimizer, rates: Iterable[Any]) -> None:
    for group, lr in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)  # type: ignore[attr-defined]
        else:
            group["lr"] = lr


def _has_functions(v: Any) -> bool:
    return callable(v) or (isinstance(v, list) and any(map(callable, v)))


class LambdaLR(LRScheduler):
    """The initial rate times a function of the epoch; one function, or one a group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
                 last_epoch: int = -1):  # fmt: skip
        if isinstance(lr_lambda, (list, tuple)):
            if len(lr_lambda) != len(optimizer.param_groups):
                raise ValueError(f"Expected {len(optimizer.param_groups)} lr_lambdas, but got {len(lr_lambda)}")
            self.lr_lambdas = list(lr_lambda)
        else:
            self.lr_lambdas = [lr_lambda] * len(optimizer.param_groups)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        due = self.last_epoch and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if due else lr for lr in self._present()]


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the milestones."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        times = bisect_right(self.milestones, self.last_epoch) - bisect_right(self.milestones, self.last_epoch - 1)
        return [lr * self.gamma**times if times else lr for lr in self._present()]


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        return [lr * self.gamma if self.last_epoch else lr for lr in self._present()]


class LinearLR(LRScheduler):
    """The initial rate times a factor that goes linearly from one value to another, and stays there."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1):  # fmt: skip
        if not 0 < start_factor <= 1:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(1.0, epoch / self.total_iters)

    def get_lr(self) -> list[Any]:
        if not self.last_epoch:
            return [lr * self.start_factor for lr in self._present()]
        return [lr * (self._factor(self.last_epoch) / self._factor(self.last_epoch - 1)) for lr in self._present()]


class CosineAnnealingLR(LRScheduler):
    """The rate along half a cosine, from the initial one to ``eta_min`` in ``T_max`` epochs, and back."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        t, rates = self.last_epoch, self._present()
        if not t:
            return rates
        turn = math.pi / self.T_max
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom, where the ratio below is 0 / 0
            return [
                lr + (base - self.eta_min) * (1 - math.cos(turn)) / 2
                for base, lr in zip(self.base_lrs, rates, strict=True)
            ]
        ratio = (1 + math.cos(turn * t)) / (1 + math.cos(turn * (t - 1)))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in rates]


class SequentialLR(LRScheduler):
    """Schedules one after the other, each from its milestone on."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1):  # fmt: skip
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got number of schedulers {len(schedulers)} and the number of milestones to be "
                f"equal to {len(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        self.optimizer, self.last_epoch = optimizer, last_epoch + 1
        self._restart()
        for s in self.schedulers:
            s.last_epoch -= 1
        self.schedulers[0].step()
        self._last_lr = self.schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        if epoch is not None:
            warnings.warn("The epoch parameter of `scheduler.step()` is deprecated.", stacklevel=2)
        self.last_epoch += 1
        i = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[i]
        starts = i > 0 and self.milestones[i - 1] == self.last_epoch
        if starts:
            self._restart()
        scheduler.step(0 if starts else None)
        self._last_lr = scheduler.get_last_lr()

    def _restart(self) -> None:
        with no_grad():
            _set(self.optimizer, [g["initial_lr"] for g in self.optimizer.param_groups])

    def state_dict(self) -> dict[str, Any]:
        made = {k: v for k, v in vars(self).items() if k not in ("optimizer", "schedulers")}
        return {**made, "_schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        for s, saved in zip(self.schedulers, rest.pop("_schedulers"), strict=True):
            s.load_state_dict(saved)
        vars(self).update(rest)


__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "SequentialLR",
    "StepLR",
]
