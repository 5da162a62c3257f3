"""What registering a hook returns."""

from __future__ import annotations

import itertools
from typing import Any

_count = itertools.count()


class RemovableHandle:
    """``remove()`` takes the hook away, out of the dict that it is in. Also a context manager that does.

    >>> from gradwire.utils.hooks import RemovableHandle
    >>> hooks = {}
    >>> handle = RemovableHandle(hooks)
    >>> hooks[handle.id] = print
    >>> handle.remove()
    >>> hooks
    {}
    """

    def __init__(self, hooks_dict: dict[int, Any]):
        self._hooks = hooks_dict
        self.id: int = next(_count)

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


__all__ = ["RemovableHandle"]
