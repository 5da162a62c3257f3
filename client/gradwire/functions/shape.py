"""Views: reshape and its kin, properties like T, splitting into pieces."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.words import combination
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.catalog.shape import infer_size, view_strides
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def sizes(given: tuple[Any, ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` alike."""
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    return tuple(s.__index__() if hasattr(s, "__index__") else s for s in given)


def spec_of(x: Tensor) -> Spec:
    """What the catalog's rules know of a tensor."""
    return x._spec


def viewed(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``x`` in another shape, through a copy where its memory does not read that way."""
    shape = infer_size(shape, x.numel())
    if view_strides(spec_of(x), shape) is None:
        x = ops.clone(x)
    return ops.view(x, shape)


@export("Tensor.view")
def view(self: Tensor, *size: Any, **kwargs: Any) -> Tensor:
    """The same memory read as another shape, or as another type."""
    dtype = kwargs.get("dtype", size[0] if size else None)
    if isinstance(dtype, DType):
        return self if dtype is self.dtype else ops.view_dtype(self, dtype)
    return ops.view(self, *size, **kwargs)


@export("Tensor.expand")
def expand(self: Tensor, *size: Any, implicit: bool = False, **kwargs: Any) -> Tensor:
    """Dimensions of size 1 repeated without copying."""
    return ops.expand(self, *size, **kwargs)


@export("Tensor.reshape")
def reshape_method(self: Tensor, *shape: Any, **kwargs: Any) -> Tensor:
    """Another shape, as a view where the memory allows."""
    return viewed(self, sizes(shape or (kwargs["shape"],)))


@export("reshape")
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Another shape, as a view where the memory allows."""
    return viewed(input, sizes((shape,)))


@export("Tensor.view_as")
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """The same memory read as the shape of ``other``."""
    return ops.view(self, tuple(other.shape))


@export("Tensor.reshape_as")
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The shape of ``other``, as a view where the memory allows."""
    return viewed(self, tuple(other.shape))


@export("Tensor.expand_as")
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of ``other``."""
    return ops.expand(self, tuple(other.shape))


@export("broadcast_to", "Tensor.broadcast_to")
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Expanded to ``size``."""
    return ops.expand(input, tuple(size))


@export("flatten", "Tensor.flatten")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """A range of dimensions as one."""
    shape = tuple(input.shape)
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return viewed(input, (1,))
    if start == end:
        return input
    n = 1
    for s in shape[start : end + 1]:
        n *= s
    return viewed(input, (*shape[:start], n, *shape[end + 1 :]))


@export("ravel", "Tensor.ravel")
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return viewed(input, (-1,) if input.numel() else (0,))


@export("unflatten", "Tensor.unflatten")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """A dimension as several."""
    shape, sizes = tuple(input.shape), tuple(sizes)
    dim = wrap_dim(dim, len(shape))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    if -1 in sizes and known and shape[dim] % known == 0:
        sizes = tuple(shape[dim] // known if s == -1 else s for s in sizes)
        known = shape[dim]
    if known != shape[dim] or -1 in sizes:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[dim]}) in "
            "the input tensor"
        )
    return ops.view(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


@export("movedim", "moveaxis", "Tensor.movedim", "Tensor.moveaxis")
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Some dimensions at other places, the rest in their order."""
    n = input.ndim
    given = [(d,) if isinstance(d, int) else tuple(d) for d in (source, destination)]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(given[0])} dims) should contain the same number of dims as destination ({list(given[1])} dims)"
        )
    src, dst = ([wrap_dim(d, n) for d in dims] for dims in given)
    for what, dims, raw in (("source", src, given[0]), ("destination", dst, given[1])):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{what}` ({list(raw)})")
    if not n:
        return input
    order = [-1] * n
    for s, d in zip(src, dst, strict=True):
        order[d] = s
    rest = iter(d for d in range(n) if d not in src)
    return ops.permute(input, tuple(next(rest) if d == -1 else d for d in order))


@export("swapaxes", "Tensor.swapaxes")
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged."""
    return ops.transpose(input, axis0, axis1)


@export("property:Tensor.T")
def big_t(self: Tensor) -> Tensor:
    """The dimensions in reverse order."""
    if self.ndim != 2:
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it will "
            "throw an error in a future release. Consider `x.mT` to transpose batches of matrices or "
            "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor.",
            stacklevel=2,
        )
    return ops.permute(self, tuple(range(self.ndim))[::-1])


@export("property:Tensor.mT")
def m_t(self: Tensor) -> Tensor:
    """The transpose of each matrix."""
    if self.ndim == 1:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor."
        )
    return ops.transpose(self, -2, -1) if self.ndim else self


@export("property:Tensor.H")
def h(self: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    if self.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if self.ndim > 2 else "")
        )
    return adjoint(self) if self.ndim else conjugate(self)


@export("property:Tensor.mH")
def m_h(self: Tensor) -> Tensor:
    """The conjugate transpose of each matrix."""
    if self.ndim == 1:
        raise RuntimeError(
            f"tensor.mH is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor."
        )
    return adjoint(self) if self.ndim else conjugate(self)


@export("adjoint", "Tensor.adjoint")
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of each matrix."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return conjugate(ops.transpose(input, -2, -1))


def conjugate(x: Tensor) -> Tensor:
    return ops.conj_physical(x) if x.dtype.is_complex else x


@export("narrow", "Tensor.narrow")
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` parts of a dimension, from ``start`` on."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if hasattr(start, "ndim") and (start.ndim or start.dtype.category is not Category.INT):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    start = int(start)
    dim = wrap_dim(dim, input.ndim)
    size = input.shape[dim]
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    if start < 0:
        start += size
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return ops.slice(input, dim, start, start + length, 1)


@export("Tensor.unfold")
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows that slide over a dimension, along a new last one."""
    return ops.unfold(self, dimension, size, step)


@export("diag_embed", "Tensor.diag_embed")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros with ``input`` on a diagonal."""
    n = input.ndim + 1
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, input.shape[-1] + abs(offset))
    return ops.diagonal_backward(input, tuple(shape), offset, a, b)


@export("diag", "Tensor.diag", out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix of a diagonal, or the diagonal of a matrix."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diag_embed(input, diagonal) if input.ndim == 1 else ops.clone(ops.diagonal(input, diagonal))


@export("diagflat", "Tensor.diagflat")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix that has all elements on a diagonal."""
    return diag_embed(ravel(input), offset)


def _split(input: Tensor, by: Any, dim: int) -> tuple[Tensor, ...]:
    if isinstance(by, (tuple, list)):
        return tuple(ops.split_with_sizes(input, tuple(by), dim))
    return tuple(ops.split(input, by, dim))


@export("split")
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one length, or of the given ones."""
    return _split(tensor, split_size_or_sections, dim)


@export("Tensor.split")
def split_method(self: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one length, or of the given ones."""
    return _split(self, split_size, dim)


@export("unsafe_split", "Tensor.unsafe_split")
def unsafe_split(input: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """As ``split``, but pieces that may be written to: here, copies."""
    return tuple(ops.clone(t) for t in _split(input, split_size, dim))


@export("unsafe_split_with_sizes", "Tensor.unsafe_split_with_sizes")
def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """As ``split_with_sizes``, but pieces that may be written to: here, copies."""
    return unsafe_split(input, split_sizes, dim)


@export("unsafe_chunk", "Tensor.unsafe_chunk")
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As ``chunk``, but pieces that may be written to: here, copies."""
    return tuple(ops.clone(t) for t in chunk(input, chunks, dim))


@export("chunk", "Tensor.chunk")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of one length, the last perhaps shorter."""
    if not input.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    size = input.shape[wrap_dim(dim, input.ndim)]
    each = -(-size // chunks)
    return _split(input, each if each else (0,) * chunks, dim)


def _one_of(*given: Any) -> Any:
    """What was given, by whichever of its names."""
    return next((v for v in given if v is not None), None)


@export("tensor_split", "Tensor.tensor_split")
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None,
                 sections: Any = None, tensor_indices_or_sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces cut at the given indices, or into a number of pieces that differ by one at most."""
    by = _one_of(indices_or_sections, indices, sections, tensor_indices_or_sections)
    if not input.ndim:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    if hasattr(by, "tolist"):
        by = by.tolist()
    dim = wrap_dim(dim, input.ndim)
    size = input.shape[dim]
    if isinstance(by, int):
        if by <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {by}")
        each, longer = divmod(size, by)
        cuts = [i * each + min(i, longer) for i in range(by + 1)]
        bounds: list[tuple[int, int | None]] = list(itertools.pairwise(cuts))
    else:
        bounds = list(zip([0, *by], [*by, None], strict=True))
    return tuple(ops.slice(input, dim, a, b, 1) for a, b in bounds)


def _axis_split(name: str, input: Tensor, by: Any, dim: int, least: int) -> tuple[Tensor, ...]:
    if input.ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a "
            f"tensor with {input.ndim} dimensions!"
        )
    if not isinstance(by, (int, tuple, list)):
        raise combination(name, (input, by), "Tensor input, int sections", "Tensor input, tuple of ints indices")
    if isinstance(by, int) and (by == 0 or input.shape[dim] % by):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{input.shape[dim]} is not divisible by the split_size {by}!"
        )
    return tensor_split(input, by, dim)


@export("hsplit", "Tensor.hsplit")
def hsplit(input: Tensor, indices_or_sections: Any = None, *, indices: Any = None,
           sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces side by side."""
    by = _one_of(indices_or_sections, indices, sections)
    return _axis_split("hsplit", input, by, min(1, max(input.ndim - 1, 0)), 1)


@export("vsplit", "Tensor.vsplit")
def vsplit(input: Tensor, indices_or_sections: Any = None, *, indices: Any = None,
           sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces one above the other."""
    return _axis_split("vsplit", input, _one_of(indices_or_sections, indices, sections), 0, 2)


@export("dsplit", "Tensor.dsplit")
def dsplit(input: Tensor, indices_or_sections: Any = None, *, indices: Any = None,
           sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Pieces one behind the other."""
    return _axis_split("dsplit", input, _one_of(indices_or_sections, indices, sections), 2, 3)


@export("Tensor.contiguous")
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself where it is dense, else a dense copy."""
    return self if spec_of(self).contiguous else ops.clone(self)


@export("resolve_conj", "resolve_neg", "Tensor.resolve_conj", "Tensor.resolve_neg")
def resolved(input: Tensor) -> Tensor:
    """The tensor itself: nothing here is conjugated or negated lazily."""
    return input
