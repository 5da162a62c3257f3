"""torch's small value types: sizes, devices, the limits of numbers, and the names of element types."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

import ml_dtypes

from gradwire.defaults import default_dtype, devices
from gradwire.words import type_name
from gradwire_proto import dtypes
from gradwire_proto.dtypes import Category, DType

dtype = DType

ALIASES: dict[str, str] = {
    "bool": "bool",
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
DTYPES: dict[str, DType] = dtypes.BY_NAME | {alias: dtypes.BY_NAME[name] for alias, name in ALIASES.items()}
"""Every element type by each name that torch has for it; the module's attributes are made from it."""


def _is_index(v: Any) -> bool:
    try:
        operator.index(v)
    except TypeError:
        return False
    return True


class Size(tuple[int, ...]):
    """The sizes of a tensor's dimensions."""

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = (), *more: Any) -> Size:
        """Sizes from anything iterable."""
        if more:
            raise TypeError(f"tuple expected at most 1 argument, got {1 + len(more)}")
        given = tuple(sizes)
        try:
            return super().__new__(cls, map(operator.index, given))
        except TypeError:
            i, wrong = next((i, s) for i, s in enumerate(given) if not _is_index(s))
            text = f"torch.Size() takes an iterable of 'int' (item {i} is '{type(wrong).__name__}')"
            raise TypeError(text) from None

    def numel(self) -> int:
        """Elements of a tensor of these sizes."""
        n = 1
        for s in self:
            n *= s
        return n

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> Size: ...
    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        return tuple.__new__(Size, got) if isinstance(key, slice) else got

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, tuple):
            raise TypeError(f"can only concatenate tuple (not {type(other).__name__}) to torch.Size")
        return Size((*self, *other))

    def __radd__(self, other: Any) -> Any:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return tuple.__new__(Size, tuple(self) * times)

    __rmul__ = __mul__


DEVICE_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class device:
    """Where a tensor lives: ``device("cuda:0")``, ``device("cuda", 0)``. In ``with``, where new ones are to live."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, *args: Any, **kwargs: Any):
        """``device(type, index=None)`` or ``device(device)``, which may be a number: that of a GPU."""
        wrong = kwargs.keys() - {"type", "index", "device"}
        if len(args) > 2 or not (args or kwargs.keys() & {"type", "device"}) or (wrong and not args):
            raise _no_device(args, kwargs)
        if wrong or (args and "device" in kwargs):
            raise TypeError(f"device() got an unexpected keyword argument '{min(wrong or ['device'])}'")
        type = args[0] if args else kwargs.get("type", kwargs.get("device"))
        index = args[1] if len(args) == 2 else kwargs.get("index")
        if isinstance(type, self.__class__):
            if index is not None:
                raise TypeError("device(): argument 'type' (position 1) must be str, not torch.device")
            type, index = type.type, type.index
        elif isinstance(type, int) and not isinstance(type, bool) and index is None:
            type, index = "cuda", type
        elif not isinstance(type, str):
            if index is not None:
                raise TypeError(f"device(): argument 'type' (position 1) must be str, not {type_name(type)}")
            raise _no_device(args, kwargs)
        else:
            if index is not None and not isinstance(index, int):
                raise TypeError(f"device(): argument 'index' (position 2) must be int, not {type_name(index)}")
            type, index = _parse(type, index)
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "index", index)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__slots__:
            raise AttributeError(f"'torch.device' object has no attribute '{name}'")
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (")" if self.index is None else f", index={self.index})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        devices.inner = (*devices.inner, self)
        return self

    def __exit__(self, *_: object) -> None:
        devices.inner = devices.inner[:-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type,) if self.index is None else (self.type, self.index)


def _no_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    got = ", ".join([type_name(a) for a in args] + [f"{k}={type_name(v)}" for k, v in kwargs.items()])
    why = ""
    if len(args) == 1 and not kwargs:
        why = f"      didn't match because some of the arguments have invalid types: (!{got}!)\n"
    elif kwargs:
        got += ", "
        why = f"      didn't match because some of the keywords were incorrect: {', '.join(kwargs)}\n"
    return TypeError(
        f"device() received an invalid combination of arguments - got ({got}), but expected one of:\n"
        f" * (torch.device device)\n{why} * (str type, int index = -1)\n"
    )


def _parse(text: str, index: int | None) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError("Device string must not be empty")
    if not re.fullmatch(r"[a-zA-Z_]+(:(0|[1-9]\d*))?", text):
        raise RuntimeError(f"Invalid device string: '{text}'")
    kind, colon, number = text.partition(":")
    if kind not in DEVICE_TYPES:
        raise RuntimeError(
            f"Expected one of {', '.join(DEVICE_TYPES)} device type at start of device string: {kind}"
        )
    if colon and index is not None:
        raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {text}")
    if colon and int(number) >= 2**31:
        raise RuntimeError(f"Could not parse device index '{number}' in device string '{text}'")
    return kind, int(number) if colon else index


class _Named:
    """One of a few values that print as their name."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class layout(_Named):
    """How a tensor's elements lie in memory. All tensors here are ``torch.strided``."""

    __slots__ = ()


class memory_format(_Named):
    """In which order of dimensions. New tensors here are always ``torch.contiguous_format``."""

    __slots__ = ()


LAYOUTS = {n: layout(n) for n in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")}
MEMORY_FORMATS = {
    n: memory_format(n) for n in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc = LAYOUTS.values()
contiguous_format, preserve_format, channels_last, channels_last_3d = MEMORY_FORMATS.values()


class _Limits:
    """What finfo and iinfo have in common: values that can be read, compared and nothing else."""

    __slots__ = ("bits", "dtype", "max", "min")
    dtype: str
    __hash__ = None  # type: ignore[assignment]

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, name):
            raise AttributeError(f"'torch.{type(self).__name__}' object has no attribute '{name}'")
        raise AttributeError(f"attribute '{name}' of 'torch.{type(self).__name__}' objects is not writable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.dtype == other.dtype  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        raise TypeError(f"cannot pickle 'torch.{type(self).__name__}' object")


def _checked(name: str, type: Any) -> DType:
    found = dtypes.OF_PYTHON.get(type, type)
    if not isinstance(found, DType):
        raise TypeError(f"{name}(): argument 'type' (position 1) must be torch.dtype, not {type_name(type)}")
    return found


class finfo(_Limits):
    """Limits of a floating-point type; of a complex one, of its parts."""

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: Any = None):
        given = default_dtype() if type is None else _checked("finfo", type)
        if not given.differentiable:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        real = given.to_real()
        known = ml_dtypes.finfo(real.name)
        tiny = float(known.smallest_normal)
        self._set(
            bits=8 * real.itemsize, dtype=real.name, eps=float(known.eps), max=float(known.max), min=float(known.min),
            tiny=tiny, smallest_normal=tiny, resolution=float(f"1e-{known.precision}"),
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):.6g}' for n in names)}, dtype={self.dtype})"


class iinfo(_Limits):
    """Limits of an integer type."""

    __slots__ = ()
    min: int
    max: int

    def __init__(self, type: Any = _Limits):
        if type is _Limits:
            raise TypeError('iinfo() missing 1 required positional arguments: "type"')
        given = _checked("iinfo", type)
        if given.category is Category.BOOL:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if given.differentiable:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        bits = 8 * given.itemsize
        self._set(
            bits=bits, dtype=given.name, min=-(2 ** (bits - 1)) if given.is_signed else 0,
            max=2 ** (bits - given.is_signed) - 1,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:.6g}, max={self.max:.6g}, dtype={self.dtype})"
