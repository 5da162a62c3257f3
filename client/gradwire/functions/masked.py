"""``torch.masked``: reductions and normalizations in which only the elements that a mask marks take part.

What the mask leaves out is replaced by a value that makes no difference: 0 in a sum, 1 in a product, -inf in a
maximum. So a slice in which nothing takes part gives that value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire_proto import dtypes
from gradwire_proto.catalog.meta import wrap_dims
from gradwire_proto.dtypes import Category, DType

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

Dims = int | Sequence[int] | None


def _extreme(dtype: DType, sign: int) -> float | int:
    """The least number of a type, or the greatest."""
    if dtype.category >= Category.FLOAT:
        return sign * math.inf
    if dtype.category is Category.BOOL:
        return int(sign > 0)
    bits = 8 * dtype.itemsize
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.is_signed else (0, 2**bits - 1)
    return low if sign < 0 else high


def _marked(input: Tensor, mask: Tensor | None, neutral: Any, dtype: DType | None = None) -> Tensor:
    """The input with the neutral value where the mask is not."""
    x = input if dtype is None or dtype is input.dtype else ops.to_dtype(input, dtype)
    if mask is None:
        return x
    if mask.ndim > input.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return ops.where(mask if mask.dtype is dtypes.bool_ else ops.ne(mask, 0), x, neutral)


def _dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    return wrap_dims((dim,) if isinstance(dim, int) else dim, ndim)


def _counted(input: Tensor, dims: tuple[int, ...], mask: Tensor | None) -> Any:
    """How many elements take part in each result, with the reduced dims kept."""
    if mask is None:
        return math.prod(input.shape[d] for d in dims)
    return ops.sum(ops.expand(mask if mask.dtype is dtypes.bool_ else ops.ne(mask, 0), tuple(input.shape)), dims, True)


def _finish(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    return x if keepdim or not dims else ops.squeeze(x, dims)


# ---- reductions


@export("masked.sum")
def sum(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Sum of what the mask marks."""
    return ops.sum(_marked(input, mask, 0, dtype), dim, keepdim, dtype=dtype)


@export("masked.prod")
def prod(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Product of what the mask marks."""
    x = _marked(input, mask, 1, dtype)
    dims = _dims(dim, x.ndim)
    if not dims:
        return ops.prod(x, dtype=dtype)
    for d in dims:
        x = ops.prod(x, d, True, dtype=dtype)
    return _finish(x, dims, keepdim)


def _extremes(name: str, sign: int) -> None:
    over, index = getattr(ops, f"a{name}"), getattr(ops, f"arg{name}")

    def extreme(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None,
                mask: Tensor | None = None) -> Tensor:  # fmt: skip
        dims = _dims(dim, input.ndim)
        return over(_marked(input, mask, _extreme(dtype or input.dtype, sign), dtype), dims, keepdim)

    def place(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: DType | None = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
        return index(_marked(input, mask, _extreme(dtype or input.dtype, sign), dtype), dim, keepdim)

    extreme.__doc__ = over.__doc__
    place.__doc__ = index.__doc__
    export(f"masked.a{name}")(extreme)
    export(f"masked.arg{name}")(place)


_extremes("max", -1)
_extremes("min", 1)


@export("masked.mean")
def mean(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean of what the mask marks."""
    if mask is None:
        return ops.mean(input, dim, keepdim, dtype=dtype)
    dims = _dims(dim, input.ndim)
    total = ops.sum(_marked(input, mask, 0, dtype), dims, True, dtype=dtype)
    return _finish(ops.div(total, _counted(input, dims, mask)), dims, keepdim)


@export("masked.median")
def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: DType | None = None,
           mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Median of what the mask marks, nan left out."""
    x = input if input.dtype.is_floating_point else ops.to_dtype(input, dtypes.float32)
    return ops.nanmedian_dim(_marked(x, mask, math.nan), dim, keepdim)[0]


@export("masked.logsumexp")
def logsumexp(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Logarithm of the sum of exponentials of what the mask marks."""
    return ops.logsumexp(_marked(input, mask, -math.inf, dtype), _dims(dim, input.ndim), keepdim)


@export("masked.norm")
def norm(input: Tensor, ord: float | None = 2.0, dim: Dims = None, *, keepdim: bool = False,
         dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The ord-norm of what the mask marks."""
    order = 2.0 if ord is None else ord
    neutral = math.inf if order < 0 else 0
    return ops.linalg_vector_norm(_marked(input, mask, neutral, dtype), order, _dims(dim, input.ndim), keepdim)


def _variance(input: Tensor, dim: Dims, unbiased: bool | None, correction: float | None, keepdim: bool,
              dtype: DType | None, mask: Tensor | None) -> Tensor:  # fmt: skip
    less = float(unbiased is not False) if correction is None else correction
    dims = _dims(dim, input.ndim)
    if mask is None:
        x = input if dtype is None else ops.to_dtype(input, dtype)
        return ops.var(x, dims, correction=less, keepdim=keepdim)
    n = _counted(input, dims, mask)
    x = _marked(input, mask, 0, dtype)
    off = _marked(ops.sub(x, ops.div(ops.sum(x, dims, True), n)), mask, 0)
    square = ops.real(ops.mul(off, ops.conj_physical(off))) if off.dtype.is_complex else ops.mul(off, off)
    return _finish(ops.div(ops.sum(square, dims, True), ops.clamp_min(ops.sub(n, less), 0)), dims, keepdim)


@export("masked.var")
def var(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None,
        keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Variance of what the mask marks."""
    return _variance(input, dim, unbiased, correction, keepdim, dtype, mask)


@export("masked.std")
def std(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None,
        keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Standard deviation of what the mask marks."""
    return ops.sqrt(_variance(input, dim, unbiased, correction, keepdim, dtype, mask))


# ---- along a dim


def _along(name: str, run: Callable[..., Tensor], neutral: float) -> None:
    def f(input: Tensor, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
        return run(_marked(input, mask, neutral, dtype), dim)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"{name} of what the mask marks."
    export(f"masked.{name}")(f)


_along("cumsum", lambda x, dim: ops.cumsum(x, dim), 0)
_along("cumprod", lambda x, dim: ops.cumprod(x, dim), 1)
_along("softmax", lambda x, dim: ops.softmax(x, dim), -math.inf)
_along("log_softmax", lambda x, dim: ops.log_softmax(x, dim), -math.inf)
_along("softmin", lambda x, dim: ops.softmax(ops.neg(x), dim), math.inf)


@export("masked.normalize")
def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: DType | None = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Divided along a dim by the norm of what the mask marks."""
    size = ops.clamp_min(norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask), eps)
    return ops.div(_marked(input, mask, 0, dtype), size)


@export("masked.logaddexp")
def logaddexp(input: Tensor, other: Tensor, *, dtype: DType | None = None, input_mask: Tensor | None = None,
              other_mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Logarithm of the sum of exponentials of those of two that their masks mark."""
    return ops.logaddexp(
        _marked(input, input_mask, -math.inf, dtype), _marked(other, other_mask, -math.inf, dtype)
    )
