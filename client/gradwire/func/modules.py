"""Modules as functions of their parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import gradwire as torch


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Any:  # fmt: skip
    """``module(*args, **kwargs)`` with other tensors in the places that a dict, or several, name: ``"layer.weight"``.

    Buffers that the call assigns to end up in the dict, and the module keeps its own.

    Args:
        module: whose ``__call__`` it is.
        parameter_and_buffer_dicts: one dict, or several without a name in common.
        args: one argument, or a tuple of them.
        kwargs: those by name.
        tie_weights: have a tensor that the module has in several places be replaced in all of them.
        strict: require that the names are the module's.

    Raises:
        RuntimeError: ``strict``, and a name is missing or unknown.
        ValueError: no dicts; a name is in several; different tensors for one that the module has in several places.
    """
    given = _merged(parameter_and_buffer_dicts)
    named = dict(module.named_parameters(remove_duplicate=False))
    if hasattr(module, "named_buffers"):
        named |= dict(module.named_buffers(remove_duplicate=False))
    every = _tied(given, named) if tie_weights else given
    unknown, missing = [k for k in every if k not in named], [k for k in named if k not in every]
    if strict and (unknown or missing):
        said = [f"{kind} key(s): {', '.join(map(repr, keys))}."
                for kind, keys in (("Unexpected", unknown), ("Missing", missing)) if keys]  # fmt: skip
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(said))
    places = [(*_place(module, name), name, t) for name, t in every.items()]
    before = [where.get(key, _NOTHING) for where, key, _, _ in places]
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for where, key, _, t in places:
            where[key] = t
        return module(*positional, **(kwargs or {}))
    finally:
        for (where, key, name, _), t in zip(places, before, strict=True):
            now = where.pop(key) if t is _NOTHING else where[key]
            if t is not _NOTHING:
                where[key] = t
            if name in given:
                given[name] = now


_NOTHING: Any = object()


def _merged(several: Any) -> dict[str, Any]:
    if isinstance(several, dict):
        return several
    if not isinstance(several, Sequence):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(several)}"
        )
    if not all(isinstance(d, dict) for d in several):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    counts = Counter(k for d in several for k in d)
    if repeated := [k for k, n in counts.items() if n > 1]:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {k: v for d in several for k, v in d.items()}


def _tied(given: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """The tensors, and the same ones by the other names of what they replace."""
    names: dict[int, list[str]] = {}
    for name, t in named.items():
        names.setdefault(id(t), []).append(name)
    made = dict(given)
    for same in names.values():
        told = [n for n in same if n in given]
        if len({id(given[n]) for n in told}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(same)}, which are tied. Consider using "
                "tie_weights=False"
            )
        made |= {n: given[told[0]] for n in same if told}
    return made


def _place(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """The dict that holds a module's tensor, or is to hold it, and its key there."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            raise AttributeError(f"{type(module).__name__} has no attribute `{part}`")
        module = getattr(module, part)
    for where in (getattr(module, "_parameters", None), getattr(module, "_buffers", None)):
        if where is not None and last in where:
            return where, last
    return vars(module), last


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of several modules of one kind, each name's stacked, and their buffers likewise.

    Raises:
        RuntimeError: no modules, or of several classes, some in training, or some to be differentiated by.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models if hasattr(m, "training")}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    made: list[dict[str, Any]] = []
    for kind in ("named_parameters", "named_buffers"):
        each = [dict(getattr(m, kind)()) if hasattr(m, kind) else {} for m in models]
        for name, t in each[0].items():
            if any(d[name].requires_grad is not t.requires_grad for d in each):
                raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        stacked = {name: torch.stack([d[name].detach() for d in each]) for name in each[0]}
        made.append({k: v.requires_grad_(each[0][k].requires_grad) for k, v in stacked.items()})
    return made[0], made[1]
