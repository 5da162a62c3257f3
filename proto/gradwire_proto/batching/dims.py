"""Ops that work along dimensions which they name: reductions, order, scans, views, transforms."""

from __future__ import annotations

import math
from typing import Any

from gradwire_proto.batching.declare import Call, behind, is_tensor, reshaped, rule

_NAMES = ("dim", "dims", "dim0", "dim1", "dim2", "dimension")


def _columns(c: Call) -> list[Any]:
    """The arguments with tensors that have examples, and numbers as vectors of one."""
    made = [c.full(i) if is_tensor(v) else v for i, v in enumerate(c.seen)]
    return [c.ops.unsqueeze(x, 1) if is_tensor(x) and x.ndim == 1 else x for x in made]


@rule("sum", "nansum", "mean", "var", "std", "var_mean", "std_mean", "amax", "amin", "any", "all", "count_nonzero",
      "logsumexp", "linalg_vector_norm")  # fmt: skip
def reduction(c: Call) -> Any:
    """Reductions of one tensor over the dims of a list, or over all."""
    at, ndim = c.at("dim"), max(c.seen[0].ndim, 1)
    args = _columns(c)
    dims = c.seen[at] if isinstance(c.seen[at], tuple) else None if c.seen[at] is None else (c.seen[at],)
    args[at] = tuple(behind(d, ndim) for d in dims or range(ndim))
    return c.run(args)


@rule("max_all", "min_all")
def extreme(c: Call) -> Any:
    """Equal ones share the gradient, as in amax."""
    dims = tuple(range(1, c.given[0].ndim)) or (1,)
    return getattr(c.ops, "amax" if c.op.name == "max_all" else "amin")(_columns(c)[0], dims)


@rule("median_all", "nanmedian_all")
def middle(c: Call) -> Any:
    flat = reshaped(c, c.given[0], (c.size, math.prod(c.seen[0].shape)))
    return getattr(c.ops, c.op.name.replace("_all", "_dim"))(flat, 1)[0]


@rule("prod", "max_dim", "min_dim", "argmax", "argmin", "aminmax", "median_dim", "nanmedian_dim", "mode", "kthvalue",
      "sort", "topk", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "exclusive_cumprod", "linear_scan",
      "softmax", "log_softmax", "softmax_backward", "log_softmax_backward", "select", "slice", "unbind", "split",
      "split_with_sizes", "unfold", "transpose", "diagonal", "flip", "roll", "fft_c2c", "fft_r2c", "fft_c2r",
      "fft_scale_pairs", "linalg_cross")  # fmt: skip
def along(c: Call) -> Any:
    """Ops along dims that they name; along all, in one row, where they name none."""
    ndim = max(c.seen[0].ndim, 1)
    args = _columns(c)
    for i, p in enumerate(c.op.params):
        if p.name in _NAMES:
            v = c.seen[i]
            if v is None or (v == () and c.op.name == "roll"):
                args[0] = reshaped(c, args[0], (c.size, math.prod(c.seen[0].shape)))
                args[i] = 1 if v is None else (1,)
            else:
                args[i] = tuple(behind(d, ndim) for d in v) if isinstance(v, tuple) else behind(v, ndim)
    return c.run(args)


@rule("select_backward", "slice_backward", "diagonal_backward", "unfold_backward", "scatter_along")
def adjoint(c: Call) -> Any:
    """Adjoints, which are told the size of what they make."""
    args = [c.full(i) if is_tensor(v) else v for i, v in enumerate(c.seen)]
    at = next(i for i, p in enumerate(c.op.params) if p.name in ("input_size", "size") and p.is_list)
    size = c.seen[at]
    if not size:
        args, size = [c.ops.unsqueeze(v, 1) if is_tensor(v) else v for v in args], (1,)
    args[at] = (c.size, *size)
    for i, p in enumerate(c.op.params):
        if p.name in _NAMES:
            args[i] = behind(c.seen[i], len(size))
    return c.run(args)
