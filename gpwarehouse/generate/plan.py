"""The parts of a generated fab: products, route, tools, and the numbers that its analyses must find.

Every entity draws from a random stream of its own (PCG64, seeded by seed, kind and number). So a lot depends neither on the
number of lots nor on how its rows are cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

__all__ = [
    "MEASURES",
    "PROGRAM_REVISION",
    "SHIFT_S",
    "TOOLS",
    "Measure",
    "Product",
    "Settings",
    "Step",
    "Tool",
    "products",
    "route",
    "stream",
]

SHIFT_S = 43_200
"""Seconds of a shift; a day has two shifts."""

PROGRAM_REVISION = "1"
_STREAMS = ("lot", "die", "visit", "probe", "defect", "shift", "product")
Kind = Literal["CVD", "LITHO", "CD", "ETCH", "CMP", "THK", "INSPECTION"]


def stream(seed: int, kind: str, *numbers: int) -> np.random.Generator:
    """The random numbers of one entity."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAMS.index(kind), *numbers)))
    )


@dataclass(frozen=True)
class Settings:
    """The size of a fab, and its probabilities.

    :ivar prefix: beginning of the lot names; two fabs in one warehouse need different ones.
    :ivar lots: number of lots, started ``lot_interval_h`` hours apart.
    :ivar wafers: number of wafers in each lot.
    :ivar layers: number of layers of the route, with seven steps each.
    :ivar radius: radius of the wafer in die: 10 gives 341 to 349 die.
    :ivar split_share: share of lots that are split in three parts, of which two merge again.
    :ivar rework_share: share of lithography visits that are done again.
    """

    seed: int
    lots: int = 20
    wafers: int = 25
    layers: int = 2
    products: int = 3
    radius: int = 10
    start: datetime = datetime(2026, 1, 5, 7, tzinfo=UTC)
    lot_interval_h: float = 8.0
    split_share: float = 0.25
    rework_share: float = 0.08
    prefix: str = "G"
    facility: str = "FAB1"


@dataclass(frozen=True)
class Product:
    """A product.

    :ivar d0_per_cm2: density of killer defects; the share of die they kill is ``1 - exp(-area * d0)`` (Poisson).
    """

    product_id: str
    die_mm: float
    d0_per_cm2: float

    @property
    def random_fail(self) -> float:
        """Probability that a die fails by a random defect."""
        return float(1 - np.exp(-(self.die_mm**2) / 100 * self.d0_per_cm2))

    @property
    def program(self) -> str:
        """Its test program."""
        return f"SORT_{self.product_id}"


def products(settings: Settings) -> tuple[Product, ...]:
    """The products. Each one has more defects than the one before."""
    return tuple(Product(f"P{n + 1:02d}", 9.0, 0.003 + 0.05 * n) for n in range(settings.products))


@dataclass(frozen=True)
class Tool:
    """A tool of a group; ``chambers`` is empty if chambers do not matter."""

    equipment_id: str
    group: str
    equipment_type: str
    chambers: tuple[str, ...] = ()
    wph: float = 60.0


def _make_group(name: str, kind: str, count: int, chambers: str = "", wph: float = 60.0) -> tuple[Tool, ...]:
    return tuple(Tool(f"{name}-{n + 1:02d}", name, kind, tuple(chambers), wph) for n in range(count))


TOOLS: dict[str, tuple[Tool, ...]] = {
    "CVD": _make_group("CVD", "CVD", 2, "AB", 50),
    "LITHO": _make_group("LITHO", "LITHO", 2, wph=120),
    "ETCH": _make_group("ETCH", "ETCH", 3, "AB", 40),
    "CMP": _make_group("CMP", "CMP", 2, wph=45),
    "METRO": _make_group("METRO", "METROLOGY", 1, wph=30),
    "INSP": _make_group("INSP", "INSPECTION", 1, wph=20),
    "TESTER": _make_group("TESTER", "TESTER", 2, wph=2),
    "PROBER": _make_group("PROBER", "PROBER", 2, wph=2),
}
"""Group → tools; the same in every fab."""


@dataclass(frozen=True)
class Measure:
    """A normally distributed value: ``mean`` and ``sigma`` of the process, ``target`` and limits of the step.

    The limits are ``width`` sigma on each side of the target.
    """

    column: str
    unit: str
    mean: float
    sigma: float
    target: float
    width: float = 6.0

    @property
    def lsl(self) -> float:
        """Lower specification limit."""
        return self.target - self.width * self.sigma

    @property
    def usl(self) -> float:
        """Upper specification limit."""
        return self.target + self.width * self.sigma


MEASURES: dict[str, tuple[Measure, ...]] = {
    "CVD": (
        Measure("temperature_c", "degC", 400, 1.5, 400),
        Measure("pressure_torr", "Torr", 4, 0.05, 4),
        Measure("deposition_rate_nm_min", "nm/min", 300, 4, 300),
    ),
    "LITHO": (Measure("overlay_x_nm", "nm", 0, 1.2, 0), Measure("overlay_y_nm", "nm", 0, 1.2, 0)),
    "CD": (Measure("cd_nm", "nm", 45.5, 0.5, 45, 4.0),),
    "ETCH": (
        Measure("rf_power_w", "W", 900, 6, 900),
        Measure("pressure_torr", "Torr", 0.02, 0.0004, 0.02),
        Measure("chuck_temp_c", "degC", 60, 0.5, 60),
        Measure("etch_rate_nm_min", "nm/min", 250, 3, 250),
    ),
    "CMP": (Measure("removal_rate_nm_min", "nm/min", 220, 5, 220),),
    "THK": (Measure("film_thickness_nm", "nm", 120, 1, 120, 5.0),),
    "INSPECTION": (),
}
"""Kind of step → what it measures. CD is one sigma off its target: Cp 1.33, Cpk 1.00. Thickness is centred: both are 1.67."""


@dataclass(frozen=True)
class Step:
    """A step of the route."""

    number: str
    name: str
    kind: Kind
    layer: int
    group: str
    wafer_s: float


_LAYER: tuple[tuple[Kind, str, float], ...] = (
    ("CVD", "CVD", 72), ("LITHO", "LITHO", 30), ("CD", "METRO", 120), ("ETCH", "ETCH", 90), ("CMP", "CMP", 80),
    ("THK", "METRO", 120), ("INSPECTION", "INSP", 180),
)  # fmt: skip


def route(settings: Settings) -> tuple[Step, ...]:
    """The steps in order."""
    return tuple(
        Step(f"{layer * 100 + (n + 1) * 10:04d}", f"{kind} M{layer}", kind, layer, group, seconds)
        for layer in range(1, settings.layers + 1)
        for n, (kind, group, seconds) in enumerate(_LAYER)
    )
