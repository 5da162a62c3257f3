"""``weight_norm`` and ``spectral_norm`` as they were before parametrizations: hooks that compute a weight."""

from __future__ import annotations

import warnings
from typing import Any

from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.functions.creation import empty
from gradwire.nn import functional as F
from gradwire.nn.conv import _ConvTransposeNd
from gradwire.nn.hooks import assign
from gradwire.nn.parameter import Parameter, is_lazy
from gradwire.nn.utils.parametrizations import as_matrix, norm_except


class _Normed:
    """A forward hook that computes a weight from what is registered in its place."""

    kind: str
    parts: tuple[str, ...]
    """The suffixes of what is registered."""

    def __init__(self, name: str, dim: int):
        self.name, self.dim = name, dim

    def compute(self, module: Any, training: bool) -> Any:
        raise NotImplementedError

    def __call__(self, module: Any, args: Any) -> None:
        assign(module, self.name, self.compute(module, module.training))

    def start(self, module: Any) -> None:
        """Refuse what can't be, and begin to be called."""
        if _hook(module, type(self), self.name):
            raise RuntimeError(f"Cannot register two {self.kind} hooks on the same parameter {self.name}")
        weight, said = getattr(module, self.name), "".join(word.title() for word in self.kind.split("_"))
        if weight is None:
            raise ValueError(f"`{said}` cannot be applied as parameter `{self.name}` is None")
        if is_lazy(weight):
            raise ValueError(
                f"The module passed to `{said}` can't have uninitialized parameters. Make sure to run the dummy "
                f"forward before applying {self.kind.replace('_norm', '')} normalization"
            )
        self.split(module, weight)
        module.register_forward_pre_hook(self)

    def split(self, module: Any, weight: Any) -> None:
        raise NotImplementedError

    def remove(self, module: Any) -> None:
        with no_grad():
            weight = self.compute(module, False)
        for part in ("", *self.parts):
            delattr(module, self.name + part)
        module.register_parameter(self.name, Parameter(weight.detach()))


def _hook(module: Any, kind: type, name: str) -> tuple[int, Any] | None:
    """The number of the hook that computes a tensor, and the hook."""
    for i, h in module._forward_pre_hooks.items():
        if isinstance(h.f, kind) and h.f.name == name:
            return i, h.f
    return None


def _remove(module: Any, kind: type[_Normed], name: str) -> Any:
    found = _hook(module, kind, name)
    if found is None:
        raise ValueError(f"{kind.kind} of '{name}' not found in {module}")
    found[1].remove(module)
    del module._forward_pre_hooks[found[0]]
    return module


class WeightNorm(_Normed):
    """g v / |v|."""

    kind, parts = "weight_norm", ("_g", "_v")

    def compute(self, module: Any, training: bool) -> Any:
        g, v = (getattr(module, self.name + part) for part in self.parts)
        return v * (g / norm_except(v, self.dim))

    def split(self, module: Any, weight: Any) -> None:
        del module._parameters[self.name]
        data = weight.data
        module.register_parameter(f"{self.name}_g", Parameter(norm_except(data, self.dim)))
        module.register_parameter(f"{self.name}_v", Parameter(data))
        setattr(module, self.name, self.compute(module, False))


class SpectralNorm(_Normed):
    """A weight divided by its largest singular value, which the power method tracks."""

    kind, parts = "spectral_norm", ("_u", "_v", "_orig")

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        super().__init__(name, dim)
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.n_power_iterations, self.eps = n_power_iterations, eps

    def compute(self, module: Any, training: bool) -> Any:
        u, v, weight = (getattr(module, self.name + part) for part in self.parts)
        matrix = as_matrix(weight, self.dim)
        if training:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    F.normalize(ops.mv(ops.t(matrix), u), dim=0, eps=self.eps, out=v)
                    F.normalize(ops.mv(matrix, v), dim=0, eps=self.eps, out=u)
                u, v = u.clone(), v.clone()
        return weight / ops.dot(u, ops.mv(matrix, v))

    def split(self, module: Any, weight: Any) -> None:
        matrix = as_matrix(weight.detach(), self.dim)
        drawn = [empty(n, dtype=matrix.dtype).normal_() for n in matrix.shape]  # type: ignore[attr-defined]
        delattr(module, self.name)
        module.register_parameter(f"{self.name}_orig", weight)
        setattr(module, self.name, weight.data)
        for part, t in zip(("_u", "_v"), drawn, strict=True):
            module.register_buffer(self.name + part, F.normalize(t, dim=0, eps=self.eps))


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Have a weight be ``name_g`` times the direction of ``name_v``; ``parametrizations.weight_norm`` is its successor.

    Args:
        module: a layer.
        name: its weight.
        dim: for each index along it there is a length; None for one length of all.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm(name, -1 if dim is None else dim).start(module)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Have the weight be a parameter again."""
    return _remove(module, WeightNorm, name)


def spectral_norm(module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Any:  # fmt: skip
    """Have a weight be ``name_orig`` divided by its largest singular value; ``parametrizations.spectral_norm`` is its
    successor, and tells of the arguments."""
    if dim is None:
        dim = 1 if isinstance(module, _ConvTransposeNd) else 0
    SpectralNorm(name, n_power_iterations, dim, eps).start(module)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Have the weight be a parameter again."""
    return _remove(module, SpectralNorm, name)


__all__ = ["SpectralNorm", "WeightNorm", "remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]
