"""What a function finds by name: the next call looks whether it is still the same."""

from __future__ import annotations


class Watch:
    def guard(self, *_):
        pass


def watch(f):
    return Watch()
