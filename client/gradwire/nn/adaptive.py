"""The adaptive softmax: classes that are rare share a cluster with a smaller layer (arXiv:1609.04309)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire.dispatch import ops
from gradwire.functions.construct import as_tensor
from gradwire.nn import functional as F
from gradwire.nn.containers import ModuleList, Sequential
from gradwire.nn.linear import Linear
from gradwire.nn.module import Module
from gradwire.tensor import Tensor


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of targets among many classes, which are sorted by how frequent they are.

    Args:
        in_features: the last dimension of the input.
        n_classes: how many there are.
        cutoffs: where the clusters begin; classes below the first have an output each in the head.
        div_value: by how much the layer of a cluster is smaller than that of the one before.
        head_bias: add one in the head.

    A forward pass reads the targets: they decide which clusters are computed for which rows.
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        given = list(cutoffs)
        if not given:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        rising = all(a < b for a, b in zip([0, *given], [*given, n_classes], strict=True))
        if not rising or any(int(c) != c for c in given):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        made = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*given, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = given[0], len(given)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            inner = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, inner, False, **made), Linear(inner, size, False, **made)))

    def reset_parameters(self) -> None:
        for layer in (self.head, *(layer for cluster in self.tail for layer in cluster)):
            layer.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> _ASMoutput:
        """The log-probability of each target, (N) or (), and the mean of their negatives.

        Args:
            input_: (N, in_features), or (in_features).
            target_: (N), or ().

        Raises:
            RuntimeError: the shapes don't fit, or a target is no class.
        """
        if target_.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if target_.ndim and input_.shape[0] != target_.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if input_.ndim != target_.ndim + 1:
            raise RuntimeError(
                f"{target_.ndim}D target tensor expects {target_.ndim + 1}D input tensors, but found inputs with size "
                f"{input_.shape}"
            )
        input = input_ if target_.ndim else input_.unsqueeze(0)
        classes = np.atleast_1d(target_._values())
        if classes.size and not 0 <= classes.min() <= classes.max() < self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{classes.min()}, "
                f"{classes.max()}] were found. "
            )
        cluster = np.searchsorted(self.cutoffs, classes, side="right")
        at = np.where(cluster == 0, classes, self.shortlist_size + cluster - 1)
        output = F.log_softmax(self.head(input), dim=1).gather(1, as_tensor(at).unsqueeze(1)).squeeze(1)
        for i, layer in enumerate(self.tail):
            rows = np.flatnonzero(cluster == i + 1)
            if rows.size:
                where, inside = as_tensor(rows), as_tensor(classes[rows] - self.cutoffs[i])
                within = F.log_softmax(layer(input.index_select(0, where)), dim=1).gather(1, inside.unsqueeze(1))
                output = output.index_add(0, where, within.squeeze(1))
        return _ASMoutput(output if target_.ndim else output.squeeze(0), (-output).mean())

    def log_prob(self, input: Any) -> Any:
        """Log-probabilities of all classes: (N, n_classes) of an input (N, in_features)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, layer in enumerate(self.tail):
            parts.append(F.log_softmax(layer(input), dim=1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return ops.cat(tuple(parts), 1)

    def predict(self, input: Any) -> Any:
        """The class of the highest probability, as torch tells it: where the head says none of a cluster's, it is one
        of the head's. (N) of an input (N, in_features)."""
        first = self.head(input).argmax(1)
        return ops.where(ops.lt(first, self.shortlist_size), first, self.log_prob(input).argmax(1))
