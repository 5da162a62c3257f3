"""Derivatives. Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.meta import reduced_shape, wrap_dim, wrap_dims
from gradwire_proto.spec import Spec


def dims_of(dim: Any, input_spec: Spec) -> tuple[int, ...]:
    return wrap_dims((dim,) if isinstance(dim, int) else dim, input_spec.ndim)


def restore(g: Any, input_spec: Spec, dim: Any, keepdim: bool) -> Any:
    """A reduced tensor with the reduced dims back as 1, ready to broadcast against the input."""
    if keepdim or not input_spec.ndim:
        return g
    return F.reshape(g, reduced_shape(input_spec.shape, dims_of(dim, input_spec), True))


def spread(g: Any, input_spec: Spec, dim: Any, keepdim: bool) -> Any:
    """A reduced tensor repeated over the input's shape."""
    return F.expand(restore(g, input_spec, dim, keepdim), input_spec.shape)


def counted(input_spec: Spec, dim: Any) -> int:
    """How many elements make one of the result."""
    return math.prod(input_spec.shape[d] for d in dims_of(dim, input_spec))


# ---- sums

vjp("sum", input=lambda g, input_spec, dim, keepdim: spread(g, input_spec, dim, keepdim))
vjp("nansum", input=lambda g, input, input_spec, dim, keepdim:
    F.where(F.ne(input, input), 0, spread(g, input_spec, dim, keepdim)))  # fmt: skip
vjp("mean", input=lambda g, input_spec, dim, keepdim:
    spread(g / max(counted(input_spec, dim), 1), input_spec, dim, keepdim))  # fmt: skip

# ---- products

def prod_others(input: Any, dim: int | None) -> Any:
    """For each element the product of the others: those before it times those after, so that a zero does no harm."""
    whole = dim is None or not input.ndim
    a, axis = (F.reshape(input, (math.prod(input.shape),)), 0) if whole else (input, dim)
    both = F.exclusive_cumprod(a, axis, False) * F.exclusive_cumprod(a, axis, True)
    return F.reshape(both, tuple(input.shape))


vjp("prod", input=lambda g, input, input_spec, dim, keepdim:
    restore(g, input_spec, dim, keepdim) * conj(prod_others(input, dim)))  # fmt: skip

# ---- variance


def deviation(g: Any, input: Any, input_spec: Spec, dim: Any, correction: float | None, keepdim: bool) -> Any:
    """g (input - mean) / (n - correction): half the gradient of the variance."""
    left = max(counted(input_spec, dim) - (1 if correction is None else correction), 0)
    weight = 1 / left if left else math.inf
    return restore(g, input_spec, dim, keepdim) * weight * (input - F.mean(input, dims_of(dim, input_spec), True))


def per_std(g: Any, std: Any) -> Any:
    """g / std, and zero where std is: there the gradient is chosen to vanish, as torch has it."""
    return g / F.where(F.eq(std, 0), math.inf, std)


vjp("var", input=lambda g, input, input_spec, dim, correction, keepdim:
    deviation(2 * g, input, input_spec, dim, correction, keepdim))  # fmt: skip
vjp("std", input=lambda g, result, input, input_spec, dim, correction, keepdim:
    deviation(per_std(g, result), input, input_spec, dim, correction, keepdim))  # fmt: skip
vjp("var_mean", input=lambda gs, input, input_spec, dim, correction, keepdim:
    deviation(2 * gs[0], input, input_spec, dim, correction, keepdim)
    + restore(gs[1] / max(counted(input_spec, dim), 1), input_spec, dim, keepdim))  # fmt: skip
vjp("std_mean", input=lambda gs, std, input, input_spec, dim, correction, keepdim:
    deviation(per_std(gs[0], std), input, input_spec, dim, correction, keepdim)
    + restore(gs[1] / max(counted(input_spec, dim), 1), input_spec, dim, keepdim))  # fmt: skip

# ---- extremes


def share(g: Any, mask: Any, input_spec: Spec, dim: Any) -> Any:
    """g, whose reduced dims are kept, divided among the elements that the mask marks."""
    return mask * (g / F.sum(mask, dims_of(dim, input_spec), True, dtype=input_spec.dtype.to_real()))


def share_extreme(g: Any, result: Any, input: Any, input_spec: Spec, dim: Any, keepdim: bool) -> Any:
    mask = F.eq(input, restore(result, input_spec, dim, keepdim))
    return share(restore(g, input_spec, dim, keepdim), mask, input_spec, dim)


def share_all(g: Any, result: Any, input: Any, input_spec: Spec) -> Any:
    """g divided among the elements equal to the result; among the nans where that is nan."""
    mask = F.bitwise_or(F.eq(input, result), F.bitwise_and(F.ne(input, input), F.ne(result, result)))
    return share(g, mask, input_spec, None)


vjp("amax", input=share_extreme)
vjp("amin", input=share_extreme)
vjp("max_all", input=share_all)
vjp("min_all", input=share_all)
vjp("aminmax", input=lambda gs, min, max, input, input_spec, dim, keepdim:
    share_extreme(gs[0], min, input, input_spec, dim, keepdim)
    + share_extreme(gs[1], max, input, input_spec, dim, keepdim))  # fmt: skip


def select_back(gs: Any, indices: Any, input_spec: Spec, dim: int, keepdim: bool = True) -> Any:
    """The gradient of values selected along a dim, each from an element of its own."""
    g = gs[0]
    if not keepdim and input_spec.ndim:
        at = wrap_dim(dim, input_spec.ndim)
        kept = (*g.shape[:at], 1, *g.shape[at:])
        g, indices = F.reshape(g, kept), F.reshape(indices, kept)
    return F.scatter_along(g, indices, dim, input_spec.shape, True)


vjp("max_dim", input=select_back)
vjp("min_dim", input=select_back)
vjp("scatter_along", grad=lambda g, indices, dim: F.gather(g, dim, indices))

# ---- norms

vjp("logsumexp", input=lambda g, result, input, input_spec, dim, keepdim:
    restore(g, input_spec, dim, keepdim)
    * conj(F.exp(input - restore(result, input_spec, dim, keepdim))))  # fmt: skip


def norm_back(g: Any, result: Any, input: Any, input_spec: Spec, ord: float, dim: Any, keepdim: bool) -> Any:
    if ord == 0:
        return None  # it counts
    g, norm = restore(g, input_spec, dim, keepdim), restore(result, input_spec, dim, keepdim)
    if ord == 1:
        return g * F.sgn(input)
    if ord == 2:
        return F.where(F.eq(norm, 0), 0, input * (g / norm))  # at zero torch's second derivative is nan, and so is this
    size = F.abs(input)
    if abs(ord) == math.inf:
        return F.sgn(input) * share(g, F.eq(size, norm), input_spec, dim)
    if ord < 1:
        return g * norm ** (1 - ord) * F.sgn(input) * F.where(F.eq(size, 0), 0, size ** (ord - 1))
    # At zero the subgradient is zero: dividing by infinity there keeps nan out of every order.
    return g * F.sgn(input) * (size / F.where(F.eq(norm, 0), math.inf, norm)) ** (ord - 1)


vjp("linalg_vector_norm", input=norm_back)
