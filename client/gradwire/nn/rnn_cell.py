"""The equations of recurrent layers, and modules of a single step: ``RNNCell``, ``LSTMCell`` and ``GRUCell``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradwire.dispatch import ops
from gradwire.functions.creation import empty, zeros
from gradwire.nn import init
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.tensor import Tensor

State = tuple[Tensor, ...]
Step = Callable[[tuple[Tensor, ...], State], State]
"""From what the input gives to a step's gates, and the state before, to the state after."""


def _elman(activation: str) -> Callable[..., tuple[tuple[Tensor, ...], Step]]:
    act = getattr(ops, activation)

    def cell(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None) -> Any:
        """h' = act(W_ih x + b_ih + W_hh h + b_hh)."""
        w = ops.transpose(w_hh, 0, 1)

        def step(gates: tuple[Tensor, ...], state: State) -> State:
            return (act(ops.addmm(gates[0], state[0], w)),)

        return (ops.linear(x, w_ih, _sum(b_ih, b_hh)),), step

    return cell


def _lstm(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None,
          w_hr: Tensor | None = None) -> Any:  # fmt: skip
    """c' = f c + i g and h' = o tanh(c'), with the sigmoids i, f, o and the tanh g of W_ih x + b_ih + W_hh h + b_hh;
    h' is then W_hr h' where there is such a weight."""
    w, n = ops.transpose(w_hh, 0, 1), w_hh.shape[0] // 4

    def step(gates: tuple[Tensor, ...], state: State) -> State:
        i, f, g, o = ops.split(ops.addmm(gates[0], state[0], w), n, 1)
        c = ops.addcmul(ops.mul(ops.sigmoid(f), state[1]), ops.sigmoid(i), ops.tanh(g))
        h = ops.mul(ops.sigmoid(o), ops.tanh(c))
        return h if w_hr is None else ops.linear(h, w_hr), c

    return (ops.linear(x, w_ih, _sum(b_ih, b_hh)),), step


def _gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None) -> Any:
    """h' = n + z (h - n), with the sigmoids r, z of W_ih x + b_ih + W_hh h + b_hh and the tanh
    n of W_in x + b_in + r (W_hn h + b_hn)."""
    n = w_hh.shape[0] // 3
    parts = [2 * n, n]

    def step(gates: tuple[Tensor, ...], state: State) -> State:
        h = state[0]
        of_both, of_new = ops.split_with_sizes(ops.linear(h, w_hh, b_hh), parts, 1)
        r, z = ops.split(ops.sigmoid(ops.add(gates[0], of_both)), n, 1)
        new = ops.tanh(ops.addcmul(gates[1], r, of_new))
        if new.dtype is not h.dtype:  # autocast's products are narrower, and lerp mixes no types
            new, z = ops.to_dtype(new, h.dtype), ops.to_dtype(z, h.dtype)
        return (ops.lerp(new, h, z),)

    return ops.split_with_sizes(ops.linear(x, w_ih, b_ih), parts, -1), step


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None else ops.add(a, b)


CELLS: dict[str, tuple[int, Callable[..., Any]]] = {
    "RNN_TANH": (1, _elman("tanh")),
    "RNN_RELU": (1, _elman("relu")),
    "LSTM": (4, _lstm),
    "GRU": (3, _gru),
}
"""By its mode: how many gates a cell has, and a function of the input at any number of steps, and of the weights, that
gives what the input gives to the gates, and the step."""


def reset(module: Any) -> None:
    """Draw all parameters from the uniform distribution between -1 / sqrt(hidden_size) and 1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(module.hidden_size) if module.hidden_size else 0
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


class RNNCellBase(Module):
    """What cells have in common."""

    mode: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias_ih": rows, "bias_hh": rows}
        for name, shape in shapes.items():
            given = bias or name.startswith("weight")
            self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if given else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset(self)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")

    def _step(self, input: Tensor, state: tuple[Tensor, ...] | None, names: tuple[str, ...]) -> State:
        """The state after one step; ``names`` are for errors."""
        kind = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        for name, t in zip(names, state or (), strict=False):
            if t.ndim not in (1, 2):
                raise ValueError(f"{kind}: Expected {name} to be 1D or 2D, got {t.ndim}D instead")
        batched = input.ndim == 2
        if not batched:
            input = ops.unsqueeze(input, 0)
            state = state and tuple(ops.unsqueeze(t, 0) for t in state)
        if state is None:
            state = (zeros(input.shape[0], self.hidden_size, dtype=input.dtype),) * len(names)
        self._check(input, state)
        gates, step = CELLS[self.mode][1](input, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        made = step(gates, state)
        return made if batched else tuple(ops.squeeze(t, 0) for t in made)

    def _check(self, input: Tensor, state: State) -> None:
        if input.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[1]} expected {self.input_size}")
        for i, t in enumerate(state):
            if t.shape[0] != input.shape[0]:
                raise RuntimeError(
                    f"Input batch size {input.shape[0]} doesn't match hidden{i} batch size {t.shape[0]}"
                )
            if t.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {t.shape[1]}, expected {self.hidden_size}"
                )


class RNNCell(RNNCellBase):
    """One step of an Elman network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu in tanh's place.

    Shape: input (N, input_size) or (input_size), hx (N, hidden_size) or (hidden_size), zeros by default; gives h' of
    hx's shape.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:  # type: ignore[override]
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return f"RNN_{self.nonlinearity.upper()}"

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, None if hx is None else (hx,), ("hidden",))[0]


class LSTMCell(RNNCellBase):
    """One step of long short-term memory, as in :class:`LSTM`.

    Shape: input (N, input_size) or (input_size), hx a pair of (N, hidden_size) or (hidden_size), zeros by default;
    gives the pair after the step.
    """

    mode = "LSTM"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> State:
        return self._step(input, None if hx is None else tuple(hx), ("hx[0]", "hx[1]"))


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit, as in :class:`GRU`. Shapes are :class:`RNNCell`'s."""

    mode = "GRU"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, None if hx is None else (hx,), ("hidden",))[0]


__all__ = ["CELLS", "GRUCell", "LSTMCell", "RNNCell", "RNNCellBase", "State", "reset"]
