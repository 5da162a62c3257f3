"""Modules as functions of their parameters."""

from __future__ import annotations

from typing import Any

import gradwire as torch


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Any:  # fmt: skip
    """``module(*args, **kwargs)`` with other tensors in the places that a dict, or several, name: ``"layer.weight"``.

    Raises:
        RuntimeError: ``strict``, and a name is missing or unknown.
    """
    several = parameter_and_buffer_dicts
    given = dict(several) if isinstance(several, dict) else {k: v for d in several for k, v in d.items()}
    named = dict(module.named_parameters(remove_duplicate=False))
    if hasattr(module, "named_buffers"):
        named |= dict(module.named_buffers(remove_duplicate=False))
    if tie_weights:
        for name, t in list(given.items()):
            given |= {n: t for n, u in named.items() if u is named.get(name) and n not in given}
    if strict and set(given) != set(named):
        unknown, missing = sorted(set(given) - set(named)), sorted(set(named) - set(given))
        said = [f"Unexpected key(s): {', '.join(unknown)}."] * bool(unknown)
        said += [f"Missing key(s): {', '.join(missing)}."] * bool(missing)
        raise RuntimeError("Error(s) in reparametrizing:\n\t" + "\n\t".join(said))
    places = [(*_place(module, name), t) for name, t in given.items()]
    before = [(where, key, where[key]) for where, key, _ in places]
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for where, key, t in places:
            where[key] = t
        return module(*positional, **(kwargs or {}))
    finally:
        for where, key, t in before:
            where[key] = t


def _place(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """The dict that holds a module's tensor, and its key there."""
    *path, last = name.split(".")
    for part in path:
        module = getattr(module, part)
    for where in (getattr(module, "_parameters", None), getattr(module, "_buffers", None), vars(module)):
        if where is not None and last in where:
            return where, last
    raise AttributeError(f"{type(module).__name__} has no attribute `{last}`")


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of several modules of one kind, each name's stacked, and their buffers likewise.

    Raises:
        RuntimeError: no modules, or of several classes.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    made: list[dict[str, Any]] = []
    for kind in ("named_parameters", "named_buffers"):
        each = [dict(getattr(m, kind)()) if hasattr(m, kind) else {} for m in models]
        stacked = {name: torch.stack([d[name].detach() for d in each]) for name in each[0]}
        made.append({k: v.requires_grad_(each[0][k].requires_grad) for k, v in stacked.items()})
    return made[0], made[1]
