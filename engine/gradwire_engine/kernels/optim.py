"""Kernels of optimizer updates: in place, with one or two temporaries of a parameter's size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradwire_engine.backend import add_scaled
from gradwire_engine.registry import kernel


def _like(value: Any, array: Any) -> Any:
    """A number that lives in an array (on a GPU it must not be read) in the type of ``array``."""
    return value.astype(array.dtype, copy=False) if hasattr(value, "dtype") else value


def _each(xp: Any, steps: Any, params: Any, grads: Any, maximize: bool,
          *state: Any) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Count a step of each parameter that has a gradient; yields its count, itself, the gradient, its state."""
    having = [i for i, g in enumerate(grads) if g is not None]
    if len(having) == len(params):
        steps += 1
    else:
        for i in having:
            steps[i : i + 1] += 1
    for i in having:
        g = xp.negative(grads[i]) if maximize else grads[i]
        yield steps[i], params[i], g, *[s[i] if s else None for s in state]


def _parts(xp: Any, steps: Any, params: Any, grads: Any, maximize: bool,
           *state: Any) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """The same for rules that square: a complex parameter comes as two real ones."""
    for t, p, *rest in _each(xp, steps, params, grads, maximize, *state):
        if p.dtype.kind == "c":
            for part in ("real", "imag"):
                yield t, getattr(p, part), *(None if a is None else getattr(a, part) for a in rest)
        else:
            yield t, p, *rest


@kernel("sgd_")
def sgd_(xp: Any, params: Any, momentum_buffers: Any, steps: Any, lr: Any, momentum: float, dampening: float,
         weight_decay: float, nesterov: bool, maximize: bool, grads: Any) -> None:  # fmt: skip
    dtype = rate = None
    for t, p, g, buffer in _each(xp, steps, params, grads, maximize, momentum_buffers):
        if p.dtype is not dtype:
            dtype, rate = p.dtype, -xp.asarray(lr, p.real.dtype)  # made an array once, not at each product
        if weight_decay:
            g = xp.add(g, xp.multiply(p, weight_decay))
        if buffer is not None:
            xp.multiply(buffer, momentum, out=buffer)
            if dampening:
                # The first gradient fills the buffer undamped.
                add_scaled(xp, buffer, g, _like(1 - dampening * (t > 1), g.real))
            else:
                xp.add(buffer, g, out=buffer)
            g = xp.add(g, xp.multiply(buffer, momentum)) if nesterov else buffer
        add_scaled(xp, p, g, rate)


@kernel("adam_")
def adam_(xp: Any, params: Any, exp_avgs: Any, exp_avg_sqs: Any, max_exp_avg_sqs: Any, steps: Any, lr: Any,
          beta1: float, beta2: float, eps: float, weight_decay: float, decoupled_weight_decay: bool, maximize: bool,
          grads: Any) -> None:  # fmt: skip
    for t, p, g, mean, square, most in _parts(
        xp, steps, params, grads, maximize, exp_avgs, exp_avg_sqs, max_exp_avg_sqs
    ):
        if weight_decay and decoupled_weight_decay:
            xp.multiply(p, _like(1 - lr * weight_decay, p), out=p)
        elif weight_decay:
            g = xp.add(g, xp.multiply(p, weight_decay))
        scratch = xp.subtract(g, mean, out=xp.empty_like(p))
        xp.multiply(scratch, 1 - beta1, out=scratch)
        xp.add(mean, scratch, out=mean)
        xp.multiply(g, g, out=scratch)
        xp.multiply(scratch, 1 - beta2, out=scratch)
        xp.multiply(square, beta2, out=square)
        xp.add(square, scratch, out=square)
        if most is not None:
            xp.maximum(most, square, out=most)
        xp.sqrt(square if most is None else most, out=scratch)
        xp.multiply(scratch, _like((1 - beta2**t) ** -0.5, p), out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(mean, scratch, out=scratch)
        xp.multiply(scratch, _like(lr / (1 - beta1**t), p), out=scratch)
        xp.subtract(p, scratch, out=p)


@kernel("rmsprop_")
def rmsprop_(xp: Any, params: Any, square_avgs: Any, momentum_buffers: Any, grad_avgs: Any, steps: Any, lr: Any,
             alpha: float, eps: float, weight_decay: float, momentum: float, maximize: bool,
             grads: Any) -> None:  # fmt: skip
    for _, p, g, square, buffer, mean in _parts(
        xp, steps, params, grads, maximize, square_avgs, momentum_buffers, grad_avgs
    ):
        if weight_decay:
            g = xp.add(g, xp.multiply(p, weight_decay))
        scratch = xp.multiply(g, g, out=xp.empty_like(p))
        xp.multiply(scratch, 1 - alpha, out=scratch)
        xp.multiply(square, alpha, out=square)
        xp.add(square, scratch, out=square)
        if mean is None:
            xp.sqrt(square, out=scratch)
        else:
            xp.subtract(g, mean, out=scratch)
            add_scaled(xp, mean, scratch, 1 - alpha)
            xp.multiply(mean, mean, out=scratch)
            xp.subtract(square, scratch, out=scratch)
            xp.sqrt(scratch, out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(g, scratch, out=scratch)
        if buffer is not None:
            xp.multiply(buffer, momentum, out=buffer)
            xp.add(buffer, scratch, out=buffer)
            scratch[...] = buffer
        xp.multiply(scratch, _like(lr, p), out=scratch)
        xp.subtract(p, scratch, out=p)


@kernel("adagrad_")
def adagrad_(xp: Any, params: Any, sums: Any, steps: Any, lr: Any, lr_decay: float, weight_decay: float, eps: float,
             maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, p, g, total in _parts(xp, steps, params, grads, maximize, sums):
        if weight_decay:
            g = xp.add(g, xp.multiply(p, weight_decay))
        scratch = xp.multiply(g, g, out=xp.empty_like(p))
        xp.add(total, scratch, out=total)
        xp.sqrt(total, out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(g, scratch, out=scratch)
        xp.multiply(scratch, _like(lr / (1 + (t - 1) * lr_decay), p), out=scratch)
        xp.subtract(p, scratch, out=p)
