"""torch.autograd.anomaly_mode: find the forward call behind what goes wrong in backward."""

from __future__ import annotations

import warnings

from gradwire import session as sessions
from gradwire.anomaly import mode


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Turn anomaly mode on or off for all threads.

    Raises:
        TypeError: one of them is no bool.
    """
    for i, (name, v) in enumerate((("enabled", enabled), ("check_nan", check_nan))):
        if not isinstance(v, bool):
            raise TypeError(
                f"set_anomaly_enabled(): argument '{name}' (position {i + 1}) must be bool, not {type(v).__name__}"
            )
    mode.enabled, mode.check_nan = enabled, check_nan
    sessions.forget_places()  # ops are told with the calls that led to them, or without, from here on


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return mode.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for NaN, where it is on."""
    return mode.check_nan


class set_detect_anomaly:
    """Turn anomaly mode on or off, from here on or for a block: see :class:`detect_anomaly`.

    Args:
        mode: whether it is to be on.
        check_nan: whether backward ends where a gradient has NaN in it.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = is_anomaly_enabled()
        self.prev_check_nan = is_anomaly_check_nan_enabled()
        set_anomaly_enabled(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        set_anomaly_enabled(self.prev, self.prev_check_nan)


class detect_anomaly(set_detect_anomaly):
    """A context manager in which ops remember the calls that led to them, and backward waits for the server's verdict.

    Where it fails, a warning shows the call that made the node in which it did; with ``check_nan`` it fails where a
    node makes a gradient with NaN in it. Slow, for debugging; a function that runs backward can't be compiled in it.

    >>> import gradwire as torch
    >>> x = torch.tensor(0.0, requires_grad=True)
    >>> with torch.autograd.detect_anomaly():
    ...     (x.sqrt() * 0).backward()
    Traceback (most recent call last):
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.prev = is_anomaly_enabled()
        self.prev_check_nan = is_anomaly_check_nan_enabled()
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            UserWarning,
            stacklevel=2,
        )

    def __enter__(self) -> None:
        set_anomaly_enabled(True, self.check_nan)


__all__ = ["detect_anomaly", "set_detect_anomaly"]
