"""Products of matrices and vectors: torch's matmul, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.shape import viewed
from gradwire.out import stored
from gradwire.tensor import Tensor
from gradwire_proto.catalog.products import C_NAMES


@export("matmul", "linalg.matmul", "Tensor.matmul")
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix product; a vector is a row on the left and a column on the right, batches broadcast."""
    if out is not None:
        return stored("matmul", matmul(input, other), out, (input, other), False)
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


@export("Tensor.__matmul__")
def matmul_operator(self: Tensor, other: Any) -> Tensor:
    """``self @ other``."""
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


@export("inner", "Tensor.inner", out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension of both."""
    if not input.ndim or not other.ndim:
        return ops.mul(input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError("both inputs should have same dtype")
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@export("linalg.vecdot", out=True)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Dot products along a dim, the first conjugated."""
    if x.dtype is not y.dtype:
        raise RuntimeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found x of type {x.dtype.legacy} and y of "
            f"type {y.dtype.legacy} instead"
        )
    return ops.sum(ops.mul(ops.conj_physical(x) if x.is_complex() else x, y), dim)


@export("tensordot", out=True)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over several dims of both: the last of ``a`` and first of ``b``, or a list for each."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (tuple, list)):
        over_a, over_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    else:
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        over_a, over_b = list(range(-dims, 0)), list(range(dims))
    if len(over_a) != len(over_b):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(over_a, over_b, strict=True):
        if a.shape[i] == b.shape[j]:
            continue
        if 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j}"
            )
        a, b = (ops.sum(x, d, True, dtype=x.dtype) if y.shape[e] == 1 else x
                for x, d, y, e in ((a, i, b, j), (b, j, a, i)))  # fmt: skip
    over_a, over_b = [d % a.ndim for d in over_a], [d % b.ndim for d in over_b]
    free_a = [d for d in range(a.ndim) if d not in over_a]
    free_b = [d for d in range(b.ndim) if d not in over_b]
    shape = (*(a.shape[d] for d in free_a), *(b.shape[d] for d in free_b))
    inside = math.prod(a.shape[d] for d in over_a)
    left = viewed(arranged(a, [*free_a, *over_a]), (math.prod(a.shape[d] for d in free_a), inside))
    right = viewed(arranged(b, [*over_b, *free_b]), (inside, math.prod(b.shape[d] for d in free_b)))
    return viewed(ops.mm(left, right), shape)


def arranged(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Permuted; as it is where the order stays."""
    return x if list(dims) == list(range(x.ndim)) else ops.permute(x, tuple(dims))


@export("kron", "Tensor.kron", out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Every element of the one times the whole of the other, as blocks."""
    n = max(input.ndim, other.ndim)
    a, b = ((1,) * (n - x.ndim) + tuple(x.shape) for x in (input, other))
    left = viewed(input, tuple(s for size in a for s in (size, 1)))
    right = viewed(other, tuple(s for size in b for s in (1, size)))
    return viewed(ops.mul(left, right), tuple(i * j for i, j in zip(a, b, strict=True)))


@export("cross", "Tensor.cross", out=True)
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Cross products of vectors of length 3 along a dim; without one, the first of that size."""
    if dim is None:
        dim = next((d for d, size in enumerate(input.shape) if size == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return ops.linalg_cross(input, other, dim=dim)


@export("nn.functional.bilinear", "bilinear")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 @ weight @ input2 for each matrix of weight, plus bias."""
    if not input1.dtype is input2.dtype is weight.dtype:
        kinds = (C_NAMES[x.dtype] for x in (input1, input2, weight))
        raise RuntimeError(
            "All tensors must have the same dtype, got input1: {}, input2: {}, weight: {}".format(*kinds)
        )
    for d, (i, j) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=False)):
        if i != j:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {d}: got {i} and {j}")
    for which, x in ((1, input1), (2, input2)):
        if x.shape[-1] != weight.shape[which]:
            raise RuntimeError(
                f"bilinear(): input{which} size does not match weight size: got {x.shape[-1]} but expected "
                f"{weight.shape[which]}"
            )
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected {weight.shape[0]}"
        )
    rows = math.prod(input1.shape[:-1])
    out, n, m = weight.shape
    spread = ops.matmul(viewed(input1, (rows, n)), weight)  # (out, rows, m)
    made = ops.sum(ops.mul(spread, viewed(input2, (rows, m))), -1, dtype=weight.dtype)
    made = viewed(ops.transpose(made, 0, 1), (*input1.shape[:-1], out))
    return made if bias is None else ops.add(made, bias)


def cheapest(sizes: Sequence[int]) -> list[list[int]]:
    """Where to split each run of a chain of matrices, whose sizes these are, for the fewest multiplications."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return split


def chain(matrices: Sequence[Tensor]) -> Tensor:
    """The product of several matrices in the cheapest order."""
    split = cheapest([matrices[0].shape[0], *(m.shape[1] for m in matrices)])

    def product(i: int, j: int) -> Tensor:
        return matrices[i] if i == j else ops.mm(product(i, split[i][j]), product(split[i][j] + 1, j))

    return product(0, len(matrices) - 1)


@export("linalg.multi_dot", out=True)
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices in the cheapest order; the first and the last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for end, which in ((0, "first"), (-1, "last")):
        if tensors[end].ndim not in (1, 2):
            raise RuntimeError(f"multi_dot(): the {which} tensor must be 1D or 2D but got {tensors[end].ndim}D")
    for i, t in enumerate(tensors[1:-1], 1):
        if t.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.ndim}D")
    shape: list[int] = []
    first, last = tensors[0], tensors[-1]
    if first.ndim == 1:
        tensors[0] = ops.unsqueeze(first, 0)
    else:
        shape.append(first.shape[0])
    if last.ndim == 1:
        tensors[-1] = ops.unsqueeze(last, -1)
    else:
        shape.append(last.shape[1])
    for i, (a, b) in enumerate(zip(tensors, tensors[1:], strict=False)):
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a.shape)} and {list(b.shape)} cannot be "
                "multiplied"
            )
    return viewed(chain(tensors), tuple(shape))


@export("chain_matmul")
def chain_matmul(*matrices: Any) -> Tensor:
    """The product of several matrices in the cheapest order."""
    given: Sequence[Tensor] = matrices[0] if len(matrices) == 1 and isinstance(matrices[0], (tuple, list)) else matrices
    if not given:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for m in given:
        if m.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {m.ndim}, expected 2 instead.")
    return chain(given) if len(given) > 1 else ops.clone(given[0])
