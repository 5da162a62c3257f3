"""Random numbers, from the session's counter-based generator, or from one of the caller's.

A ``generator`` of one's own is a seed and the number of draws made from it before.
"""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.activation import need_float
from gradwire_proto.catalog.declare import Inferred, Meta, Op, check_writable, op
from gradwire_proto.catalog.meta import pointwise
from gradwire_proto.dtypes import Category, DType, bool_, int64, uint8
from gradwire_proto.spec import Spec, spec

C_NAMES = {
    "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int", "int64": "long int",
    "bool": "bool",
}  # fmt: skip
"""How torch's errors name integer types here."""


def _sized(label: str) -> Meta:
    def rule(op: Op, size: tuple[int, ...], dtype: DType, *_: Any) -> Spec:
        if dtype.category < Category.FLOAT:
            need_float(label, dtype)
        return spec(size, dtype)

    return rule


def check_range(low: int, high: int, dtype: DType) -> None:
    """Raise torch's errors where integers from ``low`` to below ``high`` are none, or more than a type holds."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if dtype.category > Category.INT:
        return
    bits = 1 if dtype is bool_ else 8 * dtype.itemsize - dtype.is_signed
    least = -(2**bits) if dtype.is_signed else 0
    for name, value in (("from", low), ("to - 1", high - 1)):
        if not least <= value < 2**bits:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype.name]}")


def _randint(op: Op, low: int, high: int, size: tuple[int, ...], dtype: DType, *_: Any) -> Spec:
    check_range(low, high, dtype)
    return spec(size, dtype)


def _randperm(op: Op, n: int, dtype: DType, *_: Any) -> Spec:
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype.category is Category.BOOL or dtype.is_complex:
        raise NotImplementedError(f"\"randperm\" not implemented for '{dtype.legacy}'")
    if dtype.category is Category.INT and n > 2 ** (8 * dtype.itemsize - dtype.is_signed):
        raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")
    return spec((n,), dtype)


def _like(label: str) -> Meta:
    def rule(op: Op, input: Spec, *_: Any) -> Spec:
        need_float(label, input.dtype)
        return spec(input.shape, input.dtype)

    return rule


def _normal(op: Op, mean: Any, std: Any, generator: Any) -> Inferred:
    if not isinstance(std, Spec) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    made: Inferred = pointwise(floats=True)(op, mean, std, generator)
    return made


def _binomial(op: Op, count: Spec, prob: Spec, generator: Any) -> Inferred:
    for name, x in (("count", count), ("prob", prob)):
        if not x.dtype.is_floating_point:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {x.dtype.legacy}")
    made: Inferred = pointwise()(op, count, prob, generator)
    return made


def _multinomial(op: Op, input: Spec, num_samples: int, replacement: bool, *_: Any) -> Spec:
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype.legacy}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if input.shape[-1] > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    return spec((*input.shape[:-1], num_samples), int64)


def _dropout(op: Op, input: Spec, p: float) -> tuple[Spec, Spec]:
    if not input.dtype.differentiable:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {input.dtype.legacy}")
    return spec(input.shape, input.dtype), spec(input.shape, bool_)


STATE_BYTES = {"cpu": 8 * 14, "cuda": 8 + 64 * 32768}
"""Of the generator, by the kind of device: its seed, and where NumPy's Philox is, or each of CuPy's, a thread one."""


def _state(op: Op, device: str) -> Spec:
    kind = device.partition(":")[0]
    if kind not in STATE_BYTES:
        raise RuntimeError(f"Expected one of cpu, cuda device type at start of device string: {kind}")
    return spec((STATE_BYTES[kind],), uint8)


def _swap_state(op: Op, new_state: Spec, device: str) -> Spec:
    wanted = _state(op, device)
    if new_state.dtype is not uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    if new_state.shape != wanted.shape:
        raise RuntimeError(
            f"Expected a generator state of size {wanted.numel} but found the input RNG state size to be "
            f"{new_state.numel}"
        )
    return wanted


def _fill(label: str, condition: str = "", *, widest: Category = Category.FLOAT,
          narrowest: Category = Category.FLOAT) -> Meta:  # fmt: skip
    """The rule of an op that overwrites a tensor with draws.

    Args:
        label: torch's name of the kernel, or the sentence it refuses other types with.
        condition: what the first parameter but one must fulfil, checked by :data:`_CONDITIONS`.
    """

    def rule(op: Op, input: Spec, *args: Any) -> Spec:
        if condition:
            _CONDITIONS[condition](*args[:-1])
        if not narrowest <= input.dtype.category <= widest:
            if " " in label:
                raise RuntimeError(label.format(C_NAMES.get(input.dtype.name, input.dtype.legacy), input.dtype.legacy))
            raise NotImplementedError(f"\"{label}\" not implemented for '{input.dtype.legacy}'")
        check_writable(input)
        return input

    return rule


def _need(holds: bool, text: str) -> None:
    if not holds:
        raise RuntimeError(text)


_CONDITIONS: dict[str, Any] = {
    "uniform": lambda a, b: _need(
        a <= b, f"uniform_ expects to return a [from, to) range, but found from={a:g} > to={b:g}"
    ),
    "normal": lambda mean, std: _need(std >= 0, f"normal expects std >= 0.0, but found std {std:g}"),
    "exponential": lambda k: _need(k > 0, f"exponential_ expects lambda > 0.0, but found lambda={k:g}"),
    "geometric": lambda p: _need(0 < p < 1, f"geometric_ expects p to be in (0, 1), but got p={p:g}"),
    "cauchy": lambda median, sigma: _need(sigma > 0, f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}"),
    "log_normal": lambda mean, std: _need(std > 0, f"log_normal_ expects std > 0.0, but found std={std:g}"),
    "bernoulli": lambda p: _need(
        isinstance(p, Spec) or 0 <= p <= 1, f"bernoulli_ expects p to be in [0, 1], but got p={p:g}"
        if not isinstance(p, Spec) else ""
    ),
}  # fmt: skip


def _random(op: Op, input: Spec, low: int, high: int, *_: Any) -> Spec:
    check_range(low, high, input.dtype)
    check_writable(input)
    return input


OWN = "int[]? generator=None) -> Tensor"
"""How the signatures end."""


def _draw(signature: str, meta: Meta, doc: str) -> None:
    op(f"{signature}, {OWN}", meta=meta, doc=doc, differentiable=False, random=True, public=False, method=False)


_draw("rand(int[] size, *, dtype dtype", _sized("check_uniform_bounds"), "Uniform on [0, 1).")
_draw("randn(int[] size, *, dtype dtype", _sized("normal_kernel_cpu"), "Normal with mean 0 and variance 1.")
_draw("randint(int low, int high, int[] size, *, dtype dtype=torch.int64", _randint,
      "Integers from low to below high.")
_draw("randperm(int n, *, dtype dtype=torch.int64", _randperm, "The integers below n in random order.")
_draw("multinomial(Tensor input, int num_samples, bool replacement=False, *", _multinomial,
      "Indices drawn with the rows' numbers as weights.")

# These have a node and a gradient of 0, as torch has it.
op("bernoulli(Tensor input, *, int[]? generator=None) -> Tensor", meta=_like("bernoulli_tensor_cpu_p_"), random=True,
   public=False, method=False, doc="1 with probability input, else 0.")
op("poisson(Tensor input, *, int[]? generator=None) -> Tensor", meta=_like("poisson_cpu"), random=True, public=False,
   method=False, doc="Poisson numbers of rate input.")
op("binomial(Tensor count, Tensor prob, *, int[]? generator=None) -> Tensor", meta=_binomial, random=True,
   public=False, method=False, doc="Number of successes among count trials of probability prob.")
op("normal(Tensor|Scalar mean, Tensor|Scalar std=1.0, *, int[]? generator=None) -> Tensor", meta=_normal, random=True,
   public=False, method=False, doc="Normal numbers with a mean and a standard deviation each.")
op("dropout(Tensor input, float p) -> (Tensor output, Tensor mask)", meta=_dropout, random=True, public=False,
   method=False, node="NativeDropoutBackward0",
   doc="input with each number zeroed with probability p, the others divided by 1 - p; the mask says which stay.")
op("dropout_backward(Tensor grad, Tensor mask, float p) -> Tensor",
   meta=lambda op, grad, mask, p: spec(grad.shape, grad.dtype), public=False, method=False,
   doc="Gradient of dropout.")
# Device is the session's: "cpu", "cuda" or "cuda:N". Any bytes of the right number are a state.
op("rng_state(str device) -> Tensor", meta=_state, differentiable=False, public=False, method=False,
   doc="The state of the session's generator, for swap_rng_state to go on from.")
op("swap_rng_state(Tensor new_state, str device) -> Tensor", meta=_swap_state, differentiable=False, public=False,
   method=False, doc="Gives the session's generator another state; the result is the one that it had.")
for _signature, _meta, _doc in (
    ("uniform_(Tensor(a!) input, float from=0.0, float to=1.0)",
     _fill("check_uniform_bounds", "uniform", widest=Category.COMPLEX), "uniform numbers from a range"),
    ("normal_(Tensor(a!) input, float mean=0.0, float std=1.0)",
     _fill("normal_kernel_cpu", "normal", widest=Category.COMPLEX), "normal numbers"),
    ("exponential_(Tensor(a!) input, float lambd=1.0)",
     _fill("Exponential distribution is a continuous probability distribution. dtype must be a floating point but you "
           "specified {1}", "exponential"), "exponential numbers of rate lambd"),
    ("geometric_(Tensor(a!) input, float p)",
     _fill("geometric_cpu", "geometric", narrowest=Category.INT), "numbers of trials up to the first success"),
    ("cauchy_(Tensor(a!) input, float median=0.0, float sigma=1.0)",
     _fill("Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
           "specified {0}", "cauchy"), "Cauchy numbers"),
    ("log_normal_(Tensor(a!) input, float mean=1.0, float std=2.0)",
     _fill("log_normal_cpu", "log_normal"), "numbers whose logarithm is normal"),
    ("bernoulli_(Tensor(a!) input, Tensor|Scalar p=0.5)",
     _fill("bernoulli_scalar_cpu_", "bernoulli", narrowest=Category.BOOL), "1 with probability p, else 0"),
    ("random_(Tensor(a!) input, int low, int high)", _random, "integers from low to below high"),
):
    op(f"{_signature[:-1]}, *, {OWN}(a!)", meta=_meta, random=True, public=False, method=False,
       doc=f"Overwrites input with {_doc}.")
