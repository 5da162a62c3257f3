"""The base of all optimizers: parameter groups, their state, and one instruction a group to update it."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gradwire.autograd.grad_mode import enable_grad, no_grad
from gradwire.capture import here
from gradwire.capture.record import paused
from gradwire.dispatch import ops
from gradwire.tensor import Tensor, drop_gradients
from gradwire.words import type_name
from gradwire_proto import dtypes

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
REQUIRED: Any = object()


class Optimizer:
    """What optimizers have in common. A subclass names its buffers and sends its update.

    Args:
        params: tensors, pairs of name and tensor, or dicts with ``params`` and options of their own.
        defaults: options of the groups that don't give theirs.
    """

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
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    # ---- what a subclass says ----

    def _buffers(self, group: dict[str, Any]) -> list[tuple[str, float]]:
        """Names of the buffers that a parameter of this group has, and what they start from."""
        raise NotImplementedError

    def _update(self, params: list[Tensor], state: dict[str, list[Tensor]], steps: Tensor,
                group: dict[str, Any]) -> None:  # fmt: skip
        """Send the update of a group: each buffer's tensors by its name, none for a buffer that the group lacks."""
        raise NotImplementedError

    counts = True
    """Whether torch has ``step`` in the state."""

    # ---- stepping ----

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; ``closure`` computes the loss anew and is given back."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if here.capture is not None:
            here.capture.optimizer(self)
        with no_grad():
            for i, group in enumerate(self.param_groups):
                params = group["params"]
                names = self._buffers(group)
                with paused():  # once, not each time
                    self._fill(i, params, names)
                state: dict[str, list[Tensor]] = defaultdict(list)
                for name, _ in names:
                    state[name] = [self.state[p][name] for p in params]
                self._update(params, state, self._steps[i], group)
        return loss

    def _fill(self, i: int, params: list[Tensor], names: list[tuple[str, float]]) -> None:
        """Make the state that a group's parameters don't have yet."""
        if i not in self._steps:
            self._steps[i] = ops.to_dtype(ops.new_full(params[0], (len(params),), 0), dtypes.int64)
            if self.counts:
                for j, p in enumerate(params):
                    self.state[p]["step"] = ops.select(self._steps[i], 0, j)
        for name, value in names:
            for p in params:
                if name not in self.state[p]:
                    self.state[p][name] = ops.new_full(p, tuple(p.shape), value)

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
        if any(id(p) in have for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    # ---- saving ----

    def state_dict(self) -> dict[str, Any]:
        """State and options, with parameters as their positions."""
        at: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                at.setdefault(id(p), len(at))
        return {
            "state": {at[id(p)]: dict(s) for p, s in self.state.items()},
            "param_groups": [{**{k: v for k, v in g.items() if k != "params"}, "params": [at[id(p)]
                             for p in g["params"]]} for g in self.param_groups],
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; tensors may be NumPy arrays, as of another framework.

        Raises:
            ValueError: it is of other groups.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        self.state.clear()
        self._steps.clear()
        with no_grad():
            for i, (group, mine) in enumerate(zip(saved, self.param_groups, strict=True)):
                params = mine["params"]
                options = {k: copy.deepcopy(v) for k, v in group.items() if k != "params"}
                mine.clear()
                mine.update({**options, "params": params})
                entries = [state_dict["state"].get(j, {}) for j in group["params"]]
                if any(entries):
                    self._load(i, params, entries)

    def _load(self, i: int, params: list[Tensor], entries: list[dict[str, Any]]) -> None:
        self._fill(i, params, [])
        for p, entry in zip(params, entries, strict=True):
            for name, value in entry.items():
                if name != "step" and value is not None:
                    self.state[p][name] = _like(p, value)
        # Without a count of its own, a buffer that was saved has seen a step.
        counts = [int(e.get("step", 1 if e else 0)) for e in entries]
        self._steps[i].copy_(_like(self._steps[i], np.array(counts)))  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {k}: {group[k]}\n" for k in sorted(group) if k != "params")
        return f"{text})"


def _like(p: Tensor, value: Any) -> Tensor:
    """A copy of a tensor or an array with the type of ``p``, in its session."""
    if isinstance(value, Tensor):
        return ops.to_dtype(value.detach(), p.dtype)  # type: ignore[attr-defined]
    from gradwire import as_tensor

    return as_tensor(np.asarray(value), dtype=p.dtype)
