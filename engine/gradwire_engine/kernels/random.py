"""Kernels. Random numbers, from the session's counter-based generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradwire_engine import generators
from gradwire_engine.backend import NUMPY_DTYPE
from gradwire_engine.masks import kept
from gradwire_engine.registry import kernel

MANTISSA = {"float16": 11, "bfloat16": 8}


def uniform(xp: Any, rng: Any, shape: Any, dtype: Any) -> Any:
    """Uniform numbers on [0, 1) of a NumPy dtype."""
    shape = tuple(shape)
    if dtype.name in MANTISSA:
        # Rounding a float32 could give 1.
        steps = 2 ** MANTISSA[dtype.name]
        return (rng.integers(0, steps, shape) / steps).astype(dtype)
    if dtype.kind == "c":
        part = xp.dtype(f"f{dtype.itemsize // 2}")
        return uniform(xp, rng, shape, part) + 1j * uniform(xp, rng, shape, part)
    return rng.random(shape, dtype=dtype)


def standard_normal(xp: Any, rng: Any, shape: Any, dtype: Any) -> Any:
    """Normal numbers of mean 0 and variance 1 of a NumPy dtype."""
    shape = tuple(shape)
    if dtype.kind == "c":
        part = xp.dtype(f"f{dtype.itemsize // 2}")
        parts = [rng.standard_normal(shape, dtype=part) for _ in range(2)]
        return (parts[0] + 1j * parts[1]) * part.type(math.sqrt(0.5))
    if dtype.name in MANTISSA:
        return rng.standard_normal(shape, dtype=xp.float32).astype(dtype)
    return rng.standard_normal(shape, dtype=dtype)


def draws(run: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel whose last argument may be a generator of the caller's, to use in place of the session's."""

    def chosen(xp: Any, *args: Any, rng: Any) -> Any:
        *values, own = args
        if own is not None:
            rng = generators.generator(xp, [n % 2**64 for n in own])
        return run(xp, *values, rng=rng)

    return chosen


def exponential(xp: Any, rng: Any, shape: Any, dtype: Any) -> Any:
    """Exponential numbers of rate 1, never 0."""
    return -xp.log(1 - uniform(xp, rng, shape, dtype))


kernel("rand", draws(lambda xp, size, dtype, rng: uniform(xp, rng, size, NUMPY_DTYPE[dtype])))
kernel("randn", draws(lambda xp, size, dtype, rng: standard_normal(xp, rng, size, NUMPY_DTYPE[dtype])))
kernel("randint", draws(lambda xp, low, high, size, dtype, rng: rng.integers(low, high, tuple(size))))
# CuPy's generator has no permutation.
kernel("randperm", draws(lambda xp, n, dtype, rng: xp.argsort(rng.random(n))))


kernel("rng_state", lambda xp, device, rng: generators.state(xp, rng))


@kernel("swap_rng_state")
def swap_rng_state(xp: Any, new_state: Any, device: str, rng: Any) -> Any:
    before = generators.state(xp, rng)
    generators.set_state(xp, rng, new_state)
    return before


@kernel("multinomial")
@draws
def multinomial(xp: Any, input: Any, num_samples: int, replacement: bool, rng: Any) -> Any:
    p = input.astype(xp.float64).reshape(-1, input.shape[-1])
    if not bool((xp.isfinite(p) & (p >= 0)).all()):
        if replacement and num_samples > 1:
            what = "< 0" if bool((p < 0).any()) else "= infinity or NaN"
            raise RuntimeError(f"invalid multinomial distribution (encountering probability entry {what})")
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    total = xp.sum(p, axis=1, keepdims=True)
    if not bool((total > 0).all()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if replacement:
        # One search for all rows: the distribution function of row i lies between i and i + 1.
        row = xp.arange(len(p))[:, None]
        levels = xp.cumsum(p, axis=1)
        levels = levels / levels[:, -1:] + row
        drawn = rng.random((len(p), num_samples)) + row
        found = xp.searchsorted(levels.ravel(), drawn.ravel(), side="right").reshape(drawn.shape)
        index = xp.minimum(found - row * p.shape[1], p.shape[1] - 1)
    else:
        # The first arrivals of Poisson processes with these rates.
        index = xp.argsort(-p / exponential(xp, rng, p.shape, p.dtype), axis=1)[:, :num_samples]
    return index.reshape(*input.shape[:-1], num_samples)


def check_probability(p: Any) -> None:
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  If "
            "so, please report an enhancement request to PyTorch.)"
        )


@kernel("bernoulli")
@draws
def bernoulli(xp: Any, input: Any, rng: Any) -> Any:
    check_probability(input)
    return rng.random(input.shape) < input


@kernel("poisson")
@draws
def poisson(xp: Any, input: Any, rng: Any) -> Any:
    if not bool((input >= 0).all()):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return rng.poisson(input.astype(xp.float64))


@kernel("binomial")
@draws
def binomial(xp: Any, count: Any, prob: Any, rng: Any) -> Any:
    if not bool(((prob >= 0) & (prob <= 1)).all()):
        raise RuntimeError("binomial expects p in [0, 1]")
    return rng.binomial(xp.maximum(count, 0).astype(xp.int64), prob.astype(xp.float64))


@kernel("normal")
@draws
def normal(xp: Any, mean: Any, std: Any, rng: Any) -> Any:
    if not bool((std >= 0).all()):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    shape = xp.broadcast(mean, std).shape
    return standard_normal(xp, rng, shape, mean.dtype) * std + mean


@kernel("dropout")
def dropout(xp: Any, input: Any, p: float, rng: Any) -> tuple[Any, Any]:
    mask = rng.random(input.shape, dtype=xp.float32) >= p
    return dropout_backward(xp, input, mask, p), mask


def dropout_backward(xp: Any, grad: Any, mask: Any, p: float) -> Any:
    return kept(xp, grad, mask) * (1 / (1 - p) if p < 1 else 0)


kernel("dropout_backward", dropout_backward)


@kernel("uniform_")
@draws
def uniform_(xp: Any, input: Any, low: float, high: float, rng: Any) -> None:
    input[...] = uniform(xp, rng, input.shape, input.dtype) * (high - low) + (
        complex(low, low) if input.dtype.kind == "c" else low
    )


@kernel("normal_")
@draws
def normal_(xp: Any, input: Any, mean: float, std: float, rng: Any) -> None:
    input[...] = standard_normal(xp, rng, input.shape, input.dtype) * std + mean


@kernel("exponential_")
@draws
def exponential_(xp: Any, input: Any, lambd: float, rng: Any) -> None:
    input[...] = exponential(xp, rng, input.shape, input.dtype) / lambd


@kernel("geometric_")
@draws
def geometric_(xp: Any, input: Any, p: float, rng: Any) -> None:
    input[...] = xp.ceil(exponential(xp, rng, input.shape, xp.dtype(xp.float64)) / -math.log1p(-p))


@kernel("cauchy_")
@draws
def cauchy_(xp: Any, input: Any, median: float, sigma: float, rng: Any) -> None:
    input[...] = xp.tan((rng.random(input.shape) - 0.5) * math.pi) * sigma + median


@kernel("log_normal_")
@draws
def log_normal_(xp: Any, input: Any, mean: float, std: float, rng: Any) -> None:
    input[...] = xp.exp(standard_normal(xp, rng, input.shape, input.dtype) * std + mean)


@kernel("bernoulli_")
@draws
def bernoulli_(xp: Any, input: Any, p: Any, rng: Any) -> None:
    if hasattr(p, "shape"):
        check_probability(p)
    input[...] = rng.random(input.shape) < p


@kernel("random_")
@draws
def random_(xp: Any, input: Any, low: int, high: int, rng: Any) -> None:
    input[...] = rng.integers(low, high, input.shape)
