"""Distances and angles between vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype
from gradwire_proto.dtypes import Category

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

MANY = 25
"""Rows from which torch takes the product of matrices for Euclidean distances."""


@export("cdist")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0,
          compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary") -> Tensor:  # fmt: skip
    """The p-norm between each row of ``x1`` and each of ``x2``."""
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode is not None and compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    products = compute_mode == modes[1]
    if compute_mode in (None, modes[0]) and x1.ndim >= 2 <= x2.ndim:
        products = x1.shape[-2] > MANY or x2.shape[-2] > MANY
    return ops.cdist_forward(x1, x2, p, products)


@export("nn.functional.pairwise_distance", "pairwise_distance")
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension."""
    return ops.linalg_vector_norm(ops.add(ops.sub(x1, x2), eps), p, -1, keepdim)


@export("nn.functional.cosine_similarity", "cosine_similarity")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along a dim; norms below ``eps`` count as ``eps``."""
    d = common_dtype((x1._spec, x2._spec))
    if d.category is not Category.FLOAT:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {d.legacy}")
    shape = broadcast_shapes(tuple(x1.shape), tuple(x2.shape))

    def unit(x: Tensor) -> Tensor:
        x = x if x.dtype is d else ops.to_dtype(x, d)
        x = x if tuple(x.shape) == shape else ops.expand(x, shape)
        return ops.div(x, ops.clamp(ops.linalg_vector_norm(x, 2, dim, True), eps))

    return ops.sum(ops.mul(unit(x1), unit(x2)), dim)
