"""Losses as torch has them beside ``nn.functional``'s, with a number for the reduction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire.export import EXPORTS, export
from gradwire.functions import ctc, loss, margin_loss
from gradwire.tensor import Tensor

REDUCTIONS = {1: "mean", 2: "sum"}
"""What numbers mean but for those that mean none."""
LOSSES: dict[Callable[..., Tensor], str] = {
    loss.binary_cross_entropy_with_logits: "input target weight pos_weight reduction",
    margin_loss.cosine_embedding_loss: "input1 input2 target margin reduction",
    ctc.ctc_loss: "log_probs targets input_lengths target_lengths blank reduction zero_infinity",
    margin_loss.hinge_embedding_loss: "input target margin reduction",
    margin_loss.margin_ranking_loss: "input1 input2 target margin reduction",
    loss.poisson_nll_loss: "input target log_input full eps reduction",
    margin_loss.triplet_margin_loss: "anchor positive negative margin p eps swap reduction",
}
"""Their arguments in order."""


def _numbered(f: Callable[..., Tensor], names: Sequence[str]) -> Callable[..., Tensor]:
    def g(*args: Any, **kwargs: Any) -> Tensor:
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) > len(names):
            raise TypeError(f"{f.__name__}() takes {len(names)} positional arguments but {len(args)} were given")
        return f(**given | {"reduction": REDUCTIONS.get(given.get("reduction", 0), "none")})

    g.__name__ = g.__qualname__ = f.__name__
    g.__doc__ = f"As ``nn.functional.{f.__name__}``, with a reduction of 1 for the mean, 2 for the sum, and else none."
    return g


for _f, _names in LOSSES.items():
    EXPORTS[_f.__name__] = _numbered(_f, _names.split())


@export("kl_div")
def kl_div(input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False) -> Tensor:
    """As ``nn.functional.kl_div``, with a reduction of 1 for the mean, 2 for the sum, and else none."""
    made = loss.kl_div(input, target, reduction="none", log_target=log_target)
    return loss.reduced(made, REDUCTIONS.get(reduction, "none"))
