"""torch's small value types: sizes, devices, the limits of numbers, and the names of element types."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

import ml_dtypes

from gradwire.defaults import default_dtype, devices
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

    def __new__(cls, sizes: Iterable[SupportsIndex] = ()) -> Size:
        """Sizes from anything iterable."""
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

    def __init__(self, type: str | device | int | None = None, index: int | None = None, *, device: Any = None):
        type = device if type is None else type
        if isinstance(type, self.__class__):
            if index is not None:
                raise TypeError("device(): argument 'type' (position 1) must be str, not torch.device")
            type, index = type.type, type.index
        elif isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        elif not isinstance(type, str):
            got, why = "", ""
            if type is not None:
                got = type.__class__.__name__
                why = f"      didn't match because some of the arguments have invalid types: (!{got}!)\n"
            raise TypeError(
                f"device() received an invalid combination of arguments - got ({got}), but expected one of:\n"
                f" * (torch.device device)\n{why} * (str type, int index = -1)\n"
            )
        else:
            if index is not None and not isinstance(index, int):
                wrong = index.__class__.__name__
                raise TypeError(f"device(): argument 'index' (position 2) must be int, not {wrong}")
            type, index = _parse(type, index)
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "index", index)

    def __setattr__(self, name: str, value: Any) -> None:
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


class finfo:
    """Limits of a floating-point type; of a complex one, of its parts."""

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: DType | None = None):
        if type is None:
            type = default_dtype()
        if not isinstance(type, DType):
            raise TypeError(f"finfo(): argument 'type' (position 1) must be torch.dtype, not {type.__class__.__name__}")
        if not type.differentiable:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        real = type.to_real()
        known = ml_dtypes.finfo(real.name)
        self.bits = 8 * real.itemsize
        self.dtype = real.name
        self.eps, self.max, self.min = float(known.eps), float(known.max), float(known.min)
        self.tiny = self.smallest_normal = float(known.smallest_normal)
        self.resolution = float(f"1e-{known.precision}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):.6g}' for n in names)}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer type."""

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: DType):
        if not isinstance(type, DType):
            raise TypeError(f"iinfo(): argument 'type' (position 1) must be torch.dtype, not {type.__class__.__name__}")
        if type.category is Category.BOOL:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.differentiable:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        self.bits = 8 * type.itemsize
        self.dtype = type.name
        self.min = -(2 ** (self.bits - 1)) if type.is_signed else 0
        self.max = 2 ** (self.bits - type.is_signed) - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:.6g}, max={self.max:.6g}, dtype={self.dtype})"
