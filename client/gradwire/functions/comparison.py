"""Comparisons of whole tensors."""

from __future__ import annotations

from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.tensor import Tensor
from gradwire_proto.catalog.meta import common_dtype


@export("equal", "Tensor.equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and the same elements."""
    if not isinstance(other, Tensor):
        raise TypeError(f"equal(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    return input.shape == other.shape and bool(ops.eq(input, other).all())


@export("allclose", "Tensor.allclose")
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close: ``abs(input - other) <= atol + rtol * abs(other)``."""
    return bool(ops.isclose(input, other, rtol, atol, equal_nan).all())


@export("isin", out=True)
def isin(elements: Any = None, test_elements: Any = None, *, assume_unique: bool = False, invert: bool = False,
         element: Any = None, test_element: Any = None) -> Tensor:  # fmt: skip
    """Whether each element is among others, of which there may be one, as ``test_element``."""
    elements = element if elements is None else elements
    test_elements = test_element if test_elements is None else test_elements
    for t in (elements, test_elements):
        if isinstance(t, Tensor) and t.dtype.is_complex:
            raise RuntimeError(f"Unsupported input type encountered for isin(): {t.dtype.legacy}")
    if not isinstance(test_elements, Tensor):
        found = ops.eq(elements, test_elements)
    elif not isinstance(elements, Tensor):
        found = ops.eq(test_elements, elements).any()
    elif not test_elements.numel():
        found = ops.ne(elements, elements)
    else:
        dtype = common_dtype((elements._spec, test_elements._spec))
        elements, others = elements.to(dtype), test_elements.to(dtype).flatten().sort().values
        found = ops.eq(others[ops.searchsorted(others, elements).clamp(max=others.numel() - 1)], elements)
    return ops.logical_not(found) if invert else found
