"""Random numbers: distributions by their moments, reproducibility, torch's errors."""

import numpy as np
import pytest
import scipy.stats

from gradwire_engine import Engine, grad
from gradwire_proto import dtypes
from gradwire_proto.catalog.random import STATE_BYTES
from tests.devices import DEVICE
from tests.engine.harness import case, check, rand, run

N = 20000
F64, F32, I64 = dtypes.float64, dtypes.float32, dtypes.int64
HALF = np.full(3, 0.5)

CASES = [
    case("rand", (2, 3), dtype=F32, order=0),
    case("randn", (), dtype=F64, order=0),
    case("randint", -2, 5, (3,), dtype=dtypes.int8, order=0),
    case("randperm", 5, dtype=F32, order=0),
    case("multinomial", rand(2, 3, low=0.1), 2, order=0),
    case("bernoulli", HALF, order=0),
    case("poisson", HALF, order=0),
    case("binomial", np.full(3, 4.0), HALF, order=0),
    case("normal", HALF, 2.0, order=0),
    case("rng_state", DEVICE, order=0),
    case("swap_rng_state", np.ones(STATE_BYTES[DEVICE.partition(":")[0]], "u1"), DEVICE, order=0),
    case("dropout", rand(3), 0.0, results=(0,), ref=lambda x, p: (x, np.ones(3, bool))),
    case("dropout_backward", rand(3), np.array([True, False, True]), 0.5, ref=lambda g, m, p: g * m * 2),
]
FILLS = [
    ("uniform_", (-1.0, 3.0), scipy.stats.uniform(-1, 4)),
    ("normal_", (1.0, 2.0), scipy.stats.norm(1, 2)),
    ("exponential_", (2.0,), scipy.stats.expon(scale=0.5)),
    ("cauchy_", (1.0, 2.0), scipy.stats.cauchy(1, 2)),
    ("log_normal_", (1.0, 0.5), scipy.stats.lognorm(0.5, scale=np.e)),
]
DISCRETE = [
    ("geometric_", (0.3,), scipy.stats.geom(0.3)),
    ("bernoulli_", (0.3,), scipy.stats.bernoulli(0.3)),
    ("random_", (2, 7), scipy.stats.randint(2, 7)),
]


@pytest.mark.parametrize("c", CASES, ids=str)
def test_op(c):
    check(c)


def draw(name, *args):
    engine = Engine(seed=1)
    return engine.call(name, *args).array


@pytest.mark.parametrize(("name", "args", "law"), FILLS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_fills_follow_their_law(name, args, law, kind):
    engine = Engine(seed=1)
    x = engine.wrap(np.zeros(N, kind))
    assert engine.call(name, x, *args) is x
    assert scipy.stats.kstest(x.array, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("name", "args", "law"), DISCRETE, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("kind", ["f8", "i8"])
def test_discrete_fills_follow_their_law(name, args, law, kind):
    engine = Engine(seed=1)
    x = engine.wrap(np.zeros(N, kind))
    engine.call(name, x, *args)
    values, counts = np.unique(x.array, return_counts=True)
    expected = N * law.pmf(values)
    assert expected.sum() > 0.999 * N
    assert (abs(counts - expected) < 5 * np.sqrt(expected) + 5).all()


def test_standard_laws():
    assert scipy.stats.kstest(draw("rand", (N,), F32), "uniform").pvalue > 1e-3
    assert scipy.stats.kstest(draw("randn", (N,), F32), "norm").pvalue > 1e-3
    z = draw("randn", (N,), dtypes.complex64)
    assert z.dtype == np.complex64
    assert scipy.stats.kstest(z.imag * np.sqrt(2), "norm").pvalue > 1e-3
    assert sorted(draw("randperm", 100, I64)) == list(range(100))
    assert set(draw("randint", -2, 3, (1000,), I64)) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16])
def test_half_precision_uniforms_stay_below_one(dtype):
    x = draw("rand", (N,), dtype).astype("f8")
    assert x.min() >= 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 0.02


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_weight(replacement):
    engine = Engine(seed=2)
    p = np.tile([0.0, 1.0, 2.0, 5.0, 0.0], (N, 1))
    p[N // 2 :] = [4.0, 0.0, 0.0, 0.0, 4.0]
    first = engine.call("multinomial", engine.wrap(p), 1, replacement).array[:, 0]
    counts = np.bincount(first[: N // 2], minlength=5)
    assert counts[0] == counts[4] == 0
    assert scipy.stats.chisquare(counts[1:4], N / 2 * np.array([1, 2, 5]) / 8).pvalue > 1e-3
    assert set(first[N // 2 :]) == {0, 4}


def test_multinomial_without_replacement_repeats_nothing():
    engine = Engine()
    made = engine.call("multinomial", engine.wrap(np.ones((50, 6))), 6).array
    assert (np.sort(made, 1) == np.arange(6)).all()


def test_the_seed_decides():
    a, b, c = (Engine(seed=s).call("rand", (5,), F64).array for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_a_generator_of_ones_own_leaves_the_sessions_alone():
    engine = Engine(seed=1)
    mine = [engine.call("rand", (3,), F64, own).array for own in ((7, 1), (7, 1), (7, 2), (-7, 1))]
    assert (mine[0] == mine[1]).all()
    assert len({x[0] for x in mine}) == 3
    assert (engine.call("rand", (3,), F64).array == Engine(seed=1).call("rand", (3,), F64).array).all()
    x = engine.wrap(np.zeros(3))
    assert (engine.call("uniform_", x, 0.0, 2.0, (7, 1)).array == 2 * mine[0]).all()


def test_states_of_the_generator():
    engine = Engine(seed=2**63 + 5)
    engine.call("rand", (3,), F32)
    state = engine.call("rng_state", "cpu")
    assert state.array[:8].tobytes() == (2**63 + 5).to_bytes(8, "little")
    first = [engine.call("randint", 0, 99, (3,), dtypes.int32).array for _ in range(4)]
    other = Engine(seed=1)
    before = other.call("rng_state", "cpu").array
    assert (other.call("swap_rng_state", other.wrap(state.array), "cpu").array == before).all()
    assert (other.call("rng_state", "cpu").array == state.array).all()
    assert all((other.call("randint", 0, 99, (3,), dtypes.int32).array == x).all() for x in first)


def test_states_are_of_one_size():
    engine = Engine()
    with pytest.raises(RuntimeError, match="^Expected a generator state of size 112 but found the input RNG state"):
        engine.call("swap_rng_state", engine.wrap(np.zeros(5, "u1")), "cpu")
    with pytest.raises(TypeError, match="^RNG state must be a torch.ByteTensor$"):
        engine.call("swap_rng_state", engine.wrap(np.zeros(112)), "cpu")
    with pytest.raises(RuntimeError, match="^Expected one of cpu, cuda device type at start of device string: tpu$"):
        engine.call("rng_state", "tpu:1")


def test_dropout_keeps_the_mean_and_masks_the_gradient():
    engine = Engine(seed=1)
    x = engine.wrap(np.ones(N), requires_grad=True)
    y, mask = engine.call("dropout", x, 0.25)
    assert abs(y.array.mean() - 1) < 0.02
    (g,) = grad(engine, [y], [x], [engine.wrap(np.ones(N))], retain_graph=False, create_graph=False,
                allow_unused=False)  # fmt: skip
    assert (g.array == y.array).all()
    assert ((y.array == 0) == ~mask.array).all()


def test_draws_have_a_gradient_of_zero():
    engine = Engine()
    x = engine.wrap(HALF.copy(), requires_grad=True)
    for made in (engine.call("bernoulli", x), engine.call("normal_", engine.call("clone", x))):
        (g,) = grad(engine, [made], [x], [engine.wrap(np.ones(3))], retain_graph=False, create_graph=False,
                    allow_unused=True)  # fmt: skip
        assert g is None or not g.array.any()


ERRORS = [
    ("rand", ((-1,), F32), RuntimeError, "Trying to create tensor with negative dimension -1: [-1]"),
    ("rand", ((2,), I64), NotImplementedError, "\"check_uniform_bounds\" not implemented for 'Long'"),
    ("randn", ((2,), I64), NotImplementedError, "\"normal_kernel_cpu\" not implemented for 'Long'"),
    ("randint", (5, 3, (2,)), RuntimeError, "random_ expects 'from' to be less than 'to', but got from=5 >= to=3"),
    ("randint", (0, 300, (2,), dtypes.uint8), RuntimeError, "to - 1 is out of bounds for unsigned char"),
    ("randint", (-300, 3, (2,), dtypes.int8), RuntimeError, "from is out of bounds for signed char"),
    ("randperm", (-1,), RuntimeError, "Trying to create tensor with negative dimension -1: [-1]"),
    ("randperm", (300, dtypes.uint8), RuntimeError, "value cannot be converted to type uint8_t without overflow"),
    ("multinomial", (HALF, 4), RuntimeError,
     "cannot sample n_sample > prob_dist.size(-1) samples without replacement"),
    ("multinomial", (HALF, 0), RuntimeError, "cannot sample n_sample <= 0 samples"),
    ("multinomial", (-HALF, 1), RuntimeError, "probability tensor contains either `inf`, `nan` or element < 0"),
    ("multinomial", (0 * HALF, 1), RuntimeError, "invalid multinomial distribution (sum of probabilities <= 0)"),
    ("multinomial", (np.ones((1, 1, 1)), 1), RuntimeError, "prob_dist must be 1 or 2 dim"),
    ("bernoulli", (HALF + 1,), RuntimeError, "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this "
     "error message be improved?  If so, please report an enhancement request to PyTorch.)"),
    ("poisson", (-HALF,), RuntimeError, "invalid Poisson rate, expected rate to be non-negative"),
    ("normal", (HALF, -HALF), RuntimeError, "normal expects all elements of std >= 0.0"),
    ("normal", (HALF, -1.0), RuntimeError, "normal expects std >= 0.0, but found std -1"),
    ("bernoulli_", (HALF, 2), RuntimeError, "bernoulli_ expects p to be in [0, 1], but got p=2"),
    ("uniform_", (HALF, 2.0, 1.0), RuntimeError,
     "uniform_ expects to return a [from, to) range, but found from=2 > to=1"),
    ("normal_", (HALF, 0.0, -1.0), RuntimeError, "normal expects std >= 0.0, but found std -1"),
    ("exponential_", (HALF, -1.0), RuntimeError, "exponential_ expects lambda > 0.0, but found lambda=-1"),
    ("geometric_", (HALF, -1.0), RuntimeError, "geometric_ expects p to be in (0, 1), but got p=-1"),
    ("cauchy_", (HALF, 1.0, -1.0), RuntimeError, "cauchy_ expects sigma > 0.0, but found sigma=-1"),
    ("log_normal_", (HALF, 1.0, -1.0), RuntimeError, "log_normal_ expects std > 0.0, but found std=-1"),
    ("normal_", (np.array([1]),), NotImplementedError, "\"normal_kernel_cpu\" not implemented for 'Long'"),
    ("exponential_", (np.array([1]),), RuntimeError, "Exponential distribution is a continuous probability "
     "distribution. dtype must be a floating point but you specified Long"),
    ("dropout", (np.array([1]), 0.5), RuntimeError,
     "result type Float can't be cast to the desired output type Long"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "args", "kind", "text"), ERRORS, ids=str)
def test_error(op, args, kind, text):
    engine = Engine()
    with pytest.raises(kind) as e:
        engine.call(op, *[engine.wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    assert str(e.value) == text


def test_every_fill_is_recorded():
    for name, args, _ in (*FILLS, *DISCRETE):
        results, _, _ = run(case(name, HALF, *args))
        assert results[0].requires_grad, name
