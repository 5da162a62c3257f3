"""torch's protocol for tensors that are not its own: its functions and modules, given ours, call ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import gradwire
from gradwire.export import export
from gradwire.tensor import Tensor


def _ours(v: Any) -> Any:
    """torch's types as ours."""
    if type(v).__name__ == "dtype" and type(v).__module__ == "torch":
        return getattr(gradwire, str(v).removeprefix("torch."), v)
    return v


@export("Tensor.__torch_function__")
@classmethod  # type: ignore[misc]
def torch_function(cls: type, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (),
                   kwargs: dict[str, Any] | None = None) -> Any:  # fmt: skip
    """Call the function here that has the name of torch's ``func``; none where torch's tensors take part, too."""
    if not all(issubclass(t, Tensor) for t in types):
        return NotImplemented
    name = sys.modules["torch"].overrides.resolve_name(func) or ""
    found: Any = gradwire
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    if found is None or found is gradwire:
        return NotImplemented
    return found(*map(_ours, args), **{k: _ours(v) for k, v in (kwargs or {}).items()})
