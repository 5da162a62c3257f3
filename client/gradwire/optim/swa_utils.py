"""``torch.optim.swa_utils``: models whose parameters are averages over a training (arXiv:1803.05407)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.nn.module import Module
from gradwire.optim.lr_scheduler.base import Schedule, each_group
from gradwire.optim.optimizer import Optimizer
from gradwire_proto import dtypes

Average = Callable[[Any, Any, Any], Any]
"""Of the average, the new value, and how many the average is of."""


def _check_decay(decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An exponential average: ``decay`` of it stays."""
    _check_decay(decay)
    return no_grad()(lambda average, new, count: decay * average + (1 - decay) * new)  # type: ignore[no-any-return]


def get_swa_avg_fn() -> Average:
    """The mean of all."""
    return no_grad()(lambda average, new, count: average + (new - average) / (count + 1))  # type: ignore[no-any-return]


def _each(f: Average) -> Callable[[Sequence[Any], Sequence[Any], Any], None]:
    """The same for lists of tensors, in place."""

    @no_grad()
    def update(averages: Sequence[Any], new: Sequence[Any], count: Any) -> None:
        for a, b in zip(averages, new, strict=True):
            a.copy_(f(a, b, count))

    return update  # type: ignore[no-any-return]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Sequence[Any], Sequence[Any], Any], None]:
    """An exponential average of lists of tensors, in place."""
    return _each(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[Sequence[Any], Sequence[Any], Any], None]:
    """The mean of all lists of tensors, in place."""
    return _each(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's at each :meth:`update_parameters`.

    Only the first update waits, to see whether there is an average yet.

    Args:
        avg_fn: the average of a parameter; the mean of all, if not told.
        multi_avg_fn: of all parameters at once, in place.
        use_buffers: average buffers, too, which otherwise are the model's latest.

    >>> import gradwire as torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> averaged = torch.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item()
    3.0
    """

    n_averaged: Any

    def __init__(self, model: Module, device: Any = None, avg_fn: Average | None = None,
                 multi_avg_fn: Callable[..., None] | None = None, use_buffers: bool = False):  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", ops.full((), 0, dtype=dtypes.int64))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers
        self._begun = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._begun = False
        super()._load_from_state_dict(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's present parameters into the averages."""
        mine: list[Any] = list(self.module.parameters())
        new: list[Any] = list(model.parameters())
        kept, latest = list(self.module.buffers()), list(model.buffers())
        if self.use_buffers:
            mine, new = mine + kept, new + latest
            kept, latest = [], []
        mine, new = [p.detach() for p in mine], [p.detach() for p in new]
        if not self._begun and not self.n_averaged:
            kept, latest = mine + kept, new + latest
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(mine, new, self.n_averaged)
        else:
            _each(self.avg_fn or get_swa_avg_fn())(mine, new, self.n_averaged)
        for a, b in zip(kept, latest, strict=True):
            a.detach().copy_(b)
        self.n_averaged += 1
        self._begun = True


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute running statistics of batch norms anew, as means over the batches of ``loader``.

    Args:
        loader: inputs, or tuples and lists that start with them.
    """
    from gradwire.nn.norm import _BatchNorm

    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for m in momenta:
        m.reset_running_stats()
        m.momentum = None
    for batch in loader:
        input = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(input if device is None else input.to(device))
    for m, momentum in momenta.items():
        m.momentum = momentum
    model.train(was_training)


ANNEALED: dict[str, Callable[[float], float]] = {
    "cos": lambda t: (1 - math.cos(math.pi * t)) / 2,
    "linear": lambda t: t,
}


class SWALR(Schedule):
    """The rate from where it is to ``swa_lr`` in ``anneal_epochs``, where it stays."""

    def __init__(self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos",
                 last_epoch: int = -1):  # fmt: skip
        for lr, group in zip(each_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ANNEALED:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        return ANNEALED[self._anneal_strategy](max(0, min(1, step / max(1, self.anneal_epochs))))

    def _rates(self) -> list[Any]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        made = []
        for group in self.optimizer.param_groups:
            swa = group["swa_lr"]
            first = swa if before == 1 else (group["lr"] - before * swa) / (1 - before)
            made.append(swa * now + first * (1 - now))
        return made


__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]
