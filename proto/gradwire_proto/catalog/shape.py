"""Views and rearrangements: view, expand, permute, cat, pad."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.spec import Spec, row_major, spec


def infer_size(size: Sequence[int], numel: int) -> tuple[int, ...]:
    """A shape in which one -1 stands for what is left.

    Raises:
        RuntimeError: torch's, where the sizes don't multiply to ``numel``.
    """
    known = math.prod(s for s in size if s != -1)
    if sum(s == -1 for s in size) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(s < -1 for s in size):
        raise RuntimeError(f"invalid shape dimension {min(size)}")
    if -1 in size:
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(size)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if numel % known == 0:
            return tuple(numel // known if s == -1 else s for s in size)
    elif known == numel:
        return tuple(size)
    raise RuntimeError(f"shape '{list(size)}' is invalid for input of size {numel}")


def view_strides(input: Spec, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides under which the memory of ``input`` reads as ``shape``, or None where only a copy would do."""
    if input.numel == 0:
        return row_major(shape)
    runs: list[list[int]] = []  # [elements, innermost stride] of each stretch that is dense in itself
    for size, step in zip(reversed(input.shape), reversed(input.strides), strict=True):
        if size == 1:
            continue
        if runs and step == runs[-1][0] * runs[-1][1]:
            runs[-1][0] *= size
        else:
            runs.append([size, step])
    strides: list[int] = []
    left, step = (runs[0][0], runs[0][1]) if runs else (1, 1)
    at = 0
    for size in reversed(shape):
        while left == 1 and size != 1 and at + 1 < len(runs):
            at += 1
            left, step = runs[at]
        strides.append(step)
        if left % size:
            return None
        left //= size
        step *= size
    return tuple(reversed(strides))


def _view(op: Op, input: Spec, size: Sequence[int]) -> Spec:
    shape = infer_size(size, input.numel)
    strides = view_strides(input, shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return spec(shape, input.dtype, strides)


def _expand(op: Op, input: Spec, size: Sequence[int]) -> Spec:
    lead = len(size) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand({input.dtype.legacy}Tensor{{{list(input.shape)}}}, size={list(size)}): the number of sizes "
            f"provided ({len(size)}) must be greater or equal to the number of dimensions in the tensor ({input.ndim})"
        )
    shape, strides = [], []
    for i, want in enumerate(size):
        have = input.shape[i - lead] if i >= lead else 1
        step = input.strides[i - lead] if i >= lead else 0
        if want == -1 and i < lead:
            raise RuntimeError(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
            )
        if want in (-1, have):
            shape.append(have)
            strides.append(step)
        elif have == 1:
            shape.append(want)
            strides.append(0)
        else:
            raise RuntimeError(
                f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(size)}.  Tensor sizes: {list(input.shape)}"
            )
    return spec(tuple(shape), input.dtype, tuple(strides))


op("view(Tensor(a) input, int[] size) -> Tensor(a)", meta=_view, public=False,
   doc="The same memory read as another shape.")
op("expand(Tensor(a) input, int[] size) -> Tensor(a)", meta=_expand, public=False,
   doc="Dimensions of size 1 repeated without copying.")
