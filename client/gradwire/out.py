"""``out=``: torch's keyword that has a function write its result to tensors there are, resized where need be."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from gradwire.memory import become, overlap
from gradwire.tensor import Tensor
from gradwire_proto import dtypes, refusals
from gradwire_proto.catalog.arithmetic import CPP_NAME
from gradwire_proto.catalog.declare import check_writable

F = TypeVar("F", bound=Callable[..., Any])
ADAPTS = frozenset({"sum", "mean", "prod", "nansum", "cumsum", "cumprod", "logsumexp", "std", "var", "nanmean"})
"""Reductions that compute in the type of ``out``."""
APART = frozenset({
    "cat", "gather", "index_add", "index_copy", "index_reduce", "index_select", "masked_select", "scatter",
    "scatter_add", "scatter_reduce", "take",
})  # fmt: skip
"""Functions of which ``out`` may share no memory with an argument; others here compute before they write."""
MISMATCH = "Expected the dtype for input and out to match, but got {} for input's dtype and {} for out's dtype."
SCALAR_TYPE = "Expected object of scalar type {} but got scalar type {} for argument 'out'"
WORDS = {
    "amax": MISMATCH, "amin": MISMATCH, "complex": SCALAR_TYPE, "polar": SCALAR_TYPE,
    "multinomial": "multinomial expects {} tensor out, got: {}",
}  # fmt: skip
"""What some functions say where ``out`` is of another type, by the type of the result and that of ``out``."""


def takes_out(f: F) -> F:
    """A composed function with the keyword ``out``."""

    @functools.wraps(f)
    def g(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        made = f(*args, **kwargs)
        return made if out is None else stored(f.__name__, made, out, (args, kwargs), False)

    s = inspect.signature(f)
    keyword = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any")
    parameters = list(s.parameters.values())
    at = next((i for i, p in enumerate(parameters) if p.kind is p.VAR_KEYWORD), len(parameters))
    g.__signature__ = s.replace(parameters=[*parameters[:at], keyword, *parameters[at:]])  # type: ignore[attr-defined]
    return g  # type: ignore[return-value]


def stored(name: str, made: Any, out: Any, given: Any, pointwise: bool, differentiable: bool = True) -> Any:
    """The results of a function, written to ``out``.

    Args:
        name: the function's.
        made: one tensor, or a tuple of them.
        out: as many.
        given: the function's arguments, however nested.
        pointwise: whether each element is made of those in the same place, so that ``out`` may be an argument itself.
        differentiable: whether it would be recorded without ``out``.

    Raises:
        TypeError: ``out`` is not as many tensors.
        RuntimeError: a graph would be recorded; ``out`` shares memory with itself or an argument, or holds no numbers
            of the result's type.
    """
    if isinstance(made, Tensor):
        if not isinstance(out, Tensor):
            raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
        return _store(name, made, out, _tensors(given), pointwise, differentiable)
    if isinstance(out, Tensor) or not hasattr(out, "__len__") or len(out) != len(made):
        raise TypeError(f"{name}(): argument 'out' must be tuple of {len(made)} Tensors, not {type(out).__name__}")
    inputs = _tensors(given)
    parts = [_store(name, m, o, inputs, pointwise, differentiable) for m, o in zip(made, out, strict=True)]
    return made._make(parts) if hasattr(made, "_make") else tuple(parts)


def check(name: str, out: Any, given: Any) -> None:
    """Raises:
    RuntimeError: a graph would be recorded.
    """
    from gradwire.dispatch import mode

    if mode.grad and any(t.requires_grad for t in (*_tensors(given), *_tensors(out))):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )


def _tensors(v: Any) -> list[Tensor]:
    if isinstance(v, Tensor):
        return [v]
    if isinstance(v, dict):
        v = v.values()
    elif not isinstance(v, (tuple, list)):
        return []
    return [t for x in v for t in _tensors(x)]


def _store(name: str, made: Tensor, out: Tensor, inputs: list[Tensor], pointwise: bool, differentiable: bool) -> Tensor:
    from gradwire.dispatch import ops

    if differentiable:
        check(name, out, inputs)
    if made.dtype is not out.dtype and not (name in ("all", "any") and out.dtype is dtypes.uint8):
        _check_dtype(name, made, out, pointwise)
    check_writable(out._spec)
    for t in inputs:
        found = overlap(t, out)
        if found and (name in APART or (pointwise and found == "part")):
            raise RuntimeError(refusals.OVERLAP)
    if made.shape != out.shape:
        if any(made is t for t in inputs):
            made = ops.clone(made)
        if out.numel():
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out.shape)}, which does not "
                f"match the required output shape {list(made.shape)}. This behavior is deprecated, and in a future "
                "PyTorch release outputs will not be resized unless they have zero elements. You can explicitly reuse "
                "an out tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
                stacklevel=4,
            )
        become(out, lambda _: made if made.dtype is out.dtype else ops.to_dtype(made, out.dtype))
        out._storage.version += 1
        return out
    ops.copy_(out, made)
    return out


def _check_dtype(name: str, made: Tensor, out: Tensor, pointwise: bool) -> None:
    if name in WORDS:
        raise RuntimeError(WORDS[name].format(made.dtype.legacy, out.dtype.legacy))
    if name in ADAPTS:
        return
    if not pointwise:
        raise RuntimeError(
            f"Expected out tensor to have dtype {CPP_NAME.get(made.dtype.name, 'bool')}, but got "
            f"{CPP_NAME.get(out.dtype.name, 'bool')} instead"
        )
    if made.dtype.category > out.dtype.category:
        raise RuntimeError(
            f"result type {made.dtype.legacy} can't be cast to the desired output type {out.dtype.legacy}"
        )
