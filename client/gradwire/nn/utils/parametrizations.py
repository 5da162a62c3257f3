"""Parametrizations of weights: orthogonal, of spectral norm 1, and length apart from direction."""

from __future__ import annotations

from typing import Any

import gradwire as torch
from gradwire.autograd.grad_mode import no_grad
from gradwire.dispatch import ops
from gradwire.nn import functional as F
from gradwire.nn.conv import _ConvTransposeNd
from gradwire.nn.module import Module
from gradwire.nn.utils.parametrize import register_parametrization
from gradwire.tensor import Tensor


def _weight(module: Any, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


# ---- orthogonal ----


def _orthonormal(a: Any) -> Any:
    """The Q of a = QR whose R has a positive diagonal."""
    packed, tau = torch.geqrf(a)
    return torch.linalg.householder_product(packed, tau) * packed.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """A matrix, or several, with orthogonal columns, or rows if these are fewer, by one of the maps.

    ``matrix_exp`` and ``cayley`` are the exponential and the Cayley transform of A, the skew-symmetric matrix with the
    lower triangle of the original; ``householder`` has products of reflections. With ``base`` the result is base times
    that, so that any orthogonal matrix can be had with an original of -1 on the diagonal.
    """

    def __init__(self, weight: Any, orthogonal_map: str, *, use_trivialization: bool = True):
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Any) -> Any:
        wide = X.shape[-2] < X.shape[-1]
        if wide:
            X = X.mT
        n, k = X.shape[-2:]
        if self.orthogonal_map == "householder":
            a = X.tril(-1)
            tau = 2 / (1 + (a * a).sum(-2))
            q = torch.linalg.householder_product(a, tau) * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            lower = X.tril()
            if n != k:
                lower = torch.cat([lower, X.new_zeros(n, n - k).expand(*X.shape[:-2], -1, -1)], -1)
            skew = lower - lower.mH
            if self.orthogonal_map == "matrix_exp":
                q = torch.matrix_exp(skew)
            else:
                one = torch.eye(n, dtype=skew.dtype)
                q = torch.linalg.solve(one - skew / 2, one + skew / 2)
            q = q[..., :k] if n != k else q
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    @no_grad()
    def right_inverse(self, Q: Any) -> Any:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        wide = Q.shape[-2] < Q.shape[-1]
        q = Q.mT if wide else Q
        n, k = q.shape[-2:]
        if not hasattr(self, "base"):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            packed, tau = torch.geqrf(q)
            signs = packed.diagonal(dim1=-2, dim2=-1).sign()
            _with_diagonal(packed, torch.where(tau == 0, -signs, signs))
            return packed.mT if wide else packed
        if n != k:
            q = _orthonormal(torch.cat([q, torch.randn(*q.shape[:-2], n, n - k, dtype=q.dtype)], -1))
        else:
            near = torch.allclose(q.mH @ q, torch.eye(k, dtype=q.dtype), atol=10.0 * n * torch.finfo(q.dtype).eps)
            q = q.clone() if near else _orthonormal(q)
        self.base = q
        return _with_diagonal(torch.zeros_like(Q), torch.tensor(-1.0))


def _with_diagonal(matrix: Any, values: Any) -> Any:
    """Matrices with other numbers on the diagonal, in place."""
    matrix.diagonal(dim1=-2, dim2=-1).copy_(values)
    return matrix


def orthogonal(module: Any, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Any:  # fmt: skip
    """Have a weight, or each matrix of a batch, be orthogonal: its rows orthonormal, or its columns if these are fewer.

    Args:
        module: a layer.
        name: its weight.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; by default the first for square and complex matrices,
            else the last one.
        use_trivialization: start from the weight as it is, or from an orthogonal matrix near to it, which costs memory
            for that matrix.

    Raises:
        ValueError: no such weight, or map; less than two dimensions; complex numbers for "householder".

    >>> import gradwire as torch
    >>> m = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 2))
    >>> torch.allclose(m.weight @ m.weight.T, torch.eye(2), atol=1e-6)
    True
    """
    weight = _weight(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


# ---- length and direction ----


def norm_except(weight: Any, dim: int) -> Any:
    """The norm over all dimensions but one, which are kept; -1 for the norm of all."""
    if dim == -1:
        return ops.linalg_vector_norm(weight, 2)
    others = tuple(d for d in range(weight.ndim) if d != dim % weight.ndim)
    return ops.linalg_vector_norm(weight, 2, others, True)


class _WeightNorm(Module):
    """g v / |v|, where the originals are g, the length, and v, which only has the direction."""

    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> Any:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Have the length of a weight, for each index along ``dim`` or of it all where that is None, be a parameter apart
    from its direction (Salimans 2016).

    State dicts of :func:`gradwire.nn.utils.weight_norm` can be loaded.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_over(state_dict: Any, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_{part}" for part in "gv"]
        if all(k in state_dict for k in old):
            for i, k in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(k)

    module._register_load_state_dict_pre_hook(take_over)
    return module


# ---- spectral norm ----


def as_matrix(weight: Any, dim: int) -> Any:
    """A weight with one dimension first and all others as one."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.ndim) if d != dim))
    return weight.flatten(1)


class _SpectralNorm(Module):
    """A weight divided by its largest singular value, which the power method tracks: a step or more a forward pass in
    training, from where the last one ended. A vector is divided by its norm."""

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim % ndim, eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight, self.dim)
            for buffer, n in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                drawn = torch.randn(n, dtype=matrix.dtype)
                self.register_buffer(buffer, F.normalize(drawn, dim=0, eps=eps))
            self._iterate(matrix, 15)

    @no_grad()
    def _iterate(self, matrix: Any, times: int) -> None:
        for _ in range(times):
            F.normalize(matrix.mv(self._v), dim=0, eps=self.eps, out=self._u)
            F.normalize(matrix.H.mv(self._u), dim=0, eps=self.eps, out=self._v)

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # what is recorded is not to be overwritten by the next step
        return weight / torch.vdot(u, matrix.mv(v))

    def right_inverse(self, value: Any) -> Any:
        return value


def spectral_norm(module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Any:  # fmt: skip
    """Have a weight be divided by its largest singular value (Miyato 2018).

    Args:
        module: a layer.
        name: its weight, which is seen as a matrix with ``dim`` first: the outputs.
        n_power_iterations: steps of the power method a forward pass.
        eps: keeps norms from being 0.
        dim: 0 by default, and 1 for transposed convolutions.
    """
    weight = _weight(module, name)
    if dim is None:
        dim = 1 if isinstance(module, _ConvTransposeNd) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
