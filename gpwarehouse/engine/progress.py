"""How a caller is told of work that takes long: by numbers, or by lines of text."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Announce", "Progress", "counted"]

Progress = Callable[[str, int], object]
"""Called with the phase and the rows done in it. Phases are ``"read"``, ``"prepare"``, ``"copy"`` and ``"analyze"``.

One that has a method ``begin(phase, rows, bytes)`` is told before ``"read"`` and ``"copy"`` of a load how many rows and bytes of
Arrow data there are to come, None where nobody knows. Where a load has to begin anew, nothing is told until it is further
than before.
"""

Announce = Callable[[str], object]
"""Called with a line of text on what is being done."""


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 table``, ``2 tables``, ``2 batches``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('ch') else 's'}"
