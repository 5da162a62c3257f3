"""Tensors from sizes and numbers: zeros, full, arange, eye and their ``_like`` and ``new_`` forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import finish, ops
from gradwire.export import export
from gradwire.functions.shape import sizes
from gradwire.out import stored
from gradwire.words import combination
from gradwire_proto import dtypes
from gradwire_proto.dtypes import DType

if TYPE_CHECKING:
    from gradwire.tensor import Tensor


def number_dtype(*values: Any, out: Tensor | None = None) -> DType:
    """The type that torch gives to a tensor of these numbers: that of ``out``, where they go there."""
    if out is not None:
        return out.dtype
    kinds = {type(v.item() if hasattr(v, "item") else v) for v in values}
    if complex in kinds:
        return default_dtype().to_complex()
    if float in kinds:
        return default_dtype()
    return dtypes.int64 if int in kinds else dtypes.bool_


def filled(size: Any, value: Any, dtype: DType | None, device: Any, requires_grad: bool, layout: Any = None,
           out: Tensor | None = None, like: Tensor | None = None) -> Tensor:  # fmt: skip
    """A tensor of one number; with ``like``, beside it in its session."""
    if out is not None:
        made = ops.full(sizes((size,)), value, dtype=dtype or out.dtype)
        return stored("full", made, out, (), True)  # type: ignore[no-any-return]
    if like is not None:
        made = ops.new_full(like, sizes((size,)), value, dtype=dtype)
        device = device or like.device
    else:
        made = ops.full(sizes((size,)), value, dtype=dtype or default_dtype())
    return finish(made, requires_grad, device, layout)


def _given(name: str, size: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The sizes of ``zeros(2, 3)``, ``zeros((2, 3))`` and ``zeros(size=(2, 3))``."""
    if "size" in kwargs and not size:
        size = (kwargs.pop("size"),)
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return sizes(size)


@export("zeros")
def zeros(*size: Any, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """A tensor of zeros."""
    return filled(_given("zeros", size, kwargs), 0, dtype, device, requires_grad, layout, out)


@export("ones")
def ones(*size: Any, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """A tensor of ones."""
    return filled(_given("ones", size, kwargs), 1, dtype, device, requires_grad, layout, out)


@export("empty")
def empty(*size: Any, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
          **kwargs: Any) -> Tensor:  # fmt: skip
    """A tensor whose numbers are to be overwritten (zeros, so that no one's old memory shows)."""
    return filled(_given("empty", size, kwargs), 0, dtype, device, requires_grad, layout, out)


@export("empty_strided")
def empty_strided(size: Any, stride: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor whose numbers are to be overwritten; dense, whatever the strides."""
    return filled(size, 0, dtype, device, requires_grad, layout)


@export("empty_permuted")
def empty_permuted(size: Any, physical_layout: Any, *, dtype: DType | None = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor whose numbers are to be overwritten, its dimensions in memory in another order."""
    size, order = sizes((size,)), tuple(physical_layout)
    if len(size) != len(order):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    for i, d in enumerate(order):
        if not 0 <= d < len(size):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(size) - 1}, but got {d} at index {i}).  "
                "NB: negative dims not currently supported; file an issue if you want it."
            )
    if len(set(order)) != len(order):
        raise RuntimeError("Duplicate dim not allowed")
    made = filled(tuple(size[d] for d in order), 0, dtype, device, False, layout)
    return finish(ops.permute(made, tuple(order.index(d) for d in range(len(size)))).detach(), requires_grad)


@export("full")
def full(size: Any, fill_value: Any, *, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None,
         device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor filled with a number."""
    return filled(size, fill_value, dtype or number_dtype(fill_value, out=out), device, requires_grad, layout, out)


@export("scalar_tensor")
def scalar_tensor(s: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
                  pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A number as a 0-d tensor."""
    return filled((), s, dtype, device, requires_grad, layout)


@export("zeros_like")
def zeros_like(input: Tensor, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """Zeros in the shape and type of ``input``."""
    return filled(input.shape, 0, dtype, device, requires_grad, layout, like=input)


@export("ones_like")
def ones_like(input: Tensor, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """Ones in the shape and type of ``input``."""
    return filled(input.shape, 1, dtype, device, requires_grad, layout, like=input)


@export("empty_like")
def empty_like(input: Tensor, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor to be overwritten, in the shape and type of ``input``."""
    return filled(input.shape, 0, dtype, device, requires_grad, layout, like=input)


@export("full_like")
def full_like(input: Tensor, fill_value: Any, *, dtype: DType | None = None, layout: Any = None, device: Any = None,
              pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """A number in the shape and type of ``input``."""
    return filled(input.shape, fill_value, dtype, device, requires_grad, layout, like=input)


@export("Tensor.new_zeros")
def new_zeros(self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
              layout: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """Zeros of this tensor's type."""
    return filled(_given("new_zeros", size, kwargs), 0, dtype, device, requires_grad, layout, like=self)


@export("Tensor.new_ones")
def new_ones(self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
             layout: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """Ones of this tensor's type."""
    return filled(_given("new_ones", size, kwargs), 1, dtype, device, requires_grad, layout, like=self)


@export("Tensor.new_empty")
def new_empty(self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
              layout: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """A tensor of this one's type, to be overwritten."""
    return filled(_given("new_empty", size, kwargs), 0, dtype, device, requires_grad, layout, like=self)


@export("Tensor.new_empty_strided")
def new_empty_strided(self: Tensor, size: Any, stride: Any, dtype: DType | None = None, device: Any = None,
                      requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor of this one's type, to be overwritten; dense, whatever the strides."""
    return filled(size, 0, dtype, device, requires_grad, layout, like=self)


@export("Tensor.new_full")
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A number in a tensor of this one's type."""
    return filled(size, fill_value, dtype, device, requires_grad, layout, like=self)


def _stored(made: Tensor, out: Tensor | None, requires_grad: bool, device: Any, layout: Any = None) -> Tensor:
    return finish(made, requires_grad, device, layout) if out is None else stored("fill", made, out, (), True)


@export("arange")
def arange(start: Any = 0, end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: DType | None = None,
           layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from ``start``, ``step`` apart, short of ``end``."""
    if end is None:
        start, end = 0, start
    made = ops.arange(start, end, step, dtype=dtype or number_dtype(start, end, step, 0, out=out))
    return _stored(made, out, requires_grad, device, layout)


@export("range")
def range_(start: Any = 0, end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: DType | None = None,
           layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from ``start``, ``step`` apart, up to and with ``end``."""
    if end is None:
        start, end = 0, start
    last = start + step * int((end - start) / step) + step / 2 if step else end
    made = ops.arange(start, last, step, dtype=dtype or (default_dtype() if out is None else out.dtype))
    return _stored(made, out, requires_grad, device, layout)


def _check_ends(name: str, start: Any, end: Any, steps: Any) -> None:
    if not hasattr(steps, "__index__"):
        ways = (f"{a} start, {b} end, int steps" for a in ("Tensor", "Number") for b in ("Tensor", "Number"))
        raise combination(name, (start, end, steps), *ways)
    a, b = getattr(start, "ndim", 0), getattr(end, "ndim", 0)
    if a or b:
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got start with {a} dimension(s) and end "
            f"with {b} dimension(s)."
        )


@export("linspace")
def linspace(start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: DType | None = None,
             layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers evenly spaced from ``start`` to ``end``."""
    _check_ends("linspace", start, end, steps)
    made = ops.linspace(start, end, steps, dtype=dtype or number_dtype(start, end, 0.0, out=out))
    return _stored(made, out, requires_grad, device, layout)


@export("logspace")
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None,
             dtype: DType | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Powers of ``base``, their exponents evenly spaced from ``start`` to ``end``."""
    _check_ends("logspace", start, end, steps)
    made = ops.logspace(start, end, steps, base, dtype=dtype or number_dtype(start, end, 0.0, out=out))
    return _stored(made, out, requires_grad, device, layout)


@export("eye")
def eye(n: int, m: int | None = None, *, out: Tensor | None = None, dtype: DType | None = None, layout: Any = None,
        device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere."""
    made = ops.eye(n, n if m is None else m, dtype=dtype or (default_dtype() if out is None else out.dtype))
    return _stored(made, out, requires_grad, device, layout)


@export("tril_indices")
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DType = dtypes.int64, device: Any = None,
                 layout: Any = None, pin_memory: bool = False,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Rows and columns of the elements on and below a diagonal."""
    return finish(ops.tril_indices(row, col, offset, dtype=dtype), requires_grad, device, layout)


@export("triu_indices")
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DType = dtypes.int64, device: Any = None,
                 layout: Any = None, pin_memory: bool = False,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Rows and columns of the elements on and above a diagonal."""
    return finish(ops.triu_indices(row, col, offset, dtype=dtype), requires_grad, device, layout)
