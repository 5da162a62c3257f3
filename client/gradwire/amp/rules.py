"""What autocast makes of an op's arguments: which ops are done in fewer bits, and which in float32.

The lists are those that torch documents for each kind of device. Ops in neither take what comes, and those that mix
types promote as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradwire.dispatch import mode, ops
from gradwire.tensor import Tensor
from gradwire_proto import dtypes
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.dtypes import DType

PRODUCTS = (
    "addbmm", "addmm", "attention", "baddbmm", "bmm", "convolution", "linear", "matmul", "mm", "prelu_kernel",
)  # fmt: skip
LOSSES = (
    "cross_entropy", "huber_loss", "mse_loss", "nll_loss", "nll_loss2d", "smooth_l1_loss", "soft_margin_loss",
    "binary_cross_entropy_with_logits",
)  # fmt: skip
LOWER = {"cpu": {*PRODUCTS}, "cuda": {*PRODUCTS, "addmv", "addr", "mv"}}
"""Ops that are done in autocast's type."""
FLOAT32 = {
    "cpu": {
        *LOSSES, "binary_cross_entropy", "prod", "trace", "cdist_forward", "polar", "view_as_complex", "avg_pool3d",
        "adaptive_avg_pool3d", "adaptive_max_pool3d", "max_pool3d_with_indices", "max_unpool", "fractional_max_pool",
        "pad_edges", "cholesky_inverse", "cholesky_solve",
        *(name for name in CATALOG if name.startswith(("fft_", "linalg_")) and name != "linalg_vector_norm"),
    },
    "cuda": {
        *LOSSES, "acos", "asin", "cdist_forward", "cosh", "cumprod", "cumsum", "erfinv", "exp", "expm1", "group_norm",
        "layer_norm", "linalg_vector_norm", "log", "log10", "log1p", "log2", "log_softmax", "logsumexp", "pdist", "pow",
        "prod", "reciprocal", "rsqrt", "sinh", "softmax", "softplus", "sum", "tan",
    },
}  # fmt: skip
"""Ops that are done in float32."""
COMPOSED = (
    "cosine_embedding_loss", "ctc_loss", "grid_sample", "hinge_embedding_loss", "kl_div", "l1_loss",
    "margin_ranking_loss", "multi_margin_loss", "multilabel_margin_loss", "poisson_nll_loss", "triplet_margin_loss",
)  # fmt: skip
"""Functions of several ops that are done in float32 as a whole: of ``nn.functional``."""
_CAST = (dtypes.float32, dtypes.float16, dtypes.bfloat16)


def cast(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """An op's arguments as autocast has them."""
    for kind, lower in mode.casting.items():
        to = lower if op.name in LOWER[kind] else dtypes.float32 if op.name in FLOAT32[kind] else None
        if to is not None and (_first(args) or _first(kwargs.values())) == kind:
            return _all_cast(args, kwargs, to)
    return args, kwargs


def _first(values: Iterable[Any]) -> str | None:
    """The kind of device that the first tensor is on."""
    for v in values:
        found = _first(v) if isinstance(v, (tuple, list)) else v.device.type if isinstance(v, Tensor) else None
        if found:
            return found
    return None


def cast_to(v: Any, dtype: DType) -> Any:
    """With tensors of 16 and 32 bit floats as ``dtype``, in lists, tuples and dicts, too."""
    if isinstance(v, Tensor):
        return ops.to_dtype(v, dtype) if v.dtype in _CAST and v.dtype is not dtype else v
    if isinstance(v, dict):
        return {cast_to(k, dtype): cast_to(x, dtype) for k, x in v.items()}
    return type(v)(cast_to(x, dtype) for x in v) if type(v) in (list, tuple) else v


def _all_cast(args: Sequence[Any], kwargs: dict[str, Any], dtype: DType) -> tuple[Sequence[Any], dict[str, Any]]:
    return [cast_to(v, dtype) for v in args], {name: cast_to(v, dtype) for name, v in kwargs.items()}


def in_float32(f: Callable[..., Any]) -> Callable[..., Any]:
    """One of COMPOSED."""

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if mode.casting:
            args, kwargs = _all_cast(args, kwargs, dtypes.float32)  # type: ignore[assignment]
        return f(*args, **kwargs)

    return wrapped


__all__ = ["COMPOSED", "cast", "cast_to", "in_float32"]
