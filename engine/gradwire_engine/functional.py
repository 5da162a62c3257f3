"""Every op of the catalog as a function of arrays or of tensors: what derivatives are written in.

``F.sin(x)`` on an array runs the kernel and nothing else; on a tensor it is recorded like any op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.backend import DTYPE, namespace
from gradwire_engine.registry import KERNELS
from gradwire_engine.tensor import Tensor
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op
from gradwire_proto.catalog.shape import view_strides
from gradwire_proto.spec import Spec, spec

NUMBERS = (bool, int, float, complex)
"""Taken down here because an op called ``complex`` comes to live in this module."""


def named(name: str) -> Callable[..., Any]:
    """The op of that name as a function, made once."""
    made: Callable[..., Any] | None = globals().get(name)
    if made is not None:
        return made
    op = CATALOG.get(name)
    if op is None:
        raise AttributeError(f"no op is called {name!r}")
    made = globals()[name] = _function(op)
    return made


__getattr__ = named


def _function(op: Op) -> Callable[..., Any]:
    names = [p.name for p in op.params]
    defaults = [p.default for p in op.params]
    ndarray, most, called = np.ndarray, len(names), op.name

    def f(*args: Any, **kwargs: Any) -> Any:
        if args and len(args) == most and type(args[0]) is ndarray:  # what is mostly differentiated
            k = KERNELS[called]
            return run_kernel(op, args) if k.spec else k.run(np, *args)
        values: Any = args
        if kwargs or len(args) < len(names):
            values = [*args, *defaults[len(args) :]]
            for name, v in kwargs.items():
                values[names.index(name)] = v
        for v in values:
            kind = type(v)
            if kind is ndarray:
                k = KERNELS[op.name]
                return run_kernel(op, values) if k.spec else k.run(np, *values)
            first = v[0] if (kind is tuple or kind is list) and v else v
            if isinstance(first, Tensor):
                return first.engine.apply_values(op, [tuple(x) if type(x) is list else x for x in values])
        return run_kernel(op, values)

    f.__name__ = op.name
    f.__doc__ = op.doc
    return f


def run_kernel(op: Op, values: Sequence[Any]) -> Any:
    """The op on bare arrays: no checks, no recording, types as the array library mixes them."""
    k = KERNELS[op.name]
    arrays = [v for v in values if hasattr(v, "__array_priority__") or hasattr(v, "get")]
    if not arrays:
        arrays = [x for v in values if type(v) in (tuple, list) for x in v if hasattr(x, "dtype")]
    xp = namespace(arrays[0])
    if not k.spec:
        return k.run(xp, *values)
    results = op.infer([_spec_of(v) for v in values]).results
    return k.run(xp, *values, spec=results[0] if len(results) == 1 and not op.returns_list else results)


def _spec_of(v: Any) -> Any:
    if type(v) in (tuple, list):
        return tuple([_spec_of(x) for x in v])
    return spec_of_array(v) if hasattr(v, "shape") else v


def spec_of_array(a: Any) -> Spec:
    """The spec of a dense array of this shape and type."""
    return spec(a.shape, DTYPE[a.dtype])


def is_complex(x: Any) -> bool:
    return x.dtype.is_complex if isinstance(x, Tensor) else x.dtype.kind == "c"


def conj_real(x: Any) -> Any:
    """The complex conjugate; a real array or tensor, and a number that is real, is its own, uncopied."""
    if type(x) is np.ndarray and x.dtype.kind == "f":
        return x
    if isinstance(x, NUMBERS):
        return x.conjugate()
    return named("conj_physical")(x) if is_complex(x) else x


def reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` in another shape, through a copy where its memory does not read that way."""
    if not isinstance(x, Tensor):
        return x.reshape(shape)
    if view_strides(x.spec, shape) is None:
        x = x.engine.call("clone", x)
    return x.engine.call("view", x, shape)


def zeros_like(x: Any) -> Any:
    return named("new_full")(x, tuple(x.shape), 0)


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: ``g`` summed over the dimensions that were expanded from ``shape``."""
    lead = g.ndim - len(shape)
    if lead and type(g) is np.ndarray and g.itemsize > 2 and g.shape[lead:] == shape:
        return np.add.reduce(g, axis=0 if lead == 1 else tuple(range(lead)))  # the gradient of every bias
    if g.shape[lead:] == shape:
        return named("sum")(g, tuple(range(lead)), False, None) if lead else g
    ones = [i + lead for i, s in enumerate(shape) if s == 1 and g.shape[i + lead] != 1]
    g = named("sum")(g, (*range(lead), *ones), True, None)
    return reshape(g, shape) if lead else g
