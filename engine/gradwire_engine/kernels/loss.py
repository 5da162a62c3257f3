"""Kernels. Losses."""

from __future__ import annotations

from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import filled, handed, largest, room, summed
from gradwire_engine.kernels.activation import wide
from gradwire_engine.registry import kernel


def reduce(xp: Any, loss: Any, reduction: str) -> Any:
    """The losses as they are, their mean, or their sum."""
    if reduction == "none":
        return loss
    total = wide(xp, loss).sum()
    return total if reduction == "sum" else xp.true_divide(total, loss.size)


LINE = 1024
"""Elements that are summed as they come, in the lanes of vectors; the sums of lines are added pairwise."""


@kernel("mse_loss")
def mse_loss(xp: Any, input: Any, target: Any, reduction: str) -> Any:
    if reduction != "none" and input.size and input.shape == target.shape and loops.fit(xp, input, target):
        from gradwire_engine.loops import lines

        x, y = (xp.ascontiguousarray(a).reshape(-1) for a in (input, target))
        whole = x.size // LINE * LINE
        sums = xp.empty(whole // LINE)
        loops.over(lines.squared_difference, len(sums), LINE, *(a[:whole].reshape(-1, LINE) for a in (x, y)), sums)
        rest = x[whole:] - y[whole:]
        total = summed(xp, sums) + xp.dot(rest, rest)
        return (total / x.size if reduction == "mean" else total).astype(x.dtype)
    d = input - target
    d *= d
    return reduce(xp, d, reduction)


def _bent(xp: Any, d: Any, limit: float, scale: float) -> Any:
    """``scale * d ** 2 / 2`` up to the limit, and straight on from there: m (d - m / 2), m being d up to the limit."""
    if loops.fit(xp, d, single=True):
        return loops.each("bent", d, d.dtype.type(limit), d.dtype.type(scale))
    m = xp.asarray(xp.minimum(d, limit))
    made = xp.asarray(m * -0.5)
    made += d
    made *= m
    if scale != 1:
        made *= scale
    return made


@kernel("smooth_l1_loss")
def smooth_l1_loss(xp: Any, input: Any, target: Any, reduction: str, beta: float) -> Any:
    d = abs(input - target)
    return reduce(xp, _bent(xp, d, beta, 1 / beta) if beta else d, reduction)


@kernel("huber_loss")
def huber_loss(xp: Any, input: Any, target: Any, reduction: str, delta: float) -> Any:
    d = abs(input - target)
    return reduce(xp, _bent(xp, d, delta, 1), reduction)


def _softplus(xp: Any, x: Any) -> Any:
    """log(1 + exp(x))"""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


@kernel("soft_margin_loss")
def soft_margin_loss(xp: Any, input: Any, target: Any, reduction: str) -> Any:
    return reduce(xp, _softplus(xp, -target * wide(xp, input)), reduction)


@kernel("binary_cross_entropy")
def binary_cross_entropy(xp: Any, input: Any, target: Any, weight: Any, reduction: str) -> Any:
    for name, x in (("input", input), ("target", target)):
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise RuntimeError(f"all elements of {name} should be between 0 and 1")
    x = wide(xp, input)
    loss = (target - 1) * xp.maximum(xp.log1p(-x), -100) - target * xp.maximum(xp.log(x), -100)
    return reduce(xp, loss if weight is None else loss * weight, reduction)


@kernel("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    xp: Any, input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str
) -> Any:
    x = wide(xp, input)
    if pos_weight is None:
        loss = xp.maximum(x, 0) - x * target + xp.log1p(xp.exp(-abs(x)))
    else:
        softplus = xp.log1p(xp.exp(-abs(x))) + xp.maximum(-x, 0)
        loss = (1 - target) * x + ((pos_weight - 1) * target + 1) * softplus
    return reduce(xp, loss if weight is None else loss * weight, reduction)


def _refuse(xp: Any, t: Any, ignore_index: int, classes: int) -> None:
    """Raise torch's error if there is an index that is none of a class, nor that of what is ignored."""
    wrong = (t != ignore_index) & (t.view(xp.uint64) >= classes)
    if bool(wrong.any()):
        raise IndexError(f"Target {int(t[wrong][0])} is out of bounds.")


def _classes(xp: Any, target: Any, weight: Any, classes: int, ignore_index: int) -> tuple[Any, Any, Any]:
    """Class indices that are safe to use, the weight of each (None if all 1), and which count (None if all).

    Raises:
        IndexError: torch's; CuPy would wrap such an index silently.
    """
    t = target if target.itemsize == 8 else target.astype(xp.int64)
    keep = None
    # Taken without its sign, a negative index is past the end too.
    if 0 <= ignore_index < classes or (t.size and bool(largest(xp, t.view(xp.uint64)) >= classes)):
        keep = t != ignore_index
        _refuse(xp, t, ignore_index, classes)
        t = xp.where(keep, t, 0)
    w = None if weight is None else weight[t]
    if keep is not None:
        w = keep if w is None else xp.where(keep, w, 0)
    return t, w, keep


def _batched(input: Any, target: Any) -> tuple[Any, Any]:
    """Scores as (N, C, ...) and class indices as (N, ...)."""
    if input.ndim == 2:
        return input, target
    if input.ndim == 1:
        return input[None], target.reshape(1)
    return input, target.reshape(input.shape[:1] + input.shape[2:])


def _grid(xp: Any, shape: tuple[int, ...]) -> list[Any]:
    """The coordinates along each axis, so that together they index every place."""
    if len(shape) == 1:
        return [xp.arange(shape[0])]
    return [xp.arange(n).reshape(n, *[1] * (len(shape) - 1 - i)) for i, n in enumerate(shape)]


def _at(xp: Any, t: Any) -> tuple[Any, ...]:
    """The index of each target's score in an array of shape (N, C, ...)."""
    first, *rest = _grid(xp, t.shape)
    return (first, t, *rest)


def _summed(xp: Any, loss: Any, w: Any, keep: Any, reduction: str, shape: tuple[int, ...]) -> Any:
    if w is not None:
        loss = loss * w
    if keep is not None:
        loss = xp.where(keep, loss, 0)  # minus infinity times 0 would be nan
    if reduction == "none":
        return loss.reshape(shape)
    total = summed(xp, loss)
    return total if reduction == "sum" else total / (loss.size if w is None else w.sum())


def _shares(xp: Any, grad: Any, w: Any, keep: Any, t: Any, reduction: str) -> Any:
    """The gradient of each target's loss before weighting in: 0-d where all are the same."""
    if reduction == "none":
        grad = grad.reshape(t.shape)
    elif reduction == "mean":
        grad = grad / grad.dtype.type(t.size if w is None else xp.sum(w))
    if w is not None:
        grad = grad * w.astype(grad.dtype)
    return grad if keep is None else xp.where(keep, grad, grad.dtype.type(0))  # where all are ignored, 0 / 0 * 0 is 0


def nll_loss(xp: Any, input: Any, target: Any, weight: Any, reduction: str, ignore_index: int, spec: Any) -> Any:
    x, t = _batched(input, target)
    t, w, keep = _classes(xp, t, weight, x.shape[1], ignore_index)
    return _summed(xp, -wide(xp, x[_at(xp, t)]), w, keep, reduction, spec.shape)


kernel("nll_loss", nll_loss)
kernel("nll_loss2d", nll_loss)


@kernel("nll_loss_backward")
def nll_loss_backward(xp: Any, grad: Any, input: Any, target: Any, weight: Any, reduction: str,
                      ignore_index: int) -> Any:  # fmt: skip
    made = xp.zeros(input.shape, input.dtype)
    x, t = _batched(made, target)
    t, w, keep = _classes(xp, t, weight, x.shape[1], ignore_index)
    x[_at(xp, t)] = -_shares(xp, grad, w, keep, t, reduction)
    return made


def _flat(xp: Any, x: Any, t: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Scores, targets and weights as a loop takes them: dense, no weights being an empty array."""
    w = xp.empty(0, x.dtype) if weight is None else xp.ascontiguousarray(weight)
    return xp.ascontiguousarray(x), xp.ascontiguousarray(t, xp.int64), w


def _cross_entropy(xp: Any, x: Any, t: Any, weight: Any, reduction: str, ignore_index: int, spec: Any,
                   out: Any) -> tuple[Any, Any]:  # fmt: skip
    """By a loop over the rows of scores."""
    from gradwire_engine.loops import lines, norms

    x, t, w = _flat(xp, x, t, weight)
    losses = room(xp, out[0] if reduction == "none" else None, t.shape, x.dtype)
    logs, weights = room(xp, out[1], t.shape, x.dtype), xp.empty(t.shape, x.dtype)
    loops.over(lines.cross_entropy, *x.shape, x, t, w, ignore_index, losses, logs, weights)
    if weights.min() < 0:
        _refuse(xp, t, ignore_index, x.shape[1])
    if reduction == "none":
        return handed(out[0], losses, spec[0].shape), handed(out[1], logs, spec[1].shape)
    total = norms.total(losses)
    if reduction == "mean":
        whole = norms.total(weights)
        total = total / whole if whole else xp.divide(total, whole)
    loss = filled(out[0], xp.asarray(total, x.dtype))
    return loss, handed(out[1], logs, spec[1].shape)


@kernel("cross_entropy")
def cross_entropy(xp: Any, input: Any, target: Any, weight: Any, reduction: str, ignore_index: int, spec: Any,
                  out: Any = None) -> tuple[Any, Any]:  # fmt: skip
    x, t = _batched(wide(xp, input), target)
    if x.ndim == 2 and x.size and loops.fit(xp, x, weight, single=True):
        return _cross_entropy(xp, x, t, weight, reduction, ignore_index, spec, out or (None, None))
    t, w, keep = _classes(xp, t, weight, x.shape[1], ignore_index)
    x = x.swapaxes(0, 1)
    classes = x.shape[0]
    # NumPy goes faster along many short columns than along many short rows.
    x = x.copy(order="C") if classes <= 32 else x
    top = largest(xp, x, 0)
    x = xp.subtract(x, top, out=x if classes <= 32 else None)
    if x.ndim == 2 and x.flags.c_contiguous:
        picked = x.reshape(-1).take(t * t.size + xp.arange(t.size))  # half of what two indices cost
    else:
        picked = x[(t, *_grid(xp, t.shape))]
    total = summed(xp, xp.exp(x, out=x), 0)
    total = xp.log(total, out=total)
    loss = _summed(xp, xp.subtract(total, picked, out=picked), w, keep, reduction, spec[0].shape)
    total += top
    total = total.reshape(spec[1].shape)
    return (loss, total) if out is None else (filled(out[0], loss), filled(out[1], total))


@kernel("cross_entropy_backward")
def cross_entropy_backward(xp: Any, grad: Any, input: Any, target: Any, weight: Any, logsumexp: Any, reduction: str,
                           ignore_index: int, out: Any = None) -> Any:  # fmt: skip
    a = wide(xp, input)
    p = room(xp, out, a.shape, a.dtype)
    x, t = _batched(p, target)
    if x.ndim == 2 and x.size and loops.fit(xp, a, logsumexp, weight, grad, single=True):
        from gradwire_engine.loops import lines

        given, wrong = _flat(xp, a.reshape(x.shape), t, weight), xp.zeros(1, bool)
        loops.over(lines.cross_entropy_back, *x.shape, grad.reshape(-1), *given, ignore_index, logsumexp.reshape(-1),
                   reduction == "mean", wrong, x)  # fmt: skip
        if wrong[0]:
            _refuse(xp, given[1], ignore_index, x.shape[1])
        return handed(out, p, input.shape)
    classes = x.shape[1]
    t, w, keep = _classes(xp, t, weight, classes, ignore_index)
    xp.subtract(a, logsumexp, out=p)
    xp.exp(p, out=p)
    if x.ndim == 2:
        x.reshape(-1)[xp.arange(0, x.size, classes) + t] -= 1  # half of what two indices cost
    else:
        x[_at(xp, t)] -= 1
    shares = _shares(xp, grad, w, keep, t, reduction)
    x *= shares if shares.ndim == 0 else shares[:, None]
    return handed(out, p, input.shape)
