"""Hooks of modules: who is called around a forward pass and a backward pass, in which order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradwire.autograd.function import Function
from gradwire.tensor import Tensor
from gradwire.utils.hooks import RemovableHandle


class Hook:
    """A hook, and how it wants to be called."""

    __slots__ = ("always", "f", "may_replace", "with_kwargs")

    def __init__(self, f: Callable[..., Any], with_kwargs: bool = False, always: bool = False,
                 may_replace: bool = False):  # fmt: skip
        self.f, self.with_kwargs, self.always, self.may_replace = f, with_kwargs, always, may_replace


def add(hooks: dict[int, Hook], hook: Hook, prepend: bool = False) -> RemovableHandle:
    """Put a hook at the end, or before all others."""
    handle = RemovableHandle(hooks)
    others = dict(hooks) if prepend else {}
    if prepend:
        hooks.clear()
    hooks[handle.id] = hook
    hooks.update(others)
    return handle


def call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A module's forward pass between its hooks."""
    called: set[int] = set()
    try:
        return _call(module, args, kwargs, called)
    except Exception:
        for i, h in list(module._forward_hooks.items()):  # those that are to run whatever happens
            if h.always and i not in called:
                try:
                    h.f(module, args, kwargs, None) if h.with_kwargs else h.f(module, args, None)
                except Exception:
                    pass  # the first error is the one to hear of
        raise


def _call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
    for h in list(module._forward_pre_hooks.values()):
        if h.with_kwargs:
            made = h.f(module, args, kwargs)
            if made is not None:
                if not (isinstance(made, tuple) and len(made) == 2):
                    text = "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got"
                    raise RuntimeError(f"{text} {made}.")
                args, kwargs = made
        else:
            made = h.f(module, args)
            if made is not None:
                args = made if isinstance(made, tuple) else (made,)
    backward = _Backward(module) if module._backward_hooks or module._backward_pre_hooks else None
    if backward:
        args = backward.inputs(args)
    result = module.forward(*args, **kwargs)
    for i, h in list(module._forward_hooks.items()):
        called.add(i)
        made = h.f(module, args, kwargs, result) if h.with_kwargs else h.f(module, args, result)
        if made is not None:
            result = made
    return backward.outputs(result) if backward else result


class _Pass(Function):
    """Gives its tensors on, and all their gradients at once to a function that may replace them."""

    @staticmethod
    def forward(ctx: Any, see: Callable[..., Any], *tensors: Tensor) -> Any:
        ctx.see = see
        ctx.set_materialize_grads(False)
        made = tuple(t.view_as(t) for t in tensors)  # type: ignore[attr-defined]
        return made if len(made) > 1 else made[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.see(grads))


class _Backward:
    """The hooks of one call, which its backward pass runs."""

    def __init__(self, module: Any):
        self.module = module
        self.hooks = [h.f for h in module._backward_hooks.values()]
        self.pre_hooks = [h.f for h in module._backward_pre_hooks.values()]
        self.grad_output: Any = None
        self.n_inputs = 0
        self.at: list[int] | None = None
        """Which arguments require grad; None where none does."""

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.n_inputs = len(args)
        tensors = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dtype.differentiable]
        if not self.hooks or not any(args[i].requires_grad for i in tensors):
            return args
        self.at = tensors
        made = _Pass.apply(self._entered, *(args[i] for i in tensors))
        new = list(args)
        for i, t in zip(tensors, made if isinstance(made, tuple) else (made,), strict=True):
            new[i] = t
        return tuple(new)

    def outputs(self, result: Any) -> Any:
        several = isinstance(result, tuple)
        values = list(result) if several else [result]
        if not several and not isinstance(result, Tensor):
            return result
        tensors = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.dtype.differentiable]
        if not any(values[i].requires_grad for i in tensors):
            return result
        made = _Pass.apply(functools.partial(self._left, tensors, len(values)), *(values[i] for i in tensors))
        for i, t in zip(tensors, made if isinstance(made, tuple) else (made,), strict=True):
            values[i] = t
        return (type(result)(*values) if hasattr(result, "_fields") else tuple(values)) if several else values[0]

    def _left(self, at: list[int], count: int, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The backward pass reached the results."""
        grad_output = _spread(grads, at, count)
        for f in self.pre_hooks:
            made = f(self.module, grad_output)
            if made is not None:
                grad_output = _replaced(made, grad_output, "grad_output", "Backward pre hook")
        self.grad_output = grad_output
        if self.at is None:
            for f in self.hooks:
                if f(self.module, (None,) * self.n_inputs, grad_output) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return tuple(grad_output[i] for i in at)

    def _entered(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The backward pass is through with the module."""
        at = self.at or []
        grad_input = _spread(grads, at, self.n_inputs)
        for f in self.hooks:
            made = f(self.module, grad_input, self.grad_output)
            if made is not None:
                grad_input = _replaced(made, grad_input, "grad_input", "Backward hook")
        return tuple(grad_input[i] for i in at)


def _spread(grads: tuple[Any, ...], at: list[int], count: int) -> tuple[Any, ...]:
    made: list[Any] = [None] * count
    for i, g in zip(at, grads, strict=True):
        made[i] = g
    return tuple(made)


def _replaced(made: Any, before: tuple[Any, ...], name: str, who: str) -> tuple[Any, ...]:
    made = made if isinstance(made, tuple) else (made,)
    if len(made) != len(before):
        raise RuntimeError(
            f"{who} returned an invalid number of {name}, got {len(made)}, but expected {len(before)}"
        )
    return made


__all__ = ["Hook", "RemovableHandle", "add", "call"]
