"""Derivatives of indexing. Reading and adding are each other's; writing cuts off what was there."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp
from gradwire_proto.spec import Spec


def zeros(g: Any, shape: tuple[int, ...]) -> Any:
    return F.new_full(g, shape, 0)


def zero(g: Any) -> Any:
    return F.new_full(g, (), 0)


def grown(g: Any, shape: tuple[int, ...]) -> Any:
    """``g`` with zeros behind it in each dimension, up to ``shape``: a scatter's src may be larger than its index."""
    if g.shape == shape or len(g.shape) != len(shape):
        return F.reshape(g, shape) if g.shape != shape else g
    extra = [n for s, have in zip(reversed(shape), reversed(g.shape), strict=True) for n in (0, s - have)]
    return F.constant_pad_nd(g, tuple(extra), 0)


vjp("where", input=lambda g, condition: F.where(condition, g, 0), other=lambda g, condition: F.where(condition, 0, g))

vjp("index", input=lambda g, input_spec, indices: F.index_backward(g, input_spec.shape, indices))
vjp("index_backward", grad=lambda g, indices: F.index(g, indices))
vjp("index_put",
    input=lambda g, indices, accumulate: g if accumulate else F.index_put(g, indices, zero(g)),
    values=lambda g, indices: F.index(g, indices))  # fmt: skip

vjp("gather", input=lambda g, input_spec, dim, index: F.scatter_add(zeros(g, input_spec.shape), dim, index, g))
vjp("scatter",
    input=lambda g, dim, index: F.scatter(g, dim, index, 0),
    src=lambda g, src_spec, dim, index: grown(F.gather(g, dim, index), src_spec.shape))  # fmt: skip
vjp("scatter_add",
    input=lambda g: g,
    src=lambda g, src_spec, dim, index: grown(F.gather(g, dim, index), src_spec.shape))  # fmt: skip


def shares(g: Any, result: Any, input: Any, dim: int, index: Any, src: Any, include_self: bool) -> Any:
    """amax and amin: elements that equal the extreme share its gradient."""
    mine = F.where(input == result, 1, zeros(g, input.shape))
    theirs = F.where(src == F.gather(result, dim, index), 1, zeros(g, src.shape))
    each = g / F.scatter_reduce(mine, dim, index, theirs, "sum", include_self=include_self)
    return each * mine, F.gather(each, dim, index) * theirs


def products(g: Any, result: Any, input: Any, dim: int, index: Any, src: Any, include_self: bool) -> Any:
    """prod: each factor's gradient is the product of the others.

    Where a factor is zero dividing by it won't do: the zeros are counted and summed apart. With two of them the
    product of the others is the other zero, which only a second derivative sees.
    """

    def combine(own: Any, theirs: Any, reduce: str) -> Any:
        return F.scatter_reduce(own, dim, index, theirs, reduce, include_self=include_self)

    zero_mine, zero_theirs = input == 0, src == 0
    factors, others = F.where(zero_mine, 1, input), F.where(zero_theirs, 1, src)
    count = combine(F.where(zero_mine, 1, zeros(g, input.shape)), F.where(zero_theirs, 1, zeros(g, src.shape)), "sum")
    total = combine(F.where(zero_mine, input, 0), F.where(zero_theirs, src, 0), "sum")
    rest = g * conj(combine(factors, others, "prod"))

    def of_zero(x: Any, rest: Any, count: Any, total: Any) -> Any:
        return rest * F.where(count == 1, 1, F.where(count == 2, conj(total - x), 0))

    whole = g * conj(result)
    mine = F.where(zero_mine, of_zero(input, rest, count, total), whole / conj(factors))
    there = [F.gather(t, dim, index) for t in (whole, rest, count, total)]
    return mine, F.where(zero_theirs, of_zero(src, *there[1:]), there[0] / conj(others))


def reduced(g: Any, result: Any, input: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """Gradients of input, index and src for each way to combine."""
    whole = src
    if src.shape != index.shape:
        for d, s in enumerate(index.shape):
            src = F.slice(src, d, 0, s)
    if reduce == "sum":
        mine, theirs = g, F.gather(g, dim, index)
    elif reduce == "mean":
        ones = zeros(g, input.shape) + 1
        own = ones if include_self else F.scatter(ones, dim, index, 0)
        each = g / conj(F.scatter_add(own, dim, index, zeros(g, src.shape) + 1))
        mine, theirs = each, F.gather(each, dim, index)
    elif reduce == "prod":
        mine, theirs = products(g, result, input, dim, index, src, include_self)
    else:
        mine, theirs = shares(g, result, input, dim, index, src, include_self)
    if not include_self:
        mine = F.scatter(mine, dim, index, 0)
    return mine, None, grown(theirs, whole.shape)


vjp("scatter_reduce", reduced)

vjp("index_select", input=lambda g, input_spec, dim, index:
    F.index_add(zeros(g, input_spec.shape), dim, index, g))  # fmt: skip
vjp("index_add",
    input=lambda g: g,
    source=lambda g, source_spec, dim, index, alpha:
    F.reshape(F.index_select(g, dim, index), source_spec.shape) * conj(alpha))  # fmt: skip
vjp("index_copy",
    input=lambda g, dim, index: F.index_fill(g, dim, index, 0),
    source=lambda g, source_spec, dim, index:
    F.reshape(F.index_select(g, dim, index), source_spec.shape))  # fmt: skip
vjp("index_fill",
    input=lambda g, dim, index: F.index_fill(g, dim, index, 0),
    value=lambda g, dim, index: F.sum(g - F.index_fill(g, dim, index, 0)))  # fmt: skip

vjp("masked_fill",
    input=lambda g, mask: F.masked_fill(g, mask, 0),
    value=lambda g, mask: F.sum(F.where(mask, g, 0)))  # fmt: skip
vjp("masked_scatter",
    input=lambda g, mask: F.masked_fill(g, mask, 0),
    source=lambda g, mask, source_spec: F.masked_scatter_backward(g, mask, source_spec.shape))  # fmt: skip


def masked_scatter_backward_grad(g: Any, mask: Any, grad_spec: Spec) -> Any:
    return F.masked_scatter(zeros(g, grad_spec.shape), mask, g)


vjp("masked_scatter_backward", grad=masked_scatter_backward_grad)

vjp("take", input=lambda g, input_spec, index: F.put(zeros(g, input_spec.shape), index, g, True))
vjp("put",
    input=lambda g, index, accumulate: g if accumulate else F.put(g, index, zeros(g, index.shape)),
    source=lambda g, index, source_spec: F.reshape(F.take(g, index), source_spec.shape))  # fmt: skip
