"""Reductions that are not one op: torch's overloads of max and var, norms by name, means that skip nan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from gradwire import return_types
from gradwire.dispatch import ops
from gradwire.export import EXPORTS, export
from gradwire.functions.inplace import written
from gradwire.tensor import Tensor
from gradwire_proto.catalog.meta import wrap_dims
from gradwire_proto.dtypes import Category, DType

# ---- extremes and middles: of all, along a dim, of two


def overloaded(name: str, larger: str = "") -> Callable[..., Any]:
    """``f(input)``, ``f(input, dim, keepdim)`` and, where there is an op for it, ``f(input, other)``."""
    everything, along, result = getattr(ops, f"{name}_all"), getattr(ops, f"{name}_dim"), getattr(return_types, name)
    of_two = getattr(ops, larger) if larger else None

    def f(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not args and (not kwargs or kwargs.keys() == {"out"}):
            return everything(input, **kwargs)
        if of_two is not None and ("other" in kwargs or (args and isinstance(args[0], Tensor))):
            return of_two(input, *args, **kwargs)
        return result(*along(input, *args, **kwargs))

    f.__name__ = f.__qualname__ = name
    f.__doc__ = everything.__doc__
    return f


for _name, _of_two in (("max", "maximum"), ("min", "minimum"), ("median", ""), ("nanmedian", "")):
    export(_name, f"Tensor.{_name}")(overloaded(_name, _of_two))


@export("aminmax", "Tensor.aminmax", out=True)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest and largest element in one."""
    return return_types.aminmax(*ops.aminmax(input, dim=dim, keepdim=keepdim))


# ---- variance


def corrected(name: str) -> Callable[..., Any]:
    """``f(input, dim, *, correction, keepdim)`` and torch's older ``unbiased`` forms of it."""
    primitive = getattr(ops, name)

    def f(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], bool):
            args = (None, *args)
        kwargs.update(zip(("dim", "unbiased", "keepdim"), args, strict=False))
        if len(args) > 3:
            raise TypeError(f"{name}() takes from 1 to 4 positional arguments but {len(args) + 1} were given")
        if "unbiased" in kwargs:
            kwargs["correction"] = int(kwargs.pop("unbiased"))
        return primitive(input, **kwargs)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = primitive.__doc__
    return f


for _name in ("var", "std"):
    export(_name, f"Tensor.{_name}")(corrected(_name))
for _name in ("var_mean", "std_mean"):
    export(_name)(corrected(_name))

# ---- sums


@export("nanmean", "Tensor.nanmean", out=True)
def nanmean(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *,
            dtype: DType | None = None) -> Tensor:  # fmt: skip
    """Mean of what is not nan."""
    if input.dtype.category < Category.FLOAT:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype.legacy}"
        )
    return ops.div(ops.nansum(input, dim, keepdim, dtype=dtype), ops.sum(ops.eq(input, input), dim, keepdim))


@export("Tensor.sum_to_size")
def sum_to_size(self: Tensor, *args: Any, size: Any = None) -> Tensor:
    """Summed over the dimensions along which a tensor of ``size`` would be broadcast to this one."""
    args = args if size is None else (size,)
    want = tuple(args[0]) if len(args) == 1 and not hasattr(args[0], "__index__") else tuple(args)
    have = tuple(self.shape)
    lead = len(have) - len(want)
    if lead < 0 or any(w not in (1, h) for w, h in zip(want, have[lead:], strict=True)):
        raise RuntimeError(f"size {{{list(want)}}} is not expandable to size {{{list(have)}}}.")
    dims = (*range(lead), *(lead + i for i, w in enumerate(want) if w != have[lead + i]))
    total = ops.sum(self, dims, True) if dims else self
    return ops.view(total, want) if lead else total


# ---- norms


@export("norm", "Tensor.norm")
def norm(input: Tensor, p: Any = "fro", dim: int | Sequence[int] | None = None, keepdim: bool = False,
         out: Any = None, dtype: DType | None = None) -> Tensor:  # fmt: skip
    """The p-norm of the elements as a vector; ``"nuc"``, of a matrix, the sum of its singular values."""
    if isinstance(p, str) and p != "fro":
        if p != "nuc":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        if len(dims) != 2:
            raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dims))}")
        matrix_norm: Callable[..., Tensor] = EXPORTS["linalg.matrix_norm"]
        return matrix_norm(input, "nuc", dims, keepdim, dtype=dtype, out=out)
    return ops.linalg_vector_norm(input, 2 if p in (None, "fro") else p, dim, keepdim, dtype=dtype, out=out)


def _superseded(name: str, by: str) -> None:
    warnings.warn(
        f"at::{name} is deprecated and it is just left for JIT compatibility. It will be removed in a future PyTorch "
        f"release. Please use `{by}` instead",
        stacklevel=4,
    )


@export("frobenius_norm", out=True)
def frobenius_norm(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """As ``linalg.vector_norm``, which has taken its place."""
    _superseded("frobenius_norm", "linalg.vector_norm(A, 2., dim, keepdim)")
    return ops.linalg_vector_norm(input, 2, dim, keepdim)


@export("nuclear_norm", out=True)
def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """As ``linalg.matrix_norm`` of order ``"nuc"``, which has taken its place."""
    _superseded("nuclear_norm", "linalg.matrix_norm(A, 'nuc', dim, keepdim)")
    dim, keepdim = ((-2, -1), dim) if isinstance(dim, bool) else (dim, keepdim)
    return EXPORTS["linalg.matrix_norm"](input, "nuc", dim, keepdim)  # type: ignore[no-any-return]


@export("norm_except_dim")
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm of each slice along ``dim``, in a shape that broadcasts; of the whole where ``dim`` is -1."""
    if dim == -1:
        return ops.linalg_vector_norm(v, pow)
    (kept,) = wrap_dims((dim,), v.ndim)
    if v.ndim == 1:
        return ops.linalg_vector_norm(ops.unsqueeze(v, 1), pow, 1)
    return ops.linalg_vector_norm(v, pow, tuple(d for d in range(v.ndim) if d != kept), True)


@export("dist", "Tensor.dist")
def dist(input: Tensor, other: Tensor, p: Any = 2) -> Tensor:
    """The p-norm of the difference."""
    if not isinstance(other, Tensor):
        raise TypeError(f"dist(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}")
    return ops.linalg_vector_norm(ops.sub(input, other), p)


@export("renorm", "Tensor.renorm", out=True)
def renorm(input: Tensor, p: Any, dim: int, maxnorm: Any) -> Tensor:
    """Slices along a dim, those with a p-norm above ``maxnorm`` scaled down to it."""
    if isinstance(p, complex) or p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    (kept,) = wrap_dims((dim,), input.ndim)
    norms = ops.linalg_vector_norm(input, p, tuple(d for d in range(input.ndim) if d != kept), True)
    # The small number keeps a slice of zeros from being divided by its norm.
    scale = ops.mul(ops.reciprocal(ops.add(norms, 1e-7)), maxnorm)
    return ops.mul(input, ops.where(ops.gt(norms, maxnorm), scale, 1.0))


@export("Tensor.renorm_")
def renorm_(self: Tensor, p: Any, dim: int, maxnorm: Any) -> Tensor:
    """In-place form of renorm."""
    return written(self, lambda x: renorm(x, p, dim, maxnorm))
