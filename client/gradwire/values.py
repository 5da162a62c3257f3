"""A tensor's values for Python: as numbers, lists, arrays and text. Each of these waits for the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire import printing
from gradwire.defaults import default_dtype
from gradwire_proto.dtypes import Category

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

_PLAIN = {"bfloat16": "float32"}
"""Types that NumPy can't turn into Python numbers, and one that it can."""


class Values:
    """The part of ``Tensor`` that is about its values."""

    __slots__ = ()

    def _values(self: Tensor) -> np.ndarray[Any, Any]:
        return self._session.get(self._id, self._spec.nbytes)

    def numpy(self: Tensor, *, force: bool = False) -> np.ndarray[Any, Any]:
        """A NumPy array with the values: a copy, since the tensor is elsewhere.

        Raises:
            RuntimeError: the tensor requires grad, and not ``force``.
        """
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        return self._values()

    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        a = self.numpy()
        return a if dtype is None else a.astype(dtype, copy=False)

    def __array_wrap__(self: Tensor, array: np.ndarray[Any, Any], *_: Any) -> Tensor:
        """What NumPy's functions make of a tensor, as a tensor again."""
        from gradwire.functions.construct import tensor

        return tensor(array.astype(np.uint8) if array.dtype == bool else array)

    def item(self: Tensor) -> Any:
        """The one element as a Python number."""
        if self._spec.numel != 1:
            raise RuntimeError(f"a Tensor with {self._spec.numel} elements cannot be converted to Scalar")
        return self._values().reshape(()).astype(_PLAIN.get(self.dtype.name, self.dtype.name)).item()

    def tolist(self: Tensor) -> Any:
        """Nested lists of Python numbers."""
        return self._values().astype(_PLAIN.get(self.dtype.name, self.dtype.name)).tolist()

    def __bool__(self: Tensor) -> bool:
        if self._spec.numel > 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        if not self._spec.numel:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        return bool(self._values().reshape(())[()])

    def __int__(self: Tensor) -> int:
        return int(self._scalar("int64_t"))

    def __float__(self: Tensor) -> float:
        return float(self._scalar("double"))

    def __complex__(self: Tensor) -> complex:
        return complex(self._scalar(""))

    def _scalar(self: Tensor, kind: str) -> Any:
        """The one element for Python's number types; ``kind`` is C++'s name for a real one."""
        if self._spec.numel != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        v = self.item()
        if not kind or not isinstance(v, complex):
            return v
        if v.imag:
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        return v.real

    def __index__(self: Tensor) -> int:
        if self.dtype.category > Category.INT or self._spec.numel != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __iter__(self: Tensor) -> Iterator[Tensor]:
        if not self._spec.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))  # type: ignore[attr-defined]

    def __reversed__(self: Tensor) -> Tensor:
        return self.flip(0) if self._spec.ndim else self  # type: ignore[attr-defined, no-any-return]

    def __contains__(self: Tensor, value: Any) -> bool:
        if not isinstance(value, (Values, int, float, complex)):
            raise RuntimeError(
                f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(value)}."
            )
        return bool((self == value).any())  # type: ignore[attr-defined]

    def __repr__(self: Tensor) -> str:
        # A flag that only the server knows is asked for together with the history.
        from gradwire.dispatch import ops

        fn = self._made_by()
        shown: Any = self
        for dim, n in printing.edges(self._spec.shape).items():  # of a big tensor only the edges come over
            shown = shown.detach()
            ends = shown.narrow(dim, 0, n), shown.narrow(dim, self._spec.shape[dim] - n, n)
            shown = shown.new_zeros(0) if not n else ops.cat(ends, dim)
        return printing.tensor_str(
            shown._values(), self.dtype, shape=self._spec.shape, requires_grad=self.requires_grad,
            grad_fn=fn or None, device=self._session.device, default_dtype=default_dtype(),
        )  # fmt: skip

    def __format__(self: Tensor, form: str) -> str:
        return format(self.item(), form) if not self._spec.ndim else object.__format__(self, form)
