"""Reductions: sum, mean, norms, extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradwire_proto.catalog.declare import Meta, Op, op
from gradwire_proto.catalog.meta import reduced_shape, reduction, wrap_dim, wrap_dims
from gradwire_proto.dtypes import DEFAULT_FLOAT, Category, DType, bool_, int64, uint8
from gradwire_proto.spec import Spec, spec


def torch_name(op: Op) -> str:
    """``max`` for ``max_dim`` and ``max_all``: errors name torch's function, not our primitive."""
    return op.name.removesuffix("_dim").removesuffix("_all")


def check_nonempty(name: str, input: Spec, dims: Sequence[int]) -> None:
    """Raise torch's error where a reduction without an identity meets a dim of size 0."""
    for d in dims:
        if input.ndim and not input.shape[d]:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def reject(input: Spec, text: str, *categories: Category) -> None:
    if input.dtype.category in categories:
        raise NotImplementedError(f"\"{text}\" not implemented for '{input.dtype.legacy}'")


def _extreme(unsupported: str) -> Meta:
    """amax, amin, max_all, min_all: of all elements, or over several dims."""

    def rule(op: Op, input: Spec, dim: Sequence[int] = (), keepdim: bool = False) -> Spec:
        name = torch_name(op)
        dims = wrap_dims(dim, input.ndim)
        if not input.numel and not dim:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        check_nonempty(name, input, dims)
        reject(input, unsupported, Category.COMPLEX)
        return spec(reduced_shape(input.shape, dims, keepdim), input.dtype)

    return rule


def _extreme_dim(op: Op, input: Spec, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
    name = torch_name(op)
    dim = wrap_dim(dim, input.ndim)
    check_nonempty(name, input, (dim,))
    if input.dtype.is_complex:
        raise RuntimeError(f"{name}(): does not support complex input")
    shape = reduced_shape(input.shape, (dim,), keepdim)
    return spec(shape, input.dtype), spec(shape, int64)


def _aminmax(op: Op, input: Spec, dim: int | None, keepdim: bool) -> tuple[Spec, Spec]:
    if dim is None and not input.numel:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    dims = wrap_dims(None if dim is None else (dim,), input.ndim)
    if dim is not None and input.ndim and not input.shape[dims[0]]:
        raise IndexError(f"aminmax: Expected reduction dim {dims[0]} to have non-zero size.")
    reject(input, "aminmax_cpu", Category.COMPLEX)
    out = spec(reduced_shape(input.shape, dims, keepdim), input.dtype)
    return out, out


def _arg(op: Op, input: Spec, dim: int | None, keepdim: bool) -> Spec:
    dims = wrap_dims(None if dim is None else (dim,), input.ndim)
    if dim is None and not input.numel:
        raise IndexError(f"{op.name}(): Expected reduction dim to be specified for input.numel() == 0.")
    check_nonempty(op.name, input, dims)
    for category, word in ((Category.COMPLEX, "complex"), (Category.BOOL, "bool")):
        if input.dtype.category is category:
            raise RuntimeError(f"{op.name}(): does not support {word} input")
    return spec(reduced_shape(input.shape, dims, keepdim), int64)


def _logical(op: Op, input: Spec, dim: Sequence[int] | None, keepdim: bool) -> Spec:
    # Alone among the reductions these take an empty list of dims to mean none of them.
    dims = () if dim == () else wrap_dims(dim, input.ndim)
    return spec(reduced_shape(input.shape, dims, keepdim), uint8 if input.dtype is uint8 else bool_)


def _spread(op: Op, input: Spec, dim: Sequence[int] | None, correction: object, keepdim: bool) -> tuple[Spec, ...]:
    if input.dtype.category < Category.FLOAT:
        who = "std and var" if len(op.results) == 1 else op.name
        raise RuntimeError(f"{who} only support floating point and complex dtypes")
    shape = reduced_shape(input.shape, wrap_dims(dim, input.ndim), keepdim)
    return (spec(shape, input.dtype.to_real()), spec(shape, input.dtype))[: len(op.results)]


def _logsumexp(op: Op, input: Spec, dim: Sequence[int], keepdim: bool) -> Spec:
    shape = reduced_shape(input.shape, wrap_dims(dim, input.ndim), keepdim)
    return spec(shape, input.dtype if input.dtype.category >= Category.FLOAT else DEFAULT_FLOAT)


def _norm_dtype(given: DType, dtype: DType | None) -> DType:
    """The type in which a norm computes."""
    if given.category < Category.FLOAT:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {given.legacy}"
        )
    if dtype is None:
        return given
    if dtype.category < Category.FLOAT:
        raise RuntimeError(f"linalg.vector_norm: dtype should be floating point or complex, but got {dtype.legacy}")
    if dtype.is_complex is not given.is_complex:
        kind = "complex" if given.is_complex else "real"
        raise RuntimeError(f"linalg.vector_norm: dtype should be {kind} for {kind} inputs, but got {dtype.legacy}")
    if dtype.itemsize < given.itemsize:
        raise RuntimeError(
            f"linalg.vector_norm: the dtype of the input ({given.legacy}) should be convertible without narrowing to "
            f"the specified dtype ({dtype.legacy})"
        )
    return dtype


def _vector_norm(op: Op, input: Spec, ord: float, dim: Sequence[int] | None, keepdim: bool,
                 dtype: DType | None) -> Spec:  # fmt: skip
    out = _norm_dtype(input.dtype, dtype).to_real()
    dims = wrap_dims(dim, input.ndim)
    if not input.numel and (ord < 0 or ord == math.inf):
        if not dim:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord:g} norm on an empty tensor because the operation does "
                "not have an identity"
            )
        for d in dims:
            if not input.shape[d]:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {ord:g} norm on the dimension {d}because this dimension is "
                    "empty and the operation does not have an identity"
                )
    return spec(reduced_shape(input.shape, dims, keepdim), out)


def _scatter_along(op: Op, grad: Spec, indices: Spec, dim: int, size: Sequence[int], unique: bool) -> Any:
    return spec(tuple(size), grad.dtype)


_DIMS = "int[]? dim=None, bool keepdim=False"

op(f"sum(Tensor input, {_DIMS}, *, dtype? dtype=None) -> Tensor", meta=reduction("sum"),
   doc="Sum over the given dims, or over all.")
op(f"nansum(Tensor input, {_DIMS}, *, dtype? dtype=None) -> Tensor", meta=reduction("sum"),
   doc="Sum in which nan counts as zero.")
op(f"mean(Tensor input, {_DIMS}, *, dtype? dtype=None) -> Tensor", meta=reduction(floats=True),
   doc="Mean over the given dims, or over all.")
op("prod(Tensor input, int? dim=None, bool keepdim=False, *, dtype? dtype=None) -> Tensor", meta=reduction("sum"),
   doc="Product over a dim, or of all elements.")

_CORRECTED = "int[]? dim=None, *, Scalar? correction=1, bool keepdim=False"
op(f"var(Tensor input, {_CORRECTED}) -> Tensor", meta=_spread, public=False, doc="Variance over n - correction.")
op(f"std(Tensor input, {_CORRECTED}) -> Tensor", meta=_spread, public=False, doc="Square root of the variance.")
op(f"var_mean(Tensor input, {_CORRECTED}) -> (Tensor var, Tensor mean)", meta=_spread, public=False,
   doc="Variance and mean in one.")
op(f"std_mean(Tensor input, {_CORRECTED}) -> (Tensor std, Tensor mean)", meta=_spread, public=False,
   doc="Standard deviation and mean in one.")

for _name, _word in (("max", "Largest"), ("min", "Smallest")):
    op(f"a{_name}(Tensor input, int[] dim=[], bool keepdim=False) -> Tensor", meta=_extreme(f"{_name}_values_cpu"),
       doc=f"{_word} element over dims; equal ones share the gradient.")
    op(f"{_name}_all(Tensor input) -> Tensor", meta=_extreme(f"{_name}_all"), public=False,
       node=f"{_name.capitalize()}Backward1", doc=f"{_word} element; equal ones share the gradient.")
    op(f"{_name}_dim(Tensor input, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)", meta=_extreme_dim,
       public=False, node=f"{_name.capitalize()}Backward0", doc=f"{_word} element along a dim, and where it is.")
    op(f"arg{_name}(Tensor input, int? dim=None, bool keepdim=False) -> Tensor", meta=_arg, differentiable=False,
       doc=f"Index of the {_word.lower()} element along a dim, or among all.")
op("aminmax(Tensor input, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)", meta=_aminmax,
   public=False, doc="Smallest and largest element in one.")

op(f"any(Tensor input, {_DIMS}) -> Tensor", meta=_logical, differentiable=False, doc="Whether one element holds.")
op(f"all(Tensor input, {_DIMS}) -> Tensor", meta=_logical, differentiable=False, doc="Whether every element holds.")
op("count_nonzero(Tensor input, int[]? dim=None) -> Tensor", meta=reduction(int64), differentiable=False,
   doc="How many elements are not zero.")

op("logsumexp(Tensor input, int[] dim, bool keepdim=False) -> Tensor", meta=_logsumexp, alias=("special.logsumexp",),
   doc="Logarithm of the sum of exponentials, without overflow.")
op(f"linalg_vector_norm(Tensor input, Scalar ord=2, {_DIMS}, *, dtype? dtype=None) -> Tensor", meta=_vector_norm,
   public=False, method=False, alias=("linalg.vector_norm",), doc="The ord-norm of the elements taken as a vector.")

op("scatter_along(Tensor grad, Tensor indices, int dim, int[] size, bool unique) -> Tensor", meta=_scatter_along,
   public=False, method=False, doc="Zeros of a size, with grad added at indices along dim: the gradient of a selection "
   "along dim; unique says that no index comes twice.")  # fmt: skip
