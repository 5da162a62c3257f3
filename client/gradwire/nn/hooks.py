"""Hooks of modules: who is called around a forward pass and a backward pass, in which order."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from gradwire.autograd.function import Function
from gradwire.capture import here
from gradwire.tensor import Tensor
from gradwire.utils.hooks import RemovableHandle


class Hook:
    """A hook, and how it wants to be called."""

    __slots__ = ("always", "f", "legacy", "may_replace", "with_kwargs")

    def __init__(self, f: Callable[..., Any], with_kwargs: bool = False, always: bool = False,
                 may_replace: bool = False, legacy: bool = False):  # fmt: skip
        self.f, self.with_kwargs, self.always = f, with_kwargs, always
        self.may_replace, self.legacy = may_replace, legacy


CALLS: dict[int, tuple[str, Hook]] = {}
"""Hooks of all modules' calls, by the name of the dict that a module has for its own."""
MEMBERS: dict[int, tuple[str, Callable[..., Any]]] = {}
"""What is called when a module, any, gets a parameter, a buffer or a module."""


def add(hooks: dict[int, Hook], hook: Hook, prepend: bool = False) -> RemovableHandle:
    """Put a hook at the end, or before all others."""
    handle = RemovableHandle(hooks)
    others = dict(hooks) if prepend else {}
    if prepend:
        hooks.clear()
    hooks[handle.id] = hook
    hooks.update(others)
    return handle


def of(module: Any, kind: str) -> list[tuple[int, Hook]]:
    """The hooks to call, by their numbers: those of all modules first."""
    return [*((i, h) for i, (k, h) in CALLS.items() if k == kind), *getattr(module, kind).items()]


def registered(kind: str, module: Any, name: str, member: Any) -> Any:
    """What becomes a module's member: what the last hook gave that gave anything."""
    for k, f in list(MEMBERS.values()):
        if k == kind:
            made = f(module, name, member)
            member = member if made is None else made
    return member


def use_full(module: Any, full: bool) -> None:
    """Refuse hooks of the one kind beside those of the other."""
    if module.__dict__.setdefault("_is_full_backward_hook", full) is not full:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of "
            "them."
        )


def assign(module: Any, name: str, value: Any) -> None:
    """Have a module's attribute be what a hook computed before a call; in a program, for that call alone."""
    if here.capture is not None and not here.capture.off:
        here.capture.assigned(module, name)
    setattr(module, name, value)


def call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A module's forward pass between its hooks."""
    called: set[int] = set()
    try:
        return _call(module, args, kwargs, called)
    except Exception:
        for i, h in of(module, "_forward_hooks"):  # those that are to run whatever happens
            if h.always and i not in called:
                try:
                    h.f(module, args, kwargs, None) if h.with_kwargs else h.f(module, args, None)
                except Exception:
                    pass  # the first error is the one to hear of
        raise


def _call(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
    for _, h in of(module, "_forward_pre_hooks"):
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
    after = [h for _, h in of(module, "_backward_hooks")]
    before = [h.f for _, h in of(module, "_backward_pre_hooks")]
    full = [h.f for h in after if not h.legacy]
    backward = _Backward(module, full, before) if full or before else None
    if backward:
        args = backward.inputs(args)
    result = module.forward(*args, **kwargs)
    for i, h in of(module, "_forward_hooks"):
        called.add(i)
        made = h.f(module, args, kwargs, result) if h.with_kwargs else h.f(module, args, result)
        if made is not None:
            result = made
    if backward:
        result = backward.outputs(result)
    if len(full) < len(after):
        _hook_node(module, result, [h.f for h in after if h.legacy])
    return result


def _hook_node(module: Any, result: Any, legacy: list[Callable[..., Any]]) -> None:
    """Have hooks of the old kind called by the node of the first tensor of a result."""
    while not isinstance(result, Tensor):
        tensors = (v for v in result.values() if isinstance(v, Tensor)) if isinstance(result, dict) else iter(result)
        result = next(tensors)
    node = result.grad_fn
    for f in legacy if node is not None else ():
        node.register_hook(functools.partial(f, module))  # type: ignore[union-attr]


class BackwardHookFunction(Function):
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

    def __init__(self, module: Any, hooks: list[Callable[..., Any]], pre_hooks: list[Callable[..., Any]]):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
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
        made = BackwardHookFunction.apply(self._entered, *(args[i] for i in tensors))
        new = list(args)
        for i, t in zip(tensors, made if isinstance(made, tuple) else (made,), strict=True):
            new[i] = t
        return tuple(new)

    def outputs(self, result: Any) -> Any:
        several = isinstance(result, tuple)
        values = list(result) if several else [result]
        if not several and not isinstance(result, Tensor):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=5,
            )
            return result
        tensors = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.dtype.differentiable]
        if not any(values[i].requires_grad for i in tensors):
            return result
        left = functools.partial(self._left, tensors, len(values))
        made = BackwardHookFunction.apply(left, *(values[i] for i in tensors))
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
        if self.at is None and self.hooks:
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs since no "
                "inputs require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
                "#torch.nn.Module.register_full_backward_hook for more details.",
                stacklevel=2,
            )
            for f in self.hooks:
                made = f(self.module, (None,) * self.n_inputs, grad_output)
                if made is not None and not (isinstance(made, tuple) and all(g is None for g in made)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return tuple(grad_output[i] for i in at)

    def _entered(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The backward pass is through with the module."""
        at = self.at or []
        if self.grad_output is None:  # what the module gave was no tensors, or backward passed them by
            return grads
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


# ---- for all modules ----


def _for_all(kind: str, hook: Hook) -> RemovableHandle:
    handle = RemovableHandle(CALLS)
    CALLS[handle.id] = (kind, hook)
    return handle


def _for_members(kind: str, f: Callable[..., Any]) -> RemovableHandle:
    handle = RemovableHandle(MEMBERS)
    MEMBERS[handle.id] = (kind, f)
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """As ``Module.register_forward_pre_hook``, of all modules."""
    return _for_all("_forward_pre_hooks", Hook(hook))


def register_module_forward_hook(hook: Callable[..., Any], *, with_kwargs: bool = False,
                                 always_call: bool = False) -> RemovableHandle:  # fmt: skip
    """As ``Module.register_forward_hook``, of all modules."""
    return _for_all("_forward_hooks", Hook(hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """As ``Module.register_full_backward_pre_hook``, of all modules."""
    return _for_all("_backward_pre_hooks", Hook(hook))


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """As ``Module.register_full_backward_hook``, of all modules."""
    return _for_all("_backward_hooks", Hook(hook))


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` when a module gets one; what it returns is registered instead."""
    return _for_members("parameter", hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` when a module gets one; what it returns is registered instead."""
    return _for_members("buffer", hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` when a module gets one; what it returns is registered instead."""
    return _for_members("module", hook)


__all__ = [
    "Hook",
    "RemovableHandle",
    "add",
    "assign",
    "call",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "registered",
    "use_full",
]
