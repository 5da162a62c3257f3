"""Convolutions and their transposes, in one to three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradwire.functions.conv import each
from gradwire.nn import functional as F
from gradwire.nn.linear import draw, parameter
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor

MODES = {"zeros", "reflect", "replicate", "circular"}


class _ConvNd(Module):
    """A convolution over n dimensions.

    Args:
        in_channels, out_channels: of an input (N, C, *) and the result; a batch may be left out.
        kernel_size, stride, dilation: numbers, or one for each dimension.
        padding: likewise, or "same" or "valid".
        groups: of channels, each convolved by itself.
        bias: add one. It and the weight, (out_channels, in_channels / groups, *kernel_size), are drawn from U(-k, k),
            k = (in_channels / groups * kernel elements) ** -0.5.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
    """

    n: int
    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}")
            if padding == "same" and any(s != 1 for s in each(stride, self.n)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in MODES:
            raise ValueError(f"padding_mode must be one of {MODES}, but got padding_mode='{padding_mode}'")
        self.padding = padding if isinstance(padding, str) else each(padding, self.n)
        self._lay_out(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, padding_mode, False,
                      device, dtype)  # fmt: skip
        self._pads = self._around()
        """What padding modes other than zeros add on every side, the last dimension's first."""

    def _lay_out(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, dilation: Any, groups: int,
                 bias: bool, padding_mode: str, transposed: bool, device: Any, dtype: Any) -> None:  # fmt: skip
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = each(kernel_size, self.n), each(stride, self.n)
        self.dilation, self.padding_mode, self.transposed = each(dilation, self.n), padding_mode, transposed
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        self.weight = parameter(*channels, *self.kernel_size, device=device, dtype=dtype)
        self.register_parameter("bias", parameter(out_channels, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def _around(self) -> tuple[int, ...]:
        if isinstance(self.padding, str):
            sides = zip(self.dilation, self.kernel_size, strict=True)
            totals = [d * (k - 1) * (self.padding == "same") for d, k in sides]
            return tuple(x for t in reversed(totals) for x in (t // 2, t - t // 2))
        return tuple(p for p in reversed(self.padding) for _ in (0, 1))

    def reset_parameters(self) -> None:
        inputs = self.weight.shape[1] * math.prod(self.kernel_size)
        if inputs:
            draw(self, 1 / math.sqrt(inputs))

    def forward(self, input: Tensor) -> Tensor:
        run = getattr(F, f"conv{self.n}d")
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._pads, mode=self.padding_mode), 0
        return run(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        n = self.n
        told = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        told += [f"padding={self.padding}"] if self.padding != (0,) * n else []
        told += [f"dilation={self.dilation}"] if self.dilation != (1,) * n else []
        more = getattr(self, "output_padding", (0,) * n)
        told += [f"output_padding={more}"] if more != (0,) * n else []
        told += [f"groups={self.groups}"] if self.groups != 1 else []
        told += ["bias=False"] if self.bias is None else []
        told += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        return ", ".join(told)


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution as a layer: it makes images larger.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation: as of a convolution; the weight
            is (in_channels, out_channels / groups, *kernel_size).
        output_padding: added to one side of the result's size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None):  # fmt: skip
        Module.__init__(self)
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self.padding, self.output_padding = each(padding, self.n), each(output_padding, self.n)
        self._lay_out(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, padding_mode, True,
                      device, dtype)  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        more = self.output_padding if output_size is None else self._missing(input, output_size)
        run = getattr(F, f"conv_transpose{self.n}d")
        return run(input, self.weight, self.bias, self.stride, self.padding, more, self.groups,  # type: ignore[no-any-return]
                   self.dilation)  # fmt: skip

    def _missing(self, input: Tensor, size: Sequence[int]) -> tuple[int, ...]:
        """The output padding with which the result has a size."""
        n = self.n
        extra = input.ndim - n
        if len(size) == extra + n:
            size = size[extra:]
        if len(size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or {extra + n} elements (got "
                f"{len(size)})"
            )
        least = [(input.shape[d + extra] - 1) * self.stride[d] - 2 * self.padding[d]
                 + self.dilation[d] * (self.kernel_size[d] - 1) + 1 for d in range(n)]  # fmt: skip
        most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
        if any(not a <= s <= b for a, s, b in zip(least, size, most, strict=True)):
            raise ValueError(
                f"requested an output size of {size}, but valid sizes range from {least} to {most} (for an input of "
                f"{input.shape[extra:]})"
            )
        return tuple(s - a for s, a in zip(size, least, strict=True))


def _class(base: type, name: str, n: int) -> Any:
    return type(f"{name}{n}d", (base,), {"n": n, "__module__": "gradwire.nn", "__doc__": base.__doc__})


CLASSES = {f"{name}{n}d": _class(base, name, n)
           for name, base in (("Conv", _ConvNd), ("ConvTranspose", _ConvTransposeNd)) for n in (1, 2, 3)}  # fmt: skip
globals().update(CLASSES)
