"""Convolutions as torch spells them, one for each number of dimensions, and unfold and fold of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.tensor import Tensor

Ints = int | Sequence[int]


def each(values: Ints, n: int) -> tuple[int, ...]:
    """One number for each of ``n`` dimensions, or what was given, for the op to refuse."""
    return (values,) * n if isinstance(values, Integral) else tuple(values)  # type: ignore[return-value, arg-type]


def _apply(name: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints, padding: Ints,
           dilation: Ints, transposed: bool, output_padding: Ints, groups: int) -> Tensor:  # fmt: skip
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    alone = input.ndim == n + 1
    made: Tensor = ops.convolution(ops.unsqueeze(input, 0) if alone else input, weight, bias, each(stride, n),
                                   each(padding, n), each(dilation, n), transposed, each(output_padding, n),
                                   groups)  # fmt: skip
    return ops.squeeze(made, 0) if alone else made


def _same(n: int, input: Tensor, weight: Tensor, stride: Ints, dilation: Ints) -> tuple[Tensor, tuple[int, ...]]:
    """Padding that keeps the size, the odd element at the end of the input."""
    if any(s != 1 for s in each(stride, n)):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    if weight.ndim != n + 2:
        raise RuntimeError(
            f"Expected {weight.ndim}-dimensional input for {weight.ndim}-dimensional weight{list(weight.shape)}, but "
            f"got {input.ndim}-dimensional input of size {list(input.shape)} instead"
        )
    total = [d * (k - 1) for d, k in zip(each(dilation, n), weight.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        input = ops.constant_pad_nd(input, [x for t in reversed(total) for x in (0, t % 2)])
    return input, tuple(t // 2 for t in total)


def _convolution(n: int) -> Callable[..., Tensor]:
    name = f"conv{n}d"

    @export(name, f"nn.functional.{name}")
    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints | str = 0,
             dilation: Ints = 1, groups: int = 1) -> Tensor:  # fmt: skip
        if padding == "same":
            input, padding = _same(n, input, weight, stride, dilation)
        elif padding == "valid":
            padding = 0
        elif isinstance(padding, str):
            raise RuntimeError(f"Invalid padding string: {padding!r}")
        return _apply(name, n, input, weight, bias, stride, padding, dilation, False, 0, groups)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"Convolution over {n} dimension{'s' if n > 1 else ''}, batched or not."
    return conv


def _transposed(n: int) -> Callable[..., Tensor]:
    name = f"conv_transpose{n}d"

    @export(name, f"nn.functional.{name}")
    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1,
             padding: Ints | str = 0, output_padding: Ints = 0, groups: int = 1,
             dilation: Ints = 1) -> Tensor:  # fmt: skip
        if isinstance(padding, str):
            raise TypeError(f"{name}(): argument 'padding' must be tuple of ints, not str")
        return _apply(name, n, input, weight, bias, stride, padding, dilation, True, output_padding, groups)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"The adjoint of a convolution over {n} dimension{'s' if n > 1 else ''}, batched or not."
    return conv


conv1d, conv2d, conv3d = (_convolution(n) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (_transposed(n) for n in (1, 2, 3))


@export("conv_tbc", "nn.functional.conv_tbc")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over steps: of (steps, N, channels) by (kernel, channels, channels of the result)."""
    for what, t, n, dims in (("Input", input, 3, ": time, batch, in_channel"),
                             ("Weight", weight, 3, " tensor: kernel_width, in_channels, out_channels."),
                             ("Bias", bias, 1, "")):  # fmt: skip
        if t.ndim != n:
            raise RuntimeError(f"{what} must have {n} dims{dims}" if n == 3 else "Bias must be 1-D")
    made = conv1d(ops.permute(input, (1, 2, 0)), ops.permute(weight, (2, 1, 0)), bias, padding=pad)
    return ops.permute(made, (2, 0, 1))


@export("nn.functional.unfold")
def unfold(input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """Every sliding block of a batch of images, as a column."""
    return ops.im2col(input, each(kernel_size, 2), each(dilation, 2), each(padding, 2), each(stride, 2))


@export("nn.functional.fold")
def fold(input: Tensor, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0,
         stride: Ints = 1) -> Tensor:  # fmt: skip
    """Images from columns of sliding blocks, summed where they overlap."""
    return ops.col2im(input, each(output_size, 2), each(kernel_size, 2), each(dilation, 2), each(padding, 2),
                      each(stride, 2))  # fmt: skip
