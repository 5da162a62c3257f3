"""The array libraries: NumPy on the CPU, CuPy on a GPU, and the few places where their names differ.

Everything else in the engine takes the namespace from its arrays and never imports either.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import scipy.linalg
import scipy.special

from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType

NUMPY_DTYPE: dict[DType, np.dtype[Any]] = {
    d: np.dtype(ml_dtypes.bfloat16 if d is dtypes.bfloat16 else d.name) for d in dtypes.ALL
}
"""The array libraries' dtype object of each element type."""
DTYPE: dict[Any, DType] = {v: k for k, v in NUMPY_DTYPE.items()}
"""The element type of each dtype object."""


def namespace(array: Any) -> Any:
    """The array library that ``array`` belongs to."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    return sys.modules["cupy"]


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


def matmul(xp: Any, a: Any, b: Any, out: Any = None) -> Any:
    """``xp.matmul``, which in NumPy knows 16-bit floats only as a slow loop that rounds after every addition."""
    if xp is np and a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        made = np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        if out is None:
            return made
        out[...] = made
        return out
    return xp.matmul(a, b, out=out)


def add_at(xp: Any, target: Any, index: Any, values: Any) -> None:
    """``target[index] += values`` where an index may come several times."""
    if xp is np:
        np.add.at(target, index, values)
    else:
        import cupyx

        cupyx.scatter_add(target, index, values)


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


def generator(xp: Any, seed: int) -> Any:
    """A counter-based generator of random numbers (Philox: Salmon et al., SC11)."""
    if xp is np:
        return np.random.Generator(np.random.Philox(seed))
    return xp.random.Generator(xp.random.Philox4x3210(seed))


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """The array as a NumPy array, copied from the GPU where it lives there."""
    return array if isinstance(array, np.ndarray) else array.get()
