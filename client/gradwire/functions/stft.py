"""Short-time Fourier transforms and back: windows that slide over a signal, each transformed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from gradwire.dispatch import ops
from gradwire.export import export
from gradwire.functions.arrange import pad
from gradwire.functions.shape import viewed
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.dtypes import Category

if TYPE_CHECKING:
    from gradwire.tensor import Tensor

LEAST_OVERLAP = 1e-11
"""What the squared windows over a place must add up to, for the signal to be found again there."""


def _legacy(x: Tensor) -> str:
    if x.is_complex():
        return f"{'CUDA' if x.is_cuda else 'CPU'}{x.dtype.legacy}Type"
    return f"torch.{'cuda.' * x.is_cuda}{x.dtype.legacy}Tensor"


def _shown(v: Any) -> Any:
    """An argument as torch's errors print it."""
    if isinstance(v, bool):
        return int(v)
    return v if v is None or isinstance(v, int) else f"{_legacy(v)}{{{list(v.shape)}}}"


def _called(name: str, input: Tensor, **kwargs: Any) -> str:
    rest = ", ".join(f"{k}={_shown(v)}" for k, v in kwargs.items())
    return f"{name}({_legacy(input)}{list(input.shape)}, {rest})"


def _padded_window(window: Tensor, n_fft: int) -> Tensor:
    """The window amid zeros."""
    room = n_fft - window.shape[0]
    return ops.constant_pad_nd(window, (room // 2, room - room // 2)) if room else window


@export("stft", "Tensor.stft")
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None, return_complex: bool | None = None,
         align_to_window: bool | None = None) -> Tensor:  # fmt: skip
    """Frequencies by time: the Fourier transforms of windows that are hop_length apart."""
    if center:
        if align_to_window is not None:
            raise RuntimeError("stft align_to_window should only be set when center = false")
        lead = (1,) * (3 - input.ndim)
        padded: Any = pad(viewed(input, (*lead, *input.shape)), [n_fft // 2] * 2, pad_mode)
        input = viewed(padded, padded.shape[len(lead) :] if input.ndim else padded.shape)
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    from_complex = input.is_complex() or (window is not None and window.is_complex())
    if window is None:
        warnings.warn(
            "A window was not provided. A rectangular window will be applied,which is known to cause spectral "
            "leakage. Other windows such as torch.hann_window or torch.hamming_window are recommended to reduce "
            "spectral leakage.To suppress this warning and use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`.", stacklevel=2,
        )  # fmt: skip
    if return_complex is None:
        if not from_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
    elif not return_complex:
        warnings.warn(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex "
            "tensors for all inputs, and return_complex=False will raise an error.\nNote: you can still call "
            "torch.view_as_real on the complex output to recover the old return format.", stacklevel=2,
        )  # fmt: skip
    call = _called("stft", input, n_fft=n_fft, hop_length=hop, win_length=win,
                   window=window, normalized=normalized, onesided=onesided, return_complex=return_complex,
                   align_to_window=align_to_window)  # fmt: skip
    if input.dtype.category < Category.FLOAT:
        raise RuntimeError(f"{call} : expected a tensor of floating point or complex values")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"{call} : expected a 1D or 2D tensor")
    length = input.shape[-1]
    if not 0 < n_fft <= length:
        shown = win if align_to_window else n_fft
        raise RuntimeError(f"{call} : expected 0 < n_fft < {length}, but got n_fft={shown}")
    if hop <= 0:
        raise RuntimeError(f"{call} : expected hop_length > 0, but got hop_length={hop}")
    if not 0 < win <= n_fft:
        raise RuntimeError(f"{call} : expected 0 < win_length <= n_fft, but got win_length={win}")
    if window is not None and tuple(window.shape) != (win,):
        raise RuntimeError(
            f"{call} : expected a 1D window tensor of size equal to win_length={win}, but got window with size "
            f"{list(window.shape)}"
        )
    if onesided is None:
        onesided = not from_complex
    elif onesided and from_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window:
        room = n_fft - win
        input = ops.constant_pad_nd(input, (room // 2, room - room // 2))
    frames = ops.unfold(input, -1, n_fft, hop)
    if window is None and win < n_fft:
        window = ops.full((win,), 1, dtype=input.dtype)
    if window is not None:
        frames = ops.mul(frames, _padded_window(window, n_fft))
    norm = "ortho" if normalized else "backward"
    if from_complex:
        made = ops.fft_c2c(frames, -1, norm, True)
    else:
        made = ops.fft_r2c(frames, -1, norm, onesided)
    made = ops.transpose(made, -1, -2)
    return ops.view_as_real(made) if return_complex is False else made


@export("istft", "Tensor.istft")
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
          length: int | None = None, return_complex: bool = False) -> Tensor:  # fmt: skip
    """The signal whose ``stft`` is input, by least squares."""
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    if window is None:
        warnings.warn(
            "A window was not provided. A rectangular window will be applied.Please provide the same window used by "
            "stft to make the inversion lossless.To suppress this warning and use a rectangular window, explicitly "
            "set `window=torch.ones(n_fft, device=<device>)`.", stacklevel=2,
        )  # fmt: skip
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    call = _called("istft", input, n_fft=n_fft, hop_length=hop, win_length=win, window=window, center=center,
                   normalized=normalized, onesided=onesided, length=length, return_complex=return_complex)  # fmt: skip
    if not input.numel():
        raise RuntimeError(f"{call} : input tensor cannot be empty.")
    if input.ndim < 2:
        wrap_dim(-3, input.ndim + 1)  # torch counts the pair of numbers as a dim here
    if input.ndim > 3:
        raise RuntimeError(f"{call} : expected a tensor with 3 or 4 dimensions, but got {input.ndim + 1}")
    frequencies, n_frames = input.shape[-2:]
    if onesided is None:
        onesided = frequencies != n_fft
    if onesided and frequencies != n_fft // 2 + 1:
        raise RuntimeError(
            f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 "
            f"when onesided=True, but got {frequencies}"
        )
    if not onesided and frequencies != n_fft:
        raise RuntimeError(
            f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft when "
            f"onesided=False, but got {frequencies}"
        )
    if not 0 < hop <= win:
        raise RuntimeError(f"{call} : expected 0 < hop_length <= win_length")
    if not 0 < win <= n_fft:
        raise RuntimeError(f"{call} : expected 0 < win_length <= n_fft")
    if window is not None and tuple(window.shape) != (win,):
        raise RuntimeError(f"{call} : Invalid window shape. window has to be 1D and length of `win_length`")
    if window is not None and window.is_complex() and not return_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    frames = ops.transpose(input, -1, -2)
    norm = "ortho" if normalized else "backward"
    if return_complex:
        frames = ops.fft_c2c(frames, -1, norm, False)
    else:
        if not onesided:
            frames = ops.slice(frames, -1, 0, n_fft // 2 + 1, 1)
        frames = ops.fft_c2r(frames, -1, norm, n_fft)
    given = ops.full((win,), 1, dtype=input.dtype.to_real()) if window is None else window
    given = _padded_window(given, n_fft)
    whole = n_fft + hop * (n_frames - 1)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else whole - start
    signal = _overlapped(ops.mul(frames, given), whole, n_fft, hop, start, end)
    weight = _overlapped(ops.expand(ops.square(given), (n_frames, n_fft)), whole, n_fft, hop, start, end)
    enough = ops.gt(ops.min_all(ops.abs(weight.detach())), LEAST_OVERLAP)
    signal = ops.div(signal, ops.require(weight, enough, f"{call} window overlap add min: 1\n[ CPUBoolType{{}} ]"))
    if length is not None and end > whole:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
            "tail. Please check your center and hop_length settings.", stacklevel=2,
        )  # fmt: skip
        signal = ops.constant_pad_nd(signal, (0, end - whole))
    return signal


def _overlapped(frames: Tensor, whole: int, n_fft: int, hop: int, start: int, end: int) -> Tensor:
    """The frames added up where they lie over each other, between two places."""
    added = ops.unfold_backward(frames, (*frames.shape[:-2], whole), -1, n_fft, hop)
    return ops.slice(added, -1, start, end, 1)
