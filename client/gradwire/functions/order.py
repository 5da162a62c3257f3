"""Order statistics that are not one op: named results, quantiles, covariance, counts, unique."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradwire import return_types
from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.calculus import diff, sides
from gradwire.functions.shape import movedim, reshape
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import Category

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def _with_names(name: str) -> Callable[..., Any]:
    primitive, result = getattr(ops, name), getattr(return_types, name)

    def f(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return result(*primitive(input, *args, **kwargs))

    f.__name__ = f.__qualname__ = name
    f.__doc__ = primitive.__doc__
    return f


for _name in ("sort", "topk", "kthvalue", "mode", "cummax", "cummin"):
    export(_name, f"Tensor.{_name}")(_with_names(_name))


@export("argsort", "Tensor.argsort", out=True)
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices that sort a tensor along a dim."""
    return ops.sort(input, dim, descending, stable)[1]


@export("msort", "Tensor.msort", out=True)
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dim."""
    return ops.sort(input, 0)[0]


# ---- quantiles


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    from gradwire.tensor import Tensor

    if not input.numel():
        raise RuntimeError("quantile() input tensor must be non-empty")
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    elif not 0 <= q <= 1:
        raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q:g}")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
            f"{interpolation}"
        )
    if dim is None:
        rows, at = ops.view(ops.clone(input), (input.numel(),)), None
    else:
        at = wrap_dim(dim, input.ndim)
        rows = ops.transpose(input, at, -1) if input.ndim else ops.view(input, (1,))
    many = isinstance(q, Tensor) and q.ndim == 1
    share = q if isinstance(q, Tensor) else ops.full((), float(q), dtype=input.dtype)
    ordered = ops.sort(rows, -1)[0]  # nan comes last
    last = ordered.shape[-1] - 1
    if skip_nan:
        numbers = ops.sum(ops.eq(ordered, ordered), -1, True)
        ranks = ops.mul(share, ops.clamp_min(ops.sub(numbers, 1), 0))
    else:
        greatest = ops.slice(ordered, -1, last, last + 1, 1)
        ranks = ops.where(ops.ne(greatest, greatest), float(last), ops.mul(share, last))
    # A row of results for each row of the input, of as many as there are in q.
    below = {"higher": ops.ceil, "nearest": ops.round}.get(interpolation, ops.floor)(ranks)
    low = ops.gather(ordered, -1, ops.to_dtype(below, dtypes.int64))
    if interpolation in ("linear", "midpoint"):
        high = ops.gather(ordered, -1, ops.to_dtype(ops.ceil(ranks), dtypes.int64))
        low = ops.lerp(low, high, 0.5 if interpolation == "midpoint" else ops.sub(ranks, ops.detach(below)))
    if at is None:
        return ops.view(low, (*((-1,) if many else ()), *((1,) * input.ndim if keepdim else ())))
    if input.ndim:
        low = ops.transpose(low, at, -1)  # the results now lie along the reduced dim
    else:
        at = 0
    if many:
        low = ops.unsqueeze(low, 0)
        low = ops.transpose(low, 0, at + 1)
        return low if keepdim and input.ndim else ops.squeeze(low, (at + 1,))
    return low if keepdim and input.ndim else ops.squeeze(low, (at,))


@export("quantile", "Tensor.quantile", out=True)
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:  # fmt: skip
    """The numbers below which given shares of the elements lie."""
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=False)


@export("nanquantile", "Tensor.nanquantile", out=True)
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:  # fmt: skip
    """The quantiles of what is not nan."""
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=True)


# ---- covariance


def _check_weights(kind: str, w: Tensor, observations: int, fits: bool) -> None:
    if w.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {kind} to have one or fewer dimensions but got {kind} with {w.ndim} dimensions"
        )
    if not fits:
        wanted = "integral" if kind == "fweights" else "floating point"
        raise RuntimeError(
            f"cov(): expected {kind} to have {wanted} dtype but got {kind} with {w.dtype.legacy} dtype"
        )
    if w.numel() != observations:
        raise RuntimeError(
            f"cov(): expected {kind} to have the same numel as there are observations in the input but got "
            f"{w.numel()} != {observations}"
        )


@export("cov", "Tensor.cov")
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None) -> Tensor:  # fmt: skip
    """The covariance of variables in rows, from observations in columns."""
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else ops.view(ops.clone(input), (1, input.numel()))
    n = x.shape[1]
    weights: Tensor | None = None
    if fweights is not None:
        _check_weights("fweights", fweights, n, fweights.dtype.category is Category.INT)
        weights = fweights
    if aweights is not None:
        _check_weights("aweights", aweights, n, aweights.dtype.is_floating_point)
        weights = aweights if weights is None else ops.mul(weights, aweights)
    left: Any
    if weights is None:
        mean = ops.div(ops.sum(x, 1, True), n if n else math.nan)
        left = max(n - correction, 0)
    else:
        total = ops.sum(weights)
        mean = ops.div(ops.sum(ops.mul(x, weights), 1, True), total)
        used = correction if aweights is None else ops.div(ops.mul(ops.sum(ops.mul(weights, aweights)), correction),
                                                           total)  # fmt: skip
        left = ops.clamp_min(ops.sub(total, used), 0)
    centred = ops.sub(x, mean)
    weighted = centred if weights is None else ops.mul(centred, weights)
    turned = ops.transpose(weighted, 0, 1)
    c = ops.matmul(centred, ops.conj_physical(turned) if turned.dtype.is_complex else turned)
    c = ops.div(c, left)
    return c if c.shape[0] != 1 else ops.view(c, ())


@export("corrcoef", "Tensor.corrcoef")
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of variables in rows, from observations in columns."""
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    c = cov(input)
    if not c.ndim:
        return ops.div(c, c)
    variance = ops.diagonal(c)
    deviation = ops.sqrt(ops.real(variance) if variance.dtype.is_complex else variance)
    c = ops.div(ops.div(c, ops.unsqueeze(deviation, 1)), ops.unsqueeze(deviation, 0))
    if c.dtype.is_complex:
        return ops.complex(ops.clamp(ops.real(c), -1, 1), ops.clamp(ops.imag(c), -1, 1))
    return ops.clamp(c, -1, 1)


# ---- search and counts


@export("bucketize", out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket between boundaries that each number falls into."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return ops.searchsorted(boundaries, input, out_int32=out_int32, right=right)


@export("bincount", "Tensor.bincount")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer comes. Waits for the server: the largest one gives the result's size."""
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.dtype.category >= Category.FLOAT:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{input.dtype.legacy}'")
    if input.ndim != 1:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise RuntimeError("weights should be 1-d and have the same length as input")
    largest = int(ops.max_all(input).item()) if input.numel() else -1
    return ops.bincount_sized(input, weights, max(largest + 1, minlength))


def _runs(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Which elements of a vector, and for the rows of a matrix which rows, differ from the one before; and where."""
    n = ordered.shape[0]
    left, right = sides(ordered, 0)
    new = ops.ne(right, left)
    if ordered.ndim > 1:
        new = ops.any(new, tuple(range(1, ordered.ndim)))
    new = ops.cat((ops.full((min(n, 1),), True, dtype=dtypes.bool_), new), 0)
    return new, ops.view(ops.nonzero(new, int(ops.count_nonzero(new).item())), (-1,))


def _distinct(x: Tensor, order: Tensor | None, inverse: bool, counts: bool, shape: Sequence[int]) -> Any:
    """The elements of a vector that begin a run, with what torch gives beside them."""
    n = x.shape[0]
    new, at = _runs(x)
    results = [ops.index_select(x, 0, at)]
    if inverse:
        which = ops.sub(ops.cumsum(new, 0), 1)
        if order is not None:
            which = ops.scatter_along(which, order, 0, (n,), True)
        results.append(ops.view(which, tuple(shape)))
    if counts:
        ends = ops.cat((at, ops.full((1,), n, dtype=dtypes.int64)), 0)
        results.append(diff(ends))
    return results[0] if len(results) == 1 else tuple(results)


def _rows(input: Tensor, dim: int, name: str) -> Tensor:
    """What lies at each index of a dim, as the rows of a matrix."""
    input = ops.detach(input if input.ndim else ops.view(input, (1,)))
    size = input.shape[wrap_dim(dim, input.ndim)]
    if not input.numel() and size:
        raise RuntimeError(f"There are 0 sized dimensions, and they aren't selected, so {name} cannot be applied")
    return reshape(movedim(input, dim, 0), (size, input.numel() // max(size, 1)))


def _stacked(results: Any, input: Tensor, dim: int) -> Any:
    """Rows as what lies at each index of the dim of ``input`` that they came from, first among the results."""
    rows, *rest = results if isinstance(results, tuple) else (results,)
    shape = list(input.shape) or [1]
    del shape[wrap_dim(dim, len(shape))]
    made = movedim(reshape(rows, (rows.shape[0], *shape)), 0, dim)
    return (made, *rest) if rest else made


@export("unique", "Tensor.unique")
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:  # fmt: skip
    """The distinct elements in order. Waits for the server: their number is in the data."""
    if input._is_batched:
        raise RuntimeError(refusals.dynamic_shape("_unique2"))
    if dim is not None:
        rows = _rows(input, dim, "unique")
        order = ops.arange(0, rows.shape[0], 1, dtype=dtypes.int64)
        for column in reversed(range(rows.shape[1])):
            values = ops.index_select(ops.select(rows, 1, column), 0, order)
            order = ops.index_select(order, 0, ops.sort(values, 0, False, True)[1])
        rows = ops.index_select(rows, 0, order)
        return _stacked(_distinct(rows, order, return_inverse, return_counts, rows.shape[:1]), input, dim)
    x, order = ops.sort(ops.detach(ops.view(ops.clone(input), (input.numel(),))), 0)
    return _distinct(x, order, return_inverse, return_counts, input.shape)


@export("unique_consecutive", "Tensor.unique_consecutive")
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:  # fmt: skip
    """The elements without direct repetitions. Waits for the server: their number is in the data."""
    if input._is_batched:
        raise RuntimeError(refusals.dynamic_shape("unique_consecutive"))
    if dim is not None:
        rows = _rows(input, dim, "unique_consecutive")
        return _stacked(_distinct(rows, None, return_inverse, return_counts, rows.shape[:1]), input, dim)
    x = ops.detach(ops.view(ops.clone(input), (input.numel(),)))
    return _distinct(x, None, return_inverse, return_counts, input.shape)
