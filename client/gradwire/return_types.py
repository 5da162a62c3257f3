"""Results with names, as torch has them: ``torch.max(x, 0).indices``."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def named(name: str, *fields: str) -> Any:
    """A tuple type with these fields that prints as torch's ``return_types`` do."""
    made: Any = namedtuple(name, fields)
    made.__module__ = "torch.return_types"
    made.__repr__ = lambda self: (
        f"torch.return_types.{name}(\n" + ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True)) + ")"
    )
    return made


VALUES_INDICES = {
    name: named(name, "values", "indices")
    for name in ("cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk")
}
globals().update(VALUES_INDICES)
aminmax = named("aminmax", "min", "max")
globals().update({
    name: named(name, *fields.split())
    for name, fields in {
        "linalg_cholesky_ex": "L info",
        "linalg_eig": "eigenvalues eigenvectors",
        "linalg_eigh": "eigenvalues eigenvectors",
        "linalg_inv_ex": "inverse info",
        "geqrf": "a tau",
        "linalg_ldl_factor": "LD pivots",
        "linalg_ldl_factor_ex": "LD pivots info",
        "linalg_lstsq": "solution residuals rank singular_values",
        "linalg_lu": "P L U",
        "linalg_lu_factor": "LU pivots",
        "linalg_lu_factor_ex": "LU pivots info",
        "linalg_qr": "Q R",
        "linalg_slogdet": "sign logabsdet",
        "linalg_solve_ex": "result info",
        "linalg_svd": "U S Vh",
        "lu_unpack": "P L U",
        "qr": "Q R",
        "slogdet": "sign logabsdet",
        "svd": "U S V",
        "triangular_solve": "solution cloned_coefficient",
    }.items()
})  # fmt: skip
