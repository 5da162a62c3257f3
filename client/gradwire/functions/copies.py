"""``view_copy`` and its kin: what a view shows, in memory of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.shape import narrow, split
from gradwire.functions.strided import as_strided
from gradwire_proto.catalog.meta import wrap_dim

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

OPS = ("alias", "detach", "diagonal", "expand", "permute", "select", "slice", "split_with_sizes", "squeeze", "t",
       "transpose", "unbind", "unfold", "unsqueeze", "view_as_complex", "view_as_real")  # fmt: skip


def _view(input: Tensor, size: Any = None, *, dtype: Any = None) -> Tensor:
    dtype = size if hasattr(size, "itemsize") else dtype
    return ops.view(input, size) if dtype is None else ops.view_dtype(input, dtype)


def _split(input: Tensor, split_size: Any, dim: int = 0) -> Any:
    return split(input, split_size, dim)


VIEWS: dict[str, Callable[..., Any]] = {
    **{name: getattr(ops, name) for name in OPS}, "as_strided": as_strided, "split": _split, "view": _view,
}  # fmt: skip
"""The views that torch has copies of under their name with ``_copy``."""


def _copies(name: str, view: Callable[..., Any]) -> None:
    def f(*args: Any, **kwargs: Any) -> Any:
        made = view(*args, **kwargs)
        return tuple(map(ops.clone, made)) if isinstance(made, tuple) else ops.clone(made)

    f.__name__ = f.__qualname__ = f"{name}_copy"
    f.__doc__ = f"As ``{name}``, in memory of its own."
    export(f"{name}_copy", out=True)(f)


for _name, _make in VIEWS.items():
    _copies(_name, _make)


@export("narrow_copy", "Tensor.narrow_copy", out=True)
def narrow_copy(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """As ``narrow``, in memory of its own."""
    if length < 0 and input.ndim:
        size = input.shape[wrap_dim(dim, input.ndim)]
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return ops.clone(narrow(input, dim, start, length))
