"""Derivatives of pooling. A maximum sends its gradient to where it was found; a mean is linear."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.pool import ints
from gradwire_proto.spec import Spec


def apart(n: int, kernel_size: Any, stride: Any, dilation: Any) -> bool:
    """Whether the windows don't overlap, so that no index comes twice."""
    k, d = ints("", "", kernel_size, n), ints("", "", dilation, n)
    s = ints("", "", stride, n) if len(stride) else k
    return all(c >= b * (a - 1) + 1 for a, b, c in zip(k, d, s, strict=True))


def _pools(n: int) -> None:
    def max_pool(gs: Any, indices: Any, input_spec: Spec, kernel_size: Any, stride: Any, dilation: Any) -> Any:
        return F.scatter_planes(gs[0], indices, input_spec.shape[-n:], apart(n, kernel_size, stride, dilation))

    def adaptive_max_pool(gs: Any, indices: Any, input_spec: Spec) -> Any:
        return F.scatter_planes(gs[0], indices, input_spec.shape[-n:], False)

    def avg_pool(g: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
                 count_include_pad: bool, divisor_override: int | None) -> Any:  # fmt: skip
        return F.attach(avg_backward(g, input.shape[-n:], kernel_size, stride, padding, ceil_mode, count_include_pad,
                                     divisor_override), input)  # fmt: skip

    def avg_pool_backward(g: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
                          count_include_pad: bool, divisor_override: int | None) -> Any:  # fmt: skip
        return avg(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    avg, avg_backward = getattr(F, f"avg_pool{n}d"), getattr(F, f"avg_pool{n}d_backward")
    adaptive, adaptive_backward = getattr(F, f"adaptive_avg_pool{n}d"), getattr(F, f"adaptive_avg_pool{n}d_backward")
    vjp(f"max_pool{n}d_with_indices", input=max_pool)
    vjp(f"adaptive_max_pool{n}d", input=adaptive_max_pool)
    vjp(f"avg_pool{n}d", input=avg_pool)
    vjp(f"avg_pool{n}d_backward", grad=avg_pool_backward)
    vjp(f"adaptive_avg_pool{n}d",
        input=lambda g, input, output_size: F.attach(adaptive_backward(g, input.shape[-n:], output_size), input))
    vjp(f"adaptive_avg_pool{n}d_backward", grad=lambda g, output_size: adaptive(g, output_size))


for _n in (1, 2, 3):
    _pools(_n)

vjp("scatter_planes", input=lambda g, indices, size: F.gather_planes(g, indices, len(size)))
vjp("gather_planes",
    input=lambda g, indices, input_spec, dims:
        F.scatter_planes(g, indices, input_spec.shape[input_spec.ndim - dims :], False))  # fmt: skip
vjp("max_unpool", input=lambda g, indices, output_size: F.gather_planes(g, indices, len(output_size)))
vjp("fractional_max_pool",
    input=lambda gs, indices, input_spec, output_size:
        F.scatter_planes(gs[0], indices, input_spec.shape[-len(output_size) :], False))  # fmt: skip
