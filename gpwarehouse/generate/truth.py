"""The answers that analyses of a made-up fab have to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpwarehouse.generate.process import Drift, Excursion

__all__ = ["Capability", "Oee", "ProductYield", "Truth"]


@dataclass(frozen=True)
class ProductYield:
    """Die of a product: tested, good at the first touch, good in the end (exact counts)."""

    tested: int
    first_good: int
    last_good: int

    @property
    def first_pct(self) -> float:
        """First-pass yield, percent."""
        return 100 * self.first_good / self.tested

    @property
    def last_pct(self) -> float:
        """Final yield, percent."""
        return 100 * self.last_good / self.tested


@dataclass(frozen=True)
class Capability:
    """The process that values were drawn from: estimates come near it as their number grows (not exact)."""

    mean: float
    sigma: float
    cp: float
    cpk: float


@dataclass(frozen=True)
class Oee:
    """Of a tool over all shifts, from the sums (SEMI E79, exact)."""

    availability: float
    performance: float
    quality: float
    oee: float


@dataclass(frozen=True)
class Truth:
    """What is planted in a fab, and what came of it.

    :ivar rows: fact → rows.
    :ivar excursion: the one chamber that ran wrong, when, and which wafers it spoiled; ``drift``: the one that drifts.
    :ivar yields: product → die tested and good.
    :ivar capability: (kind of step, column) → the process, of steps that neither excursion nor drift touches.
    :ivar oee: tool → OEE over all shifts.
    :ivar inspections: number of them; ``clean_inspections``: those without a defect; ``defects`` and ``killer_defects``.
    :ivar reworks: lithography visits that were done again; ``splits`` and ``merges``: rows of the genealogy.
    """

    rows: Mapping[str, int]
    excursion: Excursion
    drift: Drift
    yields: Mapping[str, ProductYield]
    capability: Mapping[tuple[str, str], Capability]
    oee: Mapping[str, Oee]
    inspections: int
    clean_inspections: int
    defects: int
    killer_defects: int
    reworks: int
    splits: int
    merges: int
