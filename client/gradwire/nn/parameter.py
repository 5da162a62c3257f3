"""Parameters and buffers: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.functions.creation import empty
from gradwire.memory import moved
from gradwire.tensor import Tensor


class Parameter(Tensor):
    """A leaf on the same memory as ``data``, which a module registers when it is assigned to it.

    Args:
        data: a tensor; an empty one by default.
        requires_grad: whether ops on it are recorded.

    >>> import gradwire as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        if requires_grad and isinstance(data, Tensor) and not data.dtype.differentiable:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        moved(ops.detach(empty(0) if data is None else data), self)
        self._base = None  # it may be written to without a look at what it was made from
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        made = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)  # type: ignore[attr-defined]
        vars(made).update(vars(self))
        return made


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when assigned to it.

    Args:
        data: a tensor; an empty one by default.
        persistent: whether it is part of the module's ``state_dict``.
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True):
        moved(ops.detach(empty(0) if data is None else data), self)
        self._base = None
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        made = memo[id(self)] = Buffer(self.detach().clone(), persistent=self.persistent)  # type: ignore[attr-defined]
        return made


class UninitializedTensorMixin:
    """A parameter or buffer that is nothing yet but its type, until :meth:`materialize` gives it a shape."""

    cls_to_become: type

    def __init__(self, requires_grad: bool, device: Any, dtype: Any):
        self._like = empty(0, device=device, dtype=dtype)
        self._node = self._base = self._grad = None
        self._grad_flag, self._leaf, self._generation, self._grad_seen, self._creation = requires_grad, True, 0, 0, ""

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a parameter, or a buffer, of this shape, with any values."""
        like = self._like
        made = empty(tuple(shape), device=device or like.device, dtype=dtype or like.dtype)
        del self._like
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        if isinstance(self, Parameter):
            Parameter.__init__(self, made, bool(self._grad_flag))
        elif isinstance(self, Buffer):
            Buffer.__init__(self, made, persistent=self.persistent)

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    dtype = property(lambda self: self._like.dtype)
    device = property(lambda self: self._like.device)

    def is_floating_point(self) -> bool:
        return self._like.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self._like.dtype.is_complex

    def detach(self) -> Any:
        return self

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __del__(self) -> None:
        pass  # the server knows nothing of it

    def __getattribute__(self, name: str) -> Any:
        if name[0] != "_" and name not in _KNOWN:
            raise _not_yet(self, f" in <method '{name}' of 'torch._C.TensorBase' objects>")
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:  # what operators and functions look at
        if name.startswith("__"):
            raise AttributeError(name)
        raise _not_yet(self)


_KNOWN = {
    "cls_to_become", "data", "detach", "device", "dtype", "grad", "is_complex", "is_cuda", "is_floating_point",
    "is_leaf", "materialize", "persistent", "requires_grad", "shape", "share_memory_",
}  # fmt: skip
"""What can be asked of a tensor without a shape."""


def _not_yet(t: Any, where: str = "") -> ValueError:
    return ValueError(
        f"Attempted to use an uninitialized parameter{where}. This error happens when you are using a `LazyModule` or "
        f"explicitly manipulating `torch.nn.parameter.{type(t).__name__}` objects. When using LazyModules Call "
        "`forward` with a dummy batch to initialize the parameters before calling torch functions"
    )


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter without a shape: a lazy module's, before its first input."""

    cls_to_become = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(requires_grad, device, dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Buffer):
    """A buffer without a shape."""

    cls_to_become = Buffer

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True):
        self.persistent = persistent
        super().__init__(requires_grad, device, dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(False, self.device, self.dtype, self.persistent)
        return memo[id(self)]


def is_lazy(t: Any) -> bool:
    """Whether it has no shape yet."""
    return isinstance(t, UninitializedTensorMixin)


def copy_values(target: Tensor, source: Tensor) -> None:
    """Write the values of one tensor to another, unrecorded."""
    with no_grad():
        target.copy_(source)  # type: ignore[attr-defined]


__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "copy_values",
    "is_lazy",
]
