"""Products of matrices and vectors, and linear algebra, which has batches of matrices anyhow."""

from __future__ import annotations

from typing import Any

from gradwire_proto.batching.declare import Call, lifted, rule


@rule("mm", "bmm", "matmul", "mv", "dot", "vdot", "outer")
def product(c: Call) -> Any:
    """As matmul broadcasts batches: vectors become matrices, and lose their side again."""
    a, b = c.seen
    if c.op.name == "outer":
        return c.ops.mul(c.ops.unsqueeze(c.given[0], -1), c.ops.unsqueeze(c.given[1], -2))
    left, right = c.given
    if c.op.name == "vdot":
        left = c.ops.conj_physical(left) if a.dtype.is_complex else left
    return _matmul(c, left, right, a.ndim, b.ndim)


def _matmul(c: Call, left: Any, right: Any, a: int, b: int) -> Any:
    """The product of batches of examples that have so many dimensions, or of one of them with one tensor."""
    batches = [left.ndim > a, right.ndim > b]
    if a == 1:
        left = c.ops.unsqueeze(left, -2)
    if b == 1:
        right = c.ops.unsqueeze(right, -1)
    rank = max(a, b, 2)
    left, right = (lifted(c, x, rank - max(n, 2)) if batch else x
                   for x, n, batch in zip((left, right), (a, b), batches, strict=True))  # fmt: skip
    made = c.ops.matmul(left, right)
    if b == 1:
        made = c.ops.squeeze(made, (-1,))
    if a == 1:
        made = c.ops.squeeze(made, (-1 if b == 1 else -2,))
    return made


@rule("addmm", "addmv", "addr", "addbmm", "baddbmm")
def sum_with_product(c: Call) -> Any:
    """beta * input + alpha * product; torch does not look at what is taken no times."""
    (a, b), (left, right) = c.seen[1:3], c.given[1:3]
    beta, alpha = c.seen[3:]
    if c.op.name == "addr":
        made = c.ops.mul(c.ops.unsqueeze(left, -1), c.ops.unsqueeze(right, -2))
    else:
        made = _matmul(c, left, right, a.ndim, b.ndim)
        if c.op.name == "addbmm":
            made = c.ops.sum(made, (-3,))
    if alpha != 1:
        made = c.ops.mul(made, alpha)
    if beta == 0:
        return made
    x = c.raised(0, len(c.want[0].shape))
    return c.ops.add(made, x if beta == 1 else c.ops.mul(x, beta))


@rule("linear")
def linear(c: Call) -> Any:
    """One weight for all examples is a longer batch; otherwise it is a product and a sum."""
    x, w, b = c.seen
    if not c.batched(1) and not c.batched(2):
        return c.ops.linear(c.given[0], w, b)
    weight = c.ops.transpose(c.given[1], -1, -2) if w.ndim == 2 else c.given[1]
    made = _matmul(c, c.given[0], weight, x.ndim, w.ndim)
    if b is None:
        return made
    return c.ops.add(made, c.raised(2, len(c.want[0].shape)))


CORES: dict[str, tuple[int, ...]] = {
    "linalg_inv_ex": (2,), "linalg_solve_ex": (2, 2), "linalg_solve_triangular": (2, 2), "linalg_cholesky_ex": (2,),
    "cholesky_solve": (2, 2), "cholesky_inverse": (2,), "det": (2,), "linalg_cofactor": (2,), "linalg_slogdet": (2,),
    "linalg_eigh": (2,), "linalg_eigvalsh": (2,), "linalg_eig": (2,), "linalg_eigvals": (2,), "linalg_svd": (2,),
    "linalg_svdvals": (2,), "linalg_lu_factor_ex": (2,), "linalg_ldl_factor_ex": (2,), "linalg_ldl_solve": (2, 1, 2),
    "linalg_geqrf": (2,), "linalg_permutation": (1,), "matrix_exp": (2,), "linalg_pinv": (2, 0, 0),
    "cdist_forward": (2, 2), "attention": (2, 2, 2, 2), "attention_backward": (2, 2, 2, 2, 2, 2, 1),
}  # fmt: skip
"""Of how many dimensions each argument of an op is, which may have batches of them in front that broadcast."""


@rule(*CORES)
def matrices(c: Call) -> Any:
    args = list(c.given)
    cores = {i: n for i, n in enumerate(CORES[c.op.name]) if i in c.tensors()}
    rank = max(c.seen[i].ndim - n for i, n in cores.items())
    for i, n in cores.items():
        if c.op.name == "attention_backward":  # which is told where to broadcast by its gradient
            args[i] = lifted(c, c.full(i), rank + n - c.seen[i].ndim)
        else:
            args[i] = c.raised(i, rank + n)
    return c.run(args)


@rule("linalg_qr")
def qr(c: Call) -> Any:
    q, r = c.run(c.given)
    return (c.ops.expand(q, (c.size, 0)), r) if c.seen[1] == "r" else (q, r)


@rule("trace")
def trace(c: Call) -> Any:
    return c.ops.sum(c.ops.diagonal(c.given[0], 0, 1, 2), (-1,))
