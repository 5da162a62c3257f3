"""Anomaly mode: whether it is on, and what is shown of a node in which backward failed.

While it is on, each series of calls that leads to an op is a location of its own (:meth:`gradwire.told.Told.place`), so
that the server, which names a node's location, names its traceback. :mod:`gradwire.autograd.anomaly_mode` turns it on.
"""

from __future__ import annotations

import traceback
import warnings
from types import FrameType
from typing import TYPE_CHECKING

from gradwire_proto import refusals

if TYPE_CHECKING:
    from gradwire.session import Session

Stack = tuple[tuple[str, int, str], ...]
"""File, line and function of each call, the outermost first."""


class _Mode:
    enabled = False
    check_nan = True


mode = _Mode()
"""As in torch it is one for all threads."""


def stack(f: FrameType | None) -> Stack:
    """The calls that a frame of the program is in, without gradwire's own."""
    from gradwire.dispatch import _own

    found = []
    while f is not None:
        if not _own[f.f_code.co_filename]:
            found.append((f.f_code.co_filename, f.f_lineno, f.f_code.co_name))
        f = f.f_back
    return tuple(reversed(found))


def show(session: Session, e: Exception) -> None:
    """Warn of the forward call that recorded the node in which a backward pass failed, as torch does."""
    from gradwire.dispatch import caller

    error = getattr(e, "told", None)
    if error is None or not error.node:
        return
    calls = session.wire.told.stack(error.location.id)
    if calls:
        lines = traceback.format_list(traceback.StackSummary.from_list([(*call, None) for call in calls]))
        how = f"Traceback of forward call that caused the error:\n{''.join(lines)}"
    else:
        how = (
            "No forward pass information available. Enable detect anomaly during forward pass for more information."
        )
    warnings.warn_explicit(f"Error detected in {error.node}. {how}", UserWarning, *caller())
    e.args = (str(e).replace(refusals.HINT, refusals.HINT_ABOVE),)
