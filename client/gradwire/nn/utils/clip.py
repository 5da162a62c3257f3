"""Gradients and parameters of a network as a whole: their norm, bounds, and one long vector."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from types import GeneratorType

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.functions.creation import zeros
from gradwire.tensor import Tensor
from gradwire.words import type_name


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    several = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in several if p.grad is not None]  # type: ignore[misc]


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:  # fmt: skip
    """The norm of all numbers of several tensors.

    Raises:
        RuntimeError: it is no finite number, where ``error_if_nonfinite``, which reads it from the server.
    """
    several = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not several:
        return zeros(())  # type: ignore[no-any-return]
    norms = [ops.linalg_vector_norm(t, norm_type) for t in several]
    total: Tensor = ops.linalg_vector_norm(ops.stack(tuple(norms)), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):  # type: ignore[arg-type]
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot "
            "be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor,
                          foreach: bool | None = None) -> None:  # fmt: skip
    """Scale gradients down, in place, so that a norm that they have together is at most ``max_norm``."""
    with no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp_max(1.0)  # type: ignore[attr-defined, operator]
        for g in _gradients(parameters):
            g.mul_(factor)  # type: ignore[attr-defined]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False, foreach: bool | None = None) -> Tensor:  # fmt: skip
    """Scale gradients down, in place, so that the norm of them all is at most ``max_norm``.

    Nothing waits: the norm, which is returned as it was, is not read.
    """
    several = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if isinstance(parameters, GeneratorType) and not several:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    with no_grad():
        total = get_total_norm(_gradients(several), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(several, max_norm, total)
    return total


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                   error_if_nonfinite: bool = False, foreach: bool | None = None) -> Tensor:  # fmt: skip
    """:func:`clip_grad_norm_` by its old name."""
    text = "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`."
    warnings.warn(text, FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Cut gradients off, in place, at -clip_value and clip_value."""
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-float(clip_value), float(clip_value))  # type: ignore[attr-defined]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters behind one another."""
    return ops.cat(tuple(p.view(-1) for p in parameters))  # type: ignore[attr-defined, no-any-return]


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Have parameters be the parts of a vector."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type_name(vec)}")
    at = 0
    for p in parameters:
        p.data = vec[at : at + p.numel()].view_as(p).data  # type: ignore[index]
        at += p.numel()
