"""``Module``: what layers and networks are made of, with torch's rules for what is registered under which name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from gradwire import words
from gradwire.capture import here
from gradwire.nn import conversion, hooks, state
from gradwire.nn.hooks import (
    Hook,
    RemovableHandle,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from gradwire.nn.parameter import Buffer, Parameter, is_lazy
from gradwire.tensor import Tensor, drop_gradients

REGISTRIES = ("_parameters", "_buffers", "_modules")
HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class Module:
    """Base of all layers. A subclass calls ``super().__init__()``, assigns parameters, buffers and modules to itself,
    and defines ``forward``.

    >>> import gradwire as torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = torch.nn.Parameter(torch.ones(()))
    ...     def forward(self, x):
    ...         return self.weight * x
    >>> Scale()(torch.tensor([3.0])).tolist()
    [3.0]
    """

    training: bool
    _version = 1

    def __init__(self, *args: Any, **kwargs: Any):
        if kwargs:
            name = next(iter(kwargs))
            raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{name}'")
        if args:
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        own = self.__dict__
        own["training"] = True
        for name in (*REGISTRIES, *HOOKS):
            own[name] = {}
        own["_non_persistent_buffers_set"] = set()

    def forward(self, *input: Any) -> Any:
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    forward: Callable[..., Any]  # type: ignore[no-redef]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if here.capture is not None:
            here.capture.module(self)
        try:
            hooked = (own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"]
                      or own["_backward_pre_hooks"] or hooks.CALLS)  # fmt: skip
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '_backward_hooks'") from None
        if hooked:
            return hooks.call(self, args, kwargs)
        return self.forward(*args, **kwargs)

    # ---- attributes ----

    def __getattr__(self, name: str) -> Any:
        for registry in REGISTRIES:
            found = self.__dict__.get(registry)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        parameters = own.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, but="_parameters")
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in own:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, but="_modules")
            own["_modules"][name] = hooks.registered("module", self, name, value)
        elif own.get("_modules") and name in own["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            own["_modules"][name] = hooks.registered("module", self, name, value)
        elif isinstance(value, Buffer) or (own.get("_buffers") and name in own["_buffers"]):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                    "expected)"
                )
            if "_buffers" not in own:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            if isinstance(value, Buffer):
                self._forget(name, but="_buffers")
                self.register_buffer(name, value, value.persistent)
            else:
                own["_buffers"][name] = hooks.registered("buffer", self, name, value)
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str, but: str) -> None:
        own = self.__dict__
        own.pop(name, None)
        for registry in REGISTRIES:
            if registry != but:
                own[registry].pop(name, None)
        if but != "_buffers":
            own["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in REGISTRIES:
            if name in self.__dict__.get(registry, ()):
                del self.__dict__[registry][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(n for n in names if not n[0].isdigit())

    def __copy__(self) -> Any:
        """One that shares all that is registered, as Python makes of objects that can be pickled."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__}'s tensors live in their session and can't be pickled: use gradwire.save on its "
            "state_dict() instead"
        )

    def _check_name(self, name: Any, kind: str) -> None:
        if kind + "s" not in ("parameters", "buffers", "modules") or f"_{kind}s" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type_name(name)}")
        if "." in name:
            shown = f", got: {name}" if kind == "module" else ""
            raise KeyError(f"{kind} name can't contain \".\"{shown}")
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[f"_{kind}s"]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None in the place of one."""
        self._check_name(name, "parameter")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                    "required)"
                )
            if not param.is_leaf:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                    "forward() method."
                )
        self._parameters[name] = None if param is None else hooks.registered("parameter", self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is no parameter; part of ``state_dict`` unless not ``persistent``."""
        self._check_name(name, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = hooks.registered("buffer", self, name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        self._check_name(name, "module")
        self._modules[name] = hooks.registered("module", self, name, module)

    register_module = add_module

    # ---- what it is made of ----

    def _members(self, registry: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        whose = self.named_modules(prefix=prefix, remove_duplicate=once) if recurse else [(prefix, self)]
        for at, module in whose:
            for name, value in module.__dict__[registry].items():
                if value is None or id(value) in seen:
                    continue
                if once:
                    seen.add(id(value))
                yield (f"{at}.{name}" if at else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:  # fmt: skip
        """The parameters and their names."""
        return self._members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once; of the module alone, or of its modules, too."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """The buffers and their names."""
        return self._members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside and their names."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (m for _, m in self.named_children())

    def named_modules(self, memo: set[Module] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:  # fmt: skip
        """The module itself, and all inside, with their paths."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """The module itself, and all inside."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a dotted path; ``strict``, where there is one."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if not isinstance(getattr(parent, name, module), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._get(target, Parameter, "`{}` is not an nn.Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        module, name = self._owner(target)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]  # type: ignore[no-any-return]

    def _owner(self, target: str) -> tuple[Module, str]:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        return module, name

    def _get(self, target: str, kind: type, refusal: str) -> Any:
        module, name = self._owner(target)
        found = getattr(module, name)
        if not isinstance(found, kind):
            raise AttributeError(refusal.format(name))
        return found

    # ---- mode, gradients, type ----

    def train(self, mode: bool = True) -> Any:
        """Put the module and all inside into training mode, or out of it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Put the module and all inside into evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Have ops on all parameters recorded, or not any more."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the parameters' gradients, or overwrite them with zeros."""
        if set_to_none:
            drop_gradients(self.parameters())
            return
        for p in self.parameters():
            if p.grad is not None:
                p.grad = p.grad.detach()  # type: ignore[attr-defined]
                p.grad.zero_()  # type: ignore[attr-defined]

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call ``fn`` with each module inside, and last with this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace what parameters, gradients and buffers hold."""
        for module in self.children() if recurse else ():
            module._apply(fn)
        for p in self._parameters.values():
            if is_lazy(p):
                p._like = fn(p._like)
            elif p is not None:
                grad = p.grad
                made = fn(p.detach())
                if made.dtype is not p.dtype:
                    p.data = made  # type: ignore[misc]
                    if grad is not None:
                        p.grad = fn(grad.detach())
        for name, b in self._buffers.items():
            if is_lazy(b):
                b._like = fn(b._like)
            elif b is not None:
                self._buffers[name] = fn(b)
        return self

    to = conversion.to
    to_empty = conversion.to_empty
    share_memory = conversion.share_memory
    type = conversion.type
    cpu = conversion.cpu
    cuda = conversion.cuda
    float = conversion.float
    double = conversion.double
    half = conversion.half
    bfloat16 = conversion.bfloat16

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have this module's ``forward`` captured: see :func:`gradwire.compile`."""
        from gradwire.capture.compiled import compile

        self.forward = compile(self.forward, *args, **kwargs)

    # ---- saving ----

    state_dict = state.state_dict
    load_state_dict = state.load_state_dict
    get_extra_state = state.get_extra_state
    set_extra_state = state.set_extra_state
    _save_to_state_dict = state.save_own
    _load_from_state_dict = state.load_own

    # ---- hooks ----

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:  # fmt: skip
        """Call ``hook(module, args)`` before ``forward``; what it returns are the arguments instead."""
        return hooks.add(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:  # fmt: skip
        """Call ``hook(module, args, output)`` after ``forward``; what it returns is the output instead."""
        return hooks.add(self._forward_hooks, Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once backward is through with the module."""
        hooks.use_full(self, True)
        return hooks.add(self._backward_hooks, Hook(hook), prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` with what the node of the module's result was given and gave:
        the old kind, which ``register_full_backward_hook`` is for."""
        hooks.use_full(self, False)
        return hooks.add(self._backward_hooks, Hook(hook, legacy=True))

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` once backward reaches the module's results."""
        return hooks.add(self._backward_pre_hooks, Hook(hook), prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after the module is written to a state dict."""
        return hooks.add(self._state_dict_hooks, Hook(hook))

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module is written to a state dict."""
        return hooks.add(self._state_dict_pre_hooks, Hook(hook))

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As the public one, but the hook may return a state dict to be given instead."""
        return hooks.add(self._state_dict_hooks, Hook(hook, may_replace=True))

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any],
                                           with_module: bool = False) -> RemovableHandle:  # fmt: skip
        """As the public one, but without the module unless asked for."""
        f = hook if with_module else lambda module, *args: hook(*args)
        return hooks.add(self._load_state_dict_pre_hooks, Hook(f))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook`` as torch does, with the module first, before it is read from a state dict."""
        return hooks.add(self._load_state_dict_pre_hooks, Hook(hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after the module is read from a state dict."""
        return hooks.add(self._load_state_dict_post_hooks, Hook(hook))

    # ---- what it looks like ----

    def extra_repr(self) -> str:
        """What a subclass wants shown of itself."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): {indented(repr(m))}" for name, m in self._modules.items()]
        if not children and len(extra) <= 1:
            return f"{self._get_name()}({''.join(extra)})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*extra, *children]) + "\n)"


def indented(text: str, by: int = 2) -> str:
    """A text whose lines but the first stand further to the right."""
    return text.replace("\n", "\n" + " " * by)


def type_name(v: Any) -> str:
    """What torch calls the type of a value in an error."""
    return f"torch.{v.dtype.legacy}Tensor" if type(v) is Tensor else words.type_name(v)


__all__ = [
    "Module",
    "indented",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "type_name",
]
