"""Pooling as ``nn.functional`` has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.conv import Ints, each
from gradwire.tensor import Tensor
from gradwire_proto.catalog.pool import check_padding

Pair = tuple[Tensor, Tensor]


def _listed(values: Ints | None) -> tuple[int, ...]:
    return () if values is None else (values,) if isinstance(values, int) else tuple(values)


def _named(f: Callable[..., Any], name: str, doc: str, *names: str, out: bool = False) -> Callable[..., Any]:
    f.__name__ = f.__qualname__ = name
    f.__doc__ = doc
    return export(f"nn.functional.{name}", *names, out=out)(f)


def _max_pool(n: int) -> Callable[..., Any]:
    op = getattr(ops, f"max_pool{n}d_with_indices")

    def pool(input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Tensor | Pair:  # fmt: skip
        if n == 1 and return_indices:  # torch takes another way there, with other words
            check_padding(_listed(kernel_size), _listed(padding), _listed(dilation))
            if not input.is_floating_point() and input.ndim in (2, 3):  # and has kernels for integers there
                sizes = ((1, *_listed(kernel_size)), tuple((1, *_listed(stride)) if _listed(stride) else ()),
                         (0, *_listed(padding)), (1, *_listed(dilation)))  # fmt: skip
                made = ops.max_pool2d_with_indices(ops.unsqueeze(input, -2), *sizes, ceil_mode)
                return tuple(ops.squeeze(t, -2) for t in made)  # type: ignore[return-value]
        values, indices = op(input, _listed(kernel_size), _listed(stride), _listed(padding), _listed(dilation),
                             ceil_mode)  # fmt: skip
        return (values, indices) if return_indices else values

    def with_indices(input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                     dilation: Ints = 1, ceil_mode: bool = False, return_indices: bool = False) -> Pair:  # fmt: skip
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)  # type: ignore[return-value]

    doc = f"The largest of each window over {n} dimension{'s' if n > 1 else ''}"
    also = ("max_pool1d_with_indices",) if n == 1 else ()
    _named(with_indices, f"max_pool{n}d_with_indices", f"{doc}, and where it was.", *also)
    return _named(pool, f"max_pool{n}d", f"{doc}.", f"max_pool{n}d")


def _avg_pool(n: int) -> Callable[..., Tensor]:
    op = getattr(ops, f"avg_pool{n}d")

    def pool(input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
        return op(input, _listed(kernel_size), _listed(stride), _listed(padding), ceil_mode, count_include_pad,
                  divisor_override)  # fmt: skip

    def line(input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
             count_include_pad: bool = True) -> Tensor:  # fmt: skip
        return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad)

    doc = f"The mean of each window over {n} dimension{'s' if n > 1 else ''}."
    return _named(line, "avg_pool1d", doc, "avg_pool1d") if n == 1 else _named(pool, f"avg_pool{n}d", doc, out=True)


def _adaptive(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    largest, mean = getattr(ops, f"adaptive_max_pool{n}d"), getattr(ops, f"adaptive_avg_pool{n}d")

    def size(input: Tensor, output_size: Any) -> tuple[int, ...]:
        """None keeps a dimension's size."""
        if isinstance(output_size, int) or output_size is None:
            output_size = (output_size,) * n
        elif n > 1 and input.ndim <= len(output_size):
            raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
        if len(output_size) != n:
            return tuple(output_size)
        lead = input.ndim - n
        return tuple(input.shape[lead + i] if s is None else s for i, s in enumerate(output_size))

    def max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor | Pair:
        values, indices = largest(input, size(input, output_size))
        return (values, indices) if return_indices else values

    def with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Pair:
        return largest(input, size(input, output_size))

    def torch_max_pool(input: Tensor, output_size: Any) -> Pair:
        return largest(input, size(input, output_size))

    def avg_pool(input: Tensor, output_size: Any) -> Tensor:
        return mean(input, size(input, output_size))

    doc = "of each of output_size windows that share the input evenly"
    if n == 1:
        torch_max_pool.__name__ = torch_max_pool.__qualname__ = "adaptive_max_pool1d"
        export("adaptive_max_pool1d")(torch_max_pool)
    _named(with_indices, f"adaptive_max_pool{n}d_with_indices", f"The largest {doc}, and where it was.")
    return (
        _named(max_pool, f"adaptive_max_pool{n}d", f"The largest {doc}."),
        _named(avg_pool, f"adaptive_avg_pool{n}d", f"The mean {doc}.", *(["adaptive_avg_pool1d"] if n == 1 else [])),
    )


max_pool1d, max_pool2d, max_pool3d = (_max_pool(n) for n in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (_avg_pool(n) for n in (1, 2, 3))
(
    (adaptive_max_pool1d, adaptive_avg_pool1d),
    (adaptive_max_pool2d, adaptive_avg_pool2d),
    (adaptive_max_pool3d, adaptive_avg_pool3d),
) = (_adaptive(n) for n in (1, 2, 3))


def _unpooled_size(input: Tensor, n: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...],
                   output_size: Sequence[int] | None) -> tuple[int, ...]:  # fmt: skip
    if input.ndim < n:
        raise IndexError("tuple index out of range")
    default = [(i - 1) * s + k - 2 * p
               for i, k, s, p in zip(input.shape[-n:], kernel, stride, padding, strict=True)]  # fmt: skip
    if output_size is None:
        return tuple(default)
    given = tuple(output_size)
    if len(given) == n + 2:
        given = given[2:]
    if len(given) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
            f"'{len(given)}'"
        )
    for d, (size, want, s) in enumerate(zip(given, default, stride, strict=True)):
        if not want - s < size < want + s:
            raise ValueError(
                f'invalid output_size "{given}" (dim {d} must be between {want - s} and {want + s})'
            )
    return given


def _max_unpool(n: int) -> Callable[..., Tensor]:
    def unpool(input: Tensor, indices: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
               output_size: Sequence[int] | None = None) -> Tensor:  # fmt: skip
        kernel = each(kernel_size, n)
        steps = kernel if stride is None else each(stride, n)
        return ops.max_unpool(input, indices,
                              _unpooled_size(input, n, kernel, steps, each(padding, n), output_size))  # fmt: skip

    return _named(unpool, f"max_unpool{n}d", "Each number put back where max pooling found it, 0 elsewhere.")


max_unpool1d, max_unpool2d, max_unpool3d = (_max_unpool(n) for n in (1, 2, 3))


def _lp_pool(n: int, avg: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pool(input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None,
             ceil_mode: bool = False) -> Tensor:  # fmt: skip
        kernel = each(kernel_size, n)
        count = 1
        for k in kernel:
            count *= k
        mean: Any = avg(ops.pow(input, norm_type), kernel, stride, 0, ceil_mode)
        # The sum, with the sign kept apart: a root of a negative sum is taken of 0.
        made: Tensor = ((mean.sign() * mean.abs().relu()) * count) ** (1.0 / norm_type)
        return made

    return _named(pool, f"lp_pool{n}d", "The norm of each window.")


lp_pool1d, lp_pool2d, lp_pool3d = (_lp_pool(n, f) for n, f in ((1, avg_pool1d), (2, avg_pool2d), (3, avg_pool3d)))


def _fractional(n: int) -> Callable[..., Any]:
    name = f"fractional_max_pool{n}d"

    def pool(input: Tensor, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Any = None,
             return_indices: bool = False, _random_samples: Tensor | None = None) -> Tensor | Pair:  # fmt: skip
        if output_size is None:
            if output_ratio is None:
                raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
            ratio = (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
            output_size = tuple(int(s * r) for s, r in zip(input.shape[-n:], ratio, strict=True))
        single = input.ndim == n + 1
        if _random_samples is None:
            batch = 1 if single else input.shape[0]
            _random_samples = ops.rand((batch, input.shape[-n - 1], n), dtype=input.dtype)
        elif single:  # torch takes those of the first
            _random_samples = ops.slice(_random_samples, 0, 0, 1, 1)
        values, indices = ops.fractional_max_pool(input, each(kernel_size, n), each(output_size, n), _random_samples)
        return (values, indices) if return_indices else values

    def with_indices(input: Tensor, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Any = None,
                     return_indices: bool = False, _random_samples: Tensor | None = None) -> Pair:  # fmt: skip
        return pool(input, kernel_size, output_size, output_ratio, True, _random_samples)  # type: ignore[return-value]

    doc = "The largest of each window, the windows' places drawn at random"
    _named(with_indices, f"{name}_with_indices", f"{doc}, and where it was.")
    return _named(pool, name, f"{doc}.")


fractional_max_pool2d, fractional_max_pool3d = (_fractional(n) for n in (2, 3))
