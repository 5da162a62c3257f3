"""torch.random: seeds, states of the session's generator and of one's own, and blocks that leave no trace."""

import pytest

import gradwire as torch
from tests.devices import on_cpu


def draws():
    """One number each of several kinds: what is left over of one may be used by the next."""
    kinds = [torch.rand(3), torch.randn(1), torch.randint(0, 1000, (1,), dtype=torch.int32), torch.randperm(5)]
    return [t.tolist() for t in kinds]


def test_from_a_state_the_same_numbers_follow():
    torch.rand(3)
    state = torch.get_rng_state()
    assert state.dtype is torch.uint8
    before = draws(), draws()
    torch.manual_seed(1)
    torch.set_rng_state(state)
    assert (draws(), draws()) == before
    torch.random.set_rng_state(state)
    assert draws() == before[0]


def test_a_state_is_good_for_another_session():
    state = torch.get_rng_state()
    here = draws()
    with torch.connect():
        torch.set_rng_state(state)
        assert draws() == here
    assert torch.initial_seed() == int.from_bytes(bytes(state[:8].tolist()), "little")


def test_seeds():
    assert torch.manual_seed(5) is torch.default_generator
    first = draws()
    assert torch.initial_seed() == torch.default_generator.initial_seed() == 5
    state = torch.get_rng_state()
    made = torch.seed()
    assert torch.initial_seed() == made > 0
    assert draws() != first
    torch.set_rng_state(state)
    assert torch.initial_seed() == 5  # which it says itself
    torch.manual_seed(made)
    torch.manual_seed(5)
    assert draws() == first
    for seed, told in ((-1, 2**64 - 1), (-(2**63), 2**63), (2**64 - 1, 2**64 - 1), (True, 1), (1.7, 1)):
        torch.manual_seed(seed)
        assert torch.initial_seed() == told
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="^Overflow when unpacking long long$"):
            torch.manual_seed(seed)


def test_a_session_knows_its_seed():
    with torch.connect(seed=7):
        assert torch.initial_seed() == 7
    with torch.connect():
        assert torch.initial_seed() == int.from_bytes(bytes(torch.get_rng_state()[:8].tolist()), "little")


def test_a_session_that_is_gone_on_with_knows_its_seed_too():
    left = torch.connect(seed=7).detach()
    with torch.attach(*left):
        assert torch.initial_seed() == 7


def test_a_fork_leaves_no_trace():
    torch.manual_seed(3)
    with torch.random.fork_rng():
        inside = draws()
        torch.manual_seed(4)
    assert torch.initial_seed() == 3
    assert draws() == inside
    with torch.random.fork_rng(enabled=False):
        torch.manual_seed(4)
    assert torch.initial_seed() == 4
    with pytest.raises(ValueError, match="Overflow"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.seed() + 2**64)
    assert torch.initial_seed() == 4


def test_what_is_no_state():
    with pytest.raises(TypeError, match="^RNG state must be a torch.ByteTensor$"):
        torch.set_rng_state(torch.zeros(3))
    with pytest.raises(TypeError, match="^expected a torch.ByteTensor, but got list$"):
        torch.set_rng_state([1])
    with pytest.raises(RuntimeError, match=r"^Expected a generator state of size \d+ but found the input RNG state si"):
        torch.set_rng_state(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="^Expected a generator state of size 16 but found the input RNG state s"):
        torch.Generator().set_state(torch.get_rng_state())


@on_cpu
def test_bytes_of_nobodys_are_a_state_like_any():
    for fill in (0, 255):
        torch.set_rng_state(torch.full((torch.get_rng_state().numel(),), fill, dtype=torch.uint8))
        first = draws()
        torch.set_rng_state(torch.full((torch.get_rng_state().numel(),), fill, dtype=torch.uint8))
        assert draws() == first
        assert torch.initial_seed() == fill * (2**64 - 1) // 255
    torch.manual_seed(0)


def test_a_generator_of_ones_own():
    g = torch.Generator()
    assert g.initial_seed() == 67280421310721
    assert g.device == torch.device("cpu")
    assert g.manual_seed(-1) is g
    assert g.initial_seed() == 2**64 - 1
    a = torch.rand(2, generator=g)
    state, other = g.get_state(), g.clone_state()
    b = torch.rand(2, generator=g)
    assert torch.equal(torch.rand(2, generator=other), b)
    assert torch.equal(torch.rand(2, generator=g.set_state(state)), b)
    assert torch.equal(torch.rand(2, generator=g.manual_seed(-1)), a)
    assert g.seed() == g.initial_seed() != 2**64 - 1
    with pytest.raises(RuntimeError, match="^manual_seed expected a long, but got str$"):
        g.manual_seed("1")
    with pytest.raises(TypeError, match="^argument 'generator' must be torch.Generator, not int$"):
        torch.rand(2, generator=1)


def test_the_sessions_generator_as_an_object():
    g = torch.default_generator
    assert isinstance(g, torch.Generator)
    assert g.device == torch.tensor(0).device
    g.manual_seed(2)
    state = g.get_state()
    a = torch.rand(2, generator=g)
    assert torch.equal(torch.rand(2, generator=g.set_state(state)), a)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(2), a)
    assert g.seed() == torch.initial_seed()
    with pytest.raises(NotImplementedError, match="can't be cloned"):
        g.clone_state()


def test_states_are_taken_and_set_in_captured_functions():
    @torch.compile
    def twice(x):
        state = torch.get_rng_state()
        a = torch.rand(3) + x
        torch.set_rng_state(state)
        return a, torch.rand(3) + x

    @torch.compile
    def same(state):
        torch.set_rng_state(state)
        return torch.rand(3)

    x, seen = torch.zeros(3), []
    for _ in range(4):
        a, b = twice(x)
        assert torch.equal(a, b)
        seen.append(a.tolist())
    assert len({tuple(s) for s in seen}) == 4
    state = torch.get_rng_state()
    a = torch.rand(3)
    assert all(torch.equal(same(state), a) for _ in range(3))
    assert [p.unplanned for f in (twice, same) for p in f.plan().programs] == ["", ""]
