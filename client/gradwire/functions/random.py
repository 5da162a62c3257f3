"""Random numbers: torch's overloads and keywords."""

from __future__ import annotations

from typing import Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import finish, ops
from gradwire.export import export
from gradwire.functions.shape import sizes
from gradwire.out import stored
from gradwire.random import Generator
from gradwire.tensor import Tensor
from gradwire_proto import dtypes
from gradwire_proto.dtypes import Category, DType


def _from(generator: Generator | None) -> tuple[int, int] | None:
    """What the next draw takes from a generator; None for the session's own."""
    if generator is None:
        return None
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator._draw()


def _given(size: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    return sizes((kwargs.pop("size"),) if "size" in kwargs else size)


def _done(made: Tensor, out: Tensor | None, requires_grad: bool, device: Any, layout: Any = None) -> Tensor:
    return finish(made if out is None else stored("random", made, out, (), True), requires_grad, device, layout)


@export("rand")
def rand(*size: Any, generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
         layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
         **kwargs: Any) -> Tensor:  # fmt: skip
    """Uniform numbers on [0, 1)."""
    made = ops.rand(_given(size, kwargs), dtype=dtype or default_dtype(), generator=_from(generator))
    return _done(made, out, requires_grad, device, layout)


@export("randn")
def randn(*size: Any, generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
          layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
          **kwargs: Any) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and variance 1."""
    made = ops.randn(_given(size, kwargs), dtype=dtype or default_dtype(), generator=_from(generator))
    return _done(made, out, requires_grad, device, layout)


@export("randint")
def randint(*args: Any, low: int | None = None, high: int | None = None, size: Any = None,
            generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
            layout: Any = None, device: Any = None, requires_grad: bool = False,
            pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers below ``high``, from 0 or ``low``: ``randint(high, size)`` or ``randint(low, high, size)``."""
    given = list(args)
    if size is None and given:
        size = given.pop()
    if high is None and given:
        high = given.pop()
    if low is None and given:
        low = given.pop()
    if given or high is None or not isinstance(size, (tuple, list)):
        got = ", ".join(type(a).__name__ for a in args)
        raise TypeError(
            f"randint() received an invalid combination of arguments - got ({got}), but expected (int high, tuple of "
            "ints size) or (int low, int high, tuple of ints size)"
        )
    made = ops.randint(low or 0, high, sizes((size,)), dtype=dtype or dtypes.int64, generator=_from(generator))
    return _done(made, out, requires_grad, device, layout)


@export("randperm")
def randperm(n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False,
             pin_memory: bool = False) -> Tensor:  # fmt: skip
    """The integers below ``n`` in random order."""
    made = ops.randperm(n, dtype=dtype or dtypes.int64, generator=_from(generator))
    return _done(made, out, requires_grad, device, layout)


@export("rand_like")
def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
              device: Any = None, requires_grad: bool = False, memory_format: Any = None,
              pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uniform numbers on [0, 1) in the shape and type of ``input``."""
    return rand(tuple(input.shape), generator=generator, dtype=dtype or input.dtype, device=device or input.device,
                requires_grad=requires_grad)  # fmt: skip


@export("randn_like")
def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
               device: Any = None, requires_grad: bool = False, memory_format: Any = None,
               pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers in the shape and type of ``input``."""
    return randn(tuple(input.shape), generator=generator, dtype=dtype or input.dtype, device=device or input.device,
                 requires_grad=requires_grad)  # fmt: skip


@export("randint_like")
def randint_like(input: Tensor, *args: Any, low: int | None = None, high: int | None = None,
                 generator: Generator | None = None, dtype: DType | None = None, layout: Any = None,
                 device: Any = None, requires_grad: bool = False, memory_format: Any = None,
                 pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers below ``high``, from 0 or ``low``, in the shape and type of ``input``."""
    return randint(*args, low=low, high=high, size=tuple(input.shape), generator=generator,
                   dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)  # fmt: skip


@export("normal")
def normal(mean: Tensor | float = 0.0, std: Tensor | float = 1.0, size: Any = None, *,
           generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
           layout: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers with a mean and a standard deviation each, or of a size."""
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        made = ops.normal(mean, std, generator=_from(generator))
    elif size is None:
        raise TypeError(
            "normal() received an invalid combination of arguments - got (float, float), but expected a Tensor among "
            "them, or (float mean, float std, tuple of ints size)"
        )
    else:
        made = ops.rand(sizes((size,)), dtype=dtype or default_dtype())
        ops.normal_(made, float(mean), float(std), generator=_from(generator))
    return _done(made, out, requires_grad, device, layout)


@export("bernoulli", "Tensor.bernoulli")
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """1 with probability ``input``, or ``p``, else 0."""
    if p is None:
        made = ops.bernoulli(input, generator=_from(generator))
    else:
        made = ops.bernoulli_(input.clone(), p, generator=_from(generator))
    return made if out is None else stored("random", made, out, (input,), False)


@export("multinomial", "Tensor.multinomial")
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Indices drawn with the rows' numbers as weights."""
    made: Tensor = ops.multinomial(input, num_samples, replacement, generator=_from(generator))
    return made if out is None else stored("multinomial", made, out, (input,), False)


@export("poisson")
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers of rate ``input``."""
    return ops.poisson(input, generator=_from(generator))


@export("binomial")
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Number of successes among ``count`` trials of probability ``prob``."""
    return ops.binomial(count, prob, generator=_from(generator))


def _fill(name: str) -> None:
    def fill(self: Tensor, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        made: Tensor = getattr(ops, name)(self, *args, generator=_from(generator), **kwargs)
        return made

    fill.__name__ = fill.__qualname__ = name
    fill.__doc__ = "Overwrites the tensor with random numbers."
    export(f"Tensor.{name}")(fill)


for _name in ("uniform_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_", "bernoulli_"):
    _fill(_name)

EXACT = {"float16": 2**11, "bfloat16": 2**8, "float32": 2**24, "float64": 2**53}
"""Up to where a floating point type holds all integers."""


@export("Tensor.random_")
def random_(self: Tensor, *args: int, generator: Generator | None = None, **kwargs: int) -> Tensor:
    """Overwrites the tensor with integers below ``to``, from 0 or ``from``, or from all that its type holds exactly."""
    low = kwargs.get("from", args[0] if len(args) > 1 else 0)
    high = kwargs.get("to", args[-1] if args else None)
    if high is None:
        d = self.dtype
        bits = 1 if d.category is Category.BOOL else 8 * d.itemsize - d.is_signed
        high = min(EXACT.get(d.name, 2**bits - 1) + 1, 2**63 - 1)
    return ops.random_(self, low, high, generator=_from(generator))
