"""Loops. Optimizers' updates: one pass over a parameter, its gradient and its state, which stay in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire_engine.loops.compiling import loop

PIECE = 1024
"""Elements that are done at a time, by a few arrays in each loop: there vectors are found."""


@loop
def adam(p: Any, grad: Any, mean: Any, square: Any, most: Any, beta1: Any, beta2: Any, eps: Any, decay: Any,
         shrink: Any, rate: Any, scale: Any, start: int, stop: int) -> None:  # fmt: skip
    """Of lines.

    Args:
        most: the largest squares there were, or an empty array.
        decay: what the gradient has of the parameter beside its own.
        shrink: what stays of the parameter before the step.
        rate: of the step, by the mean's correction.
        scale: of the root, by the squares' correction.
    """
    made, root = np.empty(PIECE, p.dtype), np.empty(PIECE, p.dtype)
    for at in range(start, stop, PIECE):
        end = min(stop, at + PIECE)
        w, g, m, s = p[at:end], grad[at:end], mean[at:end], square[at:end]
        for i in range(len(w)):
            made[i] = g[i] + w[i] * decay
        for i in range(len(m)):
            m[i] += (made[i] - m[i]) * (1 - beta1)
        for i in range(len(s)):
            s[i] = s[i] * beta2 + made[i] * made[i] * (1 - beta2)
        if len(most):
            largest = most[at:end]
            for i in range(len(s)):
                v = s[i]
                larger = (v > largest[i]) | (v != v)
                largest[i] = v if larger else largest[i]
            for i in range(len(s)):
                root[i] = math.sqrt(largest[i]) * scale + eps
        else:
            for i in range(len(s)):
                root[i] = math.sqrt(s[i]) * scale + eps
        for i in range(len(w)):
            w[i] = w[i] * shrink - m[i] / root[i] * rate
