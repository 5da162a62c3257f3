"""Parameters and buffers: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.functions.creation import empty
from gradwire.memory import moved
from gradwire.tensor import Tensor


class Parameter(Tensor):
    """A leaf on the same memory as ``data``, which a module registers when it is assigned to it.

    Args:
        data: a tensor; an empty one by default.
        requires_grad: whether ops on it are recorded.

    >>> import gradwire as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        moved(ops.detach(empty(0) if data is None else data), self)
        self._base = None  # it may be written to without a look at what it was made from
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        made = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)  # type: ignore[attr-defined]
        vars(made).update(vars(self))
        return made


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when assigned to it.

    Args:
        data: a tensor; an empty one by default.
        persistent: whether it is part of the module's ``state_dict``.
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True):
        moved(ops.detach(empty(0) if data is None else data), self)
        self._base = None
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        made = memo[id(self)] = Buffer(self.detach().clone(), persistent=self.persistent)  # type: ignore[attr-defined]
        return made


def copy_values(target: Tensor, source: Tensor) -> None:
    """Write the values of one tensor to another, unrecorded."""
    with no_grad():
        target.copy_(source)  # type: ignore[attr-defined]


__all__ = ["Buffer", "Parameter", "copy_values"]
