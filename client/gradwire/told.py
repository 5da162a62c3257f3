"""What the server is told once and then known by a number: places in the program, and templates of ops."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from gradwire import anomaly
from gradwire_proto.codec import encode_template
from gradwire_proto.v1 import gradwire_pb2 as pb

if TYPE_CHECKING:
    from gradwire.dispatch import Known

MOST_PLACES = 16384
"""Places in the program that are remembered by their code."""


class Told:
    """The numbers of one session. Use it with the wire's lock held.

    Args:
        send: sends the frame to be.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self.fresh: list[pb.Location | pb.Template] = []
        """What the frame to be is the first to use."""
        self._locations: dict[tuple[str, int, anomaly.Stack], int] = {}
        self.highest_location = 0
        """Of those before the first one here, whom another client told."""
        self.places: dict[tuple[CodeType, int], int] = {}
        """Locations by code and position in it: to work out a line number takes as long as half an op."""
        self.templates: dict[Known, int] = {}
        """The ids of templates."""
        self.max_templates = 1
        """How many of them the server remembers."""

    def location(self, file: str, line: int, stack: anomaly.Stack = ()) -> int:
        """The id of a line of the program; one of its own for each ``stack`` of calls that led there."""
        known = self._locations.get((file, line, stack))
        if known is None:
            known = self.highest_location + len(self._locations) + 1
            self.fresh.append(pb.Location(id=known, file=file, line=line))
            self._locations[file, line, stack] = known  # last: where Ctrl-C strikes before, it is told once more
        return known

    def where(self, location: int) -> str:
        """The line of a location's id."""
        return next((f"{file}:{line}" for (file, line, _), i in self._locations.items() if i == location), "?")

    def stack(self, location: int) -> anomaly.Stack:
        """The calls that led to a location, where it was told in anomaly mode."""
        return next((stack for (_, _, stack), i in self._locations.items() if i == location), ())

    def place(self, f: FrameType) -> int:
        """The id of the line that a frame of the program is at, which ``places`` will know, but in anomaly mode."""
        if anomaly.mode.enabled:
            return self.location(f.f_code.co_filename, f.f_lineno, anomaly.stack(f))
        if len(self.places) >= MOST_PLACES:
            self.places.clear()
        made = self.places[f.f_code, f.f_lasti] = self.location(f.f_code.co_filename, f.f_lineno)
        return made

    def template(self, known: Known) -> int:
        """The id of a new template, which ``templates`` will know."""
        if len(self.templates) >= self.max_templates:
            self._send()  # what uses ids of old leaves before they are given away again
            self.templates.clear()
        made = len(self.templates) + 1
        results = 0 if known.targets else len(known.results)
        self.fresh.append(encode_template(made, known.op, known.plain, results, known.no_grad))
        self.templates[known] = made  # last, as above
        return made

    def tell(self, frame: pb.Frame) -> None:
        """Put what is fresh into a frame; it is for the wire to clear it when the frame is sure to be sent."""
        for fresh in self.fresh:
            (frame.locations if type(fresh) is pb.Location else frame.templates).append(fresh)
