"""Dual numbers: tensors that carry a tangent through what is made of them.

A dual tensor is an input of its own, with its tangent noted at the level. The tangent of what was made of it is found
when it is unpacked, from the recorded graph, by two backward passes. So a dual tensor requires grad.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradwire as torch
from gradwire.func.batched import fresh
from gradwire.tensor import Tensor

_level: dict[int, tuple[Tensor, Tensor]] | None = None


class UnpackedDualTensor(NamedTuple):
    """What :func:`unpack_dual` returns; ``tangent`` is None of a tensor that no dual has part in."""

    primal: Tensor
    tangent: Tensor | None


def enter_dual_level() -> int:
    """Begin the one level that there can be; its number, 0.

    Raises:
        RuntimeError: it is begun.
    """
    global _level
    if _level is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _level = {}
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: its tangents are gone."""
    global _level
    if _level is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _level = None


@contextmanager
def dual_level() -> Iterator[int]:
    """Inside, dual tensors may be made.

    >>> import gradwire as torch
    >>> import gradwire.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     x = fwAD.make_dual(torch.tensor([3.0]), torch.tensor([1.0]))
    ...     print(fwAD.unpack_dual(x * x).tangent)
    tensor([6.])
    """
    level = enter_dual_level()
    try:
        yield level
    finally:
        exit_dual_level(level=level)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of ``tensor`` that carries ``tangent``, of the same shape and type.

    Raises:
        RuntimeError: no level; another shape or type.
        ValueError: numbers that have no derivatives.
    """
    if _level is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for what, t in (("primal", tensor), ("tangent", tangent)):
        if not t.dtype.differentiable:
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {t.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    dual: Any = fresh(tensor)
    _level[id(dual)] = dual, tangent
    return dual  # type: ignore[no-any-return]


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor and its tangent."""
    if _level is None:
        return UnpackedDualTensor(tensor, None)
    if id(tensor) in _level:
        return UnpackedDualTensor(tensor, _level[id(tensor)][1])
    if not tensor.requires_grad or not _level:
        return UnpackedDualTensor(tensor, None)
    duals, tangents = zip(*_level.values(), strict=True)
    with torch.enable_grad():
        seed = torch.zeros_like(tensor, requires_grad=True)  # type: ignore[attr-defined]
        rows = torch.autograd.grad([tensor], duals, [seed], retain_graph=True, create_graph=True, allow_unused=True)
        live = [(r, t) for r, t in zip(rows, tangents, strict=True) if r is not None]
        if not live:
            return UnpackedDualTensor(tensor, None)
        outs, weights = zip(*live, strict=True)
        found = torch.autograd.grad(outs, seed, weights, retain_graph=True, create_graph=True, materialize_grads=True)
    return UnpackedDualTensor(tensor, found[0])
