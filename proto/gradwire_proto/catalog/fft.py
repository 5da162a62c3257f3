"""Discrete Fourier transforms over some dimensions, each once for complex, real and half the Hermitian numbers.

``norm`` is NumPy's: which direction divides by the number of points ("ortho": each by its root).
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import Category, DType, float16
from gradwire_proto.spec import Spec, spec

NORMS = ("backward", "ortho", "forward")


def check_points(size: int) -> int:
    if size < 1:
        raise RuntimeError(f"Invalid number of data points ({size}) specified")
    return size


def transformed_dims(dim: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Dims counted from the front; unlike a reduction's, no dims are none.

    Raises:
        IndexError, RuntimeError: torch's, where one is out of range or there twice.
    """
    if dim and not ndim:
        raise IndexError(f"Dimension specified as {dim[0]} but tensor has no dimensions")
    dims = tuple(wrap_dim(d, ndim) for d in dim)
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    return dims


def _check(op: Op, input: Spec, dim: Sequence[int], norm: str, category: Category) -> tuple[int, ...]:
    if input.dtype.category is not category or input.dtype.itemsize == float16.itemsize:
        raise RuntimeError(f"Unsupported dtype {input.dtype.legacy}")
    dims = transformed_dims(dim, input.ndim)
    if not dims:
        raise RuntimeError(f"{op.name} must transform at least one axis")
    for d in dims:
        check_points(input.shape[d])
    if norm not in NORMS:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return dims


def _complex(op: Op, input: Spec, dim: Sequence[int], norm: str, forward: bool) -> Spec:
    _check(op, input, dim, norm, Category.COMPLEX)
    return spec(input.shape, input.dtype)


def _resized(input: Spec, dim: int, size: int, dtype: DType) -> Spec:
    return spec((*input.shape[:dim], size, *input.shape[dim + 1 :]), dtype)


def _from_real(op: Op, input: Spec, dim: Sequence[int], norm: str, onesided: bool) -> Spec:
    dims = _check(op, input, dim, norm, Category.FLOAT)
    out = input.dtype.to_complex()
    if not onesided:
        return spec(input.shape, out)
    return _resized(input, dims[-1], input.shape[dims[-1]] // 2 + 1, out)


def _check_half(op: Op, input: Spec, dim: int, size: int) -> None:
    if input.shape[dim] != check_points(size) // 2 + 1:
        raise RuntimeError(
            f"{op.name}: {size} real points have {size // 2 + 1} frequencies, but dimension {dim} has "
            f"{input.shape[dim]}"
        )


def _to_real(op: Op, input: Spec, dim: Sequence[int], norm: str, last_dim_size: int) -> Spec:
    dims = _check(op, input, dim, norm, Category.COMPLEX)
    _check_half(op, input, dims[-1], last_dim_size)
    return _resized(input, dims[-1], last_dim_size, input.dtype.to_real())


def _pairs(op: Op, input: Spec, dim: int, size: int, factor: float) -> Spec:
    _check_half(op, input, transformed_dims((dim,), input.ndim)[0], size)
    return spec(input.shape, input.dtype)


op("fft_c2c(Tensor input, int[] dim, str norm, bool forward) -> Tensor", meta=_complex, method=False, public=False,
   node="FftC2CBackward0", doc="Fourier transform of complex numbers, in either direction.")
op("fft_r2c(Tensor input, int[] dim, str norm, bool onesided) -> Tensor", meta=_from_real, method=False, public=False,
   node="FftR2CBackward0", doc="Fourier transform of real numbers; onesided: only half of the last dim's frequencies.")
op("fft_c2r(Tensor input, int[] dim, str norm, int last_dim_size) -> Tensor", meta=_to_real, method=False,
   public=False, node="FftC2RBackward0", doc="The real numbers whose onesided Fourier transform is input.")
op("fft_scale_pairs(Tensor input, int dim, int size, float factor) -> Tensor", meta=_pairs, method=False,
   public=False, doc="Half of size frequencies, where those that stand for their conjugate, too, are times factor.")
