"""Pooling: the largest, or the mean, of each window of the last one to three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto import dtypes
from gradwire_proto.catalog.declare import Meta, Op, op
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import Category, DType
from gradwire_proto.spec import Spec, spec

Ints = Sequence[int]
_COUNT = {1: "one int", 2: "two ints", 3: "three ints"}
_SIDES = {1: ("H", "W"), 2: ("H", "W"), 3: ("T", "H", "W")}


def ints(op: str, what: str, values: int | Ints, n: int) -> tuple[int, ...]:
    """One number for each of ``n`` dimensions.

    Raises:
        RuntimeError: torch's, where there are neither one nor ``n`` of them.
    """
    given = (values,) if isinstance(values, int) else tuple(values)
    if len(given) == n:
        return given
    if len(given) == 1:
        return given * n
    if n == 1 and op.startswith("max"):
        raise RuntimeError(
            f"{op}() {what} must be an int, list of ints or tuple of ints of size 1 but got size {len(given)}"
        )
    if n == 1:
        raise RuntimeError(f"{op}() argument '{what}' should contain one int (got {len(given)})")
    rule = "either be omitted, a single int" if what == "stride" else "be a single int"
    if what != "stride" and (op, what) != ("avg_pool3d", "kernel_size"):
        rule = "be either a single int" if what == "dilation" else "either be a single int"
    raise RuntimeError(f"{op}: {what} must {rule}, or a tuple of {_COUNT[n]}")


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows a line has; with ``ceil_mode`` the last may hang over, but not start, beyond the padding."""
    free = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (free + (stride - 1 if ceil_mode else 0)) // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def _refuse(kernel: str, dtype: DType, *allowed: DType) -> None:
    if dtype.category is not Category.FLOAT and dtype not in allowed:
        raise NotImplementedError(f'"{kernel}" not implemented for \'{dtype.legacy}\'')


def _check_dims(op: str, input: Spec, n: int) -> None:
    shape = list(input.shape)
    if n == 3:
        if input.ndim not in (4, 5):
            raise RuntimeError("non-empty 4D or 5D (batch mode) tensor expected for input")
        if 0 in shape[-4:]:
            name = "max_pool3d_with_indices_out_cpu_template" if op == "max_pool3d" else op
            raise RuntimeError(
                f"{name}(): Expected input's non-batch dimensions to have positive length, but input has a shape of "
                f"{shape} and non-batch dimension {shape[-4:].index(0)} has length zero!"
            )
        return
    if op == "avg_pool1d" and input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' (while "
            "checking arguments for avg_pool1d)"
        )
    if op == "max_pool2d" and input.ndim not in (3, 4):
        raise RuntimeError("non-empty 3D or 4D (batch mode) tensor expected for input")
    if n == 2 and input.ndim < 3:
        wrap_dim(-3, input.ndim)
    if input.ndim not in (n + 1, n + 2) or 0 in shape[-n - 1 :]:
        name = "max_pool1d: " if op == "max_pool1d" else ""
        raise RuntimeError(
            f"{name}Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
            f"got:{shape}"
        )


def _sides(n: int, values: Ints, prefix: str = "", after: str = "") -> str:
    return " ".join(f"{prefix}{side}{after}: {v}" for side, v in zip(_SIDES[n][-len(values) :], values, strict=True))


def _check_window(op: str, n: int, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> None:
    if op == "max_pool1d":
        (k,), (s,), (p,), (d,) = kernel, stride, padding, dilation
        for what, v in (("kernel_size", k), ("stride", s), ("dilation", d)):
            if v <= 0:
                raise RuntimeError(f"max_pool1d() {what} must be greater than zero, but got {v}")
        if p < 0:
            raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"max_pool1d() padding should be at most half of kernel size, but got padding={p} and kernel_size={k}"
            )
        return
    if min(kernel) <= 0:
        raise RuntimeError(f"kernel size should be greater than zero, but got {_sides(n, kernel, 'k')}")
    if min(stride) <= 0:
        raise RuntimeError(f"stride should be greater than zero, but got {_sides(n, stride, 'd')}")
    if min(dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {_sides(n, dilation, 'dilation')}")


def check_padding(kernel: Ints, padding: Ints, dilation: Ints) -> None:
    """Raises:
    RuntimeError: torch's, for padding that is negative or more than half a window.
    """
    for k, p, d in zip(kernel, padding, dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )


def pool_shape(op: str, n: int, input: Spec, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints,
               ceil_mode: bool) -> tuple[int, ...]:  # fmt: skip
    """The shape of a pooled tensor.

    Raises:
        RuntimeError: torch's, for windows that make no sense or don't fit.
    """
    k = ints(op, "kernel_size", kernel, n)
    s = ints(op, "stride", stride, n) if len(stride) else k
    p, d = ints(op, "padding", padding, n), ints(op, "dilation", dilation, n)
    if op != "max_pool1d":
        if 0 in s:
            raise RuntimeError("stride should not be zero")
        check_padding(k, p, d)
    _check_dims(op, input, n)
    _check_window(op, n, k, s, p, d)
    shape = input.shape
    if op == "avg_pool3d" and any(i < j for i, j in zip(shape[-3:], k, strict=True)):
        raise RuntimeError(
            f"input image ({_sides(3, shape[-3:])}) smaller than kernel size ({_sides(3, k, 'k')})"
        )
    out = tuple(pooled_size(*each, ceil_mode) for each in zip(shape[-n:], k, s, p, d, strict=True))
    if min(out) < 1:
        if op == "max_pool1d":
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
        row = ["1"] if n == 1 else []  # torch pools a line as an image of one row
        given, made = ("x".join([str(shape[-n - 1]), *row, *map(str, v)]) for v in (shape[-n:], out))
        raise RuntimeError(f"Given input size: ({given}). Calculated output size: ({made}). Output size is too small")
    return (*shape[:-n], *out)


def _max_pool(n: int) -> Meta:
    def rule(op: Op, input: Spec, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints,
             ceil_mode: bool) -> tuple[Spec, Spec]:  # fmt: skip
        shape = pool_shape(f"max_pool{n}d", n, input, kernel, stride, padding, dilation, ceil_mode)
        integers = [d for d in dtypes.ALL if d.category is Category.INT and n > 1]
        _refuse("max_pool1d_impl" if n == 1 else f"max_pool{n}d", input.dtype, *integers)
        return spec(shape, input.dtype), spec(shape, dtypes.int64)

    return rule


def _avg_pool(n: int) -> Meta:
    def rule(op: Op, input: Spec, kernel: Ints, stride: Ints, padding: Ints, ceil_mode: bool, include: bool,
             divisor: int | None) -> Spec:  # fmt: skip
        shape = pool_shape(f"avg_pool{n}d", n, input, kernel, stride, padding, (1,), ceil_mode)
        if divisor == 0:
            raise RuntimeError("divisor must be not zero")
        _refuse(f"avg_pool{max(n, 2)}d", input.dtype, dtypes.int64)
        return spec(shape, input.dtype)

    return rule


def _adaptive_shape(op: Op, n: int, input: Spec, size: Ints) -> tuple[int, ...]:
    name = op.name
    if len(size) == 1:
        size = tuple(size) * n
    if len(size) != n:
        raise RuntimeError(
            f"{name}() argument 'output_size' should contain one int (got {len(size)})" if n == 1
            else f"{name}: output_size must be {n}" if name.startswith("adaptive_avg")
            else f"{name}(): internal error: output_size.size() must be {n}"
        )  # fmt: skip
    if input.ndim not in (n + 1, n + 2):
        if n == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' (while "
                f"checking arguments for {name})"
            )
        colon = ":" if name.startswith("adaptive_max") else ""
        raise RuntimeError(
            f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got{colon} {list(input.shape)}"
        )
    for i in range(-n, 0):
        if input.shape[i] == 0:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
                f"{list(input.shape)} with dimension {input.ndim + i} being empty"
            )
    if name.startswith("adaptive_avg") and min(size) < 0:
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{', '.join(map(str, size))}}}"
        )
    _refuse(f"adaptive_{name[9:12]}_pool{max(n, 2)}d", input.dtype)
    return (*input.shape[:-n], *size)


def _adaptive(n: int, indices: bool) -> Meta:
    def rule(op: Op, input: Spec, size: Ints) -> tuple[Spec, ...]:
        shape = _adaptive_shape(op, n, input, size)
        values = spec(shape, input.dtype)
        return (values, spec(shape, dtypes.int64)) if indices else (values,)

    return rule


def _backward(n: int) -> Meta:
    return lambda op, grad, size, *_: spec((*grad.shape[:-n], *size), grad.dtype)


def linear_pair(name: str, n: int, args: str, meta: Meta, node: str, doc: str) -> None:
    """Declare a linear map of the last ``n`` dimensions and, as ``<name>_backward``, its adjoint."""
    op(f"{name}(Tensor input, {args}) -> Tensor", meta=meta, public=False, method=False, node=node, doc=doc)
    op(f"{name}_backward(Tensor grad, int[] input_size, {args}) -> Tensor", meta=_backward(n), public=False,
       method=False, node=node.replace("Backward0", "BackwardBackward0"), doc=f"The adjoint of {name}.")


_MAX = "int[] kernel_size, int[] stride, int[] padding, int[] dilation, bool ceil_mode"
_AVG = ("int[] kernel_size, int[] stride=[], int[] padding=[0], bool ceil_mode=False, bool count_include_pad=True, "
        "int? divisor_override=None")  # fmt: skip
for _n in (1, 2, 3):
    op(f"max_pool{_n}d_with_indices(Tensor input, {_MAX}) -> (Tensor values, Tensor indices)", meta=_max_pool(_n),
       public=False, method=False, node=f"MaxPool{max(_n, 2)}DWithIndicesBackward0",
       doc="The largest of each window, and where in its plane it was.")
    op(f"adaptive_max_pool{_n}d(Tensor input, int[] output_size) -> (Tensor values, Tensor indices)",
       meta=_adaptive(_n, True), public=False, method=False, node=f"AdaptiveMaxPool{max(_n, 2)}DBackward0",
       doc="The largest of each of output_size windows that share the input evenly, and where it was.")
    linear_pair(f"avg_pool{_n}d", _n, _AVG, _avg_pool(_n), f"AvgPool{max(_n, 2)}DBackward0", "The mean of each window.")
    linear_pair(f"adaptive_avg_pool{_n}d", _n, "int[] output_size", _adaptive(_n, False),
                f"AdaptiveAvgPool{max(_n, 2)}DBackward0",
                "The mean of each of output_size windows that share the input evenly.")  # fmt: skip


def _planes(op: Op, input: Spec, indices: Spec, size: Ints, *_: object) -> Spec:
    return spec((*input.shape[: input.ndim - len(size)], *size), input.dtype)


op("scatter_planes(Tensor input, Tensor indices, int[] size, bool unique) -> Tensor", meta=_planes, public=False,
   method=False, doc="Planes of this size, with each number of input added where its index says, 0 elsewhere.")
op("gather_planes(Tensor input, Tensor indices, int dims) -> Tensor",
   meta=lambda op, input, indices, dims: spec(indices.shape, input.dtype), public=False, method=False,
   doc="The numbers that indices name in each plane of the last dims dimensions.")


def _max_unpool(op: Op, input: Spec, indices: Spec, size: Ints) -> Spec:
    n = len(size)
    if indices.dtype is not dtypes.int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype.legacy}")
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with {input.ndim} "
            "dimensions."
        )
    if input.shape != indices.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    return _planes(op, input, indices, size)


op("max_unpool(Tensor input, Tensor indices, int[] output_size) -> Tensor", meta=_max_unpool, public=False,
   method=False, node="MaxUnpool2DBackward0", doc="Each number put where its index says, 0 elsewhere.")


def _fractional(op: Op, input: Spec, kernel: Ints, size: Ints, samples: Spec) -> tuple[Spec, Spec]:
    n = len(size)
    if input.ndim < n + 1:
        wrap_dim(-n - 1, input.ndim)
    names = ("time", "height", "width")[-n:]
    prefix = "fractional_max_pool3d_out()" if n == 3 else "fractional_max_pool2d()"
    for i, k, o, side in zip(input.shape[-n:], kernel, size, names, strict=True):
        if o + k - 1 > i:
            raise RuntimeError(f"{prefix}: pool {side} {k} too large relative to input {side} {i}")
    if samples.shape != (math.prod(input.shape[: input.ndim - n - 1]), input.shape[-n - 1], n):
        raise RuntimeError("Expect _random_samples to have one number a dimension for each sample and channel")
    shape = (*input.shape[:-n], *size)
    return spec(shape, input.dtype), spec(shape, dtypes.int64)


op("fractional_max_pool(Tensor input, int[] kernel_size, int[] output_size, Tensor random_samples) "
   "-> (Tensor values, Tensor indices)", meta=_fractional, public=False, method=False,
   node="FractionalMaxPool2DBackward0", doc="The largest of each window, the windows' places drawn at random.")
