"""How ops are called on whole batches: a rule gets an op's arguments as an example sees them, and with the batches.

It returns the batch of results, along the first dimension, or None where it has no answer; then the op is called on
example after example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradwire import dispatch
from gradwire.dispatch import ops
from gradwire.tensor import Tensor
from gradwire_proto.catalog.declare import Op

Rule = Callable[[Op, list[Any], list[Any], Any], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def keep(f: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, f))
        return f

    return keep


def invoke(op: Op, values: Sequence[Any]) -> Any:
    """Call an op with its arguments in signature order."""
    n = sum(not p.keyword_only for p in op.params)
    named = zip(op.params[n:], values[n:], strict=True)
    return dispatch.call(op, values[:n], {p.name: v for p, v in named})


def _full(value: Any, seen: Any, level: Any) -> Any:
    """The batch, of one that isn't batched by repeating it."""
    return value if value is not seen else ops.expand(value, (level.size, *value.shape))


def _raised(x: Any, n: int) -> Any:
    """A batch of examples with ``n`` more dimensions in front."""
    for _ in range(n):
        x = ops.unsqueeze(x, 1)
    return x


def pointwise(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """Shapes are aligned at the right, so the batch goes left of the longest."""
    rank = max(v.ndim for v in values if isinstance(v, Tensor))
    specs = [v._spec if isinstance(v, Tensor) else v for v in values]
    if op.writes and rank > values[0].ndim:
        return None
    aligned = []
    for v, x in zip(values, inner, strict=True):
        if isinstance(v, Tensor) and v is not x and v.ndim < rank:
            x = _raised(x, rank - v.ndim)
        aligned.append(x)
    made = invoke(op, aligned)
    if op.writes:
        return made
    want = op.infer(specs).results
    several = made if isinstance(made, tuple) else (made,)
    # A number among tensors says less of the type than a batch of numbers.
    cast = [t if t.dtype is s.dtype else ops.to_dtype(t, s.dtype) for t, s in zip(several, want, strict=True)]
    return tuple(cast) if isinstance(made, tuple) else cast[0]


def _dim(d: int, ndim: int) -> int:
    return d + 1 if d >= 0 else d + ndim + 1


def _in_range(dims: Any, ndim: int) -> bool:
    return all(-ndim <= d < ndim for d in dims)


@rule("sum", "nansum", "mean", "var", "std", "var_mean", "std_mean", "amax", "amin", "any", "all", "count_nonzero",
      "logsumexp", "linalg_vector_norm")  # fmt: skip
def reduction(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    at = next(i for i, p in enumerate(op.params) if p.name == "dim")
    ndim = values[0].ndim
    dims = values[at]
    dims = tuple(range(ndim)) if dims is None or dims == () else dims if isinstance(dims, tuple) else (dims,)
    if not ndim or not _in_range(dims, ndim):
        return None
    args = list(inner)
    args[at] = tuple(_dim(d, ndim) for d in dims)
    return invoke(op, args)


@rule("prod", "max_dim", "min_dim", "argmax", "argmin", "median_dim", "nanmedian_dim", "mode", "kthvalue", "sort",
      "topk", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "softmax", "log_softmax", "select", "slice",
      "unbind", "split", "split_with_sizes", "unfold", "transpose", "diagonal", "flip", "roll")  # fmt: skip
def along(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """Ops of one tensor along dims that they name."""
    ndim = values[0].ndim
    args = list(inner)
    for i, p in enumerate(op.params):
        if p.name in ("dim", "dims", "dim0", "dim1", "dim2", "dimension"):
            v = values[i]
            dims = v if isinstance(v, tuple) else (v,)
            if v is None or not dims or not _in_range(dims, ndim):
                return None
            args[i] = tuple(_dim(d, ndim) for d in dims) if isinstance(v, tuple) else _dim(v, ndim)
    return invoke(op, args)


@rule("clone", "detach", "alias", "to_dtype", "real", "imag", "tril", "triu", "linalg_inv_ex", "det",
      "linalg_cholesky_ex", "matrix_exp", "linalg_eigh", "linalg_eigvalsh", "linalg_svd", "linalg_svdvals",
      "linalg_qr", "linalg_slogdet")  # fmt: skip
def as_it_is(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """Ops that take batches in front anyhow."""
    return invoke(op, inner)


@rule("view")
def view(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    size = values[1]
    if -1 in size and not values[0].numel():
        return None
    known = math.prod(s for s in size if s != -1)
    if -1 in size and (not known or values[0].numel() % known):
        return None
    full = tuple(values[0].numel() // known if s == -1 else s for s in size)
    return ops.view(inner[0], (level.size, *full)) if math.prod(full) == values[0].numel() else None


@rule("expand")
def expand(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    x = _raised(inner[0], len(values[1]) - values[0].ndim)
    return ops.expand(x, (level.size, *values[1]))


@rule("permute")
def permute(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    ndim = values[0].ndim
    if len(values[1]) != ndim or not _in_range(values[1], ndim):
        return None
    return ops.permute(inner[0], (0, *[_dim(d, ndim) for d in values[1]]))


@rule("t")
def t(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    return ops.transpose(inner[0], 1, 2) if values[0].ndim == 2 else inner[0] if values[0].ndim < 2 else None


@rule("unsqueeze")
def unsqueeze(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    ndim = values[0].ndim + 1
    return ops.unsqueeze(inner[0], _dim(values[1], ndim)) if _in_range((values[1],), ndim) else None


@rule("squeeze")
def squeeze(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    ndim, dims = values[0].ndim, values[1]
    if dims is None:
        dims = tuple(d for d in range(ndim) if values[0].shape[d] == 1)
    if not ndim or not _in_range(dims, ndim):
        return None
    return ops.squeeze(inner[0], tuple(_dim(d, ndim) for d in dims)) if dims else ops.alias(inner[0])


@rule("cat", "stack")
def joined(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    ndim = values[0][0].ndim + (op.name == "stack")
    if any(v.ndim != values[0][0].ndim for v in values[0]) or not _in_range((values[1],), ndim):
        return None
    parts = tuple(_full(x, v, level) for x, v in zip(inner[0], values[0], strict=True))
    return invoke(op, [parts, _dim(values[1], ndim)])


@rule("mm", "bmm", "matmul", "mv", "dot")
def product(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """As torch's matmul broadcasts batches: vectors become matrices, and lose their side again."""
    a, b = values
    ranks = {"mm": (2, 2), "bmm": (3, 3), "mv": (2, 1), "dot": (1, 1)}.get(op.name)
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        return None
    if ranks is not None and ranks != (a.ndim, b.ndim):
        return None
    left, right = inner
    if a.ndim == 1:
        left = ops.unsqueeze(left, -2)
    if b.ndim == 1:
        right = ops.unsqueeze(right, -1)
    rank = max(a.ndim, b.ndim, 2)
    left, right = (_raised(x, rank - max(seen.ndim, 2)) if x.ndim > max(seen.ndim, 2) else x
                   for x, seen in ((left, a), (right, b)))  # fmt: skip
    made = ops.matmul(left, right)
    if b.ndim == 1:
        made = ops.squeeze(made, (-1,))
    if a.ndim == 1:
        made = ops.squeeze(made, (-1 if b.ndim == 1 else -2,))
    return made


@rule("linear")
def linear(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """One weight for all examples is a longer batch; otherwise it is a product and a sum."""
    x, w, b = values
    if x is not inner[0] and w is inner[1] and b is inner[2]:
        return ops.linear(inner[0], w, b)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[-1]:
        return None
    left = inner[0]
    weight = ops.transpose(inner[1], -1, -2)
    batched = left is not x
    if x.ndim == 1:
        left = ops.unsqueeze(left, -2)
    rank = max(x.ndim, 2)
    if weight.ndim == 3:
        weight = _raised(weight, rank - 2)
    made = ops.matmul(left, weight)
    if made.ndim == rank and not batched:  # the bias alone is batched
        made = ops.expand(made, (level.size, *made.shape))
    if x.ndim == 1:
        made = ops.squeeze(made, (-2,))
    if b is None:
        return made
    bias = inner[2]
    if bias is not b:
        bias = _raised(bias, x.ndim - 1)
    return ops.add(made, bias)


@rule("gather", "index_select")
def gather(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    x, dim, index = values[:3]
    if not x.ndim or not _in_range((dim,), x.ndim):
        return None
    if op.name == "index_select":
        return ops.index_select(inner[0], _dim(dim, x.ndim), index) if index is inner[2] else None
    if index.ndim != x.ndim:
        return None
    return ops.gather(_full(inner[0], x, level), _dim(dim, x.ndim), _full(inner[2], index, level))


@rule("convolution")
def convolution(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """Examples go to the batch where they share the weight, and to the groups where each has its own."""
    x, w, b = values[:3]
    rest, transposed, groups = inner[3:8], values[6], values[8]
    output_padding = inner[7]
    if w is inner[1] and b is inner[2]:
        made = invoke(op, [_folded(inner[0]), *inner[1:]])
        return ops.view(made, (level.size, x.shape[0], *made.shape[1:]))
    if transposed:
        return None
    each = ops.transpose(_full(inner[0], x, level), 0, 1)
    side = ops.clone(each)
    side = ops.view(side, (x.shape[0], level.size * x.shape[1], *x.shape[2:]))
    weight = _folded(_full(inner[1], w, level))
    bias = None if b is None else _folded(_full(inner[2], b, level))
    made = ops.convolution(side, weight, bias, *rest[:3], False, output_padding, groups * level.size)
    made = ops.view(made, (x.shape[0], level.size, w.shape[0], *made.shape[2:]))
    return ops.transpose(made, 0, 1)


def _folded(x: Any) -> Any:
    """The first two dimensions as one."""
    x = x if x._spec.contiguous else ops.clone(x)
    return ops.view(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


@rule("mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss")
def loss(op: Op, values: list[Any], inner: list[Any], level: Any) -> Any:
    """An element's losses for all, then reduced within each example."""
    x, y = values[:2]
    if x.ndim != y.ndim or x.shape != y.shape:
        return None
    args = [_full(inner[0], x, level), _full(inner[1], y, level), "none", *values[3:]]
    each = invoke(op, args)
    if values[2] == "none" or not x.ndim:
        return each
    return (ops.mean if values[2] == "mean" else ops.sum)(each, tuple(range(1, x.ndim + 1)))
