"""Derivatives checked against finite differences. Signatures, tolerances and errors are torch's.

A jacobian is a matrix with a row for each element of the input and a column for each of the output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gradwire as torch

Tensors = tuple[Any, ...]


class GradcheckError(RuntimeError):
    """A derivative is not what finite differences say."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of ``func`` at ``inputs`` are those of central differences.

    Complex outputs are checked a part at a time. Every output is differentiated alone, so undefined gradients of the
    others are tried as well; ``fast_mode`` and ``masked`` are accepted, and the full check is made.

    Raises:
        GradcheckError: they are not, unless ``raise_exception`` is False.
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad or not check_backward_ad:
        raise NotImplementedError("gradcheck of forward-mode and of batched gradients is not available")
    at = _as_tuple(inputs)
    _check_inputs(at)
    try:
        _check(func, at, eps, atol, rtol, nondet_tol, check_grad_dtypes)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of ``func`` are those of central differences of the first.

    ``grad_outputs`` are the weights of the outputs, random where None. The rest is as in :func:`gradcheck`.
    """
    at = _as_tuple(inputs)
    if grad_outputs is None:
        weights: Tensors = tuple(
            torch.testing.make_tensor(
                out.shape,
                dtype=out.dtype,
                device=out.device,
                low=-1,
                high=1,
                requires_grad=True,
                noncontiguous=gen_non_contig_grad_outputs,
            )
            for out in _differentiable(func(*at))
        )
    else:
        weights = _as_tuple(grad_outputs)
    wanted = [i for i, x in enumerate(at) if _requires_grad(x)]

    def slopes(*args: Any) -> Tensors:
        points, g = args[: len(at)], args[len(at) :]
        outputs = _differentiable(func(*points))
        found = torch.autograd.grad(outputs, [points[i] for i in wanted], g, create_graph=True, allow_unused=True)
        return tuple(x for x in found if x is not None)

    return gradcheck(
        slopes,
        at + weights,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
    )


def _as_tuple(value: Any) -> Tensors:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _requires_grad(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.requires_grad


def _differentiable(outputs: Any) -> Tensors:
    return tuple(out for out in _as_tuple(outputs) if out.requires_grad)


def _check_inputs(inputs: Tensors) -> None:
    for i, x in enumerate(inputs):
        if not _requires_grad(x):
            continue
        if x.dtype not in (torch.float64, torch.complex128):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex. This check "
                "will likely fail if all the inputs are not of double precision floating point or complex. ",
                stacklevel=3,
            )
        if any(step == 0 and size > 1 for step, size in zip(x.stride(), x.shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                ".contiguous on the input before passing it to gradcheck."
            )
    if not any(map(_requires_grad, inputs)):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )


def _check(
    func: Callable[..., Any],
    inputs: Tensors,
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_grad_dtypes: bool,
) -> None:
    wanted = [x for x in inputs if _requires_grad(x)]
    is_complex = [out.is_complex() for out in _differentiable(func(*inputs))]
    for part, name in _parts(func, inputs):
        numerical = [_numerical(part, inputs, x, eps) for x in wanted]
        outputs = _as_tuple(part(*inputs))
        live = [i for i, out in enumerate(outputs) if out.requires_grad]
        if not live and any((block != 0).any() for row in numerical for block in row):
            raise GradcheckError("Numerical gradient for function expected to be zero")
        for nth, i in enumerate(live):
            analytical = _analytical(outputs[i], wanted, nondet_tol, check_grad_dtypes)
            for j, (mine, row) in enumerate(zip(analytical, numerical, strict=True)):
                if not np.allclose(mine, row[i], rtol, atol):
                    raise GradcheckError(
                        f"{f'While considering the {name} part of complex outputs only, ' if is_complex[nth] else ''}"
                        f"Jacobian mismatch for output {nth} with respect to input {j},\n"
                        f"numerical:{torch.tensor(row[i])}\nanalytical:{torch.tensor(mine)}\n"
                    )
    outputs = _differentiable(func(*inputs))
    if outputs:
        zeros = [torch.zeros_like(out) for out in outputs]
        for g in torch.autograd.grad(outputs, wanted, zeros, allow_unused=True):
            if g is not None and not bool(g.eq(0).all()):
                raise GradcheckError("backward not multiplied by grad_output")


def _parts(func: Callable[..., Any], inputs: Tensors) -> Iterator[tuple[Callable[..., Tensors], str]]:
    """``func`` itself where its outputs are real, else its imaginary and its real part."""

    def of(part: Callable[[Any], Any]) -> Callable[..., Tensors]:
        return lambda *args: tuple(part(out) if out.is_complex() else out for out in _as_tuple(func(*args)))

    if not any(out.is_complex() for out in _as_tuple(func(*inputs))):
        yield of(lambda out: out), "whole"
        return
    yield of(torch.imag), "imaginary"
    yield of(torch.real), "real"


def _numerical(func: Callable[..., Tensors], inputs: Tensors, x: Any, eps: float) -> list[np.ndarray[Any, Any]]:
    """The jacobian of each output with respect to ``x``, which is moved in place: ``func`` may hold it as well."""
    place, home = x.detach(), x.detach().clone()
    steps = (torch.eye(x.numel(), dtype=x.dtype, device=x.device) * eps).reshape(x.numel(), *x.shape)

    def outputs(at: Any) -> list[Any]:
        place.copy_(at)
        return [out.detach().clone().reshape(-1) for out in func(*inputs)]

    def slopes(step: Any) -> list[Any]:
        ahead, behind = outputs(home + step), outputs(home - step)
        return [(a - b) / (2 * eps) for a, b in zip(ahead, behind, strict=True)]

    rows = []
    try:
        for i in range(x.numel()):
            row = slopes(steps[i])
            if x.is_complex():
                row = [a + 1j * b for a, b in zip(row, slopes(steps[i] * 1j), strict=True)]
            rows.append(row)
    finally:
        place.copy_(home)
    if not rows:
        return [np.zeros((0, out.numel())) for out in func(*inputs)]
    return [torch.stack(column).numpy() for column in zip(*rows, strict=True)]


def _analytical(
    out: Any, wanted: list[Any], nondet_tol: float, check_grad_dtypes: bool
) -> list[np.ndarray[Any, Any]]:
    """The jacobian of ``out`` with respect to each input, from a backward pass for each of its elements."""
    basis = torch.eye(out.numel(), dtype=out.dtype, device=out.device).reshape(out.numel(), *out.shape)

    def jacobians() -> list[np.ndarray[Any, Any]]:
        columns: list[list[Any]] = [[] for _ in wanted]
        for j in range(out.numel()):
            grads = torch.autograd.grad(out, wanted, basis[j], retain_graph=True, allow_unused=True)
            for column, g, x in zip(columns, grads, wanted, strict=True):
                if g is not None and g.shape != x.shape:
                    raise GradcheckError("Analytical gradient has incorrect size")
                if g is not None and g.dtype is not x.dtype and check_grad_dtypes:
                    raise GradcheckError("Gradient has dtype mismatch")
                column.append((torch.zeros_like(x) if g is None else g).detach().reshape(-1))
        return [torch.stack(column, 1).numpy() for column in columns]

    if not out.numel():
        return [np.zeros((x.numel(), 0)) for x in wanted]
    first, second = jacobians(), jacobians()
    if any((np.abs(a - b) > nondet_tol).any() for a, b in zip(first, second, strict=True)):
        raise GradcheckError(
            "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives "
            "different values, although analytical gradient matches numerical gradient."
            f"The tolerance for nondeterminism was {nondet_tol}."
        )
    return first
