"""Dropout: of numbers, of channels, and towards what selu makes of very negative numbers."""

from __future__ import annotations

import math
import warnings
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.tensor import Tensor


def _check(p: float, kind: type[Exception]) -> None:
    if not 0 <= p <= 1:
        raise kind(f"dropout probability has to be between 0 and 1, but got {p:g}" if kind is RuntimeError else
                   f"dropout probability has to be between 0 and 1, but got {p}")  # fmt: skip


def _noise(input: Tensor, p: float, features: bool) -> Tensor:
    """0 with probability ``p``, else 1, for each number, or for each channel."""
    shape = tuple(input.shape)
    if features:
        if input.ndim < 2:
            raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
        shape = (*shape[:2], *[1] * (input.ndim - 2))
    return ops.bernoulli(ops.full(shape, 1 - p, dtype=input.dtype))


def _plain(input: Tensor, p: float) -> Tensor:
    made: Tensor = ops.dropout(input, p)[0]
    return made


def _features(input: Tensor, p: float) -> Tensor:
    made: Tensor = input * (_noise(input, p, True) * (1 / (1 - p) if p < 1 else 0))
    return made


ALPHA = 1.7580993408473766
"""Where selu ends for large negative numbers: what alpha dropout sets numbers to."""


def _alpha(input: Tensor, p: float, features: bool = False) -> Tensor:
    if p == 1:
        return input * 0
    noise = _noise(input, p, features)
    a = 1 / math.sqrt((ALPHA * ALPHA * p + 1) * (1 - p))
    made: Tensor = input * (noise * a) + ((noise - 1) * (ALPHA * a) + ALPHA * a * p)
    return made


def _feature_alpha(input: Tensor, p: float) -> Tensor:
    return _alpha(input, p, True)


def _apply(run: Any, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if not training or p == 0 or not input.numel():
        return input
    made: Tensor = run(input, p)
    return input.copy_(made) if inplace else made


def _torch_form(name: str, run: Any) -> None:
    """torch's own ``name(input, p, train)`` and ``name_``."""

    def form(inplace: bool) -> Any:
        def f(input: Tensor, p: float, train: bool) -> Tensor:
            _check(p, RuntimeError)
            return _apply(run, input, p, train, inplace)

        f.__name__ = f.__qualname__ = f"{name}_" if inplace else name
        return f

    export(name)(form(False))
    export(f"{name}_")(form(True))


for _name, _run in (("dropout", _plain), ("feature_dropout", _features), ("alpha_dropout", _alpha),
                    ("feature_alpha_dropout", _feature_alpha)):  # fmt: skip
    _torch_form(_name, _run)


@export("native_dropout")
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """``dropout`` and the mask of what it kept."""
    _check(p, RuntimeError)
    output, mask = ops.dropout(input, p if train or train is None else 0.0)
    return output, mask


@export("nn.functional.dropout")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each number zeroed with probability ``p``, the others divided by ``1 - p``."""
    _check(p, ValueError)
    return _apply(_plain, input, p, training, inplace)


@export("nn.functional.alpha_dropout")
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance that ``selu`` makes."""
    _check(p, ValueError)
    return _apply(_alpha, input, p, training, inplace)


@export("nn.functional.feature_alpha_dropout")
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """``alpha_dropout`` of whole channels."""
    _check(p, ValueError)
    return _apply(_feature_alpha, input, p, training, inplace)


@export("nn.functional.dropout1d")
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of shape (L)."""
    _check(p, ValueError)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _channels(input, p, training, inplace, input.ndim == 3)


def _channels(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    if batched:
        return _apply(_features, input, p, training, inplace)
    made = _apply(_features, input.unsqueeze(0), p, training, False).squeeze(0)
    return input.copy_(made) if inplace else made


def _warn_of_dims(name: str, got: int, spatial: int) -> None:
    warnings.warn(
        f"{name}: Received a {got}-D input to {name}, which is deprecated and will result in an error in a future "
        "release. To retain the behavior and silence this warning, please use dropout instead. Note that "
        f"{name} exists to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel "
        f"dimension, and an optional batch dimension (i.e. {spatial + 1}D or {spatial + 2}D inputs).",
        stacklevel=3,
    )


@export("nn.functional.dropout2d")
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of shape (H, W)."""
    _check(p, ValueError)
    if input.ndim not in (3, 4):
        _warn_of_dims("dropout2d", input.ndim, 2)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
            "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    return _channels(input, p, training, inplace, True)


@export("nn.functional.dropout3d")
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of shape (D, H, W)."""
    _check(p, ValueError)
    if input.ndim not in (4, 5):
        _warn_of_dims("dropout3d", input.ndim, 3)
    return _channels(input, p, training, inplace, input.ndim == 5)
