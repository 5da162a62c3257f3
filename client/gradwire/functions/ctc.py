"""Connectionist temporal classification: the loss over all alignments of a short sequence with a long one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.construct import tensor
from gradwire.functions.loss import check_reduction, reduced
from gradwire.tensor import Tensor
from gradwire_proto import dtypes

NEVER = -1e30
"""The logarithm of what can't be: no infinity, which would make gradients NaN, but one whose exponential is 0."""


def _lengths(given: Any, n: int, name: str) -> list[int]:
    """Lengths as numbers; reads them where they are a tensor."""
    found = given.reshape(-1).tolist() if isinstance(given, Tensor) else list(given)
    if len(found) != n:
        raise RuntimeError(f"{name} must be of size batch_size")
    return [int(x) for x in found]


def _padded(targets: Tensor, lengths: Sequence[int], longest: int) -> Tensor:
    """Targets in rows of one length; those behind one another are told apart by the lengths."""
    if targets.ndim == 2:
        return ops.slice(targets, 1, 0, longest, 1)
    if sum(lengths) > targets.shape[0]:
        raise RuntimeError(f"Expected targets to have {sum(lengths)} elements, but got {targets.shape[0]}")
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    last = max(targets.shape[0] - 1, 0)
    rows = [[min(s + k, last) for k in range(longest)] for s in starts]
    return targets[tensor(rows, dtype=dtypes.int64).reshape(len(rows), longest)]  # type: ignore[index, no-any-return]


def _alignments(log_probs: Tensor, labels: Tensor, blank: int, steps: Sequence[int]) -> Tensor:
    """The logarithms of the sums over all ways to be at each label at the end of an example's steps."""
    n_steps, n, _ = log_probs.shape
    width = labels.shape[1]
    emitted = ops.gather(log_probs, 2, ops.expand(labels, (n_steps, n, width)))
    before = ops.constant_pad_nd(ops.slice(labels, 1, 0, width - 2, 1), (2, 0), blank) if width > 2 else None
    jumps = None if before is None else (labels != blank) & (labels != before)
    place = tensor(list(range(width)), dtype=dtypes.int64)
    at = ops.where(place < 2, emitted[0], NEVER)
    ends = tensor(steps, dtype=dtypes.int64).unsqueeze(1) if min(steps) < n_steps else None  # type: ignore[attr-defined]
    for t in range(1, n_steps):
        ways = [at, ops.slice(ops.constant_pad_nd(at, (1, 0), NEVER), 1, 0, width, 1)]
        if jumps is not None:
            skipped = ops.slice(ops.constant_pad_nd(at, (2, 0), NEVER), 1, 0, width, 1)
            ways.append(ops.where(jumps, skipped, NEVER))
        new = ops.logsumexp(ops.stack(tuple(ways)), (0,)) + emitted[t]
        at = new if ends is None else ops.where(ends > t, new, at)
    return at


@export("nn.functional.ctc_loss")
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """The negative logarithm of the probability of the targets, over all alignments (Graves et al., ICML 2006).

    Args:
        log_probs: (steps, batch, classes) or (steps, classes), the logarithms of probabilities.
        targets: (batch, longest), or all behind one another.
        input_lengths, target_lengths: one for each example; a tensor's are read from the server.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length first.
        zero_infinity: 0 where no alignment exists, instead of inf.
    """
    check_reduction(reduction)
    if not 0 <= blank < log_probs.shape[-1]:
        raise RuntimeError("blank must be in label range")
    single = log_probs.ndim == 2
    if single:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)  # type: ignore[attr-defined]
    n_steps, n, _ = log_probs.shape
    steps = _lengths(input_lengths if isinstance(input_lengths, (Tensor, list, tuple)) else [input_lengths], n,
                     "input_lengths")  # fmt: skip
    lengths = _lengths(target_lengths if isinstance(target_lengths, (Tensor, list, tuple)) else [target_lengths], n,
                       "target_lengths")  # fmt: skip
    if max(steps, default=0) > n_steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {n_steps}, but got value {max(steps)} (while checking "
            "arguments for ctc_loss_allocate_outputs)"
        )
    longest = max(lengths, default=0)
    plain = _padded(targets, lengths, longest).to(dtypes.int64)  # type: ignore[attr-defined]
    # a blank before, between and after the labels
    pairs = ops.stack((ops.new_full(plain, tuple(plain.shape), blank), plain), 2).reshape(n, 2 * longest)
    at = _alignments(log_probs, ops.constant_pad_nd(pairs, (0, 1), blank), blank, steps)
    last = tensor([[2 * x, max(2 * x - 1, 0)] for x in lengths], dtype=dtypes.int64)
    found = ops.gather(at, 1, last)
    if min(lengths) == 0:  # then both places are one
        there = tensor([[True, x > 0] for x in lengths])
        found = ops.where(there, found, NEVER)
    loss = -ops.logsumexp(found, (1,))
    loss = ops.where(loss > -NEVER / 2, 0.0 if zero_infinity else float("inf"), loss)
    if single:
        loss = loss[0]
    if reduction == "mean":
        sizes = tensor([max(x, 1) for x in lengths], dtype=loss.dtype)
        return (loss / (sizes[0] if single else sizes)).mean()  # type: ignore[no-any-return]
    return reduced(loss, reduction)
