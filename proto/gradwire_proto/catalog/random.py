"""Random numbers, from the session's counter-based generator."""

from __future__ import annotations
