"""Kernels of factorizations that CuPy lacks: LAPACK on the host, matrix by matrix."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import scipy.linalg

from gradwire_engine.backend import to_host
from gradwire_engine.registry import kernel


def _routine(name: str, hermitian: bool, a: Any) -> Any:
    """LAPACK's function for this type: ``he...`` for Hermitian matrices, ``sy...`` for symmetric ones."""
    kind = "he" if hermitian and a.dtype.kind == "c" else "sy"
    (found,) = cast(Any, scipy.linalg.get_lapack_funcs([kind + name], (a,)))
    return found


@kernel("linalg_ldl_factor_ex")
def ldl_factor(xp: Any, A: Any, hermitian: bool = False) -> tuple[Any, Any, Any]:
    a = to_host(A)
    ld, pivots, info = np.zeros_like(a), np.zeros(a.shape[:-1], np.int32), np.zeros(a.shape[:-2], np.int32)
    trf = _routine("trf", hermitian, a)
    for i in np.ndindex(a.shape[:-2]) if a.size else ():
        made, pivots[i], info[i] = trf(a[i], lower=1)
        ld[i] = np.tril(made)
    return xp.asarray(ld), xp.asarray(pivots), xp.asarray(info)


@kernel("linalg_ldl_solve")
def ldl_solve(xp: Any, LD: Any, pivots: Any, B: Any, hermitian: bool = False) -> Any:
    ld, rows, b = to_host(LD), to_host(pivots), to_host(B)
    batch = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    ld, b = np.broadcast_to(ld, batch + ld.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
    rows = np.broadcast_to(rows, batch + rows.shape[-1:])
    out = np.zeros(b.shape, b.dtype)
    trs = _routine("trs", hermitian, ld)
    for i in np.ndindex(batch) if out.size else ():
        out[i] = trs(ld[i], rows[i], b[i], lower=1)[0]
    return xp.asarray(out)


@kernel("linalg_geqrf")
def geqrf(xp: Any, input: Any) -> tuple[Any, Any]:
    a = to_host(input)
    out, tau = np.zeros_like(a), np.zeros((*a.shape[:-2], min(a.shape[-2:])), a.dtype)
    (qrf,) = cast(Any, scipy.linalg.get_lapack_funcs(["geqrf"], (a,)))
    for i in np.ndindex(a.shape[:-2]) if a.size else ():
        out[i], tau[i] = qrf(a[i])[:2]
    return xp.asarray(out), xp.asarray(tau)
