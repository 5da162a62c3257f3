"""Convolution over one to three dimensions, its two adjoints, and the sliding blocks of fold and unfold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.dtypes import bool_
from gradwire_proto.spec import Spec, spec


def expand_ints(name: str, values: int | Sequence[int], n: int) -> tuple[int, ...]:
    """One number for each of ``n`` spatial dimensions.

    Raises:
        RuntimeError: torch's, where there are neither one nor ``n`` of them.
    """
    given = (values,) if isinstance(values, int) else tuple(values)
    if len(given) == 1:
        return given * n
    if len(given) != n:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the convolution "
            f"dimensions, but got {name}={list(given)}"
        )
    return given


def conv_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How often a dilated kernel fits into a padded line."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _convolution(op: Op, input: Spec, weight: Spec, bias: Spec | None, stride: Sequence[int], padding: Sequence[int],
                 dilation: Sequence[int], transposed: bool, output_padding: Sequence[int],
                 groups: int) -> Spec:  # fmt: skip
    n = weight.ndim - 2
    shape, w = input.shape, list(weight.shape)
    if n < 1 or n > 3:
        raise RuntimeError("weight should have at least three dimensions" if n < 1 else "unsupported ConvNd parameters")
    if input.ndim != weight.ndim:
        raise RuntimeError(
            f"Expected {weight.ndim}-dimensional input for {weight.ndim}-dimensional weight {w}, but got "
            f"{input.ndim}-dimensional input of size {list(shape)} instead"
        )
    if weight.dtype is not input.dtype:
        raise RuntimeError(f"expected scalar type {input.dtype.legacy} but found {weight.dtype.legacy}")
    if bias is not None and bias.dtype is not input.dtype:
        raise RuntimeError(f"Input type ({_c_name(input)}) and bias type ({_c_name(bias)}) should be the same")
    if input.dtype is bool_:
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Bool'")
    s, p, d, extra = (
        expand_ints(name, v, n)
        for name, v in (("stride", stride), ("padding", padding), ("dilation", dilation),
                        ("output_padding", output_padding))
    )  # fmt: skip
    if min(p) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(extra) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if min(s) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(d) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {list(d)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if w[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{w} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{w}] instead"
        )
    channels, out_channels = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    given = f"transposed={int(transposed)}" if transposed else f"groups={groups}"
    if shape[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {w}, expected input{list(shape)} to have {channels} channels, but got "
            f"{shape[1]} channels instead"
        )
    if bias is not None and bias.shape != (out_channels,):
        raise RuntimeError(
            f"Given {given + ', ' if transposed else ''}weight of size {w}, expected bias to be 1-dimensional with "
            f"{out_channels} elements, but got bias of size {list(bias.shape)} instead"
        )
    kernel = weight.shape[2:]
    if transposed:
        out = tuple(
            (i - 1) * a - 2 * b + c * (k - 1) + e + 1
            for i, k, a, b, c, e in zip(shape[2:], kernel, s, p, d, extra, strict=True)
        )
        if any(e >= a and e >= c for e, a, c in zip(extra, s, d, strict=True)):
            raise RuntimeError(_too_much_padding(extra, s, d))
        if any(o < 1 for o in out) and 0 not in shape[:2]:
            raise RuntimeError(
                f"Given input size per channel: ({_times(shape[2:])}). Calculated output size per channel: "
                f"({_times(out)}). Output size is too small"
            )
    else:
        padded = [i + 2 * b for i, b in zip(shape[2:], p, strict=True)]
        reach = [c * (k - 1) + 1 for k, c in zip(kernel, d, strict=True)]
        if any(i < r for i, r in zip(padded, reach, strict=True)):
            raise RuntimeError(
                f"Calculated padded input size per channel: ({_times(padded)}). Kernel size: ({_times(reach)}). "
                "Kernel size can't be greater than actual input size"
            )
        out = tuple(conv_size(*each) for each in zip(shape[2:], kernel, s, p, d, strict=True))
    return spec((shape[0], out_channels, *out), input.dtype)


def _too_much_padding(extra: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> str:
    sides = ("depth", "height", "width")[min(3 - len(extra), 1) :]  # of one dimension torch makes two
    said = " ".join(
        f"{what}_{side}: {v}"
        for what, values, fill in (("output_padding", extra, 0), ("stride", stride, 1), ("dilation", dilation, 1))
        for side, v in zip(sides, (fill,) * (len(sides) - len(values)) + values, strict=True)
    )
    return f"output padding must be smaller than either stride or dilation, but got {said}"


def _c_name(s: Spec) -> str:
    names = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
             "int64": "long long", "int32": "int", "complex64": "c10::complex<float>",
             "complex128": "c10::complex<double>"}  # fmt: skip
    return names.get(s.dtype.name, s.dtype.name)


def _weight(op: Op, grad: Spec, input: Spec, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
            dilation: Sequence[int], groups: int) -> Spec:  # fmt: skip
    return spec((grad.shape[1], input.shape[1] // groups, *kernel_size), grad.dtype)


# torch's backward of an op takes the op's inputs, needed or not, and so its result requires grad where they do.
op("attach(Tensor(a) input, Tensor other) -> Tensor(a)", meta=lambda op, input, other: input, public=False,
   method=False, doc="The same memory, with other among what its history leads to, though nothing flows there.")

_WINDOW = "int[] stride, int[] padding, int[] dilation"
op(f"convolution(Tensor input, Tensor weight, Tensor? bias, {_WINDOW}, bool transposed, int[] output_padding, "
   "int groups) -> Tensor", meta=_convolution, method=False,
   doc="Convolution of a batch with a weight, or where transposed its adjoint, over 1 to 3 dimensions.")
op(f"convolution_weight(Tensor grad, Tensor input, int[] kernel_size, {_WINDOW}, int groups) -> Tensor", meta=_weight,
   public=False, method=False, node="ConvolutionBackwardBackward0",
   doc="Gradient of a convolution's weight: every window of the input times what it led to.")


def _blocks(shape: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int],
            stride: Sequence[int]) -> tuple[int, ...]:  # fmt: skip
    return tuple(conv_size(i, k, s, p, d)
                 for i, k, d, p, s in zip(shape, kernel, dilation, padding, stride, strict=True))  # fmt: skip


def _check_window(**lists: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    made = []
    for what, values in lists.items():
        if len(values) not in (1, 2):
            raise RuntimeError(f"It is expected {what} equals to 2, but got size {len(values)}")
        made.append(tuple(values) * (3 - len(values)))
    kernel, dilation, padding, stride = made
    for what, v in (("kernel", kernel), ("dilation", dilation), ("stride", stride)):
        if min(v) < 1:
            size = " size" if what == "kernel" else ""
            raise RuntimeError(
                f"{what}{size} should be greater than zero, but got {what}_height: {v[0]} {what}_width: {v[1]}"
            )
    if min(padding) < 0:
        raise RuntimeError(
            f"padding should be non-negative, but got pad_height: {padding[0]} pad_width: {padding[1]}"
        )
    return tuple(made)


def _im2col(op: Op, input: Spec, kernel_size: Sequence[int], dilation: Sequence[int], padding: Sequence[int],
            stride: Sequence[int]) -> Spec:  # fmt: skip
    window = _check_window(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
    shape = input.shape
    if input.ndim not in (3, 4) or 0 in shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
            f"input, but got: {list(shape)}"
        )
    out = _blocks(shape[-2:], *window)
    if min(out) < 1:
        kernel, d, p, _ = window
        raise RuntimeError(
            f"Given input with spatial size ({shape[-2]}, {shape[-1]}), kernel_size={_pair(kernel)}, "
            f"dilation={_pair(d)}, padding={_pair(p)}, calculated shape of the array of sliding "
            f"blocks as {_pair(out)}, but its components must be at least one."
        )
    return spec((*shape[:-3], shape[-3] * math.prod(window[0]), math.prod(out)), input.dtype)


def _pair(v: Sequence[int]) -> str:
    return f"({', '.join(map(str, v))})"


def _col2im(op: Op, input: Spec, output_size: Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int],
            padding: Sequence[int], stride: Sequence[int]) -> Spec:  # fmt: skip
    window = _check_window(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
    kernel, d, p, s = window
    if len(output_size) not in (1, 2):
        raise RuntimeError(f"It is expected output_size equals to 2, but got size {len(output_size)}")
    size = tuple(output_size) * (3 - len(output_size))
    shape = input.shape
    if input.ndim not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(shape)}"
        )
    if shape[-2] % math.prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={shape[-2]} and kernel_size={_pair(kernel)}."
        )
    out = _blocks(size, *window)
    given = (
        f"Given output_size={_pair(size)}, kernel_size={_pair(kernel)}, dilation={_pair(d)}, padding={_pair(p)}, "
        f"stride={_pair(s)}, "
    )
    if min(out) < 1:
        raise RuntimeError(
            f"{given}calculated shape of the array of sliding blocks as {_pair(out)}, which is too small (non-positive)"
        )
    if math.prod(out) != shape[-1]:
        raise RuntimeError(
            f"{given}expected size of input's dimension 2 to match the calculated number of sliding blocks {out[0]} * "
            f"{out[1]} = {math.prod(out)}, but got input.size(2)={shape[-1]}."
        )
    return spec((*shape[:-2], shape[-2] // math.prod(kernel), *size), input.dtype)


_BLOCK = "int[] kernel_size, int[] dilation, int[] padding, int[] stride"
op(f"im2col(Tensor input, {_BLOCK}) -> Tensor", meta=_im2col, public=False, method=False, node="Im2ColBackward0",
   doc="Every sliding block of a batch of images as a column (torch.nn.functional.unfold).")
op(f"col2im(Tensor input, int[] output_size, {_BLOCK}) -> Tensor", meta=_col2im, public=False, method=False,
   node="Col2ImBackward0", doc="Images from columns of sliding blocks, summed where they overlap (fold).")
