"""Element types and the rules by which they mix: torch's, in pure Python.

``promote`` follows torch's type promotion: a category (bool < int < float < complex) of lower priority never
widens one of higher priority, tensors with dimensions outrank 0-d tensors, and these outrank Python numbers.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Category(enum.IntEnum):
    """The four kinds of number, in the order in which one absorbs another."""

    BOOL = 0
    INT = 1
    FLOAT = 2
    COMPLEX = 3


class DType:
    """One element type. Compare with ``is``: there is exactly one object for each type."""

    __slots__ = ("category", "differentiable", "itemsize", "legacy", "name", "number")

    name: str
    """torch's and NumPy's name: ``"float32"``."""
    number: int
    """The value of ``gradwire.v1.DType`` on the wire."""
    itemsize: int
    """Bytes an element."""
    category: Category
    differentiable: bool
    legacy: str
    """The name that torch's older error texts use: ``"Float"`` for float32."""

    def __init__(self, name: str, number: int, itemsize: int, category: Category, legacy: str):
        own = {"name": name, "number": number, "itemsize": itemsize, "category": category, "legacy": legacy,
               "differentiable": category >= Category.FLOAT}  # fmt: skip
        for k, v in own.items():
            object.__setattr__(self, k, v)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.dtype' objects is not writable")

    @property
    def is_floating_point(self) -> bool:
        return self.category is Category.FLOAT

    @property
    def is_complex(self) -> bool:
        return self.category is Category.COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.category is not Category.BOOL and self.name != "uint8"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name if self.name != "bool" else "bool_"

    def to_real(self) -> DType:
        """The type of a complex type's real and imaginary parts; any other type is its own."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> DType:
        """The complex type whose parts are of this one; complex64 where there is none so small.

        Raises:
            RuntimeError: torch's, for types of integers.
        """
        if self.category is Category.COMPLEX:
            return self
        if self.category is not Category.FLOAT:
            raise RuntimeError(f"Unknown Complex ScalarType for {self.legacy}")
        return complex128 if self is float64 else complex64


bool_ = DType("bool", 1, 1, Category.BOOL, "Bool")
uint8 = DType("uint8", 2, 1, Category.INT, "Byte")
int8 = DType("int8", 3, 1, Category.INT, "Char")
int16 = DType("int16", 4, 2, Category.INT, "Short")
int32 = DType("int32", 5, 4, Category.INT, "Int")
int64 = DType("int64", 6, 8, Category.INT, "Long")
float16 = DType("float16", 7, 2, Category.FLOAT, "Half")
bfloat16 = DType("bfloat16", 8, 2, Category.FLOAT, "BFloat16")
float32 = DType("float32", 9, 4, Category.FLOAT, "Float")
float64 = DType("float64", 10, 8, Category.FLOAT, "Double")
complex64 = DType("complex64", 11, 8, Category.COMPLEX, "ComplexFloat")
complex128 = DType("complex128", 12, 16, Category.COMPLEX, "ComplexDouble")

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
BY_NAME = {d.name: d for d in ALL}
BY_NUMBER = {d.number: d for d in ALL}
OF_PYTHON: dict[object, DType] = {bool: bool_, int: int64, float: float64, complex: complex128}
"""What Python's types mean where torch is given one as a dtype."""

DEFAULT_FLOAT = float32
"""The type of a Python float. The session's default dtype is the client's business: it names types in full."""


def join(a: DType, b: DType) -> DType:
    """The smallest type that both convert to, as torch's table has it (int64 with float16 is float16)."""
    if a is b:
        return a
    if a.category is not b.category:
        low, high = (a, b) if a.category < b.category else (b, a)
        if high is complex64 and low is float64:
            return complex128
        return high
    if a.category is Category.FLOAT and a.itemsize == b.itemsize:
        return float32  # float16 with bfloat16
    if uint8 in (a, b) and a.itemsize == b.itemsize:
        return int16  # uint8 with int8
    return a if a.itemsize >= b.itemsize else b


def of_number(kind: type) -> DType:
    """The type a Python number of this type has on its own."""
    return {bool: bool_, int: int64, float: DEFAULT_FLOAT, complex: complex64}[kind]


def promote(dimensioned: Iterable[DType], zero_dim: Iterable[DType], numbers: Iterable[type]) -> DType:
    """torch's result type of tensors with dimensions, 0-d tensors and Python numbers together.

    Each group counts only where its category is above that of the groups before it, so that
    ``float32 tensor * 2.0`` stays float32 and ``int64 tensor * 2.0`` becomes float32.
    """
    result: DType | None = None
    for group in (dimensioned, zero_dim, map(of_number, numbers)):
        here: DType | None = None
        for d in group:
            here = d if here is None else join(here, d)
        if here is None:
            continue
        if result is None:
            result = here
        elif here.category > result.category:
            result = result.to_complex() if here.is_complex and result.is_floating_point else join(result, here)
    if result is None:
        raise ValueError("promote(): expected at least one type")
    return result
