"""Element-wise functions that are not one op: conjugates, float_power, named parts, in-place forms as functions."""

from __future__ import annotations

from typing import Any

from gradwire.dispatch import ops
from gradwire.export import EXPORTS, export
from gradwire.functions.inplace import written
from gradwire.return_types import named
from gradwire.tensor import Tensor
from gradwire_proto.dtypes import bool_, complex128, float64

FREXP = named("frexp", "mantissa", "exponent")


@export("conj", "Tensor.conj")
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return ops.conj_physical(input) if input.dtype.is_complex else input


@export("positive", "Tensor.positive")
def positive(input: Tensor) -> Tensor:
    """``+input``: itself."""
    return ops.positive(input) if input.dtype is bool_ else input  # which refuses


@export("conj_physical", "Tensor.conj_physical", out=True)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return conj(input)


@export("Tensor.conj_physical_")
def conj_physical_(self: Tensor) -> Tensor:
    """In-place form of conj_physical."""
    return self if self.dtype is bool_ else ops.conj_physical_(self)


@export("is_conj")
def is_conj(input: Tensor) -> bool:
    """Whether a conjugate is still to be taken: never, as it is taken at once."""
    return False


@export("is_neg")
def is_neg(input: Tensor) -> bool:
    """Whether a sign is still to be changed: never, as it is changed at once."""
    return False


@export("property:Tensor.real")
def real(self: Tensor) -> Tensor:
    """Real part; a real tensor is its own."""
    return ops.real(self) if self.dtype.is_complex else self


@export("property:Tensor.imag")
def imag(self: Tensor) -> Tensor:
    """Imaginary part."""
    return ops.imag(self)


@export("frexp", "Tensor.frexp", out=True)
def frexp(input: Tensor) -> Any:
    """Mantissa in [0.5, 1) and exponent of 2."""
    return FREXP(*ops.frexp(input))


def _wide(*args: Any) -> Any:
    """The type in which float_power computes."""
    has_complex = any(isinstance(a, complex) or (isinstance(a, Tensor) and a.dtype.is_complex) for a in args)
    return complex128 if has_complex else float64


@export("float_power", "Tensor.float_power", out=True)
def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in double precision."""
    dtype = _wide(input, exponent)
    return ops.pow(*(v.to(dtype) if isinstance(v, Tensor) else v for v in (input, exponent)))


@export("Tensor.float_power_")
def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """In-place form of float_power."""
    dtype = _wide(self, exponent)
    if self.dtype is not dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype.legacy} but the operation's result requires dtype "
            f"{dtype.legacy}"
        )
    return ops.pow_(self, exponent)


@export("Tensor.polygamma")
def polygamma(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma."""
    return ops.polygamma(n, self)


@export("Tensor.polygamma_")
def polygamma_(self: Tensor, n: int) -> Tensor:
    """In-place form of polygamma."""
    return written(self, lambda x: ops.polygamma(n, x))


# torch has these in-place forms as functions, too.
for _name in ("addmv", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "clamp", "clamp_max",
              "clamp_min", "clip", "detach", "fill", "fix", "gcd", "lcm", "ldexp", "negative", "xlogy"):  # fmt: skip
    EXPORTS[f"{_name}_"] = getattr(Tensor, f"{_name}_")
