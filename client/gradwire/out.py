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
ADAPTS = frozenset({"sum", "prod", "nansum", "cumsum", "cumprod", "nanmean"})
"""Reductions that compute in the type of ``out``."""
APART = frozenset({
    "cat", "gather", "index_add", "index_copy", "index_reduce", "index_select", "masked_select", "scatter",
    "scatter_add", "scatter_reduce", "take",
})  # fmt: skip
"""Functions of which ``out`` may share no memory with an argument; others here compute before they write."""
MISMATCH = "Expected the dtype for input and out to match, but got {made} for input's dtype and {out} for out's dtype."
SCALAR_TYPE = "Expected object of scalar type {made} but got scalar type {out} for argument 'out'"
WORDS: dict[str, str] = {
    **dict.fromkeys(("amax", "amin"), MISMATCH),
    **dict.fromkeys(("complex", "polar"), SCALAR_TYPE),
    **dict.fromkeys(("abs", "bitwise_not", "ceil", "conj_physical", "floor", "frac", "hardshrink", "neg",
                      "round", "sgn", "sign", "trunc"),
                    "Found dtype {out} but expected {made}"),
    **dict.fromkeys(("cummax", "cummin", "logcumsumexp"), "expected scalar_type {made} but found {out}"),
    **dict.fromkeys(("dot", "vdot"), "result dtype {out} does not match input dtype {made}"),
    **dict.fromkeys(("all", "any"), "{name} only supports bool tensor for result, got: {out}"),
    **dict.fromkeys(("index_select", "masked_select"), "{name}(): self and result must have the same scalar type"),
    **dict.fromkeys(("isneginf", "isposinf", "signbit"), "{name} does not support non-boolean outputs."),
    **dict.fromkeys(("quantile", "nanquantile"), "quantile() out tensor must be same dtype as the input tensor"),
    **dict.fromkeys(("nonzero", "nonzero_static"),
                    "{name}: Expected out tensor to have scalar type {made} but got scalar type{out}"),
    "float_power": "the output given to {name} has dtype {out} but the operation's result requires dtype {made}",
    "heaviside": "heaviside is not yet implemented for tensors with different dtypes.",
    "inner": "tensordot: Expected the output tensor to have dtype {made}, but got an output tensor with dtype {out}",
    "kthvalue": "output values must be of same type as input",
    "mode": "expected scalar type '{made}' but got '{out}' for values output",
    "multinomial": "multinomial expects {made} tensor out, got: {out}",
    "nan_to_num": "nan_to_num: dtype of out: {out} should be same as input: {made}",
    "take": "take(): self and out expected to have the same dtype, but got self.dtype = {made} and out.dtype = {out}",
    "where": "Expected out type to be {made} but got {out}",
}  # fmt: skip
"""What some functions say where ``out`` is of another type than the result, by both types' names."""
CAST = "result type {made} can't be cast to the desired output type {out}"
CATS = frozenset({"cat", "column_stack", "dstack", "hstack", "stack", "vstack"})
CASTS: dict[str, str] = {
    **dict.fromkeys(("addr", "diff", "eye", "kron", "outer", "polygamma", "std", "var"), CAST),
    **dict.fromkeys(CATS, "torch.cat(): input types can't be cast to the desired output type {out}"),
    **dict.fromkeys(("cholesky_inverse", "cholesky_solve", "matrix_power"),
                    "{name}: Expected result to be safely castable from {made} dtype, but got result with dtype {out}"),
    "logsumexp": "logsumexp(): Expected floating point type for result tensor, but got: {out}",
    "mean": "mean.dtype_out(): input types can't be cast to the desired output type {out}",
    "mvlgamma": "mvlgamma: result type {made} can't be cast to the desired output type {made}",
    "orgqr": "torch.linalg.householder_product: Expected result to be safely castable from {made} dtype, but got "
             "result with dtype {out}",
}  # fmt: skip
"""What functions that convert to the type of ``out`` say where that is none of such numbers. Element-wise ones do, too.
"""


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
    if name in ADAPTS:
        return
    said = WORDS.get(name)
    if said is None and (pointwise or name in CASTS):
        if made.dtype.category <= out.dtype.category:
            return
        said = CASTS.get(name, CAST)
    if said is None:
        raise RuntimeError(
            f"Expected out tensor to have dtype {CPP_NAME.get(made.dtype.name, 'bool')}, but got "
            f"{CPP_NAME.get(out.dtype.name, 'bool')} instead"
        )
    kind = TypeError if name in CATS else RuntimeError
    raise kind(said.format(name=name, made=made.dtype.legacy, out=out.dtype.legacy))
