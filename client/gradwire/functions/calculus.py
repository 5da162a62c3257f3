"""Differences, slopes and integrals of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire_proto import dtypes
from gradwire_proto.catalog.meta import wrap_dim, wrap_dims

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def sides(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """All but the last along a dim, and all but the first."""
    n = x.shape[dim]
    return ops.slice(x, dim, 0, max(n - 1, 0), 1), ops.slice(x, dim, min(1, n), n, 1)


@export("diff", "Tensor.diff", out=True)
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:  # fmt: skip
    """The n-th forward difference along a dim."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    at = wrap_dim(dim, input.ndim)
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    for end in (prepend, append):
        if end is None:
            continue
        if end.ndim != input.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
        for d in range(input.ndim):
            if d != at and end.shape[d] != input.shape[d]:
                raise RuntimeError(
                    "diff expects the shape of tensor to prepend or append to match that of input except along the "
                    f"differencing dimension; input.size({d}) = {input.shape[d]}, but got tensor.size({d}) = "
                    f"{end.shape[d]}"
                )
    x = input
    if n and (prepend is not None or append is not None):
        x = ops.cat(tuple(t for t in (prepend, input, append) if t is not None), at)
    if not n:
        return ops.clone(x)
    for _ in range(min(n, x.shape[at])):
        left, right = sides(x, at)
        x = ops.ne(right, left) if x.dtype is dtypes.bool_ else ops.sub(right, left)
    return x


def _areas(name: str, y: Tensor, x: Tensor | None, dx: Any, dim: int) -> tuple[Tensor, int]:
    """Twice the area under each step of a polygon."""
    if not y.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    at = wrap_dim(dim, y.ndim)
    left, right = sides(y, at)
    both = ops.add(left, right)
    if x is None:
        return ops.mul(both, 1 if dx is None else dx), at
    if dx is not None:
        raise TypeError(f"{name}() received an invalid combination of arguments - got both x and dx")
    if x.ndim == 1:
        if x.shape[0] != y.shape[at]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        lower, upper = sides(x, 0)
        shape = (lower.shape[0], *(1,) * (y.ndim - at - 1))
        return ops.mul(both, ops.view(ops.sub(upper, lower), shape)), at
    if x.ndim < y.ndim:
        x = ops.view(ops.clone(x), (*(1,) * (y.ndim - x.ndim), *x.shape))
    lower, upper = sides(x, at)
    return ops.mul(both, ops.sub(upper, lower)), at


@export("trapezoid", "trapz")
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along a dim by the trapezoidal rule."""
    areas, at = _areas("trapezoid", y, x, dx, dim)
    return ops.div(ops.sum(areas, at), 2)


@export("cumulative_trapezoid")
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The running integral along a dim by the trapezoidal rule."""
    areas, at = _areas("cumulative_trapezoid", y, x, dx, dim)
    return ops.div(ops.cumsum(areas, at), 2)


def _slope(f: Tensor, dx: Any, at: int, edge_order: int) -> Tensor:
    """The derivative along a dim by differences of second order inside; ``dx`` is one step, or a vector of steps."""
    n = f.shape[at]
    uniform = _is_step(dx)

    def part(start: int, stop: int) -> Any:
        return ops.slice(f, at, start, stop, 1)

    def step(start: int, stop: int) -> Any:
        return dx if uniform else ops.view(ops.slice(dx, 0, start, stop, 1), (stop - start, *(1,) * (f.ndim - at - 1)))

    def rise(i: int) -> Any:
        return (part(i + 1, i + 2) - part(i, i + 1)) / step(i, i + 1)

    def end(i: int, next: int) -> Any:
        """The slope at one end, where step i is."""
        if edge_order == 1:
            return rise(i)
        h, k = step(i, i + 1), step(next, next + 1)
        return rise(i) + (rise(i) - rise(next)) * (0.5 if uniform else h / (h + k))

    left, middle, right = part(0, n - 2), part(1, n - 1), part(2, n)
    if uniform:
        inside = (right - left) / (2 * dx)
    else:  # of the parabola through three points, the slope in the middle
        h, k = step(0, n - 2), step(1, n - 1)
        inside = (right - middle) * (h / (k * (h + k))) + (middle - left) * (k / (h * (h + k)))
    return ops.cat((end(0, 1), inside, end(n - 2, n - 3)), at)


def _is_step(h: Any) -> bool:
    return isinstance(h, (int, float, complex)) or not h.ndim


def _check_coordinates(given: Sequence[Any], sizes: Sequence[int]) -> None:
    """Raise torch's errors where coordinates are not a vector of one for each sample."""
    numbers = [isinstance(h, (int, float, complex)) for h in given]
    if all(numbers):
        return
    if any(numbers):
        i = numbers.index(True)
        raise TypeError(f"expected Tensor as element {i} in argument 1, but got {type(given[i]).__name__}")
    for h, size in zip(given, sizes, strict=True):
        if h.ndim != 1:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, but got an element with "
                f"{h.ndim} dimensions!"
            )
        if h.shape[0] != size:
            raise RuntimeError(
                f"torch.gradient expected one coordinate for each of {size} samples, but got {h.shape[0]}"
            )


@export("gradient")
def gradient(input: Tensor, *, spacing: Any = 1, dim: int | Sequence[int] | None = None,
             edge_order: int = 1) -> tuple[Tensor, ...]:  # fmt: skip
    """The slopes of a sampled function along dims; ``spacing`` is a step or the coordinates, for all dims or each."""
    dims = wrap_dims((dim,) if isinstance(dim, int) else dim, input.ndim)
    if dim is not None and not isinstance(dim, int) and not len(dim):
        dims = ()
    several = isinstance(spacing, (tuple, list))
    given = list(spacing) if several else [1 if spacing is None else spacing] * len(dims)
    if len(given) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
            f"'self.dim() = {input.ndim}', since dim argument was not given, but got a list of length {len(given)}"
            if dim is None
            else "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to "
            f"have the same length, but got a spacing argument of length {len(given)} and a dim argument of length "
            f"{len(dims)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d in dims:
        if input.shape[d] <= edge_order:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    if several:
        _check_coordinates(given, [input.shape[d] for d in dims])
    elif spacing is not None and not _is_step(spacing):
        raise TypeError("gradient(): argument 'spacing' must be a number or a tuple, not a Tensor of several elements")
    if input.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    return tuple(_slope(input, h if _is_step(h) else diff(h), d, edge_order) for d, h in zip(dims, given, strict=True))
