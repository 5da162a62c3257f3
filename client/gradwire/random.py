"""torch.random: the session's generator of random numbers, generators of one's own, and their states."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from gradwire import session as sessions
from gradwire.capture import forbid
from gradwire.dispatch import ops
from gradwire.tensor import Tensor
from gradwire.types import device as Device
from gradwire_proto import dtypes


def _whole(seed: Any) -> int:
    """A seed on [0, 2**64): negative ones count from the end.

    Raises:
        ValueError: it is none of 64 bits.
    """
    if not -(2**63) <= seed < 2**64:
        raise ValueError("Overflow when unpacking long long")
    return int(seed) % 2**64


def _bytes(state: Any) -> Tensor:
    """A generator's state, which must be a tensor of bytes.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    if state.dtype is not dtypes.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    return state


class Generator:
    """A source of random numbers of one's own: a seed, and how many draws were made from it.

    Its state, of 16 bytes, is no state of the session's generator, nor the other way round.
    """

    def __init__(self, device: Any = "cpu"):
        self._device = Device(device)
        self._seed, self._draws = 67280421310721, 0

    @property
    def device(self) -> Device:
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start anew with a seed."""
        if type(seed) is not int:
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        self._seed, self._draws = _whole(seed), 0
        return self

    def initial_seed(self) -> int:
        """The seed that it started with."""
        return self._seed

    def seed(self) -> int:
        """Start anew with a seed from the operating system, which is returned."""
        return self.manual_seed(secrets.randbits(64)).initial_seed()

    def get_state(self) -> Tensor:
        """What :meth:`set_state` takes: a tensor of bytes."""
        import gradwire

        state = self._seed.to_bytes(8, "little") + self._draws.to_bytes(8, "little")
        made: Tensor = gradwire.tensor(list(state), dtype=dtypes.uint8)  # type: ignore[attr-defined]
        return made

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from where :meth:`get_state` was called.

        Raises:
            TypeError, RuntimeError: it is no state of such a generator.
        """
        if _bytes(new_state).numel() != 16:
            raise RuntimeError(
                f"Expected a generator state of size 16 but found the input RNG state size to be {new_state.numel()}"
            )
        state = bytes(new_state.tolist())
        self._seed, self._draws = int.from_bytes(state[:8], "little"), int.from_bytes(state[8:], "little")
        return self

    def clone_state(self) -> Generator:
        """Another generator that will give the same numbers."""
        other = Generator(self.device)
        other._seed, other._draws = self._seed, self._draws
        return other

    def _draw(self) -> tuple[int, int] | None:
        """What the next draw starts from; None for the session's own generator."""
        forbid("draws from a generator of its own", "draw from the session's")
        self._draws += 1
        return self._seed - 2**64 * (self._seed >= 2**63), self._draws  # of 64 bits with sign, as messages have it


class _OfSession(Generator):
    """The current session's, on the server: see the functions of the same names."""

    @property
    def device(self) -> Device:
        return Device(sessions.current().device)

    def manual_seed(self, seed: int) -> Generator:
        return manual_seed(seed)

    def initial_seed(self) -> int:
        return initial_seed()

    def seed(self) -> int:
        return seed()

    def get_state(self) -> Tensor:
        return get_rng_state()

    def set_state(self, new_state: Tensor) -> Generator:
        set_rng_state(new_state)
        return self

    def clone_state(self) -> Generator:
        raise NotImplementedError("the session's generator can't be cloned: use get_state() and set_state()")

    def _draw(self) -> None:
        return None


default_generator = _OfSession()
"""The session's, from which random functions draw that are given no other."""


def manual_seed(seed: int) -> Generator:
    """Restart the current session's random numbers, which are its generator's.

    Raises:
        ValueError: it is no integer of 64 bits.
    """
    sessions.current().manual_seed(_whole(int(seed)))
    return default_generator


def seed() -> int:
    """Restart the current session's random numbers from a seed of the operating system's, which is returned."""
    made = secrets.randbits(64)
    manual_seed(made)
    return made


def initial_seed() -> int:
    """The seed that the current session's random numbers started with.

    It reads the generator's state where a state was set, or the session attached to.
    """
    session = sessions.current()
    if session.seed is None:
        return int.from_bytes(bytes(get_rng_state()[:8].tolist()), "little")  # type: ignore[index]
    return session.seed


def get_rng_state() -> Tensor:
    """The state of the current session's generator, as bytes. Nothing waits.

    >>> import gradwire as torch
    >>> state = torch.get_rng_state()
    >>> a = torch.rand(3)
    >>> torch.set_rng_state(state)
    >>> torch.equal(a, torch.rand(3))
    True
    """
    made: Tensor = ops.rng_state(sessions.current().device)
    return made


def set_rng_state(new_state: Tensor) -> None:
    """Have the current session's generator go on from where :func:`get_rng_state` was called.

    Raises:
        TypeError, RuntimeError: it is no state of the generator of a session on this kind of device.
    """
    session = sessions.current()
    if _bytes(new_state)._session is not session:
        import gradwire

        new_state = gradwire.tensor(new_state.numpy())  # type: ignore[attr-defined]
    ops.swap_rng_state(new_state, session.device)
    session.seed = None


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, _caller: str = "fork_rng", _devices_kw: str = "devices",
             device_type: str = "cuda") -> Iterator[None]:  # fmt: skip
    """A block after which the session's random numbers go on as if none were drawn in it.

    Args:
        devices, device_type: torch's; they change nothing, for a session has one generator.
        enabled: False for a block that changes nothing.
    """
    if not enabled:
        yield
        return
    session = sessions.current()
    before, seed = get_rng_state(), session.seed
    try:
        yield
    finally:
        ops.swap_rng_state(before, session.device)
        session.seed = seed


__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]
