"""Losses: layers that call one function each, with the reduction's old names."""

from __future__ import annotations

import warnings
from typing import Any

from gradwire.nn import functional as F
from gradwire.nn.module import Module
from gradwire.nn.table import declared, with_constructor
from gradwire.tensor import Tensor

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
     "multi_margin_loss"),
    ("TripletMarginLoss(margin=1.0, p=2.0, eps=1e-06, swap=False, size_average=None, reduce=None, "
     "reduction='mean')", "triplet_margin_loss"),
    ("TripletMarginWithDistanceLoss(*, distance_function=None, margin=1.0, swap=False, reduction='mean')",
     "triplet_margin_with_distance_loss"),
)  # fmt: skip


def _reduction(given: dict[str, Any]) -> str:
    """What ``size_average`` and ``reduce`` say, where one is given."""
    average, reduce = given.pop("size_average", None), given.pop("reduce", None)
    if average is None and reduce is None:
        return given.pop("reduction")  # type: ignore[no-any-return]
    del given["reduction"]
    made = "none" if reduce is False else "sum" if average is False else "mean"
    text = f"size_average and reduce args will be deprecated, please use reduction='{made}' instead."
    warnings.warn(text, UserWarning, stacklevel=4)
    return made


def _loss(text: str, function: str) -> type:
    name, told = declared(text)
    run = getattr(F, function)
    names = [p for p in told.parameters if p not in ("self", "size_average", "reduce")]

    def start(self: Any, given: dict[str, Any]) -> None:
        self.reduction = _reduction(given)
        for k, v in given.items():
            if k in ("weight", "pos_weight"):
                self.register_buffer(k, v)
            else:
                setattr(self, k, v)

    def forward(self: Any, *inputs: Tensor) -> Any:
        return run(*inputs, **{n: getattr(self, n) for n in names})

    doc = f"A layer of :func:`gradwire.nn.functional.{function}`."
    return with_constructor(name, told, (Module,), doc, start, {"forward": forward})


CLASSES = {c.__name__: c for c in (_loss(*row) for row in LOSSES)}


class CTCLoss(Module):
    """A layer of :func:`gradwire.nn.functional.ctc_loss`."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__()
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank,  # type: ignore[no-any-return]
                          self.reduction, self.zero_infinity)  # fmt: skip
