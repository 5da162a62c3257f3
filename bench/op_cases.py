"""What `op_families.py` times: for each family ops with arguments of about as many numbers, and PyTorch's call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gradwire_proto import dtypes
from gradwire_proto.catalog import CATALOG
from gradwire_proto.catalog.declare import Op

Array = np.ndarray[Any, Any]


@dataclass
class Case:
    family: str
    name: str
    op: str
    args: tuple[Any, ...]
    """Of the op, in signature order; arrays where it takes tensors."""
    torch: Callable[..., Any]
    """PyTorch's call, of the arrays among ``args`` as tensors."""
    backward: bool = True


_rng = np.random.default_rng(0)


def rand(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    return _rng.uniform(low, high, shape).astype("f4")


def ints(high: int, *shape: int) -> Array:
    return _rng.integers(0, high, shape)


DOMAINS = {
    "acosh": (1.1, 4), "acos": (-0.9, 0.9), "asin": (-0.9, 0.9), "atanh": (-0.9, 0.9), "erfinv": (-0.9, 0.9),
    "special_ndtri": (0.1, 0.9), "logit": (0.1, 0.9), "mvlgamma": (3, 6), "special_zeta": (2, 6),
    **dict.fromkeys(["log", "log2", "log10", "log1p", "sqrt", "rsqrt", "pow", "lgamma", "digamma", "igamma", "igammac",
                     "xlogy", "special_xlog1py", "special_entr", "polar", "special_bessel_y0", "special_bessel_y1",
                     "special_modified_bessel_k0", "special_modified_bessel_k1", "special_scaled_modified_bessel_k0",
                     "special_scaled_modified_bessel_k1"], (0.1, 4)),
}  # fmt: skip
"""From where to where the arguments of an element-wise op go, if not from -2 to 2."""
NUMBERS: dict[str, tuple[Any, ...]] = {
    "threshold": (0.5, 0.0), "clamp": (-1.0, 1.0), "mvlgamma": (3,), "lerp": (0.3,),
}  # fmt: skip
"""What such an op takes besides its tensors, where there is no default."""
INTEGERS = {"gcd", "lcm", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift",
            "bitwise_right_shift"}  # fmt: skip
THEIRS: dict[str, Callable[..., Any]] = {
    "prelu_kernel": torch.prelu, "elu": F.elu, "sgn": torch.sgn, "log_sigmoid": F.logsigmoid,
    "isreal": torch.isreal, "conj_physical": torch.conj_physical,
}  # fmt: skip
"""PyTorch's function of another name."""
APART = {"softmax_backward", "log_softmax_backward", "rsub", "complex", "where", "masked_fill"}
"""What has lines of its own below, or none."""


def _theirs(name: str) -> Any:
    found = THEIRS.get(name)
    for module, n in ((F, name), (torch, name), (torch.special, name.removeprefix("special_"))):
        found = found or getattr(module, n, None)
    return found


def elementwise(n: int) -> Iterator[Case]:
    """Every element-wise op of the catalog that PyTorch has a function for."""
    for op in CATALOG.values():
        theirs = None if op.inplace_of or not op.pointwise or op.name in APART else _theirs(op.name)
        if theirs is None or op.random:
            continue
        numbers = NUMBERS.get(op.name, ())
        tensors = [p for p in op.params if p.is_tensor][: None if op.name not in ("clamp", "lerp") else -len(numbers)]
        if op.name == "prelu_kernel":
            arrays = [rand(n), rand(1)]
        elif op.name in INTEGERS:
            arrays = [ints(60, n) + 1 for _ in tensors]
        else:
            low, high = DOMAINS.get(op.name, (-2.0, 2.0))
            arrays = [rand(n, low=low, high=high) for _ in tensors]
        family = "special" if op.name in SPECIAL or op.name.startswith("special_") else \
            "elementwise" if op.differentiable else "comparison"  # fmt: skip
        yield Case(family, op.name, op.name, _filled(op, [*arrays, *numbers]),
                   lambda *a, f=theirs, x=numbers: f(*a, *x), op.differentiable and op.name not in UNKNOWN)  # fmt: skip
    x = rand(n)
    yield Case("special", "polygamma", "polygamma", (2, x + 3), partial(torch.polygamma, 2))
    yield Case("elementwise", "complex", "complex", (x, x), torch.complex)
    yield Case("elementwise", "add-scaled", "add", (x, x, 0.5), lambda a, b: torch.add(a, b, alpha=0.5))
    yield Case("elementwise", "add-row", "add", (rand(isqrt(n), isqrt(n)), rand(isqrt(n)), 1), torch.add)
    yield Case("elementwise", "mul-column", "mul", (rand(isqrt(n), isqrt(n)), rand(isqrt(n), 1)), torch.mul)
    yield Case("elementwise", "pow-2.5", "pow", (x + 3, 2.5), lambda a: torch.pow(a, 2.5))
    yield Case("elementwise", "frexp", "frexp", (x,), torch.frexp)
    yield Case("elementwise", "div-floor", "div", (x, x + 3, "floor"),
               lambda a, b: torch.div(a, b, rounding_mode="floor"))  # fmt: skip
    yield Case("elementwise", "gelu-tanh", "gelu", (x, "tanh"), lambda a: F.gelu(a, approximate="tanh"))
    yield Case("elementwise", "where", "where", (x > 0, x, x), torch.where)
    yield Case("elementwise", "masked_fill", "masked_fill", (x, x > 0, 1.0), lambda a, m: a.masked_fill(m, 1.0))
    yield Case("elementwise", "clone", "clone", (x,), torch.clone)
    yield Case("elementwise", "to_dtype", "to_dtype", (x, dtypes.float64), lambda a: a.to(torch.float64))


SPECIAL = {"erf", "erfc", "erfinv", "lgamma", "digamma", "i0", "mvlgamma", "igamma", "igammac", "xlogy"}
UNKNOWN = {"heaviside", "floor_divide", "igamma", "igammac", "special_zeta"}
"""Whose derivative nobody knows, if only for the first argument."""


def _filled(op: Op, args: list[Any]) -> tuple[Any, ...]:
    return (*args, *(p.default for p in op.params[len(args) :]))


def reductions(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, b = rand(k, k), rand(k, k, low=0.9, high=1.1)
    several: dict[str, Callable[..., Any]] = {
        "sum": torch.sum, "nansum": torch.nansum, "mean": torch.mean, "var": torch.var, "std": torch.std,
        "var_mean": torch.var_mean, "amax": torch.amax, "amin": torch.amin, "logsumexp": torch.logsumexp,
    }  # fmt: skip
    for name, f in several.items():
        for label, dim in (("all", (0, 1)), ("rows", (1,)), ("columns", (0,))):
            yield Case("reduction", f"{name}-{label}", name, _filled(CATALOG[name], [a, dim]), partial(f, dim=dim))
    for label, dim in (("all", None), ("rows", 1), ("columns", 0)):
        given = {} if dim is None else {"dim": dim}
        yield Case("reduction", f"prod-{label}", "prod", (b, dim, False, None), partial(torch.prod, **given))
        yield Case("reduction", f"argmax-{label}", "argmax", (a, dim, False), partial(torch.argmax, dim=dim), False)
        dims = None if dim is None else (dim,)
        yield Case("reduction", f"any-{label}", "any", (a > 3, dims, False), partial(torch.any, **given), False)
        yield Case("reduction", f"all-{label}", "all", (a < 3, dims, False), partial(torch.all, **given), False)
        yield Case("reduction", f"count_nonzero-{label}", "count_nonzero", (a, dims),
                   partial(torch.count_nonzero, dim=dim), False)  # fmt: skip
        for ord in (1, 2, 3.5, float("inf")):
            yield Case("reduction", f"norm{ord}-{label}", "linalg_vector_norm", (a, ord, dims, False, None),
                       partial(torch.linalg.vector_norm, ord=ord, dim=dims))  # fmt: skip
        if dim is not None:
            yield Case("reduction", f"max_dim-{label}", "max_dim", (a, dim, False), partial(torch.max, dim=dim))
            yield Case("reduction", f"aminmax-{label}", "aminmax", (a, dim, False), partial(torch.aminmax, dim=dim))
    yield Case("reduction", "max_all", "max_all", (a,), torch.max)


def softmaxes(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, t = rand(k, k), rand(16, n // 256, 16)
    for name in ("softmax", "log_softmax"):
        f = getattr(torch, name)
        yield Case("softmax", f"{name}-rows", name, (a, 1, None), partial(f, dim=1))
        yield Case("softmax", f"{name}-columns", name, (a, 0, None), partial(f, dim=0))
        yield Case("softmax", f"{name}-short", name, (t, 2, None), partial(f, dim=2))
        yield Case("softmax", f"{name}-middle", name, (t, 1, None), partial(f, dim=1))


def norms(n: int) -> Iterator[Case]:
    x, w, v, b = rand(n // 512, 512), rand(512), rand(32), rand(32)
    image = rand(n // (32 * 1024), 32, 32, 32)
    yield Case("norm", "layer_norm", "layer_norm", (x, (512,), w, w, 1e-5),
               lambda x, w, b: F.layer_norm(x, (512,), w, b))  # fmt: skip
    yield Case("norm", "layer_norm-plain", "layer_norm", (x, (512,), None, None, 1e-5),
               lambda x: F.layer_norm(x, (512,)))  # fmt: skip
    yield Case("norm", "rms_norm", "rms_norm", (x, (512,), w, 1e-5), lambda x, w: F.rms_norm(x, (512,), w, 1e-5))
    yield Case("norm", "group_norm", "group_norm", (image, 4, v, b, 1e-5), lambda x, w, b: F.group_norm(x, 4, w, b))
    yield Case("norm", "batch_norm", "batch_norm", (image, v, b, 1e-5),
               lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True))  # fmt: skip
    yield Case("norm", "batch_norm_eval", "batch_norm_eval", (image, v, abs(b), v, b, 1e-5),
               lambda x, m, s, w, b: F.batch_norm(x, m.detach(), s.detach(), w, b))  # fmt: skip


def convolutions(n: int) -> Iterator[Case]:
    def conv(label: str, x: Array, w: Array, b: Any = None, stride: int = 1, padding: int = 0, dilation: int = 1,
             groups: int = 1, transposed: bool = False) -> Case:  # fmt: skip
        d = x.ndim - 2
        f = getattr(F, f"conv_transpose{d}d" if transposed else f"conv{d}d")
        args = (x, w, b, (stride,) * d, (padding,) * d, (dilation,) * d, transposed, (0,) * d, groups)
        how = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
        return Case("convolution", label, "convolution", args, partial(f, **how))

    s = max(n // 250_000, 1)
    yield conv("conv1d", rand(4 * s, 16, 1000), rand(16, 16, 5))
    yield conv("conv2d-first", rand(32, 1, 28, 28), rand(8, 1, 5, 5))
    yield conv("conv2d-5x5", rand(32, 8, 12, 12), rand(16, 8, 5, 5))
    yield conv("conv2d-3x3", rand(s, 32, 64, 64), rand(32, 32, 3, 3), rand(32), padding=1)
    yield conv("conv2d-strided", rand(s, 16, 64, 64), rand(32, 16, 3, 3), rand(32), stride=2, padding=1)
    yield conv("conv2d-1x1", rand(2 * s, 64, 32, 32), rand(64, 64, 1, 1))
    yield conv("conv2d-depthwise", rand(2 * s, 32, 48, 48), rand(32, 1, 3, 3), padding=1, groups=32)
    yield conv("conv2d-dilated", rand(s, 16, 48, 48), rand(16, 16, 3, 3), dilation=2, padding=2)
    yield conv("conv3d", rand(s, 8, 16, 16, 16), rand(8, 8, 3, 3, 3), padding=1)
    yield conv("conv_transpose2d", rand(s, 32, 24, 24), rand(32, 16, 4, 4), stride=2, padding=1, transposed=True)
    image = rand(4 * s, 8, 64, 64)
    yield Case("convolution", "unfold", "im2col", (image, (3, 3), (1, 1), (1, 1), (1, 1)),
               partial(F.unfold, kernel_size=3, padding=1))  # fmt: skip
    yield Case("convolution", "fold", "col2im", (rand(s, 72, 4096), (64, 64), (3, 3), (1, 1), (1, 1), (1, 1)),
               partial(F.fold, output_size=(64, 64), kernel_size=3, padding=1))  # fmt: skip


def gathers(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, s, line = rand(k, k), rand(k, k), rand(n)
    at, rows, flat = ints(k, k, k), ints(k, k), ints(n, n)
    for label, d in (("rows", 1), ("columns", 0)):
        yield Case("index", f"gather-{label}", "gather", (a, d, at, False),
                   lambda a, i, d=d: torch.gather(a, d, i))  # fmt: skip
        yield Case("index", f"scatter-{label}", "scatter", (a, d, at, s),
                   lambda a, i, s, d=d: torch.scatter(a, d, i, s))  # fmt: skip
        yield Case("index", f"scatter_add-{label}", "scatter_add", (a, d, at, s),
                   lambda a, i, s, d=d: torch.scatter_add(a, d, i, s))  # fmt: skip
        for r in ("prod", "mean", "amax"):
            yield Case("index", f"scatter_{r}-{label}", "scatter_reduce", (a, d, at, s, r, True),
                       lambda a, i, s, d=d, r=r: torch.scatter_reduce(a, d, i, s, r))  # fmt: skip
        yield Case("index", f"index_select-{label}", "index_select", (a, d, rows),
                   lambda a, i, d=d: torch.index_select(a, d, i))  # fmt: skip
        yield Case("index", f"index_add-{label}", "index_add", (a, d, rows, s, 1),
                   lambda a, i, s, d=d: torch.index_add(a, d, i, s))  # fmt: skip
        yield Case("index", f"index_copy-{label}", "index_copy", (a, d, rows, s),
                   lambda a, i, s, d=d: torch.index_copy(a, d, i, s))  # fmt: skip
        yield Case("index", f"index_fill-{label}", "index_fill", (a, d, rows, 1.0),
                   lambda a, i, d=d: torch.index_fill(a, d, i, 1.0))  # fmt: skip
    yield Case("index", "gather-line", "gather", (line, 0, flat, False), lambda a, i: torch.gather(a, 0, i))
    yield Case("index", "scatter_add-line", "scatter_add", (line, 0, flat, line),
               lambda a, i, s: torch.scatter_add(a, 0, i, s))  # fmt: skip
    yield Case("index", "index-rows", "index", (a, (rows,)), lambda a, i: a[i])
    yield Case("index", "index-pairs", "index", (a, (at, at)), lambda a, i, j: a[i, j])
    yield Case("index", "index_put", "index_put", (a, (at, at), s, False),
               lambda a, i, j, s: torch.index_put(a, (i, j), s))  # fmt: skip
    yield Case("index", "index_put-accumulate", "index_put", (a, (at, at), s, True),
               lambda a, i, j, s: torch.index_put(a, (i, j), s, accumulate=True))  # fmt: skip
    yield Case("index", "take", "take", (a, at), torch.take)
    yield Case("index", "put", "put", (a, flat, line, False), torch.put)
    yield Case("index", "masked_scatter", "masked_scatter", (a, a > 0, s), torch.masked_scatter)
    yield Case("index", "embedding", "embedding", (rand(k, 64), ints(k, n // 64), -1, False, False),
               lambda w, i: F.embedding(i, w))  # fmt: skip
    yield Case("index", "one_hot", "one_hot", (ints(64, n // 64), 64), lambda i: F.one_hot(i, 64), False)
    yield Case("index", "nonzero", "nonzero", (a > 0, int((a > 0).sum())), torch.nonzero, False)


def orders(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, line = rand(k, k), rand(n)
    edges = np.sort(rand(1000))
    for label, x, d in (("line", line, 0), ("rows", a, 1), ("columns", a, 0)):
        yield Case("order", f"sort-{label}", "sort", (x, d, False, False), partial(torch.sort, dim=d))
        yield Case("order", f"sort-down-{label}", "sort", (x, d, True, False),
                   partial(torch.sort, dim=d, descending=True))  # fmt: skip
        yield Case("order", f"topk-{label}", "topk", (x, 10, d, True, True), partial(torch.topk, k=10, dim=d))
        yield Case("order", f"kthvalue-{label}", "kthvalue", (x, 10, d, False), partial(torch.kthvalue, k=10, dim=d))
        yield Case("order", f"median-{label}", "median_dim", (x, d, False), partial(torch.median, dim=d))
        yield Case("order", f"mode-{label}", "mode", (np.rint(x * 9), d, False), partial(torch.mode, dim=d))
        yield Case("scan", f"cumsum-{label}", "cumsum", (x, d, None), partial(torch.cumsum, dim=d))
        yield Case("scan", f"cumprod-{label}", "cumprod", (x / 100 + 1, d, None), partial(torch.cumprod, dim=d))
        yield Case("scan", f"cummax-{label}", "cummax", (x, d), partial(torch.cummax, dim=d))
        yield Case("scan", f"logcumsumexp-{label}", "logcumsumexp", (x, d), partial(torch.logcumsumexp, dim=d))
    yield Case("order", "sort-integers", "sort", (ints(n, n), 0, False, False), torch.sort, False)
    yield Case("order", "median_all", "median_all", (a,), torch.median)
    yield Case("order", "searchsorted", "searchsorted", (edges, a, False, False, None, None), torch.searchsorted, False)
    yield Case("order", "histc", "histc", (a, 100, -2, 2), lambda x: torch.histc(x, 100, -2, 2), False)
    yield Case("order", "bincount", "bincount_sized", (ints(1000, n), None, 1000), torch.bincount, False)


def pools(n: int) -> Iterator[Case]:
    s = max(n // (16 * 4096), 1)
    image, line, volume = rand(s, 16, 64, 64), rand(s, 16, 4096), rand(s, 16, 16, 16, 16)
    for label, x, d in (("1d", line, 1), ("2d", image, 2), ("3d", volume, 3)):
        f = {g: getattr(F, f"{g}_pool{d}d") for g in ("max", "avg", "adaptive_max", "adaptive_avg")}
        two, one, zero, three = (2,) * d, (1,) * d, (0,) * d, (3,) * d
        yield Case("pooling", f"max_pool{label}", f"max_pool{label}_with_indices", (x, two, two, zero, one, False),
                   partial(f["max"], kernel_size=2))  # fmt: skip
        yield Case("pooling", f"max_pool{label}-3", f"max_pool{label}_with_indices", (x, three, two, one, one, False),
                   partial(f["max"], kernel_size=3, stride=2, padding=1))  # fmt: skip
        yield Case("pooling", f"avg_pool{label}", f"avg_pool{label}", (x, two, two, zero, False, True, None),
                   partial(f["avg"], kernel_size=2))  # fmt: skip
        yield Case("pooling", f"avg_pool{label}-3", f"avg_pool{label}", (x, three, one, one, False, True, None),
                   partial(f["avg"], kernel_size=3, stride=1, padding=1))  # fmt: skip
        yield Case("pooling", f"adaptive_avg_pool{label}", f"adaptive_avg_pool{label}", (x, (5,) * d),
                   partial(f["adaptive_avg"], output_size=5))  # fmt: skip
        yield Case("pooling", f"adaptive_max_pool{label}", f"adaptive_max_pool{label}", (x, (5,) * d),
                   partial(f["adaptive_max"], output_size=5))  # fmt: skip


def resizes(n: int) -> Iterator[Case]:
    s = max(n // (16 * 4096), 1)
    shapes = {1: (s, 16, 2048), 2: (s, 16, 32, 32), 3: (s, 16, 8, 16, 8)}
    modes = [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest_exact", 2), ("linear", 1), ("bilinear", 2),
             ("trilinear", 3), ("bicubic", 2), ("bilinear_aa", 2), ("bicubic_aa", 2)]  # fmt: skip
    for mode, d in modes:
        x = rand(*shapes[d])
        size = tuple(2 * i for i in x.shape[2:])
        how: dict[str, Any] = {"antialias": True} if mode.endswith("_aa") else {}
        theirs = mode.removesuffix("_aa").replace("_", "-")
        yield Case("interpolation", f"{mode}{d}d", f"upsample_{mode}{d}d", (x, size, False, ()),
                   partial(F.interpolate, size=size, mode=theirs, **how))  # fmt: skip


def losses(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, b, p, q = rand(n), rand(n), rand(n, low=0.01, high=0.99), rand(n, low=0.01, high=0.99)
    sign, classes, images = np.sign(b), ints(k, k), ints(16, n // 4096 or 1, 16, 16)
    for name, x, y in (("mse_loss", a, b), ("smooth_l1_loss", a, b), ("huber_loss", a, b),
                       ("soft_margin_loss", a, sign), ("binary_cross_entropy", p, q),
                       ("binary_cross_entropy_with_logits", a, q)):  # fmt: skip
        f = getattr(F, name)
        yield Case("loss", name, name, _filled(CATALOG[name], [x, y]), f)
        yield Case("loss", f"{name}-none", name, _with_none(name, x, y), partial(f, reduction="none"))
    for name in ("nll_loss", "cross_entropy"):
        yield Case("loss", name, name, (rand(k, k), classes, None, "mean", -100), getattr(F, name))
    yield Case("loss", "cross_entropy-few", "cross_entropy", (rand(n // 10, 10), ints(10, n // 10), None, "mean", -100),
               F.cross_entropy)  # fmt: skip
    yield Case("loss", "cross_entropy-images", "cross_entropy",
               (rand(16, 16, images.shape[1], 16), ints(16, 16, images.shape[1], 16), None, "mean", -100),
               F.cross_entropy)  # fmt: skip


def _with_none(name: str, x: Array, y: Array) -> tuple[Any, ...]:
    args = _filled(CATALOG[name], [x, y])
    return (*args[:2], *("none" if isinstance(v, str) else v for v in args[2:]))


def matrices(n: int) -> Iterator[Case]:
    for label, a in (("small", rand(n // 64, 8, 8)), ("medium", rand(max(n // 2**14, 1), 128, 128))):
        m = a.shape[-1]
        spd = a @ a.swapaxes(-1, -2) + m * np.eye(m, dtype="f4")
        good, low = a + 4 * m**0.5 * np.eye(m, dtype="f4"), np.tril(a) + 4 * np.eye(m, dtype="f4")
        b = rand(*a.shape[:-1], 4)
        some = slice(None, max(1, len(a) // 8))
        yield Case("linalg", f"bmm-{label}", "bmm", (a, a), torch.bmm)
        yield Case("linalg", f"inv-{label}", "linalg_inv_ex", (good, None), torch.linalg.inv_ex)
        yield Case("linalg", f"solve-{label}", "linalg_solve_ex", (good, b, None), torch.linalg.solve_ex)
        yield Case("linalg", f"triangular-{label}", "linalg_solve_triangular", (low, b, False, True, False),
                   partial(torch.linalg.solve_triangular, upper=False))  # fmt: skip
        yield Case("linalg", f"cholesky-{label}", "linalg_cholesky_ex", (spd, False, None), torch.linalg.cholesky_ex)
        yield Case("linalg", f"cholesky_solve-{label}", "cholesky_solve", (b, low, False), torch.cholesky_solve)
        yield Case("linalg", f"cholesky_inverse-{label}", "cholesky_inverse", (low, False), torch.cholesky_inverse)
        yield Case("linalg", f"det-{label}", "det", (good / m**0.5 / 4,), torch.linalg.det)
        yield Case("linalg", f"slogdet-{label}", "linalg_slogdet", (good, ""), torch.linalg.slogdet)
        yield Case("linalg", f"qr-{label}", "linalg_qr", (good[some], "reduced"), torch.linalg.qr)
        yield Case("linalg", f"lu_factor-{label}", "linalg_lu_factor_ex", (good, None), torch.linalg.lu_factor_ex)
        yield Case("linalg", f"eigh-{label}", "linalg_eigh", (spd[some], "L"), torch.linalg.eigh)
        yield Case("linalg", f"eigvalsh-{label}", "linalg_eigvalsh", (spd[some], "L"), torch.linalg.eigvalsh)
        yield Case("linalg", f"eig-{label}", "linalg_eig", (a[some],), torch.linalg.eig, False)
        yield Case("linalg", f"svd-{label}", "linalg_svd", (good[some], False),
                   partial(torch.linalg.svd, full_matrices=False))  # fmt: skip
        yield Case("linalg", f"svdvals-{label}", "linalg_svdvals", (good[some],), torch.linalg.svdvals)
        yield Case("linalg", f"pinv-{label}", "linalg_pinv", (good[some], None, None, False), torch.linalg.pinv)
        yield Case("linalg", f"matrix_exp-{label}", "matrix_exp", (a[some] / m,), torch.linalg.matrix_exp)
        yield Case("linalg", f"geqrf-{label}", "linalg_geqrf", (a[some],), torch.geqrf, False)
        yield Case("linalg", f"ldl-{label}", "linalg_ldl_factor_ex", (spd[some], False), torch.linalg.ldl_factor_ex,
                   False)  # fmt: skip
    k = isqrt(n) // 2
    m, v = rand(k, k), rand(k)
    yield Case("linalg", "mm", "mm", (m, m), torch.mm)
    yield Case("linalg", "mv", "mv", (rand(2 * k, 2 * k), rand(2 * k)), torch.mv)
    yield Case("linalg", "dot", "dot", (rand(n), rand(n)), torch.dot)
    yield Case("linalg", "outer", "outer", (rand(2 * k), rand(2 * k)), torch.outer)
    yield Case("linalg", "addmm", "addmm", (m, m, m, 1, 1), torch.addmm)
    yield Case("linalg", "addmv", "addmv", (v, m, v, 1, 1), torch.addmv)
    yield Case("linalg", "addr", "addr", (rand(2 * k, 2 * k), rand(2 * k), rand(2 * k), 1, 1), torch.addr)
    yield Case("linalg", "linear", "linear", (m, m, v), F.linear)
    yield Case("linalg", "cross", "linalg_cross", (rand(n // 3, 3), rand(n // 3, 3), -1), torch.linalg.cross)
    yield Case("linalg", "trace", "trace", (rand(2 * k, 2 * k),), torch.trace)
    yield Case("linalg", "cdist", "cdist_forward", (rand(k, 16), rand(k, 16), 2.0, True), torch.cdist)
    yield Case("linalg", "cdist-1", "cdist_forward", (rand(k, 16), rand(k, 16), 1.0, False),
               partial(torch.cdist, p=1.0))  # fmt: skip
    yield Case("linalg", "pdist", "pdist", (rand(k, 16), 2.0), F.pdist)


def transforms(n: int) -> Iterator[Case]:
    k, p = isqrt(n), 2 ** (n.bit_length() - 1)
    rows, line, image = rand(k, k), rand(p), rand(max(n // 2**16, 1), 256, 256)
    for label, x, d in (("rows", rows, (1,)), ("line", line, (0,)), ("image", image, (1, 2))):
        z = (x + 1j * x[::-1]).astype("c8")
        yield Case("fft", f"fft-{label}", "fft_c2c", (z, d, "backward", True), partial(torch.fft.fftn, dim=d))
        yield Case("fft", f"rfft-{label}", "fft_r2c", (x, d, "backward", True), partial(torch.fft.rfftn, dim=d))
        half = np.fft.rfftn(x, axes=d).astype("c8")
        yield Case("fft", f"irfft-{label}", "fft_c2r", (half, d, "backward", x.shape[-1]),
                   partial(torch.fft.irfftn, dim=d))  # fmt: skip


def movements(n: int) -> Iterator[Case]:
    k = isqrt(n)
    a, image = rand(k, k), rand(max(n // (16 * 4096), 1), 16, 64, 64)
    yield Case("movement", "cat", "cat", ((a, a), 1), lambda *t: torch.cat(t, 1))
    yield Case("movement", "stack", "stack", ((a, a), 0), lambda *t: torch.stack(t))
    yield Case("movement", "flip", "flip", (a, (0, 1)), partial(torch.flip, dims=(0, 1)))
    yield Case("movement", "roll", "roll", (a, (3, 5), (0, 1)), partial(torch.roll, shifts=(3, 5), dims=(0, 1)))
    yield Case("movement", "repeat", "repeat", (a, (2, 2)), lambda x: x.repeat(2, 2))
    yield Case("movement", "tril", "tril", (a, 0), torch.tril)
    yield Case("movement", "pad", "constant_pad_nd", (image, (1, 1, 1, 1), 0.0), partial(F.pad, pad=(1, 1, 1, 1)))
    for mode in ("reflect", "replicate", "circular"):
        yield Case("movement", f"pad-{mode}", "pad_edges", (image, (1, 1, 1, 1), mode),
                   partial(F.pad, pad=(1, 1, 1, 1), mode=mode))  # fmt: skip
    yield Case("movement", "diagonal-sum", "diagonal_backward", (rand(k), (k, k), 0, 0, 1), torch.diag, False)


def attentions(n: int) -> Iterator[Case]:
    def sdpa(label: str, shape: tuple[int, ...], causal: bool) -> Case:
        q, k, v = (rand(*shape) for _ in range(3))
        return Case("attention", label, "attention", (q, k, v, None, causal, shape[-1] ** -0.5),
                    partial(F.scaled_dot_product_attention, is_causal=causal))  # fmt: skip

    yield sdpa("attention-64", (8, 4, 64, 32), False)
    yield sdpa("attention-64-causal", (8, 4, 64, 32), True)
    yield sdpa("attention-512", (max(n // 250_000, 1), 4, 512, 64), False)


def randoms(n: int) -> Iterator[Case]:
    k = isqrt(n)
    p, f4 = rand(n, low=0, high=1), dtypes.float32
    yield Case("random", "rand", "rand", ((n,), f4, None), lambda: torch.rand(n), False)
    yield Case("random", "randn", "randn", ((n,), f4, None), lambda: torch.randn(n), False)
    yield Case("random", "randint", "randint", (0, 1000, (n,), dtypes.int64, None),
               lambda: torch.randint(0, 1000, (n,)), False)  # fmt: skip
    yield Case("random", "randperm", "randperm", (n, dtypes.int64, None), lambda: torch.randperm(n), False)
    yield Case("random", "bernoulli", "bernoulli", (p, None), torch.bernoulli, False)
    yield Case("random", "poisson", "poisson", (p * 9, None), torch.poisson, False)
    yield Case("random", "binomial", "binomial", (np.full(n, 20, "f4"), p, None), torch.binomial, False)
    yield Case("random", "normal", "normal", (p, p + 1, None), torch.normal, False)
    yield Case("random", "dropout", "dropout", (p, 0.3), partial(F.dropout, p=0.3))
    yield Case("random", "multinomial", "multinomial", (rand(k, k, low=0, high=1), 10, True, None),
               partial(torch.multinomial, num_samples=10, replacement=True), False)  # fmt: skip
    for name, args in (("uniform_", (0.0, 1.0)), ("normal_", (0.0, 1.0)), ("exponential_", (1.0,)),
                       ("geometric_", (0.3,)), ("cauchy_", (0.0, 1.0)), ("log_normal_", (1.0, 2.0)),
                       ("bernoulli_", (0.5,)), ("random_", (0, 1000))):  # fmt: skip
        yield Case("random", name, name, (p, *args, None), lambda x, g=name, a=args: getattr(x, g)(*a), False)


FAMILIES: list[Callable[[int], Iterator[Case]]] = [
    elementwise, reductions, softmaxes, norms, convolutions, attentions, gathers, orders, pools, resizes, losses,
    matrices, transforms, movements, randoms,
]  # fmt: skip
