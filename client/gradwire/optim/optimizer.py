"""The base of all optimizers: parameter groups, their state, hooks, and what is saved of them."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gradwire.autograd.grad_mode import enable_grad, no_grad
from gradwire.capture import here
from gradwire.dispatch import ops
from gradwire.nn.hooks import Hook, RemovableHandle, add
from gradwire.tensor import Tensor, drop_gradients
from gradwire.words import type_name

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
REQUIRED: Any = object()
HOOKS = (
    "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)  # fmt: skip
_before_steps: dict[int, Hook] = {}
_after_steps: dict[int, Hook] = {}


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called before any optimizer's step; see
    :meth:`Optimizer.register_step_pre_hook`."""
    return add(_before_steps, Hook(hook))


def register_optimizer_step_post_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called after any optimizer's step."""
    return add(_after_steps, Hook(hook))


def one_element(lr: float | Tensor) -> None:
    """Refuse a rate that is several numbers."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def plain_rate(group: dict[str, Any]) -> dict[str, Any]:
    """The group, with a rate that has no dimensions."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.ndim:
        return {**group, "lr": lr.reshape(())}  # type: ignore[attr-defined]
    return group


def check(lr: float | Tensor, betas: tuple[float, ...] = (), **options: float) -> None:
    """Refuse what is negative; names are those of torch's errors. A rate on the server is not read."""
    one_element(lr)
    if not isinstance(lr, Tensor) and not lr >= 0:
        raise ValueError(f"Invalid learning rate: {lr}")
    if len({isinstance(beta, Tensor) for beta in betas}) > 1:
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if not 0 <= beta < 1:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
    for name, value in options.items():
        if not value >= 0:
            raise ValueError(f"Invalid {name} value: {value}")


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """The loss that ``step`` returns, computed with gradients."""
    if closure is None:
        return None
    with enable_grad():
        return closure()


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """A class's ``step``, between the hooks."""

    @functools.wraps(step)
    def run(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        for h in (*_before_steps.values(), *self._optimizer_step_pre_hooks.values()):
            made = h.f(self, args, kwargs)
            if made is not None:
                if not (isinstance(made, tuple) and len(made) == 2):
                    raise RuntimeError(f"{step} must return None or a tuple of (new_args, new_kwargs), but got {made}.")
                args, kwargs = made
        if here.capture is not None:
            here.capture.optimizer(self)
        self._opt_called = True
        result = step(*args, **kwargs)
        for h in (*self._optimizer_step_post_hooks.values(), *_after_steps.values()):
            h.f(self, args, kwargs)
        return result

    return run


class Optimizer:
    """What optimizers have in common. A subclass defines :meth:`step`.

    Args:
        params: tensors, pairs of name and tensor, or dicts with ``params`` and options of their own.
        defaults: options of the groups that don't give theirs.

    >>> import gradwire as torch
    >>> class Signs(torch.optim.Optimizer):
    ...     @torch.no_grad()
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p -= group["lr"] * p.grad.sign()
    >>> w = torch.tensor([1.0, -3.0], requires_grad=True)
    >>> optimizer = Signs([w], {"lr": 0.5})
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5, -2.5]
    """

    _opt_called = False
    """Whether it ever took a step: schedules want to know."""

    def __init__(self, params: Params, defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch."
                f"{params.dtype.legacy}Tensor"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        """What the server holds for each parameter, by parameter; empty before the first step."""
        self.param_groups: list[dict[str, Any]] = []
        self._steps: dict[int, Tensor] = {}
        """How often each parameter of a group was updated, by the group's position."""
        for name in HOOKS:
            setattr(self, name, {})
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _hooked(vars(cls)["step"])  # type: ignore[method-assign]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; ``closure`` computes the loss anew and is given back."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in HOOKS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in HOOKS:
            vars(self).setdefault(name, {})
        vars(self).update(state)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or with ``set_to_none=False`` overwrite them with zeros."""
        if here.capture is not None:
            here.capture.optimizer(self)
        if set_to_none:
            drop_gradients(p for group in self.param_groups for p in group["params"])
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    with no_grad():
                        p.grad = p.grad.detach()
                        p.grad.zero_()

    # ---- groups ----

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take on more parameters, with options of their own.

        Raises:
            TypeError, ValueError: torch's, for what is no tensor, no leaf, or there already.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params: list[Any] = [given] if isinstance(given, Tensor) else list(given)
        named = [isinstance(p, tuple) for p in params]
        if any(named):
            if not all(named):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type_name(p)}")
            if not (p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        group["params"] = params
        for name, default in self.defaults.items():
            if name not in group and default is REQUIRED:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        have = {id(p) for g in self.param_groups for p in g["params"]}
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if 'param_names' in group else 'without'} names to the optimizer"
                )
        if any(id(p) in have for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    # ---- hooks ----

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called before each step; it may return others of both, which take
        their place. ``args`` starts with the optimizer."""
        return self._hook("_optimizer_step_pre_hooks", hook)

    def register_step_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called after each step."""
        return self._hook("_optimizer_step_post_hooks", hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer)`` called before :meth:`state_dict`; with ``prepend`` before earlier hooks."""
        return self._hook("_optimizer_state_dict_pre_hooks", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called after :meth:`state_dict`; it may return another."""
        return self._hook("_optimizer_state_dict_post_hooks", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called before :meth:`load_state_dict`; it may return another."""
        return self._hook("_optimizer_load_state_dict_pre_hooks", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer)`` called after :meth:`load_state_dict`."""
        return self._hook("_optimizer_load_state_dict_post_hooks", hook, prepend)

    def _hook(self, name: str, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        return add(getattr(self, name), Hook(hook), prepend)

    def _run_hooks(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        """What hooks make of a state dict."""
        for h in list(getattr(self, name).values()):
            made = h.f(self, state_dict)
            state_dict = state_dict if made is None else made
        return state_dict

    # ---- saving ----

    def state_dict(self) -> dict[str, Any]:
        """State and options, with parameters as their positions."""
        for h in list(self._optimizer_state_dict_pre_hooks.values()):  # type: ignore[attr-defined]
            h.f(self)
        at: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                at.setdefault(id(p), len(at))
        made = {
            "state": {at[id(p)] if isinstance(p, Tensor) else p: s for p, s in self.state.items()},
            "param_groups": [{**{k: v for k, v in g.items() if k != "params"}, "params": [at[id(p)]
                             for p in g["params"]]} for g in self.param_groups],
        }  # fmt: skip
        return self._run_hooks("_optimizer_state_dict_post_hooks", made)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; tensors may be NumPy arrays, as of another framework.

        Options that it lacks are the defaults.

        Raises:
            ValueError: it is of other groups.
        """
        state_dict = self._run_hooks("_optimizer_load_state_dict_pre_hooks", dict(state_dict))
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        whose = {}
        for group, mine in zip(saved, self.param_groups, strict=True):
            whose |= dict(zip(group["params"], mine["params"], strict=True))
            options = {k: copy.deepcopy(v) for k, v in group.items() if k != "params"}
            kept = {k: v for k, v in mine.items() if k in ("params", "param_names")}
            mine.clear()
            mine.update({**self.defaults, **kept, **options})
        state: defaultdict[Any, Any] = defaultdict(dict)
        with no_grad():
            for i, value in state_dict["state"].items():
                state[whose.get(i, i)] = _like(whose[i], value) if i in whose else value
            self.__setstate__({"state": state})
        for h in list(self._optimizer_load_state_dict_post_hooks.values()):  # type: ignore[attr-defined]
            h.f(self)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params")
        return f"{text})"


def _like(p: Tensor, value: Any, name: str = "") -> Any:
    """A copy of a piece of saved state: tensors and arrays in the session of ``p``, and with its type, but for the
    number of steps."""
    if isinstance(value, dict):
        return {k: _like(p, v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_like(p, v) for v in value)
    if isinstance(value, Tensor):
        kept = value.detach().clone()  # type: ignore[attr-defined]
    elif hasattr(value, "__array__") and not isinstance(value, np.generic):
        from gradwire import as_tensor

        kept = as_tensor(np.asarray(value))
    else:
        return value
    return ops.to_dtype(kept, p.dtype) if p.dtype.is_floating_point and name != "step" else kept
