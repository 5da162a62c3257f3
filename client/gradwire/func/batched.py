"""A tensor in a batch: what a function sees of its argument inside ``vmap``.

A ``Batched`` looks like one example; ``_value`` has all of them along its first dimension. In a vmap inside another
``_value`` may be batched itself. Ops that meet one come to :func:`apply`, which calls them on the whole batches by the
rules of :mod:`gradwire_proto.batching`, and otherwise on example after example.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import gradwire as torch
from gradwire import dispatch
from gradwire.defaults import in_full
from gradwire.dispatch import mode, ops
from gradwire.func import draws
from gradwire.tensor import Tensor, tensor_of
from gradwire_proto import batching, refusals
from gradwire_proto.catalog.declare import Op
from gradwire_proto.spec import Spec, spec

ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
    "please try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch "
    "internals, please file a bug report."
)
BOOL = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
    "yet, please file an issue at https://github.com/pytorch/pytorch/issues ."
)
NO_STORAGE = "Cannot access data pointer of Tensor that doesn't have storage"
REQUIRES_GRAD = (
    "You are attempting to call Tensor.requires_grad_() (or perhaps using torch.autograd.functional.* APIs) inside of "
    "a function being transformed by a functorch transform. This is unsupported, please attempt to use the functorch "
    "transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call requires_grad_() outside of a function being "
    "transformed instead."
)
BACKWARD = (
    "backward() called inside a functorch transform. This is not supported, please use functorch.grad or functorch.vjp "
    "instead or call backward() outside of functorch transforms."
)


def invoke(op: Op, values: Sequence[Any]) -> Any:
    """Call an op with its arguments in signature order."""
    n = sum(not p.keyword_only for p in op.params)
    named = zip(op.params[n:], values[n:], strict=True)
    return dispatch.call(op, values[:n], {p.name: v for p, v in named})


class Level:
    """A vmap that is running: how many examples it has, and what random ops may do in it."""

    def __init__(self, size: int, randomness: str):
        self.size = size
        self.ops = ops
        self.randomness = randomness
        self.depth = len(mode.batching)

    invoke = staticmethod(invoke)

    def spec(self, tensor: Any) -> Spec:
        return tensor._spec  # type: ignore[no-any-return]


class Batched(Tensor):
    """One example of a batch, for all of them."""

    __slots__ = ("_level", "_value")
    _is_batched = True

    def __init__(self, level: Level, value: Any):
        s = value._spec
        tensor_of(value._session, -1, spec(s.shape[1:], s.dtype, s.strides[1:]), storage=value._storage, into=self)
        self._level = level
        self._value = value

    def __del__(self) -> None:
        pass  # its value is what the server holds

    def _values(self) -> Any:
        raise RuntimeError(ITEM)

    def __bool__(self) -> bool:
        raise RuntimeError(BOOL)

    def __repr__(self) -> str:
        shown = textwrap.indent(repr(self._value), "    ")
        return f"BatchedTensor(lvl={self._level.depth + 1}, bdim=0, value=\n{shown}\n)"

    def numpy(self, *, force: bool = False) -> Any:
        raise RuntimeError(NO_STORAGE)

    tolist = numpy

    __hash__ = Tensor.__hash__

    def _refresh(self) -> None:
        self._value._refresh()
        self._grad_flag, self._leaf = self._value._grad_flag, self._value._leaf

    def _own_node(self) -> Any:
        return self._value._own_node()

    @property
    def requires_grad(self) -> bool:
        return bool(self._value.requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        raise RuntimeError(REQUIRES_GRAD)

    def backward(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(BACKWARD)

    def become(self, made: Batched) -> Tensor:
        """Be what ``made`` is, another view of the same examples."""
        self._value, self._spec, self._storage = made._value, made._spec, made._storage
        self._refresh()
        return self


def wrap(level: Level, value: Any) -> Any:
    made = Batched(level, value)
    made._refresh()
    return made


def levels_of(tensors: Sequence[Any]) -> list[Level]:
    """The running vmaps that tensors are in, from the outermost."""
    found: dict[int, Level] = {}
    for t in tensors:
        while isinstance(t, Batched):
            found[t._level.depth] = t._level
            t = t._value
    return [found[d] for d in sorted(found)]


def unwrap(t: Any, level: Level) -> Any:
    """The batch of a tensor that is in ``level``, which must be the innermost it is in; any other itself."""
    return t._value if isinstance(t, Batched) and t._level is level else t


def whole(t: Any, levels: Sequence[Level]) -> Any:
    """The tensor with a first dimension for each level, repeated where it isn't batched there."""
    for level in reversed(levels):
        t = t._value if isinstance(t, Batched) and t._level is level else t.expand(level.size, *t.shape)
    return t


def wrapped(t: Any, levels: Sequence[Level]) -> Any:
    """The reverse of :func:`whole`."""
    for level in levels:
        t = wrap(level, t)
    return t


def own(t: Any, like: Any) -> Any:
    """The tensor with an example of its own wherever another has one."""
    levels = levels_of([t, like])
    with outside():
        return wrapped(whole(t, levels), levels)


def fresh(x: Any) -> Any:
    """A tensor of its own to differentiate by, with an example of its own in each running vmap."""
    levels: Sequence[Level] = mode.batching
    with outside(), torch.enable_grad():
        plain = whole(x, levels)
        made = plain.view_as(plain) if plain.requires_grad else plain.detach().requires_grad_()
    return wrapped(made, levels)


def batch_gradients(outputs: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Any], create: bool,
                    retain: bool = True) -> list[Any]:  # fmt: skip
    """``autograd.grad`` of tensors that may be batched.

    An example of the inputs influences its own outputs alone, so that one pass serves the batch. In a vmap that neither
    inputs nor outputs are in, the seeds are many for one graph. Where only the outputs are, it takes a pass an example.
    """
    levels = levels_of([*outputs, *inputs, *seeds])
    inside, behind = levels_of(inputs), levels_of([*outputs, *inputs])
    for level in reversed(levels):
        if level in behind and level not in inside:
            rows = []
            for i in range(level.size):
                outs, weights = ([unwrap(t, level)[i] if unwrap(t, level) is not t else t for t in part]
                                 for part in (outputs, seeds))  # fmt: skip
                rows.append(batch_gradients(outs, inputs, weights, create))
            columns = zip(*rows, strict=True)
            return [None if c[0] is None else wrap(level, torch.stack(c)) for c in columns]
    many = [level for level in levels if level not in behind]
    shape = [level.size for level in many]
    with outside():
        weights = [whole(t, levels) for t in seeds]
        if many:  # in front of all others, as one
            to = list(range(len(many)))
            places = [levels.index(level) for level in many]
            weights = [w.movedim(places, to).flatten(0, len(many) - 1) for w in weights]
        found = torch.autograd.grad(
            [whole(t, behind) for t in outputs], [whole(t, behind) for t in inputs], weights, retain_graph=retain,
            create_graph=create, allow_unused=True, is_grads_batched=bool(many),
        )  # fmt: skip
        if many:
            found = [None if g is None else g.unflatten(0, shape).movedim(to, places) for g in found]
    return [None if g is None else wrapped(g, levels) for g in found]


class outside:
    """Inside, ops are called as if no vmap, or only those outside of ``level``, were running."""

    def __init__(self, level: Level | None = None):
        self.depth = 0 if level is None else level.depth

    def __enter__(self) -> None:
        self.before = mode.batching
        mode.batching = self.before[: self.depth]

    def __exit__(self, *_: object) -> None:
        mode.batching = self.before


def apply(op: Op, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call an op while a vmap is running."""
    values = op.bind(args, kwargs, Tensor)
    values = in_full(op, values, Tensor) or values
    flat = [x for v in values for x in (v if type(v) is tuple else (v,)) if isinstance(x, Tensor)]
    levels: Sequence[Level] = levels_of(flat)
    if op.random:
        levels = mode.batching
        if levels[-1].randomness == "error":
            raise RuntimeError(draws.NONE)
    if not levels:
        with outside():
            return invoke(op, values)
    level = levels[-1]
    inner = [tuple(unwrap(x, level) for x in v) if type(v) is tuple else unwrap(v, level) for v in values]
    with outside(level):
        if op.random:
            if level.randomness == "same" and level not in levels_of(flat):
                return invoke(op, inner)
            found = draws.draw(op, values, inner, level)
        elif op.writes:
            if inner[0] is values[0]:
                arithmetic = op.name == "copy_" or (op.inplace_of is not None and op.inplace_of.pointwise)
                raise RuntimeError(refusals.unbatched_target("inplace arithmetic" if arithmetic else op.name))
            batching.write(op, values, inner, level)
        else:
            found = batching.run(op, values, inner, level)
    if not op.writes:
        return _wrapped(found, level)
    targets = [values[i] for i in op.writes]
    for t in targets:
        t._refresh()
    return targets[0]


def _wrapped(found: Any, level: Level) -> Any:
    return tuple(wrap(level, t) for t in found) if isinstance(found, tuple) else wrap(level, found)
