"""Losses with a margin as ``nn.functional`` has them: of rankings, embeddings, triplets and labels."""

from __future__ import annotations

from collections.abc import Callable

from gradwire.dispatch import check_constant, ops
from gradwire.export import export
from gradwire.functions.loss import check_reduction, reduced, reduction_of
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


@export("nn.functional.soft_margin_loss")
def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """``log(1 + exp(-target * input))``."""
    check_constant("soft_margin_loss", target=target)
    return ops.soft_margin_loss(input, target, reduction_of(size_average, reduce, reduction))


@export("nn.functional.hinge_embedding_loss")
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """``input`` where the target is 1, and how far it is below the margin where -1."""
    unlike = ops.where(target != 1, (margin - input).clamp_min(0), 0)
    like = ops.where(target != -1, input, 0)
    return reduced(unlike + like, reduction_of(size_average, reduce, reduction))


@export("nn.functional.margin_ranking_loss")
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:  # fmt: skip
    """How much the higher ranked of two (the first where the target is 1) lacks of its margin."""
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@export("nn.functional.cosine_embedding_loss")
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:  # fmt: skip
    """1 minus the cosine where the target is 1, and what it has above the margin where -1."""
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        want = "1D" if target.ndim == 0 else "2D"
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {want} input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    size = ((input1 * input1).sum(-1) + 1e-12) * ((input2 * input2).sum(-1) + 1e-12)
    cosine = (input1 * input2).sum(-1) / size.sqrt()
    loss = ops.where(target == 1, 1 - cosine, 0) + ops.where(target == -1, (cosine - margin).clamp_min(0), 0)
    return reduced(loss, reduction_of(size_average, reduce, reduction))


@export("nn.functional.triplet_margin_loss")
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: bool | None = None,
                        reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """How much closer than by the margin the anchor should be to the positive than to the negative."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        made: Tensor = (a - b + eps).norm(p, -1)
        return made

    reduction = reduction_of(size_average, reduce, reduction)
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=reduction
    )


@export("nn.functional.triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``triplet_margin_loss`` with a distance of one's own."""
    check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    distance = distance_function or (lambda a, b: (a - b + 1e-6).norm(2, -1))
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), reduction)


def _rows(input: Tensor) -> Tensor:
    """Scores with a row for each sample."""
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    return input.reshape(1, -1) if input.ndim < 2 else input


@export("nn.functional.multi_margin_loss")
def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                      size_average: bool | None = None, reduce: bool | None = None,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """How much each class lacks of being a margin below the target class, to the power of ``p``."""
    reduction = reduction_of(size_average, reduce, reduction)
    check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    check_constant("multi_margin_loss", weight=weight)
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    scores = _rows(input)
    batch, classes = scores.shape
    if target.ndim > 1 or target.numel() != batch:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{batch}], but got {list(target.shape)}. Input has shape "
            f"{list(input.shape)}."
        )
    if weight is not None and weight.numel() != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.legacy}")
    index = target.reshape(-1, 1)
    index = ops.require(index, (index >= 0) & (index < classes), "target out of range")
    loss = (margin - scores.gather(1, index) + scores).clamp_min(0) ** p
    if weight is not None:
        loss = loss * weight[index]
    loss = ops.scatter(loss, 1, index, 0).sum(1) / scores.shape[1]
    return reduced(loss.reshape(target.shape) if reduction == "none" else loss, reduction)


@export("nn.functional.multilabel_margin_loss")
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                           reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """How much each class lacks of being 1 below each target class. The first -1 ends a row of targets."""
    reduction = reduction_of(size_average, reduce, reduction)
    check_reduction(reduction)
    scores = _rows(input)
    if target.shape != input.shape and not (input.ndim < 2 and target.ndim < 2 and target.numel() == input.numel()):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    rows = tuple(scores.shape)
    classes = target.reshape(rows)
    classes = ops.require(classes, (classes >= -1) & (classes < rows[1]), "argument #2 'target' is out of range")
    listed = (classes >= 0).to(scores.dtype).cumprod(1)
    index = (classes * listed.to(classes.dtype)).clamp_min(0)
    hit = ops.scatter_add(scores.detach() * 0, 1, index, listed) > 0
    short = (1 - scores.gather(1, index).unsqueeze(2) + scores.unsqueeze(1)).clamp_min(0)
    short = (short * listed.unsqueeze(2)).masked_fill(hit.unsqueeze(1), 0)
    loss = short.sum((1, 2)) / rows[1]
    return reduced(loss.reshape(input.shape[:-1]) if reduction == "none" else loss, reduction)


@export("nn.functional.multilabel_soft_margin_loss")
def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:  # fmt: skip
    """Mean over the classes of the cross-entropy of each label on its own."""
    reduction = reduction_of(size_average, reduce, reduction)
    loss = -(target * ops.log_sigmoid(input) + (1 - target) * ops.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    at = input.ndim - 1  # of the loss, which may have more dims
    return reduced(loss.sum(at) / input.shape[at], reduction)
