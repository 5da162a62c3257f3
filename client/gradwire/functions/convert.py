"""Types of elements: tensors in another one, what types make of each other, and questions about a tensor's own."""

from __future__ import annotations

from typing import Any

from gradwire.defaults import default_dtype
from gradwire.dispatch import check_device, ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire.types import DTYPES, device
from gradwire.words import combination
from gradwire_proto import dtypes
from gradwire_proto.catalog.meta import common_dtype
from gradwire_proto.dtypes import DType


def as_dtype(name: str, given: Any) -> DType | None:
    """What a function was given as ``dtype``: a type, Python's name for one, or None.

    Raises:
        TypeError: torch's, for anything else.
    """
    found = dtypes.OF_PYTHON.get(given) if isinstance(given, type) else given
    if (found is not None and not isinstance(found, DType)) or (found is None and given is not None):
        raise TypeError(f"{name}(): argument 'dtype' must be torch.dtype, not {type(given).__name__}")
    return found


@export("is_tensor")
def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


@export("Tensor.to")
def to(self: Tensor, *args: Any, dtype: DType | None = None, device: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor in another type; itself where it is of that type already, and not ``copy``."""
    for a in args:
        if isinstance(a, (DType, type)):
            dtype = a  # type: ignore[assignment]
        elif isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, (str, _Device)):
            device = a
    if device is not None:
        check_device(device, self._session)
    dtype = as_dtype("to", dtype)
    if dtype is None or dtype is self.dtype:
        return self.clone() if copy else self  # type: ignore[attr-defined, no-any-return]
    return ops.to_dtype(self, dtype)  # type: ignore[no-any-return]


_Device = device


@export("Tensor.type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the type of another."""
    if not isinstance(other, Tensor):
        raise TypeError(f"type_as(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    return to(self, other.dtype)


@export("Tensor.cpu")
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    return to(self, device="cpu")


def _conversion(d: DType) -> Any:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, d)

    convert.__doc__ = f"The tensor as {d.name}."
    return convert


for _name, _dtype in DTYPES.items():
    if _name not in dtypes.BY_NAME or _name in ("bool", "bfloat16"):
        export(f"Tensor.{_name}")(_conversion(_dtype))
export("Tensor.byte")(_conversion(dtypes.uint8))
export("Tensor.char")(_conversion(dtypes.int8))


@export("result_type")
def result_type(*args: Any, **kwargs: Any) -> DType:
    """The type that an op of two tensors or numbers computes in.

    >>> import gradwire as torch
    >>> torch.result_type(torch.tensor([1, 2]), 1.0)
    torch.float32
    """
    given = (*args, *(kwargs[k] for k in ("scalar", "tensor", "scalar1", "other", "scalar2") if k in kwargs))
    numbers = (bool, int, float, complex)
    if len(given) != 2 or not all(isinstance(x, (Tensor, *numbers)) for x in given):
        raise combination(
            "result_type", given, "Tensor tensor, Tensor other", "Number scalar, Tensor tensor",
            "Tensor tensor, Number other", "Number scalar1, Number scalar2",
        )  # fmt: skip
    a, b = given
    made = common_dtype([x._spec if isinstance(x, Tensor) else x for x in (a, b)])
    if any(isinstance(x, Tensor) and x.dtype.differentiable for x in (a, b)):
        return made
    return default_dtype() if made.is_floating_point else default_dtype().to_complex() if made.is_complex else made


@export("promote_types")
def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest type that both convert to."""
    _check_types("promote_types", type1=type1, type2=type2)
    return dtypes.join(type1, type2)


@export("can_cast")
def can_cast(from_: DType, to: DType) -> bool:
    """Whether one type may be made another in place: none may become a lesser kind of number."""
    _check_types("can_cast", from_=from_, to=to)
    return from_.category <= to.category


def _check_types(name: str, **given: Any) -> None:
    for i, (k, v) in enumerate(given.items()):
        if not isinstance(v, DType):
            raise TypeError(
                f"{name}(): argument '{k}' (position {i + 1}) must be torch.dtype, not {type(v).__name__}"
            )


@export("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


@export("is_complex")
def is_complex(input: Tensor) -> bool:
    return input.is_complex()


@export("numel")
def numel(input: Tensor) -> int:
    return input.numel()


@export("is_nonzero")
def is_nonzero(input: Tensor) -> bool:
    return bool(input)
