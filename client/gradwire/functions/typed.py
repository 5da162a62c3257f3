"""torch's oldest constructors, which go by the type: ``Tensor(2, 3)``, ``FloatTensor([1, 2])``, ``x.new(2)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradwire.defaults import default_dtype, set_default_dtype
from gradwire.dispatch import check_device, ops
from gradwire.export import EXPORTS, export
from gradwire.functions.construct import tensor
from gradwire.functions.convert import to
from gradwire.functions.creation import filled
from gradwire.memory import moved
from gradwire.tensor import Tensor
from gradwire.types import Size
from gradwire.words import type_name
from gradwire_proto import dtypes
from gradwire_proto.catalog.arithmetic import CPP_NAME
from gradwire_proto.dtypes import DType

WAYS = ("*, torch.device device = None", "torch.Storage storage", "Tensor other",
        "tuple of ints size, *, torch.device device = None", "object data, *, torch.device device = None")  # fmt: skip


def legacy(kind: type[Tensor], dtype: DType | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A tensor as torch's oldest constructors make it.

    Args:
        kind: its class.
        dtype: its type; None for the default, unless it is made of another tensor.
        args: sizes, whose numbers are to be overwritten; or values; or another tensor, whose memory it shares.
        kwargs: ``size``, ``data`` or ``other``, and ``device``.

    Raises:
        TypeError: they make no tensor, or ``other`` is of another type.
    """
    if kwargs.keys() - {"device", "size", "data", "other"}:
        got = ", ".join([type(a).__name__ for a in args] + [f"{k}={type_name(v)}" for k, v in kwargs.items()])
        ways = "".join(f"\n * ({way})" for way in WAYS)
        raise TypeError(f"new() received an invalid combination of arguments - got ({got}), but expected one of:{ways}")
    device = kwargs.pop("device", None)
    if "size" in kwargs:
        kwargs["size"] = Size(kwargs["size"])
    made = _made(dtype, (*args, *kwargs.values()))
    if device is not None:
        check_device(device, made._session)
    return made if kind is Tensor else moved(made, object.__new__(kind))


def _made(dtype: DType | None, args: tuple[Any, ...]) -> Tensor:
    if not args or isinstance(args[0], Size) or (hasattr(args[0], "__index__") and not hasattr(args[0], "__len__")):
        shape = (0,) if not args else args[0] if isinstance(args[0], Size) else args
        for i, s in enumerate(shape):
            if not hasattr(s, "__index__"):
                raise TypeError(
                    f"new(): argument 'size' failed to unpack the object at pos {i + 1} with error \"type must be "
                    f'tuple of ints,but got {type(s).__name__}"'
                )
        return filled(shape, 0, dtype, None, False)
    (data,) = args
    if isinstance(data, Tensor):
        if dtype is not None and data.dtype is not dtype:
            wanted, got = (_options(d) for d in (dtype, data.dtype))
            raise TypeError(f"expected {wanted} (got {got})")
        return ops.alias(data)  # type: ignore[no-any-return]
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise TypeError(f"new(): data must be a sequence (got {type_name(data)})")
    return tensor(list(data) if isinstance(data, range) else data, dtype=dtype or default_dtype())


def _options(d: DType) -> str:
    return (
        f"TensorOptions(dtype={CPP_NAME.get(d.name, 'bool')}, device=cpu, layout=Strided, requires_grad=false "
        "(default), pinned_memory=false (default), memory_format=(nullopt))"
    )


class TensorType:
    """The tensors of one type, as ``FloatTensor``: makes such, and knows them in ``isinstance``."""

    def __init__(self, dtype: DType):
        self.dtype = dtype
        self.__name__ = f"{dtype.legacy}Tensor"

    is_cuda = is_sparse = False

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return legacy(Tensor, self.dtype, args, kwargs)

    def __instancecheck__(self, v: Any) -> bool:
        return isinstance(v, Tensor) and v.dtype is self.dtype

    def __repr__(self) -> str:
        return f"<class 'torch.{self.__name__}'>"


TYPES = {d.legacy: TensorType(d) for d in dtypes.ALL if not d.is_complex}
for _type in TYPES.values():
    EXPORTS[_type.__name__] = _type


@export("Tensor.new")
def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of this one's type, from sizes, values or another tensor."""
    return legacy(Tensor, self.dtype, args, kwargs)


@export("Tensor.type")
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another type.

    Raises:
        ValueError: there is no type of that name.
        TypeError: it is no type.
    """
    if dtype is None:
        return f"torch.{self.dtype.legacy}Tensor"
    if isinstance(dtype, str):
        found = dtype.removeprefix("torch.").removesuffix("Tensor")
        if dtype != f"torch.{found}Tensor" or found not in TYPES:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = TYPES[found]
    if isinstance(dtype, TensorType):
        dtype = dtype.dtype
    if isinstance(dtype, type):
        raise ValueError(f"invalid type: '{dtype.__name__}'")
    if not isinstance(dtype, DType):
        raise TypeError("dtype must be a type, str, or dtype object")
    return to(self, dtype)


@export("set_default_tensor_type")
def set_default_tensor_type(t: Any, /) -> None:
    """Set the default type of floating-point tensors, by one of these types or its name.

    Raises:
        TypeError: it is no such type.
    """
    if isinstance(t, str):
        name = t.rpartition(".")[2]
        t = TYPES.get(name.removesuffix("Tensor"))
        if t is None:
            raise AttributeError(f"module 'torch' has no attribute {name!r}")
    if not isinstance(t, TensorType):
        raise TypeError("invalid type object: only floating-point types are supported as the default type")
    set_default_dtype(t.dtype)


# ---- Python functions on elements


@export("Tensor.apply_")
def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it. The values come here, and go back.

    Raises:
        RuntimeError: the tensor requires grad.
    """
    return _each("apply_", callable, self)


@export("Tensor.map_")
def map_(self: Tensor, other: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it and that of ``other``, broadcast to this shape.

    Raises:
        RuntimeError: a tensor requires grad; ``other`` is of a shape that doesn't fit.
        TypeError: ``other`` is of another type.
    """
    return _each("map_", callable, self, other=other)


@export("Tensor.map2_")
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replace each element by what a Python function makes of it and those of ``x`` and ``y``."""
    return _each("map2_", callable, self, x=x, y=y)


def _each(name: str, f: Callable[..., Any], self: Tensor, **others: Tensor) -> Tensor:
    for i, (k, v) in enumerate(others.items()):
        if not isinstance(v, Tensor):
            raise TypeError(f"{name}(): argument '{k}' (position {i + 1}) must be Tensor, not {type(v).__name__}")
        if v.dtype is not self.dtype:
            raise TypeError(f"{name}: expected {type_(self)} for '{k}' (got {type_(v)})")
    if any(t.requires_grad for t in (self, *others.values())):
        raise RuntimeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead."
        )
    columns = [t.expand(self.shape).reshape(-1).tolist() for t in (self, *others.values())]  # type: ignore[attr-defined]
    kind = {dtypes.Category.FLOAT: float, dtypes.Category.INT: int}.get(self.dtype.category, lambda v: v)
    made = [kind(f(*row)) for row in zip(*columns, strict=True)]
    return self.copy_(tensor(made, dtype=self.dtype).reshape(self.shape))  # type: ignore[attr-defined, no-any-return]
