"""Optimizers whose step is one instruction a group: the server holds the state and counts the steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.capture.record import paused
from gradwire.dispatch import ops
from gradwire.optim.optimizer import Optimizer, Params, evaluated, plain_rate
from gradwire.tensor import Tensor
from gradwire.types import default_dtype
from gradwire_proto import dtypes

Group = dict[str, Any]
State = dict[str, list[Tensor]]


class Fused(Optimizer):
    """A subclass names its buffers and sends its update."""

    counts = True
    """Whether torch has ``step`` in the state."""
    numbers: tuple[str, ...] = ()
    """Buffers that are one number a parameter."""

    def __init__(self, params: Params, defaults: dict[str, Any]):
        super().__init__(params, defaults)
        if defaults.get("fused"):
            if defaults["differentiable"]:
                raise RuntimeError("`fused` does not support `differentiable`")
            if defaults["foreach"]:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        if defaults.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}(differentiable=True): a step is one op on the server, which has no derivative; "
                "write the update with ops of your own, from autograd.grad(..., create_graph=True)"
            )

    def _buffers(self, group: Group) -> list[tuple[str, float]]:
        """Names of the buffers that a parameter of this group has, and what they start from."""
        raise NotImplementedError

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        """Send the update of a group: each buffer's tensors by its name, none for a buffer that the group lacks."""
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; ``closure`` computes the loss anew and is given back."""
        loss = evaluated(closure)
        with no_grad():
            for i, group in enumerate(self.param_groups):
                params = group["params"]
                names = self._buffers(group)
                with paused():  # once, not each time
                    self._fill(i, params, names)
                state: State = defaultdict(list)
                for name, _ in names:
                    state[name] = [self.state[p][name] for p in params]
                self._update(params, state, self._steps[i], plain_rate(group))
        return loss

    def _fill(self, i: int, params: list[Tensor], names: list[tuple[str, float]]) -> None:
        """Make the state that a group's parameters don't have yet."""
        if i not in self._steps:
            self._steps[i] = ops.new_full(params[0], (len(params),), 0, dtype=dtypes.int64)
            if self.counts:
                for j, p in enumerate(params):
                    self.state[p]["step"] = ops.select(self._steps[i], 0, j)
        for name, value in names:
            for p in params:
                if name not in self.state[p]:
                    self.state[p][name] = _number(p, value) if name in self.numbers else _filled(p, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over state; the counts of a group become one tensor again."""
        super().__setstate__(state)
        self._steps = {}
        with no_grad():
            for i, group in enumerate(self.param_groups):
                params = group["params"]
                entries = [self.state.get(p, {}) for p in params]
                if not any(entries):
                    continue
                # Without a count of its own, a buffer that was saved has seen a step.
                counts = [int(e.pop("step", 1 if e else 0)) for e in entries]
                for p, e in zip(params, entries, strict=True):
                    for name, v in list(e.items()):
                        if v is None:
                            del e[name]
                        elif not isinstance(v, Tensor):
                            e[name] = _number(p, float(v))
                self._fill(i, params, [])
                for j, count in enumerate(counts):
                    ops.select(self._steps[i], 0, j).fill_(count)


def _filled(p: Tensor, value: float) -> Tensor:
    """As many numbers as a parameter has; of a complex one, both parts."""
    return ops.new_full(p, tuple(p.shape), complex(value, value) if p.is_complex() and value else value)  # type: ignore[no-any-return]


def _number(p: Tensor, value: float) -> Tensor:
    """One number, in torch's type for those that optimizers keep."""
    dtype = dtypes.float64 if default_dtype() is dtypes.float64 else dtypes.float32
    return ops.new_full(p, (), value, dtype=dtype)  # type: ignore[no-any-return]
