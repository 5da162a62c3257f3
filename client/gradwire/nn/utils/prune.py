"""Pruning: weights of which a mask sets some to zero, before each forward pass.

``name`` becomes ``name_orig`` (the parameter) times ``name_mask`` (a buffer).

>>> import gradwire as torch
>>> m = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(4, 2), "weight", amount=0.5)
>>> int((m.weight == 0).sum()), list(m.state_dict())
(4, ['bias', 'weight_orig', 'weight_mask'])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any

import gradwire as torch
from gradwire.nn.hooks import assign
from gradwire.nn.utils.clip import parameters_to_vector


class BasePruningMethod(ABC):
    """A forward hook that multiplies by a mask, and what makes the mask: a subclass's ``compute_mask``.

    A subclass says by ``PRUNING_TYPE`` what it prunes where something is pruned already: "unstructured", of the numbers
    that are left; "structured", of the slices along its ``dim`` that are left; "global", of all.
    """

    PRUNING_TYPE: str
    _tensor_name: Any

    def __call__(self, module: Any, inputs: Any) -> None:
        assign(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """A mask for scores ``t``, where ``default_mask`` is what there is."""

    def apply_mask(self, module: Any) -> Any:
        """The pruned tensor."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, orig = (getattr(module, self._tensor_name + part) for part in ("_mask", "_orig"))
        return mask.to(orig.dtype) * orig

    @classmethod
    def apply(cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prune a tensor of a module by a method with these arguments, on top of what was pruned."""
        before = [(i, h.f) for i, h in module._forward_pre_hooks.items() if _prunes(h, name)]
        if len(before) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. Use a "
                "PruningContainer."
            )
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        for i, old in before:
            del module._forward_pre_hooks[i]
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
        orig = getattr(module, name)
        if importance_scores is not None and importance_scores.shape != orig.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, got "
                f"{importance_scores.shape} vs {orig.shape}"
            )
        if before:
            mask = getattr(module, f"{name}_mask").detach().clone()
        else:
            module.register_parameter(f"{name}_orig", orig)
            del module._parameters[name]
            mask = torch.ones_like(orig)
        try:
            made = method.compute_mask(orig if importance_scores is None else importance_scores, default_mask=mask)
            module.register_buffer(f"{name}_mask", made)
            setattr(module, name, method.apply_mask(module))
            module.register_forward_pre_hook(method)
        except Exception:
            if not before:
                module.register_parameter(name, module._parameters.pop(f"{name}_orig"))
            raise
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """A pruned version of a tensor."""
        if importance_scores is not None and importance_scores.shape != t.shape:
            raise AssertionError(
                "importance_scores should have the same shape as tensor t, got "
                f"{importance_scores.shape} vs {t.shape}"
            )
        mask = torch.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(t if importance_scores is None else importance_scores, default_mask=mask)

    def remove(self, module: Any) -> None:
        """Have the pruned tensor be the parameter."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        orig = module._parameters.pop(f"{name}_orig")
        orig.data = weight.data
        del module._buffers[f"{name}_mask"]
        setattr(module, name, orig)


def _prunes(hook: Any, name: str | None) -> bool:
    return isinstance(hook.f, BasePruningMethod) and name in (None, hook.f._tensor_name)


class PruningContainer(BasePruningMethod):
    """Several methods for one tensor; each prunes what those before it left."""

    def __init__(self, *args: Any):
        self._pruning_methods: tuple[Any, ...] = ()
        if len(args) == 1:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Add one at the end."""
        if method is not None and not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to "
                f"PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask so far, with what the last method prunes of what is left."""
        method = self._pruning_methods[-1]
        left = _left(method, t, default_mask)
        made = default_mask.to(t.dtype, copy=True)
        made[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(made.dtype)
        return made


def _left(method: Any, t: Any, mask: Any) -> Any:
    """The index of what a method may prune."""
    if method.PRUNING_TYPE == "unstructured":
        return mask == 1
    every: list[Any] = [slice(None)] * t.ndim
    if method.PRUNING_TYPE == "structured":
        if not hasattr(method, "dim"):
            raise AttributeError(
                'Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.'
            )
        dim = method.dim if method.dim >= 0 else method.dim + t.ndim
        if dim < 0:
            raise IndexError(f"Index is out of bounds for tensor with dimensions {t.ndim}")
        every[dim] = mask.sum([d for d in range(t.ndim) if d != dim]) != 0
    elif method.PRUNING_TYPE != "global":
        raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
    return tuple(every)


class _Amount(BasePruningMethod):
    """A method that prunes so many: a number, or a fraction of what there is."""

    def __init__(self, amount: Any):
        if not isinstance(amount, Real):
            raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
        if amount < 0 or (not isinstance(amount, Integral) and amount > 1):
            raise ValueError(
                f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer"
            )
        self.amount = amount

    def _count(self, of: int) -> int:
        count = int(self.amount) if isinstance(self.amount, Integral) else round(self.amount * of)
        if count > of:
            raise ValueError(f"amount={count} should be smaller than the number of parameters to prune={of}")
        return count

    def _without_least(self, scores: Any, mask: Any) -> Any:
        """The mask without the numbers that have the least scores."""
        made = mask.clone()
        count = self._count(scores.numel())
        if count:
            made.view(-1)[torch.topk(scores.reshape(-1), count, largest=False).indices] = 0
        return made

    def _slices(self, t: Any, scores: Any, dim: int, mask: Any) -> Any:
        """The mask without the slices along ``dim`` that have the least of the scores, which ``scores()`` gives."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.ndim} dims"
            )
        if dim >= t.ndim:
            raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")
        n = t.shape[dim]
        count = self._count(n)
        if count == 0:
            return mask
        made = torch.zeros_like(t)
        kept = torch.topk(scores(), n - count, largest=True).indices
        made[(*[slice(None)] * (dim % t.ndim), kept)] = 1
        return made * mask.to(made.dtype)


class Identity(BasePruningMethod):
    """Prunes nothing, but has the tensor computed from its original and a mask of ones."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return default_mask


class RandomUnstructured(_Amount):
    """Prunes any numbers."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return self._without_least(torch.rand_like(t), default_mask)


class L1Unstructured(_Amount):
    """Prunes the numbers nearest to zero."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return self._without_least(torch.abs(t), default_mask)


class RandomStructured(_Amount):
    """Prunes any slices along a dimension."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1):
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return self._slices(t, lambda: torch.rand(t.shape[self.dim]), self.dim, default_mask)


class LnStructured(_Amount):
    """Prunes the slices along a dimension whose norm of order n is the least."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, n: Any, dim: int = -1):
        super().__init__(amount)
        self.n, self.dim = n, dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        others = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        return self._slices(t, lambda: torch.norm(t, p=self.n, dim=others), self.dim, default_mask)


class CustomFromMask(BasePruningMethod):
    """Prunes where a mask is 0."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any):
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Any, name: str) -> Any:
    """Prune by :class:`Identity`; the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: Any) -> Any:
    """Prune by :class:`RandomUnstructured`; the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Any, name: str, amount: Any, importance_scores: Any = None) -> Any:
    """Prune by :class:`L1Unstructured`, of the scores if there are any; the module."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: Any, dim: int) -> Any:
    """Prune by :class:`RandomStructured`; the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Any, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None) -> Any:
    """Prune by :class:`LnStructured`, of the scores if there are any; the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Any) -> Any:
    """Prune by :class:`CustomFromMask`; the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters: Any, pruning_method: Any, importance_scores: Any = None, **kwargs: Any) -> None:
    """Prune several tensors as if they were one.

    Args:
        parameters: pairs of a module and the name of one of its tensors.
        pruning_method: an unstructured one, called with ``kwargs``.
        importance_scores: scores of some of these pairs, in place of the tensors.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    pairs = list(parameters)
    tensors = [getattr(m, name) for m, name in pairs]
    by = parameters_to_vector([scores.get(pair, t) for pair, t in zip(pairs, tensors, strict=True)])
    masks = [getattr(m, f"{name}_mask", None) for m, name in pairs]
    ones = [torch.ones_like(t) if mask is None else mask for t, mask in zip(tensors, masks, strict=True)]
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
            f"{pruning_method} of type {method.PRUNING_TYPE}"
        )
    method._tensor_name = "all of them"
    final = PruningContainer(method).compute_mask(by, parameters_to_vector(ones))
    parts = torch.split(final, [t.numel() for t in tensors])
    for (m, name), t, part in zip(pairs, tensors, parts, strict=True):
        custom_from_mask(m, name, part.view_as(t))


def remove(module: Any, name: str) -> Any:
    """Have a pruned tensor be the parameter, and not be pruned any more; the module."""
    for i, hook in module._forward_pre_hooks.items():
        if _prunes(hook, name):
            hook.f.remove(module)
            del module._forward_pre_hooks[i]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Any) -> bool:
    """Whether a tensor of a module, or of one inside, is."""
    return any(_prunes(h, None) for m in module.modules() for h in m._forward_pre_hooks.values())
