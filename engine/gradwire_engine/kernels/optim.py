"""Kernels of optimizer updates: in place, with one or two temporaries of a parameter's size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradwire_engine import loops
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


def _real(p: Any, *rest: Any) -> Iterator[tuple[Any, ...]]:
    """A parameter and what goes with it; a complex one as two real ones."""
    if p.dtype.kind == "c":
        for part in ("real", "imag"):
            yield getattr(p, part), *(None if a is None else getattr(a, part) for a in rest)
    else:
        yield p, *rest


def _parts(xp: Any, steps: Any, params: Any, grads: Any, maximize: bool,
           *state: Any) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """What ``_each`` yields for rules that square: a complex parameter comes as two real ones."""
    for t, *arrays in _each(xp, steps, params, grads, maximize, *state):
        for part in _real(*arrays):
            yield t, *part


def _decay(xp: Any, p: Any, g: Any, lr: Any, weight_decay: float, decoupled: bool = False) -> Any:
    """Let the weights decay: the gradient with theirs added, or where that is decoupled, smaller weights."""
    if weight_decay and decoupled:
        xp.multiply(p, _like(1 - lr * weight_decay, p), out=p)
    elif weight_decay:
        return xp.add(g, xp.multiply(p, weight_decay))
    return g


def _mean(xp: Any, mean: Any, g: Any, beta: float, scratch: Any) -> None:
    """A decaying mean: ``beta`` of it stays, the rest is of ``g``."""
    xp.subtract(g, mean, out=scratch)
    xp.multiply(scratch, 1 - beta, out=scratch)
    xp.add(mean, scratch, out=mean)


def _mean_square(xp: Any, square: Any, g: Any, beta: float, scratch: Any) -> None:
    """A decaying mean of squares."""
    xp.multiply(g, g, out=scratch)
    xp.multiply(scratch, 1 - beta, out=scratch)
    xp.multiply(square, beta, out=square)
    xp.add(square, scratch, out=square)


def _less(xp: Any, p: Any, step: Any, rate: Any) -> None:
    """Subtract ``rate`` times a step, which is used up, from a parameter."""
    xp.multiply(step, _like(rate, p), out=step)
    xp.subtract(p, step, out=p)


@kernel("sgd_")
def sgd_(xp: Any, params: Any, momentum_buffers: Any, steps: Any, lr: Any, momentum: float, dampening: float,
         weight_decay: float, nesterov: bool, maximize: bool, grads: Any) -> None:  # fmt: skip
    dtype = rate = None
    for t, p, g, buffer in _each(xp, steps, params, grads, maximize, momentum_buffers):
        if p.dtype is not dtype:
            dtype, rate = p.dtype, -xp.asarray(lr, p.real.dtype)  # made an array once, not at each product
        g = _decay(xp, p, g, lr, weight_decay)
        if buffer is not None:
            xp.multiply(buffer, momentum, out=buffer)
            if dampening:
                # The first gradient fills the buffer undamped.
                add_scaled(xp, buffer, g, _like(1 - dampening * (t > 1), g.real))
            else:
                xp.add(buffer, g, out=buffer)
            g = xp.add(g, xp.multiply(buffer, momentum)) if nesterov else buffer
        add_scaled(xp, p, g, rate)


def _adam_by_loop(p: Any, g: Any, mean: Any, square: Any, most: Any, t: Any, lr: Any, beta1: float, beta2: float,
                  eps: float, weight_decay: float, decoupled: bool) -> None:  # fmt: skip
    from gradwire_engine.loops import updates

    arrays = (p.reshape(-1)[:0] if a is None else a for a in (p, g, mean, square, most))
    t, lr = int(t), float(lr)
    rate, decay, shrink = lr / (1 - beta1**t), 0 if decoupled else weight_decay, 1 - lr * weight_decay * decoupled
    numbers = (beta1, beta2, eps, decay, shrink, rate, (1 - beta2**t) ** -0.5)
    loops.over(updates.adam, p.size, 4, *(a.reshape(-1) for a in arrays), *map(p.dtype.type, numbers))


@kernel("adam_")
def adam_(xp: Any, params: Any, exp_avgs: Any, exp_avg_sqs: Any, max_exp_avg_sqs: Any, steps: Any, lr: Any,
          beta1: float, beta2: float, eps: float, weight_decay: float, decoupled_weight_decay: bool, maximize: bool,
          grads: Any) -> None:  # fmt: skip
    for t, p, g, mean, square, most in _parts(
        xp, steps, params, grads, maximize, exp_avgs, exp_avg_sqs, max_exp_avg_sqs
    ):
        if loops.fit(xp, p, g, mean, square, most) and all(a is None or a.flags.c_contiguous
                                                           for a in (p, g, mean, square, most)):  # fmt: skip
            _adam_by_loop(p, g, mean, square, most, t, lr, beta1, beta2, eps, weight_decay, decoupled_weight_decay)
            continue
        g, scratch = _decay(xp, p, g, lr, weight_decay, decoupled_weight_decay), xp.empty_like(p)
        _mean(xp, mean, g, beta1, scratch)
        _mean_square(xp, square, g, beta2, scratch)
        if most is not None:
            xp.maximum(most, square, out=most)
        xp.sqrt(square if most is None else most, out=scratch)
        xp.multiply(scratch, _like((1 - beta2**t) ** -0.5, p), out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(mean, scratch, out=scratch)
        _less(xp, p, scratch, lr / (1 - beta1**t))


@kernel("rmsprop_")
def rmsprop_(xp: Any, params: Any, square_avgs: Any, momentum_buffers: Any, grad_avgs: Any, steps: Any, lr: Any,
             alpha: float, eps: float, weight_decay: float, momentum: float, maximize: bool,
             grads: Any) -> None:  # fmt: skip
    for _, p, g, square, buffer, mean in _parts(
        xp, steps, params, grads, maximize, square_avgs, momentum_buffers, grad_avgs
    ):
        g, scratch = _decay(xp, p, g, lr, weight_decay), xp.empty_like(p)
        _mean_square(xp, square, g, alpha, scratch)
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
        _less(xp, p, scratch, lr)


@kernel("adagrad_")
def adagrad_(xp: Any, params: Any, sums: Any, steps: Any, lr: Any, lr_decay: float, weight_decay: float, eps: float,
             maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, p, g, total in _parts(xp, steps, params, grads, maximize, sums):
        g = _decay(xp, p, g, lr, weight_decay)
        scratch = xp.multiply(g, g, out=xp.empty_like(p))
        xp.add(total, scratch, out=total)
        xp.sqrt(total, out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(g, scratch, out=scratch)
        _less(xp, p, scratch, lr / (1 + (t - 1) * lr_decay))


@kernel("adadelta_")
def adadelta_(xp: Any, params: Any, square_avgs: Any, acc_deltas: Any, steps: Any, lr: Any, rho: float, eps: float,
              weight_decay: float, maximize: bool, grads: Any) -> None:  # fmt: skip
    for _, p, g, square, moved in _parts(xp, steps, params, grads, maximize, square_avgs, acc_deltas):
        g, scratch = _decay(xp, p, g, lr, weight_decay), xp.empty_like(p)
        _mean_square(xp, square, g, rho, scratch)
        step = xp.add(moved, eps, out=xp.empty_like(p))
        xp.sqrt(xp.divide(step, xp.add(square, eps, out=scratch), out=step), out=step)
        xp.multiply(step, g, out=step)
        _mean_square(xp, moved, step, rho, scratch)
        _less(xp, p, step, lr)


@kernel("adamax_")
def adamax_(xp: Any, params: Any, exp_avgs: Any, exp_infs: Any, steps: Any, lr: Any, beta1: float, beta2: float,
            eps: float, weight_decay: float, maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, p, g, mean, most in _parts(xp, steps, params, grads, maximize, exp_avgs, exp_infs):
        g, scratch = _decay(xp, p, g, lr, weight_decay), xp.empty_like(p)
        _mean(xp, mean, g, beta1, scratch)
        xp.add(xp.absolute(g, out=scratch), eps, out=scratch)
        xp.maximum(xp.multiply(most, beta2, out=most), scratch, out=most)
        _less(xp, p, xp.divide(mean, most, out=scratch), lr / (1 - beta1**t))


@kernel("nadam_")
def nadam_(xp: Any, params: Any, exp_avgs: Any, exp_avg_sqs: Any, mu_products: Any, steps: Any, lr: Any, beta1: float,
           beta2: float, eps: float, weight_decay: float, momentum_decay: float, decoupled_weight_decay: bool,
           maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, *arrays, product in _each(xp, steps, params, grads, maximize, exp_avgs, exp_avg_sqs, mu_products):
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (t, t + 1))
        xp.multiply(product, mu, out=product)
        for p, g, mean, square in _real(*arrays):
            g, scratch = _decay(xp, p, g, lr, weight_decay, decoupled_weight_decay), xp.empty_like(p)
            _mean(xp, mean, g, beta1, scratch)
            _mean_square(xp, square, g, beta2, scratch)
            step = xp.multiply(g, _like((1 - mu) / (1 - product), p), out=xp.empty_like(p))
            xp.add(step, xp.multiply(mean, _like(following / (1 - product * following), p), out=scratch), out=step)
            xp.sqrt(xp.multiply(square, _like(1 / (1 - beta2**t), p), out=scratch), out=scratch)
            _less(xp, p, xp.divide(step, xp.add(scratch, eps, out=scratch), out=step), lr)


@kernel("radam_")
def radam_(xp: Any, params: Any, exp_avgs: Any, exp_avg_sqs: Any, steps: Any, lr: Any, beta1: float, beta2: float,
           eps: float, weight_decay: float, decoupled_weight_decay: bool, maximize: bool,
           grads: Any) -> None:  # fmt: skip
    most = 2 / (1 - beta2) - 1  # how many steps the mean square is of, in the end
    for t, p, g, mean, square in _parts(xp, steps, params, grads, maximize, exp_avgs, exp_avg_sqs):
        g, scratch = _decay(xp, p, g, lr, weight_decay, decoupled_weight_decay), xp.empty_like(p)
        _mean(xp, mean, g, beta1, scratch)
        _mean_square(xp, square, g, beta2, scratch)
        seen = 1 - beta2**t
        length = most - 2 * t * beta2**t / seen
        # Where the length is 5 or below, what is made of it is not used.
        ratio = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        xp.add(xp.sqrt(square, out=scratch), eps, out=scratch)
        xp.divide(_like(xp.sqrt(abs(ratio) * seen), p), scratch, out=scratch)
        scratch = _like(xp.where(length > 5, scratch, 1.0), p)
        _less(xp, p, xp.multiply(scratch, mean, out=scratch), lr / (1 - beta1**t))


@kernel("asgd_")
def asgd_(xp: Any, params: Any, axs: Any, etas: Any, mus: Any, steps: Any, lr: Any, lambd: float, alpha: float,
          t0: float, weight_decay: float, maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, p, g, mean, eta, mu in _each(xp, steps, params, grads, maximize, axs, etas, mus):
        eta[...] = xp.where(t > 1, eta, lr)
        g = _decay(xp, p, g, lr, weight_decay)
        step = xp.multiply(g, _like(eta, p.real), out=xp.empty_like(p))
        xp.multiply(p, _like(1 - lambd * eta, p.real), out=p)
        xp.subtract(p, step, out=p)
        xp.multiply(xp.subtract(p, mean, out=step), _like(mu, p.real), out=step)
        xp.add(mean, step, out=mean)
        eta[...] = lr / (1 + lambd * lr * t) ** alpha
        mu[...] = 1 / xp.maximum(t - t0, 1)


@kernel("rprop_")
def rprop_(xp: Any, params: Any, prevs: Any, step_sizes: Any, steps: Any, lr: Any, eta_minus: float, eta_plus: float,
           least: float, most: float, maximize: bool, grads: Any) -> None:  # fmt: skip
    for t, p, g, before, size in _parts(xp, steps, params, grads, maximize, prevs, step_sizes):
        same = xp.sign(xp.multiply(g, before, out=before))
        factor = _like(xp.where(same > 0, eta_plus, xp.where(same < 0, eta_minus, 1.0)), size)
        size[...] = xp.clip(xp.where(t > 1, size, _like(lr, size)) * factor, least, most)
        before[...] = xp.where(same < 0, 0, g)  # where it turned, it waits for a step
        xp.subtract(p, xp.multiply(xp.sign(before), size), out=p)
