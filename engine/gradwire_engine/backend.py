"""The array libraries: NumPy on the CPU, CuPy on a GPU, and the few places where their names differ.

Everything else in the engine takes the namespace from its arrays and never imports either.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import ml_dtypes
import numpy as np
import scipy.fft
import scipy.linalg
import scipy.special
from threadpoolctl import ThreadpoolController

from gradwire_engine.spread import cores
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType

NUMPY_DTYPE: dict[DType, np.dtype[Any]] = {
    d: np.dtype(ml_dtypes.bfloat16 if d is dtypes.bfloat16 else d.name) for d in dtypes.ALL
}
"""The array libraries' dtype object of each element type."""
DTYPE: dict[Any, DType] = {v: k for k, v in NUMPY_DTYPE.items()}
"""The element type of each dtype object."""


def _keep_freed_memory() -> None:
    """Have the C library hand freed arrays' memory out again. It would give large ones' back to the system, which
    clears each page anew when it is next touched: two to three times the time of what fills a large temporary.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return
    mallopt(M_MMAP_THRESHOLD, 2**25)  # the most it takes
    mallopt(M_TRIM_THRESHOLD, 2**26)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_keep_freed_memory()


def namespace(array: Any) -> Any:
    """The array library that ``array`` belongs to."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    return sys.modules["cupy"]


def on_cpu(array: Any) -> bool:
    """Whether it is NumPy's."""
    return isinstance(array, np.ndarray)


def special(xp: Any) -> ModuleType:
    """``scipy.special`` or ``cupyx.scipy.special``."""
    if xp is np:
        return scipy.special
    import cupyx.scipy.special

    return cupyx.scipy.special


def linalg(xp: Any) -> ModuleType:
    """``scipy.linalg`` or ``cupyx.scipy.linalg``."""
    if xp is np:
        return scipy.linalg
    import cupyx.scipy.linalg

    return cupyx.scipy.linalg


@cache
def _fft() -> SimpleNamespace:
    """SciPy's transforms, as NumPy's are called: several lines at a time by vectors, and by all cores."""
    names = ("fftn", "ifftn", "rfftn", "irfft")
    return SimpleNamespace(**{n: partial(getattr(scipy.fft, n), workers=len(cores())) for n in names})


LONG = 2**14
"""Elements from which on SciPy's transforms take less time than NumPy's, threads having to wake."""


def fft(xp: Any, a: Any) -> Any:
    """Where ``a``'s Fourier transforms come from: ``xp.fft``, or SciPy's functions that are called likewise."""
    return _fft() if xp is np and a.size >= LONG else xp.fft


def matmul(xp: Any, a: Any, b: Any, out: Any = None) -> Any:
    """``xp.matmul``, which in NumPy knows 16-bit floats only as a slow loop that rounds after every addition."""
    if xp is np and a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        made = np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        if out is None:
            return made
        out[...] = made
        return out
    if xp is np and b.ndim:
        use_threads(a.size * b.shape[-1] >= PARALLEL)
    return a @ b if out is None else xp.matmul(a, b, out=out)


PARALLEL = 8 * 2**20
"""Multiplications from which a product is worth more than one core: below, waking the other ones takes longer."""
_blas = ThreadpoolController().select(user_api="blas").lib_controllers
_most_threads = [lib.num_threads for lib in _blas]
_parallel = True


def use_threads(parallel: bool) -> None:
    """Let BLAS use every core, or one. It is asked only where that changes, which costs half a microsecond.

    Not when this is imported: OpenBLAS takes what the main thread asks for as the most that others may have.
    """
    global _parallel
    if parallel is not _parallel:
        _parallel = parallel
        for lib, most in zip(_blas, _most_threads, strict=True):
            lib.set_num_threads(most if parallel else 1)



def filled(out: Any, made: Any) -> Any:
    """What a kernel made, put into ``out`` where it was given that and did not write there."""
    if out is None or out is made:
        return made
    out[...] = made
    return out


LINE = 64
"""Bytes of a cache line, which is also the widest vector: a sum of two arrays takes half the time where they begin at a
multiple of it, as CuPy's do and NumPy's do not."""


def aligned(xp: Any, nbytes: int) -> Any:
    """Memory that begins where a cache line does."""
    if xp is np:
        memory = np.empty(nbytes + LINE, "u1")
        start = -memory.ctypes.data % LINE
        return memory[start : start + nbytes]
    return xp.empty(nbytes, "u1")


def room(xp: Any, out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Where a kernel may write a result in this shape and type: in ``out``, or in a new array if that is of another."""
    return xp.empty(shape, dtype) if out is None or out.dtype != dtype else out.reshape(shape)


def handed(out: Any, made: Any, shape: tuple[int, ...]) -> Any:
    """What was written to the :func:`room` that was made for it, in the shape of the result."""
    return out if out is not None and out.dtype == made.dtype else filled(out, made.reshape(shape))


def largest(xp: Any, a: Any, axis: int | None = None) -> Any:
    """``a.max(axis)``; NumPy's method takes a microsecond to come to this."""
    return np.maximum.reduce(a, axis) if xp is np else a.max(axis)


def summed(xp: Any, a: Any, axis: int | None = None) -> Any:
    """``a.sum(axis)`` of floats of 4 bytes and more, likewise."""
    return np.add.reduce(a, axis) if xp is np else a.sum(axis)


def looked_up(xp: Any, table: Any, index: Any, out: Any = None) -> Any:
    """``table[index]`` of a line, for indices that are known to be in it: NumPy takes half the time unchecked."""
    if xp is np:
        return np.take(table, index, out=out, mode="clip")
    return filled(out, table[index])


def accumulate(xp: Any, combine: Any, a: Any) -> Any:
    """``combine.accumulate`` along axis 0; CuPy's ufuncs have none, so there it takes log2(n) steps over all."""
    if xp is np:
        return combine.accumulate(a, axis=0)
    out, span = a.copy(), 1
    while span < len(a):
        out[span:] = combine(out[:-span], out[span:])
        span *= 2
    return out


def checked(xp: Any) -> AbstractContextManager[Any]:
    """Where a factorization that fails raises NumPy's LinAlgError; CuPy would go on with whatever cuSOLVER left."""
    if xp is np:
        return nullcontext()
    import cupyx

    return cupyx.errstate(linalg="raise")


def solve_triangular(xp: Any, a: Any, b: Any, *, lower: bool, unit: bool) -> Any:
    """The x of a @ x = b over batches of equal shape; a zero on the diagonal gives inf, not an error."""
    if not b.size:
        return xp.zeros_like(b)
    if xp is not np:
        return linalg(xp).solve_triangular(a, b, lower=lower, unit_diagonal=unit, check_finite=False)
    (trsm,) = cast(Any, scipy.linalg.get_blas_funcs(["trsm"], (a, b)))
    out = np.empty(b.shape, b.dtype)
    for i in np.ndindex(b.shape[:-2]):
        # BLAS thinks in columns: to it a row-major matrix is its own transpose, and a copy is saved.
        out[i] = trsm(1, a[i].T, b[i].T, side=1, lower=not lower, diag=unit).T
    return out


def lu_factor(xp: Any, a: Any) -> tuple[Any, Any]:
    """LU in one matrix, and the row that each step swapped, from 0; of a singular matrix too."""
    lu, pivots = xp.empty(a.shape, a.dtype), xp.empty((*a.shape[:-2], min(a.shape[-2:])), xp.int32)
    if a.size and xp is np:
        (getrf,) = cast(Any, scipy.linalg.get_lapack_funcs(["getrf"], (a,)))
        for i in np.ndindex(a.shape[:-2]):
            lu[i], pivots[i], _ = getrf(a[i])
    elif a.size:
        for i in np.ndindex(a.shape[:-2]):
            lu[i], pivots[i] = linalg(xp).lu_factor(a[i], check_finite=False)
    return lu, pivots


def library(device: str) -> Any:
    """The array library for ``"cpu"`` or ``"cuda"``, ``"cuda:N"``; selects the GPU in the calling thread.

    Raises:
        RuntimeError: torch's, where the device is unknown or absent.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" and index in ("", "0"):
        return np
    if kind != "cuda" or (index and not index.isdecimal()):
        raise RuntimeError(f"Expected one of cpu, cuda, cuda:N as device, got: {device}")
    try:
        import cupy
    except ImportError as e:
        raise RuntimeError("gradwire server is not installed with CUDA: install gradwire[cuda12] or [cuda13]") from e
    if not cupy.cuda.is_available():
        raise RuntimeError("No CUDA GPUs are available")
    if int(index or 0) >= cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError("CUDA error: invalid device ordinal")
    cupy.cuda.Device(int(index or 0)).use()
    return cupy


# log(p / (1 - p)) / x, where p = ndtr(x), as a polynomial in x ** 2, fitted where it matters: x p is right to 7e-8.
NORMAL_LOGIT = (1.59576899, 0.0726678216, -6.5908371e-05, -0.000110556268, 7.94628199e-06, -2.67297283e-07,
                3.61880767e-09)  # fmt: skip
BLOCK = 1 << 16
"""Elements that stay in a core's cache while several passes go over them."""


def in_blocks(xp: Any, f: Callable[..., Any], *arrays: Any, out: Any = None) -> Any:
    """``f(*arrays, out)`` of arrays element by element, on the CPU a block at a time: for functions that take many
    passes.

    Args:
        f: writes to ``out``, where it is given one, no earlier than it has read its arguments, for it may be one of
            them.
        out: of the arrays' shape, or None.
    """
    first = arrays[0]
    if xp is not np or first.size <= BLOCK or any(a.shape != first.shape for a in arrays):
        return f(*arrays, out)
    if out is None:
        out = np.empty(first.shape, first.dtype)
    elif out.dtype != first.dtype or not out.flags.c_contiguous:
        return filled(out, in_blocks(xp, f, *arrays))
    flat, target = [a.reshape(-1) for a in arrays], out.reshape(-1)
    for i in range(0, first.size, BLOCK):
        f(*[a[i : i + BLOCK] for a in flat], target[i : i + BLOCK])
    return out


_AXPY = {np.dtype(c): getattr(scipy.linalg.blas, f"{b}axpy") for c, b in zip("fdFD", "sdcz", strict=True)}
"""BLAS's function for each element type."""


FEW = 1 << 14
"""Elements up to which NumPy's two calls take less than one of SciPy's."""


def add_scaled(xp: Any, target: Any, array: Any, scale: Any) -> None:
    """``target += scale * array`` by BLAS where it can, which does it in one pass and keeps nothing in between."""
    axpy = _AXPY.get(target.dtype) if xp is np and array.dtype is target.dtype and array.size > FEW else None
    if axpy is None or array.shape != target.shape or not (array.flags.c_contiguous and target.flags.c_contiguous):
        xp.add(target, xp.multiply(array, scale), out=target)
    elif target.size:
        use_threads(False)  # SciPy brings a BLAS of its own: its threads would fight NumPy's for the cores
        axpy(array.reshape(-1), target.reshape(-1), a=scale)


def normal_odds(xp: Any, x: Any) -> Any:
    """``(1 - p) / p`` in a new array, where p is what the normal distribution has below ``x``.

    SciPy takes ten times as long in single precision as a polynomial.
    """
    if xp is not np or x.dtype != np.float32:
        return special(xp).ndtr(-x) / special(xp).ndtr(x)
    square = x * x
    made = square * np.float32(-NORMAL_LOGIT[-1])
    for c in NORMAL_LOGIT[-2:0:-1]:
        made -= np.float32(c)
        made *= square
    made -= np.float32(NORMAL_LOGIT[0])
    made *= x
    return np.exp(made, out=made) if made.ndim else np.exp(made)


def log_add_exp(xp: Any, x: Any, y: Any, out: Any = None, base: float = math.e) -> Any:
    """log(base ** x + base ** y), the base being e or 2: of large arrays made of functions that NumPy has vectors for,
    as its own is not."""
    if xp is not np or x.size <= FEW or x.dtype.itemsize < 4:
        return (xp.logaddexp2 if base == 2 else xp.logaddexp)(x, y, out=out)
    top = np.maximum(x, y)
    less = np.asarray(np.abs(x - y))
    (np.exp2 if base == 2 else np.exp)(np.negative(less, out=less), out=less)
    np.log1p(less, out=less)
    if base == 2:
        less *= 1 / math.log(2)
    np.add(top, less, out=less)
    np.copyto(less, top, where=np.isinf(top))  # of two infinities the difference is nan
    return filled(out, less)


def to_device(xp: Any, host: Any) -> Any:
    """A number or a NumPy array as one of the library's; CuPy would fill a 0-d one, and with 0 for -0."""
    if xp is np or isinstance(host, xp.ndarray):
        return xp.asarray(host)
    host = np.asarray(host)
    return xp.asarray(host.reshape(-1)).reshape(host.shape)


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """The array as a NumPy array, copied from the GPU where it lives there."""
    return array if isinstance(array, np.ndarray) else array.get()


def finfo(dtype: Any) -> Any:
    """The limits of a floating-point type, bfloat16 included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
