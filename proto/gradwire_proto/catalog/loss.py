"""Losses."""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.activation import need_float
from gradwire_proto.catalog.declare import Inferred, Meta, Op, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype
from gradwire_proto.dtypes import DType, float32, int64, uint8
from gradwire_proto.spec import Spec, spec


def statistic(dtype: DType) -> DType:
    """The type of sums that are kept for the backward: at least single precision."""
    return dtype if dtype.itemsize > 2 else float32


def _reduced(shape: tuple[int, ...], dtype: DType, reduction: str) -> Spec:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return spec(shape if reduction == "none" else (), dtype)


def _pairs(label: str) -> Meta:
    """The rule of a loss of tensors that broadcast against each other."""

    def rule(op: Op, *args: Any) -> Inferred:
        parts = [a for a in args if isinstance(a, Spec)]
        reduction = args[[p.name for p in op.params].index("reduction")]
        compute = common_dtype(parts)
        need_float(label, compute)
        shape = broadcast_shapes(*[a.shape for a in parts])
        return Inferred((_reduced(shape, compute, reduction),), compute)

    return rule


def _smooth_l1(op: Op, input: Spec, target: Spec, reduction: str, beta: float) -> Any:
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _pairs("smooth_l1_cpu")(op, input, target, reduction, beta)


def _huber(op: Op, input: Spec, target: Spec, reduction: str, delta: float) -> Any:
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _pairs("huber_cpu")(op, input, target, reduction, delta)


_BCE = {"binary_cross_entropy": "binary_cross_entropy", "binary_cross_entropy_with_logits": "log_sigmoid_cpu"}


def _bce(op: Op, input: Spec, target: Spec, weight: Spec | None, *rest: Any) -> Inferred:
    if target.shape != input.shape:
        raise ValueError(
            f"Target size (torch.Size({list(target.shape)})) must be the same as input size "
            f"(torch.Size({list(input.shape)}))"
            if op.name == "binary_cross_entropy_with_logits"
            else f"Using a target size (torch.Size({list(target.shape)})) that is different to the input size "
            f"(torch.Size({list(input.shape)})) is deprecated. Please ensure they have the same size."
        )
    if op.name == "binary_cross_entropy" and target.dtype is not input.dtype:
        raise RuntimeError(f"Found dtype {target.dtype.legacy} but expected {input.dtype.legacy}")
    if op.name == "binary_cross_entropy_with_logits" and rest[0] is not None:
        broadcast_shapes(rest[0].shape, input.shape)
    made: Inferred = _pairs(_BCE[op.name])(op, input, target, weight, *rest)
    return made


def check_classes(input: Spec, target: Spec, weight: Spec | None) -> None:
    """Raise torch's errors where class indices don't fit scores of shape (C), (N, C) or (N, C, ...)."""
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if input.ndim == 1 and target.ndim == 1 and target.shape != (1,):
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.shape[0]}")
    batch = target.shape[0] if target.ndim else 0
    if input.ndim > 1 and input.shape[0] != batch:
        raise ValueError(f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({batch}).")
    if input.ndim <= 2 and target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input.ndim > 2 and target.shape != _each(input):
        raise RuntimeError(f"Expected target size {list(_each(input))}, got {list(target.shape)}")
    if target.dtype not in (int64, uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.legacy}")
    classes = input.shape[min(input.ndim - 1, 1)]
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)}"
        )


def _each(input: Spec) -> tuple[int, ...]:
    """The shape of a class index for each score."""
    return () if input.ndim == 1 else (*input.shape[:1], *input.shape[2:])


def _nll(op: Op, input: Spec, target: Spec, weight: Spec | None, reduction: str, ignore_index: int) -> Spec:
    check_classes(input, target, weight)
    need_float("nll_loss_out_frame", input.dtype)
    return _reduced(_each(input), input.dtype, reduction)


def _cross_entropy(op: Op, input: Spec, target: Spec, weight: Spec | None, reduction: str, _: int) -> tuple[Spec, Spec]:
    need_float("log_softmax_lastdim_kernel_impl", input.dtype)
    check_classes(input, target, weight)
    each = (1,) if input.ndim == 1 else (input.shape[0], 1, *input.shape[2:])
    return _reduced(_each(input), input.dtype, reduction), spec(each, statistic(input.dtype))


def _like_input(op: Op, grad: Spec, input: Spec, *_: Any) -> Spec:
    return spec(input.shape, input.dtype)


op("mse_loss(Tensor input, Tensor target, str reduction='mean') -> Tensor", meta=_pairs("mse_cpu"), public=False,
   method=False, doc="(input - target) ** 2, its mean or its sum.")
op("smooth_l1_loss(Tensor input, Tensor target, str reduction='mean', float beta=1.0) -> Tensor",
   meta=_smooth_l1, public=False, method=False, node="SmoothL1LossBackward0",
   doc="Quadratic below beta, linear with slope 1 above.")
op("huber_loss(Tensor input, Tensor target, str reduction='mean', float delta=1.0) -> Tensor",
   meta=_huber, public=False, method=False, doc="Quadratic below delta, linear with slope delta above.")
op("soft_margin_loss(Tensor input, Tensor target, str reduction='mean') -> Tensor", meta=_pairs("soft_margin"),
   public=False, method=False, doc="log(1 + exp(-target * input)).")
op("binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, str reduction='mean') -> Tensor", meta=_bce,
   public=False, method=False, doc="Cross-entropy of probabilities of one class against another; logs stop at -100.")
op("binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, "
   "str reduction='mean') -> Tensor", meta=_bce, public=False, method=False,
   doc="Cross-entropy of sigmoid(input), stable.")
for _name, _node in (("nll_loss", "NllLossBackward0"), ("nll_loss2d", "NllLoss2DBackward0")):
    op(f"{_name}(Tensor input, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) "
       "-> Tensor", meta=_nll, public=False, method=False, node=_node,
       doc="Minus the score of each target class, weighted.")
op("nll_loss_backward(Tensor grad, Tensor input, Tensor target, Tensor? weight, str reduction, int ignore_index) "
   "-> Tensor", meta=_like_input, public=False, method=False, doc="Gradient of nll_loss.")
op("cross_entropy(Tensor input, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) -> "
   "(Tensor loss, Tensor logsumexp)", meta=_cross_entropy, public=False, method=False, node="NllLossBackward0",
   doc="nll_loss of log_softmax(input); the second result is for the backward.")
op("cross_entropy_backward(Tensor grad, Tensor input, Tensor target, Tensor? weight, Tensor logsumexp, str reduction, "
   "int ignore_index) -> Tensor", meta=_like_input, public=False, method=False, doc="Gradient of cross_entropy.")
