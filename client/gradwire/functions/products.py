"""Products of matrices and vectors: torch's matmul, and what is made of it."""

from __future__ import annotations

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.tensor import Tensor


@export("matmul", "linalg.matmul", "Tensor.matmul")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product; a vector is a row on the left and a column on the right, batches broadcast."""
    a, b = input.ndim, other.ndim
    if a == 2:
        if b == 2:
            return ops.mm(input, other)
        if b == 1:
            return ops.mv(input, other)
    elif a == b == 1:
        return ops.dot(input, other)
    elif a == b == 3 and input.shape[0] == other.shape[0]:
        return ops.bmm(input, other)
    return ops.matmul(input, other)
