"""A function of one example as one of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradwire as torch
from gradwire.dispatch import mode
from gradwire.func import pytree
from gradwire.func.batched import Batched, Level, outside, wrap
from gradwire.tensor import Tensor
from gradwire_proto import refusals


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable[..., Any]:  # fmt: skip
    """A function that calls ``func`` once for a whole batch.

    Args:
        in_dims: which dimension of each argument counts the examples, None where an argument is for all: one number, or
            as the arguments are nested.
        out_dims: where that dimension is to be in the results.
        randomness: whether random ops are an error, "different" for each example or the "same".
        chunk_size: how many examples at a time.

    >>> import gradwire as torch
    >>> torch.vmap(torch.dot)(torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
        )
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func, updated=())
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, dims, size = _inputs(func, in_dims, args)
        if chunk_size is None or chunk_size >= size:
            return _run(func, args, leaves, dims, size, out_dims, randomness, kwargs)
        parts = []
        for start in range(0, size, chunk_size):
            n = min(chunk_size, size - start)
            some = [x if d is None else x.narrow(d, start, n) for x, d in zip(leaves, dims, strict=True)]
            parts.append(_run(func, args, some, dims, n, out_dims, randomness, kwargs))
        places = pytree.broadcast(out_dims, parts[0])
        columns = zip(*[pytree.leaves(p) for p in parts], strict=True)
        return pytree.build(parts[0], iter([
            c[0] if d is None else torch.cat(c, d) for c, d in zip(columns, places or [], strict=True)
        ]))  # fmt: skip

    return batched


def _name(func: Any) -> str:
    return getattr(func, "__name__", repr(func))


def _inputs(func: Any, in_dims: Any, args: tuple[Any, ...]) -> tuple[list[Any], list[Any], int]:
    """The arguments' leaves, the batch dimension of each, and how many examples there are."""
    name = _name(func)
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"{where}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    leaves = pytree.leaves(args)
    dims = pytree.broadcast(tuple(in_dims) if isinstance(in_dims, list) else in_dims, args)
    if dims is None:
        raise ValueError(
            f"{where}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{in_dims} but inputs has structure {type(args).__name__}."
        )
    sizes = []
    for i, (x, d) in enumerate(zip(leaves, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(d, int):
            raise ValueError(f"{where}Got in_dim={d} for an input but in_dim must be either an integer dimension or "
                             "None.")  # fmt: skip
        if not isinstance(x, Tensor):
            raise ValueError(f"{where}Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap "
                             "over non-Tensor arguments, please use None as the respective in_dim")  # fmt: skip
        if not -x.ndim <= d < x.ndim:
            raise ValueError(f"{where}Got in_dim={d} for some input, but that input is a Tensor of dimensionality "
                             f"{x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}.")  # fmt: skip
        dims[i] = d % x.ndim
        sizes.append(x.shape[dims[i]])
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if len(set(sizes)) > 1:
        raise ValueError(refusals.vmap_sizes(sizes))
    return leaves, dims, sizes[0]


def _run(func: Any, args: Any, leaves: list[Any], dims: list[Any], size: int, out_dims: Any, randomness: str,
         kwargs: dict[str, Any]) -> Any:  # fmt: skip
    level = Level(size, randomness)
    given = iter([x if d is None else wrap(level, x.movedim(d, 0) if d else x)
                  for x, d in zip(leaves, dims, strict=True)])  # fmt: skip
    before = mode.batching
    mode.batching = (*before, level)
    try:
        output = func(*pytree.build(args, given), **kwargs)
    finally:
        mode.batching = before
    places = pytree.broadcast(tuple(out_dims) if isinstance(out_dims, list) else out_dims, output)
    if places is None:
        raise ValueError(
            f"vmap({_name(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure "
            f"of `outputs`. out_dims has structure {out_dims} but outputs has structure {type(output).__name__}."
        )
    made = iter([_out(func, x, d, level) for x, d in zip(pytree.leaves(output), places, strict=True)])
    return pytree.build(output, made)


def _out(func: Any, x: Any, d: int | None, level: Level) -> Any:
    name = _name(func)
    if not isinstance(x, Tensor):
        if d is None:
            return x
        raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to "
                         "set out_dims= to None for output?")  # fmt: skip
    inside = isinstance(x, Batched) and x._level is level
    if d is None:
        if inside:
            raise ValueError(
                f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None"
            )
        return x
    with outside(level):
        whole = x._value if inside else x.expand(level.size, *x.shape)  # type: ignore[attr-defined]
        return whole.movedim(0, d) if d else whole
