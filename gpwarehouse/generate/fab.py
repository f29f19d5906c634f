"""A generated fab of any size: its rows as streams of batches, its members, its genealogy, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpwarehouse.errors import InvalidInputError
from gpwarehouse.generate import defects, probing, process, shifts
from gpwarehouse.generate.dies import WaferDies, wafer_dies
from gpwarehouse.generate.dimension_members import fixed_members, lot_members
from gpwarehouse.generate.lots import END, Lot, Visit
from gpwarehouse.generate.plan import MEASURES, SHIFT_S, TOOLS, Settings, products
from gpwarehouse.generate.process import Drift, Excursion
from gpwarehouse.generate.rows import instant, rebatch, wafer_ids
from gpwarehouse.generate.truth import Capability, Oee, ProductYield, Truth
from gpwarehouse.models.parameter_sets import ParameterSet
from gpwarehouse.sources.value_counts import ValueCounts

__all__ = ["BATCH_ROWS", "FACTS", "Fab", "FabSource", "generate_fab"]

BATCH_ROWS = 65_536
_EXCURSION_TOOL = TOOLS["ETCH"][1]
_PROBE_S, _QUEUE_BEFORE_PROBE_S = 1800.0, 7200.0


@dataclass(frozen=True)
class FabSource:
    """Rows of one fact, and attributes of members, as a source for the loader.

    :ivar sets: the lists of the rows' measured values.
    :ivar checksum: None: the loader computes it from the rows.
    """

    target: str
    schema: pa.Schema
    make: Callable[[], Iterator[pa.RecordBatch]]
    read_members: Callable[[], Mapping[str, list[dict[str, Any]]]]
    source_system: str = "GENERATED"
    source_file: str = ""
    checksum: str | None = None
    sets: Sequence[ParameterSet] = ()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, the same in every call."""
        return self.make()

    def members(self) -> Mapping[str, list[dict[str, Any]]]:
        """Dimension → members with attributes."""
        return self.read_members()

    def parameter_sets(self) -> Mapping[int, ParameterSet]:
        """Key → list of parameters of the rows' arrays."""
        return {one.key: one for one in self.sets}

    def values(self) -> ValueCounts:
        """No value is left out."""
        return ValueCounts()

    def warnings(self) -> Sequence[str]:
        """There are none."""
        return ()


class Fab:
    """A fab made by :func:`generate_fab`. Nothing is kept: everything is generated again, the same, when it is asked for.

    :ivar settings: its size and seed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        return f"Fab({self.settings})"

    def lots(self) -> Iterator[Lot]:
        """Yield the lots in the order of their starts."""
        return map(self.lot, range(self.settings.lots))

    def lot(self, number: int) -> Lot:
        """Make one lot. The middle lot goes through the tool of the excursion."""
        middle = number == self.settings.lots // 2
        return Lot(self.settings, number, {"ETCH": _EXCURSION_TOOL} if middle else {})

    @cached_property
    def excursion(self) -> Excursion:
        """The excursion: around the first etch of the middle lot, for the time of two lots; without its wafers."""
        etch = next(v for v in self.lot(self.settings.lots // 2).visits if v.step.kind == "ETCH")
        start, end = etch.start_s - 600, etch.end_s + 2 * 3600 * self.settings.lot_interval_h
        times = (instant(self.settings, np.floor(start)), instant(self.settings, np.ceil(end)))
        return Excursion(_EXCURSION_TOOL.equipment_id, "B", "rf_power_w", 48.0, *times)

    drift = Drift("ETCH-03", "A", "etch_rate_nm_min", -0.5)

    def sources(self, *, batch_rows: int = BATCH_ROWS) -> list[FabSource]:
        """The facts' rows in batches of ``batch_rows``; the first also tells of all members."""
        made: list[FabSource] = []
        for name, (schema, tables) in self._list_facts().items():

            def make(schema: pa.Schema = schema, tables: Callable[[], Iterator[pa.Table]] = tables) -> Any:
                return rebatch(tables(), schema, batch_rows)

            members = dict if made else self.members
            made.append(FabSource(name, schema, make, members, sets=PARAMETER_SETS.get(name, ())))
        return made

    def members(self) -> dict[str, list[dict[str, Any]]]:
        """Dimension → members of the fab with attributes."""
        return {**fixed_members(self.settings), **lot_members(self.settings, self.lots())}

    def genealogy(self) -> list[dict[str, Any]]:
        """Splits and merges: rows of ``bridge_lot_genealogy`` by lot ids."""
        return [
            {
                "parent_lot_id": event.parent, "child_lot_id": event.child, "event_type": event.kind,
                "event_ts": instant(self.settings, event.at_s), "wafer_count": event.wafers,
            }
            for lot in self.lots()
            for event in lot.events
        ]  # fmt: skip

    def stays(self) -> Iterator[dict[str, Any]]:
        """Which wafer was in which lot when: rows of ``bridge_wafer_lot``; ``to_ts`` is None while the wafer is there."""
        for lot in self.lots():
            for stay in lot.stays:
                yield {
                    "root_lot_id": lot.lot_id, "wafer_id": f"{stay.wafer:02d}", "lot_id": stay.lot_id,
                    "from_ts": instant(self.settings, stay.from_s),
                    "to_ts": None if stay.to_s == END else instant(self.settings, stay.to_s),
                }  # fmt: skip

    def _list_facts(self) -> dict[str, tuple[pa.Schema, Callable[[], Iterator[pa.Table]]]]:
        return {
            "fact_process_measurements": (process.SCHEMA, self._make_process),
            "fact_test_results": (probing.SCHEMA, self._make_tests),
            "fact_defect_inspection": (defects.SCHEMA, self._make_defects),
            "fact_equipment_performance": (shifts.SCHEMA, self._make_shifts),
        }

    def _make_process(self) -> Iterator[pa.Table]:
        for lot in self.lots():
            for visit in lot.visits:
                if visit.step.kind != "INSPECTION":
                    yield process.process_rows(lot, visit, self.excursion, self.drift)

    def _make_tests(self) -> Iterator[pa.Table]:
        for lot in self.lots():
            spoiled, last = self._find_spoiled(lot), lot.wafer_lots()
            for place, wafer in enumerate(sorted(last)):
                start_s = lot.end_s + _QUEUE_BEFORE_PROBE_S + place * _PROBE_S
                dies = wafer_dies(lot, wafer, in_excursion=wafer in spoiled)
                yield probing.probe_rows(lot, wafer, last[wafer], dies, start_s)

    def _make_defects(self) -> Iterator[pa.Table]:
        for lot in self.lots():
            spoiled = self._find_spoiled(lot)
            for visit, place, wafer in self._walk_inspections(lot):
                dies = wafer_dies(lot, wafer, in_excursion=wafer in spoiled)
                yield defects.defect_rows(lot, visit, place, dies)

    def _walk_inspections(self, lot: Lot) -> Iterator[tuple[Visit, int, int]]:
        for visit in lot.visits:
            if visit.step.kind == "INSPECTION":
                for place, wafer in enumerate(visit.wafers):
                    if defects.is_inspected(wafer):
                        yield visit, place, wafer

    def _find_spoiled(self, lot: Lot) -> set[int]:
        """Find the wafers of a lot that were in the excursion."""
        found: set[int] = set()
        for visit in lot.visits:
            if visit.step.kind == "ETCH":
                inside = process.in_excursion(self.settings, visit, self.excursion)
                found |= {wafer for wafer, was in zip(visit.wafers, inside, strict=True) if was}
        return found

    def _make_shifts(self) -> Iterator[pa.Table]:
        last = self.lot(self.settings.lots - 1)
        count = int(np.ceil(last.end_s / SHIFT_S))
        for number, tool in enumerate(tool for tools in TOOLS.values() for tool in tools):
            yield shifts.shift_rows(self.settings, number, tool, count)

    def truth(self) -> Truth:
        """The answers that analyses must find. All rows are generated once to count them."""
        counts = {name: sum(table.num_rows for table in tables()) for name, (_, tables) in self._list_facts().items()}
        events = self.genealogy()
        spoiled = [(lot.lot_id, wafer_ids(sorted(self._find_spoiled(lot))).to_pylist()) for lot in self.lots()]
        wafers = tuple((lot_id, wafer) for lot_id, ids in spoiled for wafer in ids)
        return Truth(
            rows=counts,
            excursion=replace(self.excursion, wafers=wafers),
            drift=self.drift,
            yields=self._count_yields(),
            capability=_plan_capabilities(),
            oee=self._compute_oee(),
            reworks=sum(v.visit_no > 1 and v.step.kind == "LITHO" for lot in self.lots() for v in lot.visits),
            splits=sum(event["event_type"] == "SPLIT" for event in events),
            merges=sum(event["event_type"] == "MERGE" for event in events),
            **self._count_defects(),
        )

    def _walk_dies(self) -> Iterator[tuple[Lot, WaferDies]]:
        for lot in self.lots():
            spoiled = self._find_spoiled(lot)
            for wafer in range(1, self.settings.wafers + 1):
                yield lot, wafer_dies(lot, wafer, in_excursion=wafer in spoiled)

    def _count_yields(self) -> dict[str, ProductYield]:
        counts = {product.product_id: np.zeros(3, np.int64) for product in products(self.settings)}
        for lot, dies in self._walk_dies():
            counts[lot.product.product_id] += (len(dies.x), dies.first_good, dies.last_good)
        return {name: ProductYield(*found.tolist()) for name, found in counts.items() if found[0]}

    def _compute_oee(self) -> dict[str, Oee]:
        names = ("productive_s", "standby_s", "engineering_s", "total_s")
        found = {}
        for table in self._make_shifts():
            total = {
                n: pc.sum(table[n]).as_py()
                for n in (*names, *(f"theoretical_{k}_time_s" for k in ("production", "good")))
            }
            up = sum(total[name] for name in names[:3])
            made, good = total["theoretical_production_time_s"], total["theoretical_good_time_s"]
            tool = table["equipment_id"][0].as_py()
            found[tool] = Oee(up / total["total_s"], made / up, good / made, good / total["total_s"])
        return found

    def _count_defects(self) -> dict[str, int]:
        inspections = clean = found = killers = 0
        for table in self._make_defects():
            inspections += 1
            any_found = table["is_defect"][0].as_py()
            clean += not any_found
            found += table.num_rows if any_found else 0
            killers += pc.sum(pc.fill_null(table["is_killer"], False)).as_py() if any_found else 0
        return {
            "inspections": inspections, "clean_inspections": clean, "defects": found, "killer_defects": killers,
        }  # fmt: skip


def _plan_capabilities() -> dict[tuple[str, str], Capability]:
    found = {}
    for kind, measures in MEASURES.items():
        for m in measures:
            if kind == "ETCH" and m.column in ("rf_power_w", Fab.drift.parameter):
                continue
            cp = (m.usl - m.lsl) / (6 * m.sigma)
            cpk = min(m.usl - m.mean, m.mean - m.lsl) / (3 * m.sigma)
            found[kind, m.column] = Capability(m.mean, m.sigma, cp, cpk)
    return found


PARAMETER_SETS: dict[str, tuple[ParameterSet, ...]] = {
    "fact_process_measurements": (process.SENSORS,),
    "fact_test_results": (probing.TESTS,),
}
"""Fact → the lists of its measured values."""
FACTS = ("fact_process_measurements", "fact_test_results", "fact_defect_inspection", "fact_equipment_performance")
"""The facts that are generated, in the order of loading."""


def generate_fab(seed: int = 1, **size: Any) -> Fab:
    """Generate a fab, which is the same for the same arguments (and version of numpy), whatever the size of batches.

    With the defaults, a lot of 25 wafers has 700 measurements and about 10 000 tests. Tools have no capacity: visits of different
    lots may overlap. The wafer counts of shifts are derived from productive time, not from the visits.

    :param size: fields of :class:`gpwarehouse.generate.Settings`: ``lots``, ``wafers``, ``layers``, ``products``, ``radius``,
        ``start``, ``lot_interval_h``, ``split_share``, ``rework_share``, ``prefix``, ``facility``.
    :raises InvalidInputError: there is no such field, or a value is out of range.
    """
    try:
        settings = Settings(seed, **size)
    except TypeError:
        known = ", ".join(field for field in Settings.__dataclass_fields__ if field != "seed")
        raise InvalidInputError(f"generate_fab has no option {', '.join(size)}; its options are {known}") from None
    for name, least, most in (
        ("seed", 0, 2**63), ("lots", 1, 99_999), ("wafers", 1, 99), ("layers", 1, 90), ("products", 1, 18), ("radius", 2, 500),
        ("lot_interval_h", 0.001, 8760), ("split_share", 0, 1), ("rework_share", 0, 1),
    ):  # fmt: skip
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise InvalidInputError(f"{name}={value!r}: give a number from {least} to {most}")
    if not isinstance(settings.start, datetime) or settings.start.tzinfo is None:
        raise InvalidInputError(f"start={settings.start!r}: give a datetime with a time zone")
    return Fab(replace(settings, start=settings.start.astimezone(UTC)))
