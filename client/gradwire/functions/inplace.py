"""In-place changes of shape: ``x.t_()`` and its kin have ``x`` read its memory another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire.capture import forbid
from gradwire.dispatch import check_write, mode, ops
from gradwire.export import export
from gradwire.functions.strided import as_strided
from gradwire.memory import become
from gradwire.tensor import Tensor
from gradwire_proto import refusals


def reshaped(t: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """``t``, which is now the view that ``make`` makes of it, history and all; a leaf that requires grad stays one.

    Raises:
        RuntimeError: torch's, for what may not be changed in place.
    """
    if mode.grad:
        check_write(t)
    elif t.requires_grad and t.is_leaf:
        set_data(t, make(ops.detach(t)))
        return t
    return become(t, make)


def set_data(t: Tensor, data: Tensor) -> None:
    """Give a tensor the memory, shape and type of another; its place in the graph stays as it is.

    Raises:
        RuntimeError: it requires grad, and the other holds no floating-point numbers; the other is of another session.
    """
    if t.requires_grad and not data.dtype.differentiable:
        raise RuntimeError(refusals.DATA_NOT_FLOATING)
    if t._session is not data._session:
        raise RuntimeError(f"a tensor of {t._session!r} can't have the memory of one of {data._session!r}")
    if t._is_batched or data._is_batched:
        raise RuntimeError("in a batched function, a tensor can't be given another's memory")
    forbid("gives a tensor another's memory", "write to it in place")
    with t._session.wire.lock:
        m = t._session.instruction(names=[t, data]).set_data
        m.tensor, m.data = t._id, data._id
    if t._node is not None and t._spec.shape != data._spec.shape:
        t._node.unsure = True  # its gradient fits no more
    t._spec, t._storage, t._offset = data._spec, data._storage, data._offset
    t._base, t._creation = None, ""
    if t._storage.used:
        t._session.last_write = t._session.wire.sent


def written(t: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """``t``, written over with what ``make`` makes of it, whose derivative may need what was there."""
    return ops.copy_(t, make(ops.clone(t) if mode.grad and t.requires_grad else t))


def _in_place(name: str, doc: str) -> None:
    view: Callable[..., Tensor] = getattr(ops, name)

    def f(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return reshaped(self, lambda t: view(t, *args, **kwargs))

    f.__name__ = f.__qualname__ = f"{name}_"
    f.__doc__ = doc
    export(f"Tensor.{name}_")(f)


_in_place("transpose", "Exchange two dimensions, in place.")
_in_place("swapdims", "Exchange two dimensions, in place.")
_in_place("squeeze", "Leave out dimensions of size 1, in place.")
_in_place("unsqueeze", "Put in a dimension of size 1, in place.")


@export("Tensor.swapaxes_")
def swapaxes_(self: Tensor, axis0: int, axis1: int) -> Tensor:
    """Exchange two dimensions, in place."""
    return reshaped(self, lambda t: ops.transpose(t, axis0, axis1))


@export("Tensor.t_")
def t_(self: Tensor) -> Tensor:
    """Transpose a matrix, in place."""
    if self.ndim > 2:
        raise RuntimeError(f"t_() expects a tensor with <= 2 dimensions, but self is {self.ndim}D")
    return reshaped(self, ops.t)


@export("as_strided_", "Tensor.as_strided_")
def as_strided_(input: Tensor, size: Sequence[int], stride: Sequence[int],
                storage_offset: int | None = None) -> Tensor:  # fmt: skip
    """Become a window on one's own memory."""
    return reshaped(input, lambda t: as_strided(t, size, stride, storage_offset))


@export("Tensor.copy_")
def copy_(self: Tensor, other: Tensor, non_blocking: bool = False) -> Tensor:
    """Overwrite the elements with those of ``other``, broadcast and converted; nothing here ever blocks."""
    return ops.copy_(self, other)
