"""Products of matrices and vectors, and the forms that add one to a tensor.

torch's matmul is one of mm, mv, dot and bmm wherever the dimensions allow, and its backward nodes say which; so these
are ops, and the SDK's matmul picks by the dimensions. ``matmul`` is the rest: what broadcasts, and what folds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradwire_proto.catalog.declare import Op, op
from gradwire_proto.catalog.meta import broadcast_shapes, common_dtype, wrap_dim
from gradwire_proto.dtypes import BY_NAME, Category, DType, bool_
from gradwire_proto.spec import Spec, spec

C_NAMES = {
    BY_NAME[ours]: theirs
    for ours, theirs in {
        "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
        "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float",
        "float64": "double", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
    }.items()
}  # fmt: skip
"""Element types as the oldest of torch's errors spell them."""


def _same_dtype(a: Spec, b: Spec, text: str) -> DType:
    if a.dtype is not b.dtype:
        raise RuntimeError(text)
    return a.dtype


def _no_bool(d: DType, what: str) -> None:
    if d is bool_:
        raise NotImplementedError(f"\"{what}\" not implemented for 'Bool'")


def check_mm(a: Sequence[int], b: Sequence[int]) -> None:
    if a[-1] != b[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")


def _check_mv(input: int, mat: Sequence[int], vec: int) -> None:
    if mat[1] != vec or input not in (mat[0], 1):
        raise RuntimeError(f"size mismatch, got input ({input}), mat ({mat[0]}x{mat[1]}), vec ({vec})")


def _mm_dtype(a: Spec, b: Spec) -> DType:
    d = _same_dtype(
        a, b, f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[a.dtype]} != {C_NAMES[b.dtype]}"
    )
    _no_bool(d, "addmm_impl_cpu_")
    return d


def _mm(op: Op, input: Spec, mat2: Spec) -> Spec:
    for name, m in (("self", input), ("mat2", mat2)):
        if m.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    check_mm(input.shape, mat2.shape)
    return spec((input.shape[0], mat2.shape[1]), _mm_dtype(input, mat2))


def _mv_dtype(input: Spec, mat: Spec, vec: Spec) -> DType:
    if not input.dtype is mat.dtype is vec.dtype:
        names = f"{input.dtype.legacy}, {mat.dtype.legacy}, and {vec.dtype.legacy}"
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {names}")
    _no_bool(mat.dtype, "addmv_impl_cpu")
    return mat.dtype


def _mv(op: Op, input: Spec, vec: Spec) -> Spec:
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    _check_mv(input.shape[0], input.shape, vec.shape[0])
    return spec(input.shape[:1], _mv_dtype(vec, input, vec))


def _check_bmm(a: Sequence[int], b: Sequence[int]) -> None:
    if (a[0], a[2]) != (b[0], b[1]):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but got: "
            f"[{b[0]}, {b[1]}]."
        )


def _bmm_dtype(a: Spec, b: Spec) -> DType:
    d = _same_dtype(a, b, f"expected scalar type {a.dtype.legacy} but found {b.dtype.legacy}")
    _no_bool(d, "baddbmm_cpu")
    return d


def _bmm(op: Op, input: Spec, mat2: Spec) -> Spec:
    for name, m in (("batch1", input), ("batch2", mat2)):
        if m.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    _check_bmm(input.shape, mat2.shape)
    return spec((*input.shape[:2], mat2.shape[2]), _bmm_dtype(input, mat2))


def _dot(op: Op, input: Spec, other: Spec) -> Spec:
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors")
    d = _same_dtype(
        input, other,
        f"dot : expected both vectors to have same dtype, but found {input.dtype.legacy} and {other.dtype.legacy}",
    )  # fmt: skip
    if input.shape != other.shape:
        n, m = input.shape[0], other.shape[0]
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same number of elements, "
            f"but got {n} and {m} elements respectively"
        )
    _no_bool(d, op.name)
    return spec((), d)


def _matmul(op: Op, input: Spec, other: Spec) -> Spec:
    a, b = input.shape, other.shape
    if not a or not b:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D"
        )
    if len(a) == len(b) == 1:
        return _dot(op, input, other)
    rows = math.prod(a[:-1])
    if len(b) == 1:
        _check_mv(rows, (rows, a[-1]), b[0])
        return spec(a[:-1], _mv_dtype(other, input, other))
    if len(b) == 2:
        check_mm((rows, a[-1]), b)
        return spec((*a[:-1], b[1]), _mm_dtype(input, other))
    batch = broadcast_shapes(a[:-2], b[:-2])
    n = math.prod(batch)
    _check_bmm((n, 1, a[-1]), (n, *b[-2:]))
    return spec((*batch, *a[-2:-1], b[-1]), _bmm_dtype(input, other))


def check_expands(have: Spec, want: tuple[int, ...]) -> None:
    """Raise torch's error where ``have`` does not expand to the shape ``want``."""
    lead = len(want) - have.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{have.dtype.legacy}Tensor{{{list(have.shape)}}}, size={list(want)}): the number of sizes "
            f"provided ({len(want)}) must be greater or equal to the number of dimensions in the tensor ({have.ndim})"
        )
    for i in reversed(range(lead, len(want))):
        if have.shape[i - lead] not in (1, want[i]):
            raise RuntimeError(
                f"The expanded size of the tensor ({want[i]}) must match the existing size ({have.shape[i - lead]}) "
                f"at non-singleton dimension {i}.  Target sizes: {list(want)}.  Tensor sizes: {list(have.shape)}"
            )


def _addmm(op: Op, input: Spec, mat1: Spec, mat2: Spec, beta: object, alpha: object) -> Spec:
    for name, m in (("mat1", mat1), ("mat2", mat2)):
        if m.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {m.ndim}-D tensor")
    shape = (mat1.shape[0], mat2.shape[1])
    check_mm(mat1.shape, mat2.shape)
    check_expands(input, shape)
    _same_dtype(input, mat2, f"self and mat2 must have the same dtype, but got {input.dtype.legacy} and "
                             f"{mat2.dtype.legacy}")  # fmt: skip
    d = _same_dtype(mat1, mat2, f"mat1 and mat2 must have the same dtype, but got {mat1.dtype.legacy} and "
                                f"{mat2.dtype.legacy}")  # fmt: skip
    _no_bool(d, "addmm_impl_cpu_")
    return spec(shape, d)


def _addmv(op: Op, input: Spec, mat: Spec, vec: Spec, beta: object, alpha: object) -> Spec:
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}")
    _check_mv(input.numel, mat.shape, vec.shape[0])
    return spec(mat.shape[:1], _mv_dtype(input, mat, vec))


def _vectors(name: str, *vectors: tuple[str, Spec]) -> None:
    for which, v in vectors:
        if v.ndim != 1:
            raise RuntimeError(f"{name}: Expected 1-D argument {which}, but got {v.ndim}-D")


def _addr(op: Op, input: Spec, vec1: Spec, vec2: Spec, beta: object, alpha: object) -> Spec:
    _vectors("addr", ("vec1", vec1), ("vec2", vec2))
    shape = (vec1.shape[0], vec2.shape[0])
    check_expands(input, shape)
    d = common_dtype((input, vec1, vec2))
    for name, v in (("beta", beta), ("alpha", alpha)):  # the others round, instead
        if d.category <= Category.INT and isinstance(v, (float, complex)):
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    return spec(shape, d)


def _outer(op: Op, input: Spec, vec2: Spec) -> Spec:
    _vectors("outer", ("self", input), ("vec2", vec2))
    return spec((input.shape[0], vec2.shape[0]), common_dtype((input, vec2)))


def _batches(input: Spec, batch1: Spec, batch2: Spec, shape: tuple[int, ...], beta: object, alpha: object) -> Spec:
    check_expands(input, shape)
    for name, m in (("batch1", batch1), ("batch2", batch2)):
        if m.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    _check_bmm(batch1.shape, batch2.shape)
    _same_dtype(input, batch1, f"Input dtypes must be the same, got: input {C_NAMES[input.dtype]}, batch1: "
                               f"{C_NAMES[batch1.dtype]}, batch2: {C_NAMES[batch2.dtype]}")  # fmt: skip
    d = _bmm_dtype(batch1, batch2)
    return spec(shape, d)


def _addbmm(op: Op, input: Spec, batch1: Spec, batch2: Spec, beta: object, alpha: object) -> Spec:
    shape = (batch1.shape[wrap_dim(1, batch1.ndim)], batch2.shape[wrap_dim(2, batch2.ndim)])
    return _batches(input, batch1, batch2, shape, beta, alpha)


def _baddbmm(op: Op, input: Spec, batch1: Spec, batch2: Spec, beta: object, alpha: object) -> Spec:
    rows, columns = batch1.shape[wrap_dim(1, batch1.ndim)], batch2.shape[wrap_dim(2, batch2.ndim)]
    return _batches(input, batch1, batch2, (batch1.shape[0], rows, columns), beta, alpha)


def _linear(op: Op, input: Spec, weight: Spec, bias: Spec | None) -> Spec:
    if not input.ndim or not weight.ndim:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {input.ndim}D and {weight.ndim}D"
        )
    if weight.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {weight.ndim}D")
    rows = math.prod(input.shape[:-1])
    if weight.ndim == 1:
        if bias is not None:
            raise RuntimeError("mat2 must be a matrix, got 1-D tensor")
        _check_mv(rows, (rows, input.shape[-1]), weight.shape[0])
        return spec(input.shape[:-1], _mv_dtype(weight, input, weight))
    check_mm((rows, input.shape[-1]), weight.shape[::-1])
    out = (*input.shape[:-1], weight.shape[0])
    if bias is not None:
        check_expands(bias, (rows, weight.shape[0]) if bias.ndim <= 1 else out)
        _same_dtype(bias, weight, f"self and mat2 must have the same dtype, but got {bias.dtype.legacy} and "
                                  f"{weight.dtype.legacy}")  # fmt: skip
        _same_dtype(input, weight, f"mat1 and mat2 must have the same dtype, but got {input.dtype.legacy} and "
                                   f"{weight.dtype.legacy}")  # fmt: skip
    return spec(out, _mm_dtype(input, weight))


def _cross(op: Op, input: Spec, other: Spec, dim: int) -> Spec:
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    n, m = (x.shape[wrap_dim(dim, x.ndim)] for x in (input, other))
    if (n, m) != (3, 3):
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {n} and {m}")
    shape = broadcast_shapes(input.shape, other.shape)
    _no_bool(input.dtype, "cross")
    return spec(shape, _same_dtype(input, other, f"expected scalar type {input.dtype.legacy} but found "
                                                 f"{other.dtype.legacy}"))  # fmt: skip


op("mm(Tensor input, Tensor mat2) -> Tensor", meta=_mm, doc="Product of two matrices.")
op("mv(Tensor input, Tensor vec) -> Tensor", meta=_mv, doc="Product of a matrix and a vector.")
op("bmm(Tensor input, Tensor mat2) -> Tensor", meta=_bmm, doc="Products of two batches of matrices.")
op("dot(Tensor input, Tensor tensor) -> Tensor", meta=_dot, doc="Dot product of two vectors; nothing is conjugated.")
op("vdot(Tensor input, Tensor other) -> Tensor", meta=_dot, doc="Dot product of two vectors, the first conjugated.")
op("matmul(Tensor input, Tensor other) -> Tensor", meta=_matmul, public=False, node="UnsafeViewBackward0",
   doc="Matrix product over broadcast batches; a vector is a row on the left and a column on the right.")
op("outer(Tensor input, Tensor vec2) -> Tensor", meta=_outer, node="MulBackward0", alias=("ger",),
   doc="Every product of an element of one vector and an element of another.")
op("linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", meta=_linear, public=False, method=False,
   node="AddmmBackward0", alias=("nn.functional.linear",), doc="input @ weight.T + bias.")
op("addmm(Tensor input, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor", meta=_addmm,
   inplace=True, doc="beta * input + alpha * mat1 @ mat2.")
op("addmv(Tensor input, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor", meta=_addmv,
   inplace=True, doc="beta * input + alpha * mat @ vec.")
op("addr(Tensor input, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor", meta=_addr,
   inplace=True, doc="beta * input + alpha * outer(vec1, vec2).")
op("addbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor", meta=_addbmm,
   inplace=True, doc="beta * input + alpha * the sum of the products of a batch.")
op("baddbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor", meta=_baddbmm,
   inplace=True, doc="beta * input + alpha * batch1 @ batch2.")
op("linalg_cross(Tensor input, Tensor other, *, int dim=-1) -> Tensor", meta=_cross, public=False, method=False,
   alias=("linalg.cross",), doc="Cross products of the vectors of length 3 along a dim.")
