"""Losses: layers that call one function each, with the reduction's old names."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from gradwire.nn import functional as F
from gradwire.nn.activation import PairwiseDistance
from gradwire.nn.linear import Linear
from gradwire.nn.module import Module
from gradwire.nn.table import declared, named_inputs, with_constructor
from gradwire.tensor import Tensor


def _multi_margin(given: dict[str, Any]) -> None:
    if given["p"] not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    weight = given["weight"]
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.ndim}D instead")


def _has_margin(name: str, given: dict[str, Any]) -> None:
    if given["margin"] <= 0:
        raise ValueError(f"{name}: expected margin to be greater than 0, got {given['margin']} instead")


def _distance(given: dict[str, Any]) -> None:
    _has_margin("TripletMarginWithDistanceLoss", given)
    given["distance_function"] = given["distance_function"] or PairwiseDistance()


OLD = "size_average=None, reduce=None, reduction='mean'"
LOSSES = (
    (f"L1Loss({OLD})", "l1_loss"),
    (f"MSELoss({OLD})", "mse_loss"),
    (f"SmoothL1Loss({OLD}, beta=1.0)", "smooth_l1_loss"),
    ("HuberLoss(reduction='mean', delta=1.0)", "huber_loss"),
    ("NLLLoss(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean')", "nll_loss"),
    ("CrossEntropyLoss(weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
     "label_smoothing=0.0)", "cross_entropy"),
    (f"BCELoss(weight=None, {OLD})", "binary_cross_entropy"),
    (f"BCEWithLogitsLoss(weight=None, {OLD}, pos_weight=None)", "binary_cross_entropy_with_logits"),
    (f"KLDivLoss({OLD}, log_target=False)", "kl_div"),
    ("PoissonNLLLoss(log_input=True, full=False, size_average=None, eps=1e-08, reduce=None, reduction='mean')",
     "poisson_nll_loss"),
    ("GaussianNLLLoss(*, full=False, eps=1e-06, reduction='mean')", "gaussian_nll_loss"),
    (f"HingeEmbeddingLoss(margin=1.0, {OLD})", "hinge_embedding_loss"),
    (f"CosineEmbeddingLoss(margin=0.0, {OLD})", "cosine_embedding_loss"),
    (f"MarginRankingLoss(margin=0.0, {OLD})", "margin_ranking_loss"),
    (f"SoftMarginLoss({OLD})", "soft_margin_loss"),
    (f"MultiLabelMarginLoss({OLD})", "multilabel_margin_loss"),
    (f"MultiLabelSoftMarginLoss(weight=None, {OLD})", "multilabel_soft_margin_loss"),
    ("MultiMarginLoss(p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction='mean')",
     "multi_margin_loss", _multi_margin),
    ("TripletMarginLoss(margin=1.0, p=2.0, eps=1e-06, swap=False, size_average=None, reduce=None, "
     "reduction='mean')", "triplet_margin_loss", lambda given: _has_margin("TripletMarginLoss", given)),
    ("TripletMarginWithDistanceLoss(*, distance_function=None, margin=1.0, swap=False, reduction='mean')",
     "triplet_margin_with_distance_loss", _distance),
)  # fmt: skip


def _reduction(average: bool | None, reduce: bool | None, reduction: str, level: int) -> str:
    """What ``size_average`` and ``reduce`` say, where one is given."""
    if average is None and reduce is None:
        return reduction
    made = "none" if reduce is False else "sum" if average is False else "mean"
    text = f"size_average and reduce args will be deprecated, please use reduction='{made}' instead."
    warnings.warn(text, UserWarning, stacklevel=level)
    return made


class _Loss(Module):
    """A loss of one's own, with torch's arguments for its reduction."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"):
        super().__init__()
        self.reduction = _reduction(size_average, reduce, reduction, 3)


class _WeightedLoss(_Loss):
    """The same, with a weight among its buffers."""

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean"):  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


def _loss(text: str, function: str, check: Callable[[dict[str, Any]], None] = lambda given: None) -> type:
    name, told = declared(text)
    run = getattr(F, function)
    names = [p for p in told.parameters if p not in ("self", "size_average", "reduce")]

    def start(self: Any, given: dict[str, Any]) -> None:
        average, reduce = given.pop("size_average", None), given.pop("reduce", None)
        self.reduction = _reduction(average, reduce, given.pop("reduction"), 4)
        check(given)
        for k, v in given.items():
            if k in ("weight", "pos_weight"):
                self.register_buffer(k, v)
            else:
                setattr(self, k, v)

    def forward(self: Any, *inputs: Tensor, **named: Tensor) -> Any:
        if name == "PoissonNLLLoss" and "log_input" in named:
            named["input"] = named.pop("log_input")  # torch's name for its input, which is not what log_input says
        given = named_inputs(name, run, (*names, "size_average", "reduce"), named)
        return run(*inputs, **given, **{n: getattr(self, n) for n in names})

    doc = f"A layer of :func:`gradwire.nn.functional.{function}`."
    base = _WeightedLoss if "weight" in names else _Loss
    return with_constructor(name, told, (base,), doc, start, {"forward": forward})


CLASSES = {c.__name__: c for c in (_loss(*row) for row in LOSSES)}
globals().update(CLASSES)


class NLLLoss2d(CLASSES["NLLLoss"]):  # type: ignore[misc, name-defined]
    """:class:`NLLLoss` by an old name."""

    def __init__(self, *args: Any, **kwargs: Any):
        text = "`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement."
        warnings.warn(text, FutureWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


class LinearCrossEntropyLoss(Module):
    """A layer of :func:`gradwire.nn.functional.linear_cross_entropy`, with a :class:`Linear` inside.

    Args:
        in_features: of the input, (N, in_features) or (in_features).
        num_classes: how many there are.
        out_features: dimensions of the target after the batch.
        bias: whether the linear layer adds one.
        weight: of each class.
        options: accepted for torch's sake; they trade time for memory there.
    """

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (), bias: bool = False,
                 device: Any = None, dtype: Any = None, reduction: str = "mean", weight: Tensor | None = None,
                 ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None):  # fmt: skip
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__()
        self.register_buffer("weight", weight)
        self.num_classes, self.out_features, self.reduction = num_classes, out_features, reduction
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        scores = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, scores, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape, linear = (self.num_classes, *self.out_features), self.linear
        return F.linear_cross_entropy(  # type: ignore[no-any-return]
            input, linear.weight.reshape((*shape, linear.in_features)), target,  # type: ignore[attr-defined]
            linear_bias=None if linear.bias is None else linear.bias.reshape(shape),  # type: ignore[attr-defined]
            weight=self.weight, reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        names = ("num_classes", "out_features", "bias", "reduction", "ignore_index", "label_smoothing", "options")
        values = {**vars(self), "bias": self.linear.bias is not None}
        return ", ".join([f"in_features={self.linear.in_features}", *(f"{n}={values[n]}" for n in names)])


class CTCLoss(Module):
    """A layer of :func:`gradwire.nn.functional.ctc_loss`."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__()
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank,  # type: ignore[no-any-return]
                          self.reduction, self.zero_infinity)  # fmt: skip
