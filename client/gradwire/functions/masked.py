"""torch.masked: reductions and normalizations that leave out the elements where a mask does not hold.

What is left out becomes the number that does not change the result, and the unmasked function does the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire_proto.dtypes import Category, DType, bool_, float64

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

INF = float("inf")


def _kept(input: Any, mask: Tensor | None, fill: float, dtype: DType | None = None) -> Any:
    """``input`` with ``fill`` where the mask does not hold."""
    if dtype is not None and dtype is not input.dtype:
        input = ops.to_dtype(input, dtype)
    if mask is None:
        return input
    if mask.ndim > input.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    mask = ops.expand(mask if mask.dtype is bool_ else ops.ne(mask, 0), tuple(input.shape))
    if fill in (INF, -INF) and input.dtype.category is Category.INT:
        bits = 8 * input.dtype.itemsize - input.dtype.is_signed
        fill = 2**bits - 1 if fill > 0 else -(2**bits) if input.dtype.is_signed else 0
    return ops.where(mask, input, fill)


def _dims(dim: Any, input: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(input.ndim))
    return (dim,) if isinstance(dim, int) else tuple(dim)


def _count(input: Any, mask: Tensor | None, dim: Any, keepdim: bool) -> Any:
    ones = ops.new_full(input, tuple(input.shape), 1, dtype=input.dtype.to_real())
    return _kept(ones, mask, 0).sum(dim=_dims(dim, input), keepdim=keepdim)


@export("masked.sum")
def sum(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The sum of what the mask keeps."""
    return _kept(input, mask, 0, dtype).sum(dim=_dims(dim, input), keepdim=keepdim)


@export("masked.prod")
def prod(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The product of what the mask keeps."""
    made = _kept(input, mask, 1, dtype)
    for d in sorted({d % max(input.ndim, 1) for d in _dims(dim, input)} or range(input.ndim), reverse=True):
        made = made.prod(dim=d, keepdim=keepdim)
    return made


@export("masked.cumsum")
def cumsum(input: Any, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """The running sum of what the mask keeps."""
    return _kept(input, mask, 0, dtype).cumsum(dim, dtype=dtype or input.dtype)


@export("masked.cumprod")
def cumprod(input: Any, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """The running product of what the mask keeps."""
    return _kept(input, mask, 1, dtype).cumprod(dim, dtype=dtype or input.dtype)


@export("masked.amax")
def amax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The largest of what the mask keeps."""
    return _kept(input, mask, -INF, dtype).amax(dim=_dims(dim, input), keepdim=keepdim)


@export("masked.amin")
def amin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The smallest of what the mask keeps."""
    return _kept(input, mask, INF, dtype).amin(dim=_dims(dim, input), keepdim=keepdim)


@export("masked.argmax")
def argmax(input: Any, dim: int | None = None, *, keepdim: bool = False, dtype: DType | None = None,
           mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the largest of what the mask keeps is."""
    return ops.to_dtype(_kept(input, mask, -INF, dtype).argmax(dim=dim, keepdim=keepdim), dtype or input.dtype)


@export("masked.argmin")
def argmin(input: Any, dim: int | None = None, *, keepdim: bool = False, dtype: DType | None = None,
           mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the smallest of what the mask keeps is."""
    return ops.to_dtype(_kept(input, mask, INF, dtype).argmin(dim=dim, keepdim=keepdim), dtype or input.dtype)


@export("masked.mean")
def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The mean of what the mask keeps."""
    given = dtype or input.dtype
    if given.category < Category.FLOAT:
        raise ValueError(
            f"mean(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be either a "
            f"floating point or complex dtype. Got: {given!r}"
        )
    total: Any = sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
    return total / _count(input, mask, dim, keepdim)


@export("masked.median")
def median(input: Any, dim: int = -1, *, keepdim: bool = False, dtype: DType | None = None,
           mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The lower median of what the mask keeps."""
    given = dtype or input.dtype
    if given.category < Category.FLOAT:  # of which none is nan
        made: Any = _kept(input, mask, float("nan"), float64).nanmedian(dim, keepdim).values
        return ops.to_dtype(made, given)
    return _kept(input, mask, float("nan"), dtype).nanmedian(dim, keepdim).values


@export("masked.logsumexp")
def logsumexp(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The log of the sum of exponentials of what the mask keeps."""
    made = _kept(input, mask, -INF, dtype).logsumexp(_dims(dim, input), keepdim=keepdim)
    return ops.to_dtype(made, dtype or input.dtype)


@export("masked.logaddexp")
def logaddexp(input: Any, other: Any, *, dtype: DType | None = None, input_mask: Tensor | None = None,
              other_mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The log of the sum of two exponentials, each where its mask holds."""
    return _kept(input, input_mask, -INF, dtype).logaddexp(_kept(other, other_mask, -INF, dtype))


def _norm(x: Any, ord: float | None, dim: Any, keepdim: bool) -> Any:
    import gradwire

    return gradwire.linalg.vector_norm(x, 2.0 if ord is None else ord, _dims(dim, x) or None, keepdim)  # type: ignore[attr-defined]


@export("masked.norm")
def norm(input: Any, ord: float | None = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: DType | None = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The vector norm of what the mask keeps."""
    return _norm(_kept(input, mask, 0 if ord is None or ord >= 0 else INF, dtype), ord, dim, keepdim)


@export("masked.normalize")
def normalize(input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: DType | None = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """What the mask keeps, divided by its vector norm."""
    size: Any = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _kept(input, mask, 0, dtype) / size.clamp(min=eps)


def _spread(input: Any, dim: Any, unbiased: bool | None, correction: float | None, keepdim: bool,
            dtype: DType | None, mask: Tensor | None) -> Any:  # fmt: skip
    if unbiased is not None and correction is not None:
        raise ValueError("Only one of unbiased and correction may be given")
    if dtype is None and input.dtype.category is Category.INT:
        dtype = default_dtype()
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    if dtype is not None:
        input = ops.to_dtype(input, dtype)
    away = input - mean(input, dim, keepdim=True, mask=mask)
    square = away * away.conj() if input.is_complex() else away * away
    total: Any = sum(square, dim, keepdim=keepdim, mask=mask)
    return total / (_count(input, mask, dim, keepdim) - correction).clamp(min=0)


@export("masked.var")
def var(input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None,
        keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The variance of what the mask keeps."""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask)


@export("masked.std")
def std(input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None,
        keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The standard deviation of what the mask keeps."""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask).sqrt()


@export("masked.softmax")
def softmax(input: Any, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """softmax over what the mask keeps."""
    return _kept(input, mask, -INF, dtype).softmax(dim)


@export("masked.softmin")
def softmin(input: Any, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """softmin over what the mask keeps."""
    return (-_kept(input, mask, INF, dtype)).softmax(dim)


@export("masked.log_softmax")
def log_softmax(input: Any, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """log_softmax over what the mask keeps."""
    return _kept(input, mask, -INF, dtype).log_softmax(dim)
