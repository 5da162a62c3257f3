"""Parameters and buffers: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.functions.creation import empty
from gradwire.tensor import Tensor

_SLOTS = [s for s in Tensor.__slots__ if s not in ("__weakref__", "_hooks", "_grad", "_grad_seen")]


def become(t: Tensor, other: Tensor) -> None:
    """Have ``t`` name what ``other`` does, as ``t.data = other`` in torch: the same memory, and a leaf.

    ``t`` requires grad as before; a gradient that it has does not come along.
    """
    grad = t._grad_flag
    made = other.detach()  # type: ignore[attr-defined]
    t._session.drop(t._id, t._spec.nbytes)
    _take(t, made)
    if grad and t.dtype.differentiable:
        t.requires_grad_()


def _take(t: Tensor, made: Tensor) -> None:
    """Have ``t`` be what ``made``, which nothing else refers to, is."""
    for name in _SLOTS:
        setattr(t, name, getattr(made, name))
    t._grad, t._grad_seen = None, 0
    made._session = _Gone()  # type: ignore[assignment]


class _Gone:
    """The session of a tensor whose name another took: nothing is to be dropped with it."""

    def drop(self, i: int, nbytes: int) -> None:
        pass


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
        _take(self, (empty(0) if data is None else data).detach())  # type: ignore[attr-defined]
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
        _take(self, (empty(0) if data is None else data).detach())  # type: ignore[attr-defined]
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


__all__ = ["Buffer", "Parameter", "become", "copy_values"]
