"""torch.fft, short-time transforms and windows, against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.signal

import gradwire as torch
from tests.devices import on_cpu

rng = np.random.default_rng(4)
X = rng.standard_normal((4, 5))
C = X + 1j * rng.standard_normal((4, 5))
V = rng.standard_normal(30)
HANN = scipy.signal.get_window("hann", 8)


def t(a):
    return torch.tensor(a)


def hfftn(a, s=None, axes=None, norm="backward"):
    other = {"backward": "forward", "forward": "backward"}.get(norm, norm)
    return np.fft.irfftn(a.conj(), s, axes, norm=other)


def frames(v, window, hop):
    windows = np.lib.stride_tricks.sliding_window_view(v, len(window), -1)[..., ::hop, :]
    return np.fft.fft(windows * window).swapaxes(-1, -2)


SAME = [
    *[(f"{name} {norm}", lambda name=name, norm=norm, a=a: getattr(torch.fft, name)(t(a), norm=norm),
       getattr(np.fft, name)(a, norm=norm))
      for norm in (None, "backward", "ortho", "forward")
      for name, a in (("fft", C), ("ifft", X), ("rfft", X), ("irfft", C), ("hfft", C), ("ihfft", X),
                      ("fftn", X), ("ifftn", C), ("rfftn", X), ("irfftn", C))],
    *[(f"{name} {n}", lambda name=name, n=n, a=a: getattr(torch.fft, name)(t(a), n, 0),
       getattr(np.fft, name)(a, n, 0))
      for n in (1, 3, 9)
      for name, a in (("fft", X), ("ifft", C), ("rfft", X), ("irfft", C), ("hfft", C), ("ihfft", X))],
    ("fft of ints", lambda: torch.fft.fft(t(np.arange(4))), np.fft.fft(np.arange(4.0))),
    ("fftn s", lambda: torch.fft.fftn(t(C), (3,)), np.fft.fft(C, 3)),
    ("fftn s dim", lambda: torch.fft.fftn(t(C), (-1, 7), (1, 0)), np.fft.fftn(C, (5, 7), (1, 0))),
    ("fftn one dim", lambda: torch.fft.fftn(t(C), dim=0), np.fft.fft(C, axis=0)),
    ("fftn no dims", lambda: torch.fft.fftn(t(X), dim=()), X + 0j),
    ("fft2", lambda: torch.fft.fft2(t(X), (6, 2)), np.fft.fft2(X, (6, 2))),
    ("ifft2", lambda: torch.fft.ifft2(t(X)), np.fft.ifft2(X)),
    ("rfft2", lambda: torch.fft.rfft2(t(X)), np.fft.rfft2(X)),
    ("irfft2", lambda: torch.fft.irfft2(t(C), (3, -1)), np.fft.irfft2(C, (3, 8))),
    ("hfft2", lambda: torch.fft.hfft2(t(C)), hfftn(C)),
    ("hfftn", lambda: torch.fft.hfftn(t(C), (3, 6), (1, 0), "forward"), hfftn(C, (3, 6), (1, 0), "forward")),
    ("ihfft2", lambda: torch.fft.ihfft2(t(X)), np.fft.rfft2(X, norm="forward").conj()),
    ("ihfftn", lambda: torch.fft.ihfftn(t(X), norm="ortho"), np.fft.rfftn(X, norm="ortho").conj()),
    ("fftshift", lambda: torch.fft.fftshift(t(X)), np.fft.fftshift(X)),
    ("ifftshift", lambda: torch.fft.ifftshift(t(X), 1), np.fft.ifftshift(X, 1)),
    ("fftfreq", lambda: torch.fft.fftfreq(5, 0.5, dtype=torch.float64), np.fft.fftfreq(5, 0.5)),
    ("fftfreq even", lambda: torch.fft.fftfreq(4, dtype=torch.float64), np.fft.fftfreq(4)),
    ("rfftfreq", lambda: torch.fft.rfftfreq(5, 2.0, dtype=torch.float64), np.fft.rfftfreq(5, 2.0)),
    ("stft", lambda: torch.stft(t(V), 8, window=t(HANN), return_complex=True),
     frames(np.pad(V, 4, "reflect"), HANN, 2)[:5]),
    ("stft whole", lambda: t(V).stft(8, 3, window=t(HANN), center=False, onesided=False, return_complex=True),
     frames(V, HANN, 3)),
    ("stft short window", lambda: torch.stft(t(V), 8, 3, 5, t(HANN[:5]), False, return_complex=True),
     frames(V, np.pad(HANN[:5], (1, 2)), 3)[:5]),
    ("stft aligned", lambda: torch.stft(t(V), 8, 3, 5, t(HANN[:5]), False, return_complex=True, align_to_window=True),
     frames(np.pad(V, (1, 2)), np.pad(HANN[:5], (1, 2)), 3)[:5]),
    ("stft of complex", lambda: torch.stft(t(V * 1j), 8, window=t(HANN), center=False, normalized=True),
     frames(V * 1j, HANN, 2) / np.sqrt(8)),
    ("hann", lambda: torch.hann_window(8, dtype=torch.float64), HANN),
    ("hann symmetric", lambda: torch.hann_window(8, False, dtype=torch.float64), scipy.signal.windows.hann(8)),
    ("hamming", lambda: torch.hamming_window(8, dtype=torch.float64), scipy.signal.get_window("hamming", 8)),
    ("hamming weights", lambda: torch.hamming_window(8, False, 0.6, 0.4, dtype=torch.float64),
     scipy.signal.windows.general_hamming(8, 0.6)),
    ("blackman", lambda: torch.blackman_window(8, dtype=torch.float64), scipy.signal.get_window("blackman", 8)),
    ("bartlett", lambda: torch.bartlett_window(8, dtype=torch.float64), scipy.signal.get_window("bartlett", 8)),
    ("kaiser", lambda: torch.kaiser_window(8, False, 5.0, dtype=torch.float64), scipy.signal.windows.kaiser(8, 5)),
    ("one", lambda: torch.hann_window(1), [1.0]),
]  # fmt: skip


@pytest.mark.parametrize(("made", "want"), [s[1:] for s in SAME], ids=[s[0] for s in SAME])
def test_same(made, want):
    np.testing.assert_allclose(made().numpy(), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("given", [X.astype("f"), C.astype("F")])
def test_single_precision_stays_single(given):
    assert torch.fft.fft(t(given)).dtype is torch.complex64
    assert torch.fft.irfft(t(given)).dtype is torch.float32


@pytest.mark.parametrize("kwargs", [{}, {"center": False}, {"normalized": True}, {"onesided": False}])
def test_istft_finds_the_signal_again(kwargs):
    window = torch.hamming_window(8, dtype=torch.float64)
    signal = t(rng.standard_normal((2, 30)))
    made = torch.stft(signal, 8, window=window, return_complex=True, **kwargs)
    np.testing.assert_allclose(torch.istft(made, 8, window=window, **kwargs).numpy(), signal.numpy(), atol=1e-12)
    np.testing.assert_allclose(torch.istft(made, 8, window=window, length=20, **kwargs).numpy(), signal.numpy()[:, :20])
    with pytest.warns(UserWarning, match="The length of signal is shorter"):
        longer = torch.istft(made, 8, window=window, length=50, **kwargs).numpy()
    assert longer.shape == (2, 50)
    assert not longer[:, 40:].any()


def test_istft_of_complex():
    signal, window = t(V + 1j * V[::-1]), torch.ones(8, dtype=torch.float64)
    made = torch.stft(signal, 8, window=window)
    np.testing.assert_allclose(torch.istft(made, 8, window=window, return_complex=True).numpy(), signal.numpy())


def test_gradients():
    x, window = t(V).requires_grad_(), torch.hamming_window(8, dtype=torch.float64, requires_grad=True)

    def there(x, window):
        return torch.stft(x, 8, window=window, return_complex=True)

    made = there(x, window).detach().requires_grad_()
    assert torch.autograd.gradcheck(there, (x, window))
    assert torch.autograd.gradcheck(lambda made, window: torch.istft(made, 8, window=window), (made, window))


REFUSED = [
    (lambda: torch.fft.fft(t(X), 0), RuntimeError, "Invalid number of data points (0) specified"),
    (lambda: torch.fft.fft(t(X), dim=2), IndexError,
     "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    (lambda: torch.fft.hfft(t(C), norm="half"), RuntimeError, 'Invalid normalization mode: "half"'),
    (lambda: torch.fft.rfft(t(C)), RuntimeError, "rfft expects a real input tensor, but got ComplexDouble"),
    (lambda: torch.fft.rfft2(t(C)), RuntimeError, "rfftn expects a real-valued input tensor, but got ComplexDouble"),
    (lambda: torch.fft.ihfftn(t(C)), RuntimeError, "Only supports floating-point dtypes, but found: ComplexDouble"),
    (lambda: torch.fft.irfft(t(C[:, :1])), RuntimeError, "Invalid number of data points (0) specified"),
    (lambda: torch.fft.fft2(t(X), dim=(0, -2)), RuntimeError, "FFT dims must be unique"),
    (lambda: torch.fft.fft2(t(X), (3,)), RuntimeError,
     "When given, dim and shape arguments must have the same length"),
    (lambda: torch.fft.fftn(t(X), (1, 2, 3)), RuntimeError,
     "Got shape with 3 values but input tensor only has 2 dimensions."),
    (lambda: torch.fft.irfftn(t(C), dim=()), RuntimeError, "irfftn must transform at least one axis"),
    (lambda: torch.fft.fft(t(X).half()), RuntimeError, "Unsupported dtype Half"),
    (lambda: torch.fft.fftfreq(4, dtype=torch.int64), RuntimeError,
     "fftfreq requires a floating point or complex dtype"),
    (lambda: torch.hann_window(-1), RuntimeError,
     "hann_window requires non-negative window_length, got window_length=-1"),
    (lambda: torch.stft(t(V), 8, window=t(HANN)), RuntimeError,
     "stft requires the return_complex parameter be given for real inputs, and will further require that "
     "return_complex=True in a future PyTorch release."),
    (lambda: torch.stft(t(V), 8, window=t(HANN[1:]), return_complex=True), RuntimeError,
     "stft(torch.DoubleTensor[38], n_fft=8, hop_length=2, win_length=8, window=torch.DoubleTensor{[7]}, normalized=0, "
     "onesided=None, return_complex=1, align_to_window=None) : expected a 1D window tensor of size equal to "
     "win_length=8, but got window with size [7]"),
    (lambda: torch.istft(t(C), 4, 5, window=t(HANN[:4])), RuntimeError,
     "istft(CPUComplexDoubleType[4, 5], n_fft=4, hop_length=5, win_length=4, window=torch.DoubleTensor{[4]}, center=1, "
     "normalized=0, onesided=None, length=None, return_complex=0) : expected 0 < hop_length <= win_length"),
]  # fmt: skip


@on_cpu
@pytest.mark.parametrize(("f", "error", "text"), REFUSED, ids=[r[2][:40] for r in REFUSED])
def test_refused(f, error, text):
    with pytest.raises(error) as e:
        f()
    assert str(e.value) == text


def test_windows_that_leave_out_a_place_cannot_be_undone():
    made = torch.istft(t(rng.standard_normal((5, 9)) + 0j), 8, window=t(HANN), center=False)
    with pytest.raises(RuntimeError, match="window overlap add min: 1"):
        made.numpy()
