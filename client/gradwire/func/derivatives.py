"""Derivatives of functions, as functions.

There is one derivative, the engine's backward pass, which is recorded like any other op. A transform gives the function
inputs of its own, fresh leaves or views, so that transforms nest without knowing of each other. A directional
derivative takes two backward passes: ``u -> uJ`` is linear in ``u``, and its own backward pass with ``v`` is ``Jv``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradwire as torch
from gradwire.func import pytree
from gradwire.func.batched import batch_gradients, fresh
from gradwire.func.vmap import vmap
from gradwire.mirror import Walk
from gradwire.tensor import Tensor

Argnums = int | tuple[int, ...]
VJP, JVP = "vjp(f, *primals)", "jvp(f, primals, tangents)"


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that computes the gradient of ``func``, which returns one number, by its arguments ``argnums``.

    >>> import gradwire as torch
    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(0.0))
    tensor(-0.)

    Raises:
        RuntimeError: torch's, for what ``func`` returns and for ``argnums``.
    """
    both = grad_and_value(func, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        slopes, value = both(*args, **kwargs)
        return (slopes, value[1]) if has_aux else slopes

    return gradient


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """As :func:`grad`, with the value of ``func`` after the gradient."""

    def gradient(*args: Any, **kwargs: Any) -> Any:
        at = _Point(args, argnums)
        with torch.enable_grad():
            output = func(*at.args, **kwargs)
        output, aux = _with_aux(output, has_aux, "grad_and_value(f)(*args)")
        if not isinstance(output, Tensor):
            raise RuntimeError(
                "grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got "
                f"{type(output)}"
            )
        if output.dim() != 0:
            raise RuntimeError(
                "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                f"{output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        keep = at.outlives([output])
        slopes = at.shaped([_loose(g, keep) for g in _gradients([output], at.leaves, None, keep)])
        value = _loosened(output, keep)
        return (slopes, (value, _loosened(aux, keep))) if has_aux else (slopes, value)

    return gradient


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``func(*primals)`` and a function from cotangents like it to their products with the jacobian.

    Raises:
        RuntimeError: torch's, for outputs that are no tensors and cotangents of another structure.
    """
    at = _Point(primals, tuple(range(len(primals))))
    with torch.enable_grad():
        output = func(*at.args)
    output, aux = _with_aux(output, has_aux, VJP)
    outputs = _tensors(output, VJP)
    keep = at.outlives(outputs)

    def back(*cotangents: Any) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        if not pytree.same_shape(given, output):
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function."
            )
        seeds = pytree.leaves(given)
        live = keep or any(s.requires_grad for s in seeds)
        slopes = at.shaped([_loose(g, live) for g in _gradients(outputs, at.leaves, seeds, live)])
        return slopes

    found = _loosened(output, keep)
    return (found, back, _loosened(aux, keep)) if has_aux else (found, back)


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """``func(*primals)`` and the product of its jacobian with ``tangents``.

    Raises:
        RuntimeError: torch's, for primals and tangents that are no tuples, or of two structures.
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    if not pytree.same_shape(primals, tangents):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python structure. For example, "
            "if primals is a tuple of 3 tensors, tangents also must be."
        )
    if not pytree.leaves(primals):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to contain at least one Tensor.")
    output, push, aux = _linear(func, primals, has_aux)
    found = push(pytree.leaves(tangents))
    return (output, found, aux) if has_aux else (output, found)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """``func(*primals)`` and the function from tangents to their products with the jacobian there."""
    output, push, _ = _linear(func, primals, False)
    return output, lambda *tangents: push(pytree.leaves(tangents))


def jacrev(func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable[..., Any]:  # fmt: skip
    """The jacobian of ``func``, by a backward pass from every element of what it returns at once.

    Each block has the shape of the output followed by the input's. With ``chunk_size`` a pass is from so many elements.
    """
    _check_chunk(chunk_size, "jacrev")

    def jacobian(*args: Any) -> Any:
        at = _Point(args, argnums)
        with torch.enable_grad():
            output = func(*at.args)
        output, aux = _with_aux(output, has_aux, VJP)
        outputs = _tensors(output, VJP)
        keep = at.outlives(outputs)
        blocks = []
        for out in outputs:

            def pull(unit: Any, out: Any = out) -> Any:
                return tuple(_gradients([out], at.leaves, [unit], keep))

            units = _units(out)
            rows = vmap(pull, chunk_size=chunk_size)(units) if len(units) else [x.new_zeros(0) for x in at.leaves]
            blocks.append(at.shaped([
                _loose(r.reshape(*out.shape, *x.shape), keep) for r, x in zip(rows, at.leaves, strict=True)
            ]))  # fmt: skip
        found = pytree.build(output, iter(blocks))
        return (found, _loosened(aux, keep)) if has_aux else found

    return jacobian


def jacfwd(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *,
           randomness: str = "error") -> Callable[..., Any]:  # fmt: skip
    """The jacobian of ``func``, by directional derivatives along all elements of an argument at once."""

    def jacobian(*args: Any) -> Any:
        numbers = _numbers(argnums, len(args))

        def of_chosen(*chosen: Any) -> Any:
            full = list(args)
            for i, v in zip(numbers, chosen, strict=True):
                full[i] = v
            return func(*full)

        chosen = tuple(args[i] for i in numbers)
        output, push, aux = _linear(of_chosen, chosen, has_aux)
        outputs, inputs = pytree.leaves(output), pytree.leaves(chosen)
        zeros = [torch.zeros_like(x) for x in inputs]
        blocks: list[list[Any]] = [[] for _ in outputs]
        for i, x in enumerate(inputs):

            def along(unit: Any, i: int = i) -> Any:
                return tuple(pytree.leaves(push([*zeros[:i], unit, *zeros[i + 1 :]])))

            columns = vmap(along, out_dims=-1)(_units(x)) if x.numel() else [out.new_zeros(0) for out in outputs]
            for column, out, block in zip(columns, outputs, blocks, strict=True):
                block.append(column.reshape(*out.shape, *x.shape))
        single = not isinstance(argnums, tuple)
        shaped = [pytree.build(chosen[0] if single else chosen, iter(b)) for b in blocks]
        found = pytree.build(output, iter(shaped))
        return (found, aux) if has_aux else found

    return jacobian


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The second derivatives of ``func``: directional derivatives of its gradient."""
    return jacfwd(jacrev(func, argnums), argnums)


class _Point:
    """Where a function is differentiated: its arguments, with fresh tensors in place of those that count."""

    def __init__(self, args: tuple[Any, ...], argnums: Argnums):
        numbers = _numbers(argnums, len(args))
        chosen = tuple(args[i] for i in numbers)
        given = pytree.leaves(chosen)
        for x in given:
            if not isinstance(x, Tensor):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        self.tree = chosen if isinstance(argnums, tuple) else chosen[0]
        self.outside = torch.is_grad_enabled()
        self.leaves = [fresh(x) for x in given]
        self.watched = self.outside and any(x.requires_grad for x in given)
        full = list(args)
        for i, v in zip(numbers, pytree.build(chosen, iter(self.leaves)), strict=True):
            full[i] = v
        self.args = tuple(full)

    def outlives(self, outputs: Sequence[Any]) -> bool:
        """Whether somebody else differentiates, too: then the graph stays, and derivatives are recorded."""
        if self.watched or not self.outside:
            return self.watched
        own = {t._own_node() for t in self.leaves}
        reached = Walk([t._own_node() for t in outputs if t._grad_flag is not False], 0).reached
        return any(node.leaf and node not in own for node in reached)

    def shaped(self, values: Sequence[Any]) -> Any:
        return pytree.build(self.tree, iter(values))


def _numbers(argnums: Argnums, count: int) -> tuple[int, ...]:
    """``argnums`` as a tuple of places from the left.

    Raises:
        RuntimeError: they are none, the same twice or more than there are arguments.
    """
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    several = argnums if isinstance(argnums, tuple) else (argnums,)
    if isinstance(argnums, tuple) and not argnums and count:
        raise RuntimeError("argnums must be non-empty")
    for n in several:
        if not -count <= n < count:
            raise RuntimeError(f"Got argnum={n}, but only {count} positional inputs")
    places = tuple(n % count for n in several)
    if len(set(places)) != len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return places


def _with_aux(output: Any, has_aux: bool, who: str) -> tuple[Any, Any]:
    if not has_aux:
        return output, None
    if not isinstance(output, tuple) or len(output) != 2:
        raise RuntimeError(
            f"{who}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return output


def _tensors(output: Any, who: str) -> list[Any]:
    found = pytree.leaves(output)
    if not found:
        raise RuntimeError(f"{who}: Expected f to be a function that has non-empty output")
    for t in found:
        if not isinstance(t, Tensor):
            raise RuntimeError(
                f"{who}: expected f(*primals) to return only tensors, got unsupported type {type(t)}"
            )
    return found


def _gradients(outputs: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Any] | None, keep: bool) -> list[Any]:
    """Backward passes that leave the graph, with zeros where nothing arrives."""
    pairs = zip(outputs, seeds or [torch.ones_like(t) for t in outputs], strict=True)
    live = [(t, s) for t, s in pairs if t.requires_grad]
    if not live:
        return [torch.zeros_like(x) for x in inputs]
    outs, weights = zip(*live, strict=True)
    with torch.set_grad_enabled(keep):
        found = batch_gradients(outs, inputs, weights, keep)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def _linear(func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool) -> tuple[Any, Any, Any]:
    """``func(*primals)``, the linear function of the primals' tangents, and the aux."""
    at = _Point(primals, tuple(range(len(primals))))
    with torch.enable_grad():
        output = func(*at.args)
        output, aux = _with_aux(output, has_aux, JVP)
        outputs = _tensors(output, JVP)
        keep = at.outlives(outputs)
        seeds = [fresh(torch.zeros_like(t.detach())) if t.dtype.differentiable else t for t in outputs]
        live = [(t, s) for t, s in zip(outputs, seeds, strict=True) if t.requires_grad]
        rows = _gradients([t for t, _ in live], at.leaves, [s for _, s in live], True) if live else []

    def push(tangents: Sequence[Any]) -> Any:
        for x, t in zip(at.leaves, tangents, strict=True):
            if x.shape != t.shape:
                raise RuntimeError(
                    "Trying to set a forward gradient that has a different size than that of the original Tensor, this "
                    f"is not supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
                    f"{list(t.shape)}."
                )
        stay = keep or (at.outside and any(t.requires_grad for t in tangents))
        if not live:
            return pytree.build(output, iter([torch.zeros_like(t) for t in outputs]))
        moved = iter(_gradients(rows, [s for _, s in live], tangents, stay))
        return pytree.build(output, iter([
            _loose(next(moved), stay) if t.requires_grad else torch.zeros_like(t) for t in outputs
        ]))  # fmt: skip

    return _loosened(output, keep), push, _loosened(aux, keep)


def _units(x: Any) -> Any:
    """Tensors like ``x`` that are 1 at one place and 0 elsewhere, for each place, along a dimension in front."""
    n = x.numel()
    return torch.eye(n, dtype=x.dtype).reshape(n, *x.shape)  # type: ignore[attr-defined]


def _loose(t: Any, keep: bool) -> Any:
    return t if keep else t.detach()


def _loosened(tree: Any, keep: bool) -> Any:
    """The tree without this transform's graph, where nobody else needs it."""
    return tree if keep else pytree.tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree)


def _check_chunk(chunk_size: int | None, who: str) -> None:
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"{who}: `chunk_size` should be greater than 0.")
