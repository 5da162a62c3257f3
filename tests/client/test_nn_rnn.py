"""Recurrent layers against their equations in NumPy, packed sequences, and refusals."""

import numpy as np
import pytest

import gradwire as torch
from gradwire import nn
from gradwire.nn.utils import rnn


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def elman(gi, gh, h, c):
    return np.tanh(gi + gh), c


def lstm(gi, gh, h, c):
    i, f, g, o = np.split(gi + gh, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(gi, gh, h, c):
    (ir, iz, inew), (hr, hz, hnew) = np.split(gi, 3, -1), np.split(gh, 3, -1)
    z = sigmoid(iz + hz)
    return (1 - z) * np.tanh(inew + sigmoid(ir + hr) * hnew) + z * h, c


EQUATIONS = {"RNN": elman, "LSTM": lstm, "GRU": gru}


def reference(layer, x):
    """Output of one sequence (L, features), from zeros, by the equations."""
    w = {k: v.detach().numpy() for k, v in layer.named_parameters()}
    for n in range(layer.num_layers):
        outputs = []
        for suffix in ("", "_reverse") if layer.bidirectional else ("",):
            w_ih, w_hh, b_ih, b_hh = (w[f"{k}_l{n}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, c, made = np.zeros(w_hh.shape[1]), np.zeros(layer.hidden_size), []
            for step in x[::-1] if suffix else x:
                h, c = EQUATIONS[type(layer).__name__](w_ih @ step + b_ih, w_hh @ h + b_hh, h, c)
                if layer.proj_size:
                    h = w[f"weight_hr_l{n}{suffix}"] @ h
                made.append(h)
            outputs.append(np.array(made[::-1] if suffix else made))
        x = np.concatenate(outputs, -1)
    return x


CASES = [(k, b, {}) for k in EQUATIONS for b in (False, True)] + [("LSTM", True, {"proj_size": 2})]


@pytest.mark.parametrize(("kind", "bidirectional", "more"), CASES)
def test_layers_follow_the_equations(kind, bidirectional, more):
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=bidirectional, batch_first=True, dtype=torch.float64, **more)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    wanted = np.array([reference(layer, s) for s in x.numpy()])
    output, last = layer(x)
    np.testing.assert_allclose(output.detach().numpy(), wanted, atol=1e-12)
    h = last[0] if kind == "LSTM" else last
    size = h.shape[-1]
    np.testing.assert_allclose(h[-2 if bidirectional else -1].detach().numpy(), wanted[:, -1, :size], atol=1e-12)
    np.testing.assert_allclose(layer(x[0])[0].detach().numpy(), wanted[0], atol=1e-12)
    captured = torch.compile(lambda x: layer(x)[0])
    for _ in range(2):
        np.testing.assert_allclose(captured(x).detach().numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize(("kind", "bidirectional", "more"), CASES)
def test_packed_sequences_are_each_by_itself(kind, bidirectional, more):
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=bidirectional, dtype=torch.float64, **more)
    sequences = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 5, 1)]
    output, last = layer(rnn.pack_sequence(sequences, enforce_sorted=False))
    for i, (made, x) in enumerate(zip(rnn.unpack_sequence(output), sequences, strict=True)):
        np.testing.assert_allclose(made.detach().numpy(), reference(layer, x.detach().numpy()), atol=1e-12)
        for one, all_ in zip(*(v if kind == "LSTM" else (v,) for v in (layer(x)[1], last)), strict=True):
            np.testing.assert_allclose(all_[:, i].detach().numpy(), one.detach().numpy(), atol=1e-12)
        by_pack = torch.autograd.grad(output.data.sum(), x, retain_graph=True)[0]
        np.testing.assert_allclose(by_pack.numpy(), torch.autograd.grad(layer(x)[0].sum(), x)[0].numpy(), atol=1e-12)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_cells_are_one_step_of_a_layer(kind):
    layer, cell = getattr(nn, kind)(3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = torch.randn(2, 3)
    state = None
    for _ in range(3):
        state = cell(x, state)
    h = state[0] if kind == "LSTM" else state
    np.testing.assert_allclose(h.detach().numpy(), layer(x.expand(3, 2, 3))[0][-1].detach().numpy(), atol=1e-6)


def test_packing_and_padding():
    packed = rnn.pack_sequence([torch.tensor([1, 2]), torch.tensor([3, 4, 5])], enforce_sorted=False)
    assert packed.data.tolist() == [3, 1, 4, 2, 5]
    assert packed.batch_sizes.tolist() == [2, 2, 1]
    assert packed.sorted_indices.tolist() == packed.unsorted_indices.tolist() == [1, 0]
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1, total_length=4)
    assert padded.tolist() == [[1, 2, -1, -1], [3, 4, 5, -1]]
    assert lengths.tolist() == [2, 3]
    assert rnn.pad_sequence([torch.tensor([1]), torch.tensor([2, 3])], padding_side="left").tolist() == [[0, 2], [1, 3]]


def test_what_layers_look_like():
    made = nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True, bias=False, dropout=0.5, batch_first=True)
    assert repr(made) == (
        "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True)"
    )
    assert list(made.state_dict())[:4] == ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0", "weight_ih_l0_reverse"]
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity=relu)"


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda: nn.LSTM(3, 4)(torch.rand(3)), ValueError, "LSTM: Expected input to be 2D or 3D, got 1D instead"),
    (lambda: nn.GRU(3, 4)(torch.rand(5, 2, 4)), RuntimeError,
     "input.size(-1) must be equal to input_size. Expected 3, got 4"),
    (lambda: nn.GRU(3, 4)(torch.rand(5, 2, 3), torch.rand(2, 2, 4)), RuntimeError,
     "Expected hidden size (1, 2, 4), got [2, 2, 4]"),
    (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "proj_size has to be smaller than hidden_size"),
    (lambda: nn.GRUCell(3, 4)(torch.rand(2, 5)), RuntimeError, "input has inconsistent input_size: got 5 expected 3"),
    (lambda: rnn.pack_padded_sequence(torch.rand(4, 2), [4]), RuntimeError,
     "Expected `len(lengths)` to be equal to batch_size, but got 1 (batch_size=2)"),
    (lambda: rnn.pad_sequence([]), RuntimeError, "received an empty list of sequences"),
])  # fmt: skip
def test_refusals(call, kind, text):
    with pytest.raises(kind) as e:
        call()
    assert str(e.value) == text


def test_packed_sequences_of_ones_own():
    rnn = nn.utils.rnn
    p = rnn.PackedSequence(torch.arange(3.0), torch.tensor([2, 1]), torch.tensor([1, 0]))
    assert p.unsorted_indices.tolist() == [1, 0]
    assert p.long().data.dtype is torch.int64
    assert p.float().data is p.data
    with pytest.raises(ValueError, match="Unrecognized RNN mode: X"):
        nn.RNNBase("X", 2, 2)
