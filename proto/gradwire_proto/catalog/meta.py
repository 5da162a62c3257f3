"""Meta rules that many ops share: element-wise, broadcast, reduction, and the checks they are made of.

A rule is called with the op and the arguments in signature order, tensors as their :class:`Spec`. It returns the
results' specs or raises torch's own error. Pure Python: it runs in the client, before anything is sent, and in the
server, before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradwire_proto import dtypes
from gradwire_proto.catalog.declare import Inferred, Meta, Op, elementwise
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import Spec, spec


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of several, aligned at the last dimension.

    Raises:
        RuntimeError: torch's, naming the sizes and the dimension.
    """
    if len(shapes) <= 1:
        return shapes[0] if shapes else ()
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    ndim = max(map(len, shapes))
    out = [1] * ndim
    for shape in shapes:
        lead = ndim - len(shape)
        for i, size in reversed(list(enumerate(shape))):  # torch names the last dimension that does not fit
            have = out[lead + i]
            if size == have or size == 1:
                continue
            if have != 1:
                raise RuntimeError(
                    f"The size of tensor a ({have}) must match the size of tensor b ({size}) "
                    f"at non-singleton dimension {lead + i}"
                )
            out[lead + i] = size
    return tuple(out)


def common_dtype(args: Sequence[Any]) -> DType:
    """torch's result type of the tensors and Python numbers among ``args``."""
    tensors = [a for a in args if isinstance(a, Spec)]
    numbers = [type(a) for a in args if isinstance(a, (bool, int, float, complex))]
    return dtypes.promote([t.dtype for t in tensors if t.ndim], [t.dtype for t in tensors if not t.ndim], numbers)


def to_float(d: DType) -> DType:
    """The type in which a function without an integer result computes."""
    return d if d.category >= Category.FLOAT else dtypes.DEFAULT_FLOAT


class Refusal(NamedTuple):
    """What torch raises for a category of types; ``{}`` in the text is the type's older name."""

    error: type[Exception]
    text: str


def unmade(kernel: str, *categories: Category) -> dict[Category, Refusal]:
    """The refusal of types that torch's ``kernel`` is not compiled for."""
    return dict.fromkeys(categories, Refusal(NotImplementedError, f'"{kernel}" not implemented for \'{{}}\''))


OF_NUMBERS = {"add", "sub", "mul", "div", "floor_divide"}
"""What torch makes tensors with of numbers alone."""


def pointwise(
    result: DType | str | None = None,
    *,
    floats: bool = False,
    reject: Sequence[Category] | Mapping[Category, Refusal] = (),
) -> Meta:
    """The rule of an element-wise op: shapes broadcast, types promote.

    Tensors and ``Tensor|Scalar`` arguments take part; other numbers (``alpha``) don't.

    Args:
        result: the results' type where it is not the common one; ``"real"`` for a complex type's part.
        floats: integers compute and come out as floats (sin, div).
        reject: categories of the common type that the op is not made for, with torch's refusal where it is not
            that of a kernel called ``<op>_cpu``.
    """

    @elementwise
    def rule(op: Op, *args: Any) -> Inferred:
        parts = [a for a, p in zip(args, op.params, strict=True) if p.is_tensor and a is not None]
        shapes = [a.shape for a in parts if isinstance(a, Spec)]
        if not shapes and op.name not in OF_NUMBERS:
            got = ", ".join(type(a).__name__ for a in parts)
            way = ", ".join(f"Tensor {p.name}" for p in op.params if p.is_tensor)
            raise TypeError(
                f"{op.name}() received an invalid combination of arguments - got ({got}), but expected one of:\n"
                f" * ({way})\n"
            )
        shape = broadcast_shapes(*shapes)
        compute = common_dtype(parts)
        if compute.category in reject:
            refusals = reject if isinstance(reject, Mapping) else unmade(f"{op.name}_cpu", *reject)
            refusal = refusals[compute.category]
            error = refusal.error(refusal.text.format(compute.legacy))
            setattr(error, "would_be", spec(shape, compute))  # for the in-place form, which says other things first
            raise error
        if floats:
            compute = to_float(compute)
        out = compute if result is None else compute.to_real() if isinstance(result, str) else result
        return Inferred((spec(shape, out),) * max(1, len(op.results)), compute)

    return rule


def wrap_dim(dim: int, ndim: int) -> int:
    """``dim`` counted from the front.

    Raises:
        IndexError: torch's, naming the range.
    """
    room = max(ndim, 1)
    if not -room <= dim < room:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-room}, {room - 1}], but got {dim})")
    return dim + room if dim < 0 else dim


def wrap_dims(dims: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Several dims counted from the front; all of them where None or empty, as torch's reductions have it."""
    if dims is None or not len(dims):
        return tuple(range(ndim))
    out = tuple(wrap_dim(d, ndim) for d in dims)
    if len(set(out)) != len(out):
        twice = next(d for d in out if out.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return out if ndim else ()


def reduced_shape(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple(1 if i in dims else s for i, s in enumerate(shape))
    return tuple(s for i, s in enumerate(shape) if i not in dims)


def reduction(result: DType | str | None = None, *, floats: bool = False) -> Meta:
    """The rule of ``op(input, dim, keepdim, ..., dtype)``, each of the latter where the signature has it.

    Args:
        result: the result's type; ``"sum"`` widens bools and integers to int64, ``"real"`` takes a complex type's part.
        floats: raise torch's error for integers.
    """

    def rule(op: Op, input: Spec, *args: Any) -> Spec:
        rest = {p.name: a for p, a in zip(op.params[1:], args, strict=True)}
        dim, keepdim, dtype = rest.get("dim"), rest.get("keepdim", False), rest.get("dtype")
        dims = wrap_dims((dim,) if isinstance(dim, int) else dim, input.ndim)
        given = dtype or input.dtype
        if floats and given.category < Category.FLOAT:
            what = "Input dtype" if dtype is None else "Optional dtype"
            raise RuntimeError(
                f"{op.name}(): could not infer output dtype. {what} must be either a floating point or complex dtype. "
                f"Got: {given.legacy}"
            )
        out = given
        if result == "sum" and dtype is None:
            out = dtypes.int64 if given.category <= Category.INT else given
        elif result == "real":
            out = given.to_real()
        elif isinstance(result, DType):
            out = result
        return spec(reduced_shape(input.shape, dims, keepdim), out)

    return rule


def same(op: Op, input: Spec, *_: Any) -> Spec:
    """The rule of an op whose result is a dense tensor of the first argument's shape and type."""
    return spec(input.shape, input.dtype)
