"""State dicts: what a module's parameters and buffers are, by their paths, and how they are read back."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from gradwire.nn.parameter import Parameter, copy_values, is_lazy
from gradwire.tensor import Tensor

EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    __str__ = __repr__


def get_extra_state(self: Any) -> Any:
    """What else is to be saved: a subclass's."""
    raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called. ")


def set_extra_state(self: Any, state: Any) -> None:
    """Take over what ``get_extra_state`` gave."""
    raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called. ")


def _has_extra(module: Any) -> bool:
    return type(module).get_extra_state is not get_extra_state


def _persistent(module: Any) -> dict[str, Any]:
    kept = {k: v for k, v in module._buffers.items() if k not in module._non_persistent_buffers_set}
    return {k: v for k, v in {**module._parameters, **kept}.items() if v is not None}


def save_own(self: Any, destination: Any, prefix: str, keep_vars: bool) -> None:
    """Write the module's own tensors to ``destination``."""
    for name, t in _persistent(self).items():
        destination[prefix + name] = t if keep_vars else t.detach()
    if _has_extra(self):
        destination[prefix + EXTRA] = self.get_extra_state()


def state_dict(self: Any, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
    """Parameters and persistent buffers of the module and all inside, by their paths.

    Args:
        destination: where to write them; a new dict by default.
        prefix: of each name.
        keep_vars: give the parameters themselves, instead of the same memory without history.
    """
    if args:
        warnings.warn("Positional args are being deprecated, use kwargs instead.", FutureWarning, stacklevel=2)
        destination, prefix, keep_vars = (*args, *(destination, prefix, keep_vars)[len(args) :])
    if destination is None:
        destination = OrderedDict()
        destination._metadata = OrderedDict()
    metadata = {"version": self._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = metadata
    for h in list(self._state_dict_pre_hooks.values()):
        h.f(self, prefix, keep_vars)
    self._save_to_state_dict(destination, prefix, keep_vars)
    for name, module in self._modules.items():
        if module is not None:
            module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for h in list(self._state_dict_hooks.values()):
        made = h.f(self, destination, prefix, metadata)
        if made is not None:
            if not h.may_replace:
                raise RuntimeError("state_dict post-hook must return None")
            destination = made
    return destination


def load_own(self: Any, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
             unexpected_keys: list[str], error_msgs: list[str]) -> None:  # fmt: skip
    """Read the module's own tensors from ``state_dict``, and tell in the lists what is wrong."""
    for h in list(self._load_state_dict_pre_hooks.values()):
        h.f(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
    own = _persistent(self)
    assign = local_metadata.get("assign_to_params_buffers", False)
    for name, t in own.items():
        key = prefix + name
        if key not in state_dict:
            if strict:
                missing_keys.append(key)
            continue
        _load(self, name, t, key, state_dict[key], assign, error_msgs)
    if _has_extra(self):
        if prefix + EXTRA in state_dict:
            self.set_extra_state(state_dict[prefix + EXTRA])
        elif strict:
            missing_keys.append(prefix + EXTRA)
    if strict:
        for key in state_dict:
            if key.startswith(prefix) and key != prefix + EXTRA:
                first, _, rest = key[len(prefix) :].partition(".")
                if (first not in self._modules) if rest else (first not in own):
                    unexpected_keys.append(key)
            elif key == prefix + EXTRA and not _has_extra(self):
                unexpected_keys.append(key)


def _load(module: Any, name: str, t: Tensor, key: str, value: Any, assign: bool, errors: list[str]) -> None:
    if not isinstance(value, Tensor):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint '
            f"but received {type(value)}"
        )
        return
    if is_lazy(t) and is_lazy(value):
        return
    if not t.shape and len(value.shape) == 1 and not is_lazy(t):
        value = value[0]  # type: ignore[index]  # before torch 0.4 there were no numbers without dimensions
    if tuple(value.shape) != tuple(t.shape):
        errors.append(
            f"size mismatch for {key}: copying a param with shape {value.shape!r} from checkpoint, the shape in "
            f"current model is {t.shape!r}."
        )
    elif not assign:
        copy_values(t, value)
    elif name in module._parameters:
        made = value if isinstance(value, Parameter) else Parameter(value, t.requires_grad)
        module._parameters[name] = made.requires_grad_(t.requires_grad)
    else:
        module._buffers[name] = value


def load_state_dict(self: Any, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
    """Read the tensors of the module and all inside from what :func:`state_dict` gave.

    Args:
        state_dict: tensors by their paths.
        strict: whether the keys must be exactly the module's.
        assign: have the module take over the tensors, instead of copying their values.

    Raises:
        RuntimeError: names all missing and unexpected keys, and those of other shapes.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
    missing: list[str] = []
    unexpected: list[str] = []
    errors: list[str] = []
    metadata = getattr(state_dict, "_metadata", None)
    given = OrderedDict(state_dict)

    def load(module: Any, prefix: str, part: Any) -> None:
        local = dict((metadata or {}).get(prefix[:-1], {}))
        if assign:
            local["assign_to_params_buffers"] = True
        module._load_from_state_dict(part, prefix, local, True, missing, unexpected, errors)
        for name, child in module._modules.items():
            if child is not None:
                start = f"{prefix}{name}."
                load(child, start, {k: v for k, v in part.items() if k.startswith(start)})
        keys = _IncompatibleKeys(missing, unexpected)
        for h in list(module._load_state_dict_post_hooks.values()):
            if h.f(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                    "values, if incompatible_keys need to be modified, it should be done inplace."
                )

    load(self, "", given)
    if strict:
        for kind, keys in (("Unexpected", unexpected), ("Missing", missing)):
            if keys:
                shown = ", ".join(f'"{k}"' for k in keys)
                errors.insert(0, f"{kind} key(s) in state_dict: {shown}. ")
    if errors:
        told = "\n\t".join(errors)
        raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{told}")
    return _IncompatibleKeys(missing, unexpected)


__all__ = ["get_extra_state", "load_own", "load_state_dict", "save_own", "set_extra_state", "state_dict"]
