"""How many measured values of a source are stored, and how many are left out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ValueCounts"]


@dataclass(frozen=True)
class ValueCounts:
    """Both numbers together are the values in the records of the source; its ``warnings`` say why values are left out.

    :ivar stored: finite values in ``measured``.
    :ivar left_out: values that are not stored: infinite, not a number, void by their flags, or of no part.
    """

    stored: int = 0
    left_out: int = 0
