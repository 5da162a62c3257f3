"""Parameters that are functions of others: a layer's weight made symmetric, orthogonal, of norm 1, ..."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.nn.containers import ModuleDict, ModuleList
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor

_asked = 0
_kept: dict[tuple[int, str], Any] = {}
"""What parametrizations gave within :func:`cached`, by module and name."""


@contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrized tensor is computed once, when it is first asked for."""
    global _asked
    _asked += 1
    try:
        yield
    finally:
        _asked -= 1
        if not _asked:
            _kept.clear()


def _register(module: Module, name: str, t: Any) -> None:
    (module.register_parameter if isinstance(t, Parameter) else module.register_buffer)(name, t)


def _is_sequence(v: Any) -> bool:
    return isinstance(v, Sequence)


def _put(target: Any, value: Tensor) -> None:
    """Have a tensor hold another's memory."""
    with no_grad():
        target.set_(value)


def _same(made: Any, dtype: Any, shape: Any, flag: str, before: str, after: str) -> None:
    """Refuse what a parametrization gave: no tensor, or one of another type or shape."""
    if not isinstance(made, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(made).__name__}.")
    for what, wanted, got in (("dtype", dtype, made.dtype), ("shape", shape, made.shape)):
        if wanted != got:
            raise ValueError(
                f"Registering a parametrization may not change the {what} of the tensor, unless {flag} flag is "
                f"enabled.\n{before.format(what)}: {wanted}\n{after.format(what)}: {got}"
            )


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, which are called one after the other, and what the first one is called with:
    ``original``, or ``original0``, ``original1``, ... where a ``right_inverse`` gave several tensors.

    Args:
        modules: the parametrizations.
        original: the tensor as it is; through their ``right_inverse``, if they have one, it becomes the original.
        unsafe: allow that they change type or shape.

    Raises:
        ValueError: no modules, or they give what can't be.
    """

    def __init__(self, modules: Sequence[Module], original: Any, unsafe: bool = False):
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        dtype, shape, device = original.dtype, original.shape, original.device
        new = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        pass  # the same as if it had none
        self.is_tensor = isinstance(new, Tensor)
        if not self.is_tensor and not _is_sequence(new):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                + type(new).__name__
            )
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            for what, wanted, got in (("dtype", dtype, new.dtype), ("device", device, new.device)):
                if wanted != got:
                    raise ValueError(
                        f"When `right_inverse` outputs one tensor, it may not change the {what}.\noriginal.{what}: "
                        f"{wanted}\nright_inverse(original).{what}: {got}"
                    )
            _put(original, new)
            _register(self, "original", original)
        else:
            for i, t in enumerate(new):
                if not isinstance(t, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                        f"{i} of the sequence with type {type(t).__name__}."
                    )
                own: Any = Parameter(t, original.requires_grad) if isinstance(original, Parameter) else t
                _register(self, f"original{i}", own.requires_grad_(original.requires_grad))
        if not unsafe:
            _same(self(), dtype, shape, "`unsafe`", "unparametrized {}", "parametrized {}")

    def originals(self) -> list[Any]:
        """What the first parametrization is called with."""
        return [getattr(self, "original" if self.is_tensor else f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Have the originals be what gives ``value``: called when it is assigned.

        Raises:
            RuntimeError: a parametrization has no ``right_inverse``.
            ValueError: what it returns can't be the originals.
        """
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
        originals = self.originals()
        if self.is_tensor:
            if not isinstance(value, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
            if value.dtype != originals[0].dtype:
                raise ValueError(
                    f"The tensor returned by `right_inverse` has dtype {value.dtype} while `original` has dtype "
                    f"{originals[0].dtype}"
                )
            value = [value]
        elif not _is_sequence(value):
            raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(value).__name__}.")
        elif len(value) != self.ntensors:
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of "
                f"length {len(value)}."
            )
        for i, (old, new) in enumerate(zip(originals, value, strict=True)):
            if not isinstance(new, Tensor):
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors or reference-type opaques. Got element "
                    f"{i} of type {type(new).__name__}."
                )
            if old.dtype != new.dtype:
                raise ValueError(
                    f"Tensor {i} returned by `right_inverse` has dtype {new.dtype} while `original{i}` has dtype "
                    f"{old.dtype}"
                )
            _put(old, new)

    def forward(self) -> Any:
        first, *others = self
        made = first(*self.originals())
        for module in others:
            made = module(made)
        return made


def _subclass(module: Any) -> None:
    """Give a module a class of its own, on which its parametrized tensors are properties."""
    plain = type(module)

    def refuse(self: Any, protocol: Any) -> Any:
        raise RuntimeError("Serialization of parametrized modules is only supported through state_dict().")

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        """With a class of its own, so that its tensors can be left unparametrized apart from those here."""
        own = type(self)
        made = memo[id(self)] = object.__new__(type(own.__name__, own.__bases__, dict(vars(own))))
        made.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return made

    members = {"__reduce_ex__": refuse, "__deepcopy__": deepcopy, "__module__": plain.__module__}
    module.__class__ = type(f"Parametrized{plain.__name__}", (plain,), members)


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        made = self.parametrizations[name]
        if not _asked:
            return made()
        key = (id(self), name)
        if key not in _kept:
            _kept[key] = made()
        return _kept[key]

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def register_parametrization(module: Any, tensor_name: str, parametrization: Any, *, unsafe: bool = False) -> Any:
    """Have ``module.tensor_name`` be ``parametrization(original)``, where the original is a parameter in its place.

    A parametrization with a ``right_inverse`` method lets the tensor be assigned to, and decides what the original is
    at first. More parametrizations are called with what those before them gave.

    Args:
        module: whose tensor it is; it becomes of a subclass.
        tensor_name: a parameter or a buffer.
        parametrization: a module.
        unsafe: allow that it changes type or shape; nothing is tried out then.

    Raises:
        ValueError: there is no such tensor, or the parametrization changes its type or shape.

    >>> import gradwire as torch
    >>> class Symmetric(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).mT
    >>> m = torch.nn.utils.parametrize.register_parametrization(torch.nn.Linear(3, 3), "weight", Symmetric())
    >>> torch.equal(m.weight, m.weight.T)
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _try(module, tensor_name, parametrization)
        several = module.parametrizations[tensor_name]
        several.append(parametrization)
        several.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        made = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _subclass(module)
            module.parametrizations = ModuleDict()
        if hasattr(module, tensor_name):
            raise AssertionError(f"Module already has an attribute named '{tensor_name}'")
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = made
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def _try(module: Any, name: str, parametrization: Any) -> None:
    """Refuse one more parametrization that changes what there is."""
    now = getattr(module, name)
    where = f"module.{name}"
    made = parametrization(now)
    _same(made, now.dtype, now.shape, "the `unsafe`", where + ".{}", f"parametrization({where})." + "{}")
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(made)
    except NotImplementedError:
        return
    if not isinstance(back, Tensor):
        raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}")
    for what, wanted, got in (("dtype", now.dtype, back.dtype), ("shape", now.shape, back.shape)):
        if wanted != got:
            raise ValueError(
                f"The tensor returned by parametrization.right_inverse must have the same {what} as {where}, unless "
                f"the `unsafe` flag is enabled.\n{where}.{what}: {wanted}\nreturned {what}: {got}"
            )


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Whether a tensor of a module, or any, has a parametrization."""
    several = getattr(module, "parametrizations", None)
    if not isinstance(several, ModuleDict):
        return False
    return len(several) > 0 if tensor_name is None else tensor_name in several


def remove_parametrizations(module: Any, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Have a tensor be a parameter, or a buffer, again: what the parametrizations give now, or the original.

    Raises:
        ValueError: it has none, or there is no one original to leave.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    several = module.parametrizations[tensor_name]
    if several.is_tensor:
        left = several.original
        if leave_parametrized:
            with no_grad():
                value = getattr(module, tensor_name)
            _put(left, value)
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        left = Parameter(value) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, left)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Any) -> type:
    """The class that a module had before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Any, to_module: Any, tensor_name: str | None = None) -> Any:
    """Parametrize a module as another one is: one of its tensors, or all, with the same originals."""
    if not is_parametrized(from_module):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        several = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in several:
            register_parametrization(to_module, name, parametrization)
        for i, t in enumerate(several.originals()):
            setattr(to_module.parametrizations[name], "original" if several.is_tensor else f"original{i}", t)
    return to_module


__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]
