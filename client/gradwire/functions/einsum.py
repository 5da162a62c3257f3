"""Einstein's notation, as permutations, products of batches of matrices, and sums."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.products import arranged
from gradwire.functions.shape import viewed
from gradwire.tensor import Tensor

LETTERS = string.ascii_uppercase + string.ascii_lowercase
Labels = tuple[str, ...]


def fail(text: str, kind: type[Exception] = RuntimeError) -> Exception:
    return kind(f"einsum(): {text}")


@export("einsum")
def einsum(*args: Any) -> Tensor:
    """``einsum("ij,jk->ik", a, b)``, or ``einsum(a, [0, 1], b, [1, 2], [0, 2])``."""
    if len(args) < 2:
        raise fail(
            "must specify the equation string and at least one operand, or at least one operand and its subscripts "
            "list", ValueError,
        )  # fmt: skip
    if isinstance(args[0], Tensor):
        equation, operands = written(args)
    else:
        equation = args[0]
        operands = list(args[1]) if len(args) == 2 and isinstance(args[1], (tuple, list)) else list(args[1:])
    inputs, output = parse(equation, operands)
    return contract([diagonals(x, labels, n) for n, (x, labels) in enumerate(zip(operands, inputs, strict=True))],
                    output)  # fmt: skip


def written(args: Sequence[Any]) -> tuple[str, list[Tensor]]:
    """The form with lists of numbers as an equation."""

    def text(subscripts: Sequence[Any]) -> str:
        made = ""
        for s in subscripts:
            if s is not Ellipsis and not 0 <= s < len(LETTERS):
                raise fail("subscript in subscript list is not within the valid range [0, 52)", ValueError)
            made += "..." if s is Ellipsis else LETTERS[s]
        return made

    pairs, rest = len(args) // 2, args[2 * (len(args) // 2) :]
    equation = ",".join(text(args[2 * i + 1]) for i in range(pairs))
    return equation + "".join("->" + text(r) for r in rest), [args[2 * i] for i in range(pairs)]


def subscripts(text: str, where: str) -> list[str]:
    """Letters, and ``...`` once."""
    found: list[str] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c == ".":
            if text[i : i + 3] != "..." or "..." in found:
                raise fail(f"found '.' for {where} that is not part of any ellipsis")
            found.append("...")
            i += 3
            continue
        if c not in LETTERS:
            raise fail(f"invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]")
        found.append(c)
        i += 1
    return found


def parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    """Labels of every dimension of the operands and of the result; those under an ellipsis are counted from behind."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        which = "fewer" if len(operands) < len(terms) else "more"
        raise fail(f"{which} operands were provided than specified in the equation")
    inputs: list[Labels] = []
    covered = 0
    for n, (term, x) in enumerate(zip(terms, operands, strict=True)):
        found = subscripts(term, f"operand {n}")
        rest = x.ndim - len(found) + found.count("...")
        if rest < 0 or (rest and "..." not in found):
            more = "is more than" if "..." in found else "does not match"
            missing = "" if "..." in found else " and no ellipsis was given"
            raise fail(
                f"the number of subscripts in the equation ({len(found) - found.count('...')}) {more} the number of "
                f"dimensions ({x.ndim}) for operand {n}{missing}"
            )
        covered = max(covered, rest if "..." in found else 0)
        inputs.append(tuple(_spread(found, rest)))
    ellipsis = [f".{i}" for i in reversed(range(covered))]
    seen = [c for labels in inputs for c in labels]
    if not arrow:
        letters = sorted(c for c in set(seen) if seen.count(c) == 1 and not c.startswith("."))
        return inputs, (*ellipsis, *letters)
    output = tuple(_spread(subscripts(right, "the output"), covered))
    for c in output:
        if output.count(c) > 1:
            raise fail(f"output subscript {c} appears more than once in the output")
        if c not in seen:
            raise fail(f"output subscript {c} does not appear in the equation for any input operand")
    return inputs, output


def _spread(found: Sequence[str], covered: int) -> list[str]:
    return [c for s in found for c in ([f".{i}" for i in reversed(range(covered))] if s == "..." else [s])]


def diagonals(x: Tensor, labels: Labels, operand: int) -> tuple[Tensor, Labels]:
    """An operand whose repeated labels are one dimension each."""
    left = list(labels)
    for c in labels:
        while left.count(c) > 1:
            i = left.index(c)
            j = left.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise fail(
                    f"subscript {c} is repeated for operand {operand} but the sizes don't match, {x.shape[j]} != "
                    f"{x.shape[i]}"
                )
            x = ops.diagonal(x, 0, i, j)
            left = [k for n, k in enumerate(left) if n not in (i, j)] + [c]
    return x, tuple(left)


def contract(operands: list[tuple[Tensor, Labels]], output: Labels) -> Tensor:
    """Multiply from left to right, summing what is not needed any more as soon as it is."""
    size: dict[str, int] = {}
    for n, (x, labels) in enumerate(operands):
        for d, (c, s) in enumerate(zip(labels, x.shape, strict=True)):
            if size.get(c, 1) != 1 and s not in (1, size[c]):
                raise fail(_no_broadcast(c, d, n, s, size[c]))
            size[c] = max(s, size.get(c, 1)) if s and size.get(c, 1) else 0
    operands = [narrow(x, labels, size) for x, labels in operands]
    made, have = operands[0]
    for i in range(1, len(operands) + 1):
        later = {c for _, labels in operands[i:] for c in labels}
        made, have = summed(made, have, {c for c in have if c not in later and c not in output})
        if i < len(operands):
            after = {c for _, labels in operands[i + 1 :] for c in labels}
            made, have = pair(made, have, *operands[i], after.union(output))
    for c in output:
        if c not in have:  # broadcast in every operand: the size is 1
            made, have = ops.unsqueeze(made, -1), (*have, c)
    return arranged(made, [have.index(c) for c in output])


def _no_broadcast(label: str, dim: int, operand: int, size: int, seen: int) -> str:
    if label.startswith("."):
        return (
            f"dimension {dim} covered by ellipsis in operand {operand}has size {size} which does not broadcast with "
            f"previously seen ellipsis with size {seen} for the respective dimension"
        )
    return (
        f"subscript {label} has size {size} for operand {operand} which does not broadcast with previously seen size "
        f"{seen}"
    )


def narrow(x: Tensor, labels: Labels, size: dict[str, int]) -> tuple[Tensor, Labels]:
    """An operand without the dimensions of size 1 that others broadcast."""
    drop = [d for d, c in enumerate(labels) if x.shape[d] != size[c]]
    if drop:
        x = ops.squeeze(x, tuple(drop))
    return x, tuple(c for d, c in enumerate(labels) if d not in drop)


def summed(x: Tensor, labels: Labels, over: set[str]) -> tuple[Tensor, Labels]:
    if not over:
        return x, labels
    dims = tuple(d for d, c in enumerate(labels) if c in over)
    return ops.sum(x, dims), tuple(c for c in labels if c not in over)


def pair(a: Tensor, in_a: Labels, b: Tensor, in_b: Labels, keep: set[str]) -> tuple[Tensor, Labels]:
    """The product of two operands, summed over what they share and nothing needs."""
    b, in_b = summed(b, in_b, {c for c in in_b if c not in keep and c not in in_a})
    batch = [c for c in in_a if c in in_b and c in keep]
    inner = [c for c in in_a if c in in_b and c not in keep]
    rows = [c for c in in_a if c not in in_b]
    columns = [c for c in in_b if c not in in_a]
    size = dict(zip((*in_a, *in_b), (*a.shape, *b.shape), strict=True))

    def shaped(x: Tensor, labels: Labels, *groups: list[str]) -> Tensor:
        x = arranged(x, [labels.index(c) for group in groups for c in group])
        want = tuple(math.prod(size[c] for c in group) for group in groups)
        return x if tuple(x.shape) == want else viewed(x, want)

    if not inner:
        made = ops.mul(ops.unsqueeze(shaped(a, in_a, batch, rows), -1),
                       ops.unsqueeze(shaped(b, in_b, batch, columns), -2))  # fmt: skip
    elif batch:
        made = ops.bmm(shaped(a, in_a, batch, rows, inner), shaped(b, in_b, batch, inner, columns))
    else:
        made = ops.mm(shaped(a, in_a, rows, inner), shaped(b, in_b, inner, columns))
    have = (*batch, *rows, *columns)
    want = tuple(size[c] for c in have)
    return made if tuple(made.shape) == want else viewed(made, want), have
