"""Generators of random numbers: counter-based (Philox: Salmon et al., SC11), NumPy's or CuPy's, and their states."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradwire_proto.catalog.random import STATE_BYTES

THREADS = (STATE_BYTES["cuda"] - 8) // 64
"""How many draw at a time on a GPU, each from a cuRAND state of 64 bytes: as many as CuPy takes by itself."""


class Generator(np.random.Generator):
    """NumPy's, with attributes."""

    seed: Any


def generator(xp: Any, seed: int | list[int]) -> Any:
    """A generator; its attribute ``seed`` is what it was given."""
    made: Any
    if xp is np:
        made = Generator(np.random.Philox(seed))
    else:
        made = xp.random.Generator(xp.random.Philox4x3210(seed, size=THREADS))
    made.seed = seed
    return made


def state(xp: Any, source: Any) -> Any:
    """The state of a generator as bytes: its seed, and all that its next numbers depend on."""
    seed = source.seed
    if isinstance(seed, int):
        seed = xp.asarray(np.array([seed], np.uint64).view(np.uint8))
    if xp is np:
        s = source.bit_generator.state
        words = [*s["state"]["counter"], *s["state"]["key"], *s["buffer"], s["buffer_pos"], s["has_uint32"],
                 s["uinteger"]]  # fmt: skip
        return np.concatenate([seed, np.array(words, np.uint64).view(np.uint8)])
    return xp.concatenate([seed, _threads(xp, source)])


def set_state(xp: Any, source: Any, state: Any) -> None:
    """Have a generator go on from a state. Bytes that are none of a generator are one all the same."""
    source.seed = state[:8].copy()
    if xp is np:
        w = state[8:].copy().view(np.uint64)
        source.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": w[:4], "key": w[4:6]},
            "buffer": w[6:10],
            "buffer_pos": min(int(w[10]), 4),
            "has_uint32": int(w[11]) & 1,
            "uinteger": int(w[12]) & 0xFFFFFFFF,
        }
    else:
        _threads(xp, source)[...] = state[8:]


def _threads(xp: Any, source: Any) -> Any:
    """The states of the threads, as CuPy holds them."""
    return source.bit_generator._state.view(xp.uint8)


__all__ = ["generator", "set_state", "state"]
