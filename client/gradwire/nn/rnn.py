"""Recurrent layers: ``RNN``, ``LSTM`` and ``GRU``, over padded and packed sequences."""

from __future__ import annotations

import warnings
from numbers import Number
from typing import Any

from gradwire.dispatch import ops
from gradwire.functions.creation import empty, zeros
from gradwire.nn.module import Module
from gradwire.nn.parameter import Parameter
from gradwire.nn.rnn_cell import CELLS, GRUCell, LSTMCell, RNNCell, RNNCellBase, State, reset
from gradwire.nn.utils.rnn import PackedSequence
from gradwire.tensor import Tensor


class RNNBase(Module):
    """What recurrent layers have in common: parameters, checks, and the walk over layers, directions and steps.

    Args:
        mode: of the cells; see ``gradwire.nn.rnn_cell.CELLS``.
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: each layer after the first one takes the output of the one before.
        bias: whether there are ``bias_ih_l*`` and ``bias_hh_l*``.
        batch_first: whether input and output are (N, L, features) instead of (L, N, features).
        dropout: probability for the output of each layer but the last one, while training.
        bidirectional: have a second cell per layer that goes from the last step to the first, and put both outputs side
            by side.
        proj_size: features that ``weight_hr_l*`` makes of an LSTM's output; 0 for no such weight.

    Raises:
        TypeError, ValueError: arguments of another type, or out of range.
    """

    kind = ""
    """How errors name the layer."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super().__init__()
        _check(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        if mode not in CELLS:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        rows, out = CELLS[mode][0] * hidden_size, proj_size or hidden_size
        self._names: list[list[str]] = []
        for layer in range(num_layers):
            columns = input_size if layer == 0 else out * (2 if bidirectional else 1)
            shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, out)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
            for suffix in ("", "_reverse") if bidirectional else ("",):
                named = {f"{name}_l{layer}{suffix}": shape for name, shape in shapes.items()}
                for name, shape in named.items():
                    self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)))
                self._names.append(list(named))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset(self)

    def flatten_parameters(self) -> None:
        """Nothing: there is no other layout of the parameters that would be faster."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer's directions."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def extra_repr(self) -> str:
        shown = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0,
                 "bidirectional": False}  # fmt: skip
        others = "".join(f", {k}={getattr(self, k)}" for k, default in shown.items() if getattr(self, k) != default)
        return f"{self.input_size}, {self.hidden_size}{others}"

    def _sizes(self) -> tuple[int, ...]:
        """The features of each part of the state."""
        return (self.hidden_size,)

    def _run(self, input: Any, state: State | None) -> tuple[Any, State]:
        """Output and last state; an unbatched input and its state are a batch of one for a while."""
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            made, last = self._batch(packed.data, state, packed.sizes, packed.sorted_indices)
            if packed.unsorted_indices is not None:
                last = tuple(ops.index_select(t, 1, packed.unsorted_indices) for t in last)
            return packed.like(made), last
        if input.ndim not in (2, 3):
            what = " tensor" if self.kind == "RNN" else ""
            raise ValueError(f"{self.kind}: Expected input to be 2D or 3D, got {input.ndim}D{what} instead")
        if state is not None and any(t.ndim != input.ndim for t in state):
            self._refuse_dims(input.ndim, [t.ndim for t in state])
        if input.ndim == 3:
            return self._batch(input, state, None)
        batch_dim = 0 if self.batch_first else 1
        one = None if state is None else tuple(ops.unsqueeze(t, 1) for t in state)
        made, last = self._batch(ops.unsqueeze(input, batch_dim), one, None)
        return ops.squeeze(made, batch_dim), tuple(ops.squeeze(t, 1) for t in last)

    def _refuse_dims(self, input: int, state: list[int]) -> None:
        given = "batched 3-D" if input == 3 else "unbatched 2-D"
        raise RuntimeError(f"For {given} input, hx should also be {input}-D but got {state[0]}-D tensor")

    def _batch(self, input: Tensor, state: State | None, sizes: list[int] | None,
               order: Tensor | None = None) -> tuple[Tensor, State]:  # fmt: skip
        """Output and last state of a batch: of packed data where ``sizes`` tell how many sequences have each step."""
        time_first = sizes is not None or not self.batch_first
        batch = input.shape[1 if time_first else 0] if sizes is None else sizes[0]
        if state is None:
            rows = self.num_layers * (2 if self.bidirectional else 1)
            state = tuple(zeros(rows, batch, n, dtype=input.dtype) for n in self._sizes())
        elif order is not None:
            state = tuple(ops.index_select(t, 1, order) for t in state)
        self._check_input(input, state, batch, 2 if sizes is not None else 3)
        if not time_first:
            input = ops.transpose(input, 0, 1)
        made, last = self._layers(input, state, sizes)
        return made if time_first else ops.transpose(made, 0, 1), last

    def _check_input(self, input: Tensor, state: State, batch: int, dims: int) -> None:
        weight = getattr(self, self._names[0][0])
        if input.dtype is not weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        if input.ndim != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {input.ndim}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )
        for i, (t, n) in enumerate(zip(state, self._sizes(), strict=True)):
            wanted = (self.num_layers * (2 if self.bidirectional else 1), batch, n)
            if tuple(t.shape) != wanted:
                name = f"hidden[{i}]" if len(state) > 1 else "hidden"
                raise RuntimeError(f"Expected {name} size {wanted}, got {list(t.shape)}")

    def _layers(self, x: Tensor, state: State, sizes: list[int] | None) -> tuple[Tensor, State]:
        if not (x.shape[0] if sizes is None else sizes):
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        starts = list(zip(*(ops.unbind(t, 0) for t in state), strict=True))
        directions = 2 if self.bidirectional else 1
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = ops.dropout(x, self.dropout)[0]
            made = []
            for d in range(directions):
                at = layer * directions + d
                weights = [getattr(self, name) for name in self._names[at]]
                if not self.bias:
                    weights[2:2] = (None, None)
                outputs, end = _walk(CELLS[self.mode][1], x, weights, starts[at], sizes, d == 1)
                made.append(ops.stack(outputs, 0) if sizes is None else ops.cat(outputs, 0))
                last.append(end)
            x = made[0] if directions == 1 else ops.cat(made, -1)
        return x, tuple(ops.stack(list(parts), 0) for parts in zip(*last, strict=True))


def _check(input_size: Any, hidden_size: Any, num_layers: int, bias: Any, batch_first: Any, dropout: Any,
           proj_size: int) -> None:  # fmt: skip
    if not isinstance(dropout, Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:  # type: ignore[operator]
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:  # type: ignore[operator]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    for name, v, kind in (("bias", bias, bool), ("batch_first", batch_first, bool), ("input_size", input_size, int),
                          ("hidden_size", hidden_size, int)):  # fmt: skip
        if not isinstance(v, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(v).__name__}")
        if kind is int and v <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def _walk(cell: Any, x: Tensor, weights: list[Any], state: State, sizes: list[int] | None,
          reverse: bool) -> tuple[list[Tensor], State]:  # fmt: skip
    """The outputs of all steps, and the state after the last one: one product for all inputs, then step by step.

    Where ``sizes`` tell how many sequences have a step, those that end leave the state's rows (or, from last to first,
    those that begin join them): they are sorted, longest first.
    """
    parts, step = cell(x, *weights)
    gates = list(zip(*(ops.unbind(p, 0) if sizes is None else ops.split_with_sizes(p, sizes, 0) for p in parts),
                     strict=True))  # fmt: skip
    outputs: list[Any] = [None] * len(gates)
    ended: list[State] = []
    given, now = state, 0 if sizes is None else sizes[-1 if reverse else 0]
    if sizes is not None and reverse:
        state = tuple(t[:now] for t in given)
    for t in reversed(range(len(gates))) if reverse else range(len(gates)):
        if sizes is not None and sizes[t] != now:
            n = sizes[t]
            if reverse:
                state = tuple(ops.cat([s, g[now:n]], 0) for s, g in zip(state, given, strict=True))
            else:
                ended.append(tuple(s[n:] for s in state))
                state = tuple(s[:n] for s in state)
            now = n
        state = step(gates[t], state)
        outputs[t] = state[0]
    if ended:
        state = tuple(ops.cat(list(rows), 0) for rows in zip(state, *reversed(ended), strict=True))
    return outputs, state


class RNN(RNNBase):
    """Elman networks: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu in tanh's place.

    Arguments are those of :class:`RNNBase` without ``mode`` and ``proj_size``, with ``nonlinearity`` ("tanh" or "relu")
    after ``num_layers``.

    Shape: input (L, N, input_size), (N, L, input_size) where ``batch_first``, (L, input_size), or a ``PackedSequence``;
    hx (num_layers * directions, N, hidden_size), zeros by default, without N for an input without. Gives the output of
    all steps (..., directions * hidden_size) and the last state.

    >>> import gradwire as torch
    >>> output, h = torch.nn.RNN(3, 4, num_layers=2)(torch.ones(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]))
    """

    kind = "RNN"

    def __init__(self, *args: Any, **kwargs: Any):
        _no_projection(kwargs)
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, last = self._run(input, None if hx is None else (hx,))
        return output, last[0]


class LSTM(RNNBase):
    """Long short-term memory: c_t = f c_(t-1) + i g and h_t = o tanh(c_t), where i, f, o are sigmoids, and g is a tanh,
    of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh.

    Arguments are those of :class:`RNNBase` without ``mode``.

    Shape: as of :class:`RNN`, with hx, and the last state, a pair (h, c); h has ``proj_size`` features where that is
    given.

    >>> import gradwire as torch
    >>> output, (h, c) = torch.nn.LSTM(3, 4, bidirectional=True)(torch.ones(5, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([5, 2, 8]), torch.Size([2, 2, 4]))
    """

    kind = "LSTM"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("LSTM", *args, **kwargs)

    def _sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    def _refuse_dims(self, input: int, state: list[int]) -> None:
        given = "batched 3-D" if input == 3 else "unbatched 2-D"
        raise RuntimeError(
            f"For {given} input, hx and cx should also be {input}-D but got ({state[0]}-D, {state[1]}-D) tensors"
        )

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, State]:
        return self._run(input, None if hx is None else tuple(hx))


class GRU(RNNBase):
    """Gated recurrent units: h_t = (1 - z) n + z h_(t-1), where r, z are sigmoids of
    W_ih x_t + b_ih + W_hh h_(t-1) + b_hh and n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn)).

    Arguments are those of :class:`RNNBase` without ``mode`` and ``proj_size``; shapes are :class:`RNN`'s.
    """

    kind = "GRU"

    def __init__(self, *args: Any, **kwargs: Any):
        _no_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, last = self._run(input, None if hx is None else (hx,))
        return output, last[0]


def _no_projection(kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]
