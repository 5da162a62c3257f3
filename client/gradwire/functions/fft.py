"""torch.fft: the transforms of one, two and n dimensions, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import finish, ops
from gradwire.export import export
from gradwire_proto import dtypes
from gradwire_proto.catalog.fft import check_points, transformed_dims
from gradwire_proto.dtypes import Category, DType

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

Dims = int | Sequence[int] | None
Points = tuple[tuple[int, ...], list[int]]
"""The dims to transform, and how many points each is to have."""
LAST_TWO = (-2, -1)
CONJUGATE = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The norm that makes a transform of the one in the other direction, by way of conjugates."""


def _reversed(norm: str | None) -> str:
    return CONJUGATE.get(norm, str(norm))


def _plain(norm: str | None) -> str:
    return norm or "backward"


def _converted(input: Tensor, to_complex: bool) -> Tensor:
    """The input as floats or complex numbers.

    Raises:
        RuntimeError: torch's, for the types that it does not transform.
    """
    given = input.dtype
    wanted = default_dtype() if given.category < Category.FLOAT else given
    if wanted.itemsize == dtypes.float16.itemsize:
        raise RuntimeError(f"Unsupported dtype {wanted.legacy}")
    if to_complex:
        wanted = wanted.to_complex()
    return input if given is wanted else ops.to_dtype(input, wanted)


def _check_real(name: str, input: Tensor, text: str = "{} expects a real input tensor, but got {}") -> None:
    if input.is_complex():
        raise RuntimeError(text.format(name, input.dtype.legacy))


def _resized(input: Tensor, dims: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Cut off, or padded with zeros, at the end of each dim."""
    pad = [0] * (2 * input.ndim)
    for d, size in zip(dims, sizes, strict=True):
        have = input.shape[d]
        if size < have:
            input = ops.slice(input, d, 0, size, 1)
        pad[2 * (input.ndim - 1 - d) + 1] = max(size - have, 0)
    return ops.constant_pad_nd(input, tuple(pad)) if any(pad) else input


def _shape(input: Tensor, s: Sequence[int] | None, dim: Dims, halved: bool = False) -> Points:
    """What ``s`` and ``dim`` say, as torch reads them.

    ``halved``: input has half the points of the last dim.
    """
    dim = (dim,) if isinstance(dim, int) else dim
    s = (s,) if isinstance(s, int) else s
    dims = None if dim is None else transformed_dims(tuple(dim), input.ndim)
    if s is not None:
        if dims is not None and len(dims) != len(s):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
        if len(s) > input.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {input.ndim} dimensions.")
    if dims is None:
        dims = tuple(range(input.ndim - (input.ndim if s is None else len(s)), input.ndim))
    have = [input.shape[d] if s is not None else check_points(input.shape[d]) for d in dims]
    if halved and have:
        have[-1] = 2 * (have[-1] - 1)
    points = have if s is None else [h if n == -1 else n for n, h in zip(s, have, strict=True)]
    return dims, [check_points(n) for n in points]


def _one(input: Tensor, n: int | None, dim: int, halved: bool = False) -> Points:
    dims = transformed_dims((dim,), input.ndim)
    have = input.shape[dims[0]]
    points = n if n is not None else 2 * (have - 1) if halved else have
    return dims, [check_points(points)]


def _full(input: Tensor, dims: tuple[int, ...], points: list[int], norm: str | None, forward: bool) -> Tensor:
    real = forward and not input.is_complex()
    x = _resized(_converted(input, not real), dims, points)
    return ops.fft_r2c(x, dims, _plain(norm), False) if real else ops.fft_c2c(x, dims, _plain(norm), forward)


def _several(input: Tensor, s: Sequence[int] | None, dim: Dims, norm: str | None, forward: bool) -> Tensor:
    dims, points = _shape(input, s, dim)
    x = _resized(_converted(input, True), dims, points)
    return ops.fft_c2c(x, dims, _plain(norm), forward) if dims else ops.clone(x)


def _to_half(input: Tensor, dims: tuple[int, ...], points: list[int], norm: str) -> Tensor:
    return ops.fft_r2c(_resized(_converted(input, False), dims, points), dims, norm, True)


def _to_real(input: Tensor, dims: tuple[int, ...], points: list[int], norm: str, conjugate: bool = False) -> Tensor:
    x = _resized(_converted(input, True), dims, [*points[:-1], points[-1] // 2 + 1])
    if conjugate:
        x = ops.conj_physical(x)
    return ops.fft_c2r(x, dims, norm, points[-1])


def _check_dims(name: str, dims: tuple[int, ...]) -> None:
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")


# ---- one dimension


@export("fft.fft", out=True)
def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The Fourier transform along a dim, cut off or padded to n points."""
    return _full(input, *_one(input, n, dim), norm, True)


@export("fft.ifft", out=True)
def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of ``fft``."""
    return _full(input, *_one(input, n, dim), norm, False)


@export("fft.rfft", out=True)
def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The half of real numbers' Fourier transform that tells the other."""
    _check_real("rfft", input)
    return _to_half(input, *_one(input, n, dim), _plain(norm))


@export("fft.irfft", out=True)
def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of ``rfft``: n real numbers."""
    return _to_real(input, *_one(input, n, dim, True), _plain(norm))


@export("fft.hfft", out=True)
def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real Fourier transform of what is Hermitian, of which input is the first half."""
    return _to_real(input, *_one(input, n, dim, True), _reversed(norm), True)


@export("fft.ihfft", out=True)
def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of ``hfft``."""
    _check_real("ihfft", input)
    return ops.conj_physical(_to_half(input, *_one(input, n, dim), _reversed(norm)))


# ---- several


@export("fft.fftn", out=True)
def fftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The Fourier transform over several dims, or all."""
    return _several(input, s, dim, norm, True)


@export("fft.ifftn", out=True)
def ifftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of ``fftn``."""
    return _several(input, s, dim, norm, False)


@export("fft.rfftn", out=True)
def rfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The half of real numbers' Fourier transform that tells the other, over several dims or all."""
    _check_real("rfftn", input, "{} expects a real-valued input tensor, but got {}")
    dims, points = _shape(input, s, dim)
    _check_dims("rfftn", dims)
    return _to_half(input, dims, points, _plain(norm))


@export("fft.irfftn", out=True)
def irfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of ``rfftn``."""
    dims, points = _shape(input, s, dim, True)
    _check_dims("irfftn", dims)
    return _to_real(input, dims, points, _plain(norm))


@export("fft.hfftn", out=True)
def hfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The real Fourier transform of what is Hermitian over several dims, or all."""
    dims, points = _shape(input, s, dim, True)
    _check_dims("hfftn", dims)
    return _to_real(input, dims, points, _reversed(norm), True)


@export("fft.ihfftn", out=True)
def ihfftn(input: Tensor, s: Sequence[int] | None = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of ``hfftn``."""
    _check_real("ihfftn", input, "Only supports floating-point dtypes, but found: {1}")
    dims, points = _shape(input, s, dim)
    _check_dims("ihfftn", dims)
    return ops.conj_physical(_to_half(input, dims, points, _reversed(norm)))


@export("fft.fft2", out=True)
def fft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The Fourier transform over two dims."""
    return fftn(input, s, dim, norm)


@export("fft.ifft2", out=True)
def ifft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The inverse of ``fft2``."""
    return ifftn(input, s, dim, norm)


@export("fft.rfft2", out=True)
def rfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The half of real numbers' Fourier transform over two dims that tells the other."""
    return rfftn(input, s, dim, norm)


@export("fft.irfft2", out=True)
def irfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The inverse of ``rfft2``."""
    return irfftn(input, s, dim, norm)


@export("fft.hfft2", out=True)
def hfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The real Fourier transform of what is Hermitian over two dims."""
    return hfftn(input, s, dim, norm)


@export("fft.ihfft2", out=True)
def ihfft2(input: Tensor, s: Sequence[int] | None = None, dim: Dims = LAST_TWO, norm: str | None = None) -> Tensor:
    """The inverse of ``hfft2``."""
    return ihfftn(input, s, dim, norm)


# ---- what goes with them


def _shifted(input: Tensor, dim: Dims, round_up: int) -> Tensor:
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    wrapped = [transformed_dims((d,), input.ndim)[0] for d in dims]
    return ops.roll(input, tuple((input.shape[d] + round_up) // 2 for d in wrapped), dims)


@export("fft.fftshift")
def fftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """Frequencies in ascending order, with zero in the middle."""
    return _shifted(input, dim, 0)


@export("fft.ifftshift")
def ifftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """The inverse of ``fftshift``."""
    return _shifted(input, dim, 1)


def _frequencies(name: str, parts: Any, n: int, d: float, dtype: DType | None, device: Any,
                 requires_grad: bool) -> Tensor:  # fmt: skip
    dtype = dtype or default_dtype()
    if dtype.category < Category.FLOAT:
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    step = 1 / (n * d) if n * d else float("inf")
    numbers = [ops.arange(low, high, 1, dtype=dtype) for low, high in parts]
    return finish(ops.mul(numbers[0] if len(numbers) == 1 else ops.cat(numbers), step), requires_grad, device)


@export("fft.fftfreq")
def fftfreq(n: int, d: float = 1.0, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """The frequencies of ``fft`` over n points that are d apart, in its order."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    return _frequencies("fftfreq", ((0, (n + 1) // 2), (-(n // 2), 0)), n, d, dtype, device, requires_grad)


@export("fft.rfftfreq")
def rfftfreq(n: int, d: float = 1.0, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """The frequencies of ``rfft`` over n points that are d apart."""
    return _frequencies("rfftfreq", ((0, n // 2 + 1),), n, d, dtype, device, requires_grad)
