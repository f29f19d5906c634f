"""The answers that analyses of a generated fab must find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpwarehouse.generate.process import Drift, Excursion

__all__ = ["Capability", "Oee", "ProductYield", "Truth"]


@dataclass(frozen=True)
class ProductYield:
    """Numbers of die of a product: tested, good at the first touch, good in the end (exact)."""

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
    """The process that values were drawn from. Estimates approach it as the number of values grows (not exact)."""

    mean: float
    sigma: float
    cp: float
    cpk: float


@dataclass(frozen=True)
class Oee:
    """OEE of a tool over all shifts, from the sums (SEMI E79, exact)."""

    availability: float
    performance: float
    quality: float
    oee: float


@dataclass(frozen=True)
class Truth:
    """What is built into a fab, and the resulting numbers.

    :ivar rows: fact → number of rows.
    :ivar excursion: the one chamber that ran wrong, when, and which wafers it spoiled.
    :ivar drift: the one chamber that drifts.
    :ivar yields: product → numbers of die tested and good.
    :ivar capability: (kind of step, column) → the process, for steps that neither excursion nor drift affects.
    :ivar oee: tool → OEE over all shifts.
    :ivar inspections: number of inspections.
    :ivar clean_inspections: number of inspections without a defect.
    :ivar defects: number of defects.
    :ivar killer_defects: number of defects that kill a die.
    :ivar reworks: number of lithography visits that were done again.
    :ivar splits: number of splits in the genealogy.
    :ivar merges: number of merges in the genealogy.
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
