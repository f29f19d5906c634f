"""Rows of ``fact_process_measurements``: one row per wafer and visit; at metrology five sites."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.generate.lots import Lot, Visit
from gpwarehouse.generate.plan import MEASURES, Settings, stream
from gpwarehouse.generate.rows import TIMESTAMP, constant, measured, times, wafer_ids
from gpwarehouse.models.parameter_sets import Parameter, ParameterSet

__all__ = ["SCHEMA", "SENSORS", "SITES", "Drift", "Excursion", "process_rows"]

SITES = ((0.0, 0.0), (70.0, 0.0), (-70.0, 0.0), (0.0, 70.0), (0.0, -70.0))
"""Measured sites, in mm from the centre."""

SENSORS = ParameterSet.of([Parameter("he_leak_sccm", unit="sccm")])
"""Sensors of the etchers that have no column."""

_COLUMNS = tuple(dict.fromkeys(measure.column for measures in MEASURES.values() for measure in measures))
SCHEMA = pa.schema(
    [
        ("event_ts", TIMESTAMP),
        *((name, pa.string()) for name in (
            "facility", "lot_id", "wafer_id", "product_id", "product_revision", "process_flow_id", "flow_version",
            "step_number", "recipe_id", "recipe_version", "equipment_id", "chamber_id", "measurement_type",
        )),
        ("visit_no", pa.int32()),
        ("is_rework", pa.bool_()),
        ("site_no", pa.int32()),
        ("site_x_mm", pa.float64()),
        ("site_y_mm", pa.float64()),
        ("start_ts", TIMESTAMP),
        ("end_ts", TIMESTAMP),
        ("process_time_s", pa.float64()),
        ("queue_time_min", pa.float64()),
        *((name, pa.float64()) for name in _COLUMNS),
        ("parameter_set_key", pa.int64()),
        ("measured", pa.list_(pa.float64())),
        ("is_ooc", pa.bool_()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Excursion:
    """A chamber that ran wrong for some time: ``parameter`` was off by ``shift``, so the centres of its wafers fail.

    :ivar start: first moment.
    :ivar end: the moment after the last one.
    :ivar wafers: pairs of root lot and wafer id that were in it.
    """

    equipment_id: str
    chamber_id: str
    parameter: str
    shift: float
    start: datetime
    end: datetime
    wafers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Drift:
    """A chamber whose ``parameter`` changes by ``per_day`` a day, linearly, from the fab's start on."""

    equipment_id: str
    chamber_id: str
    parameter: str
    per_day: float


def chambers_of(visit: Visit) -> list[str | None]:
    """The chamber of each wafer; wafers use the chambers in turn."""
    of = visit.tool.chambers
    return [of[wafer % len(of)] if of else None for wafer in visit.wafers]


def in_excursion(settings: Settings, visit: Visit, excursion: Excursion) -> np.ndarray[Any, Any]:
    """Which wafers of a visit were in the excursion."""
    if visit.tool.equipment_id != excursion.equipment_id:
        return np.zeros(len(visit.wafers), bool)
    begin = settings.start.timestamp()
    first, last = excursion.start.timestamp() - begin, excursion.end.timestamp() - begin
    starts = _starts(visit)
    chamber = np.array([chamber == excursion.chamber_id for chamber in chambers_of(visit)])
    inside: np.ndarray[Any, Any] = chamber & (starts >= first) & (starts < last)
    return inside


def process_rows(lot: Lot, visit: Visit, excursion: Excursion, drift: Drift) -> pa.Table:
    """Make the rows of one visit."""
    settings, step = lot.settings, visit.step
    rng = stream(settings.seed, "visit", lot.number, visit.number)
    sites = len(SITES) if step.group == "METRO" else 1
    each = np.repeat(np.arange(len(visit.wafers)), sites)
    rows, site = len(each), np.tile(np.arange(sites), len(visit.wafers))
    starts = _starts(visit)[each]
    values = {m.column: rng.normal(m.mean, m.sigma, rows) for m in MEASURES[step.kind]}
    chambers = np.array(chambers_of(visit), object)[each]
    inside = in_excursion(settings, visit, excursion)[each]
    if step.kind == "ETCH":
        values[excursion.parameter] = values[excursion.parameter] + np.where(inside, excursion.shift, 0.0)
        if visit.tool.equipment_id == drift.equipment_id:
            drifting = chambers == drift.chamber_id
            values[drift.parameter] = values[drift.parameter] + np.where(drifting, drift.per_day * starts / 86400, 0.0)
    ooc = [np.abs(values[m.column] - m.mean) > 3 * m.sigma for m in MEASURES[step.kind] if sites == 1]
    metro = sites > 1
    texts = {
        "facility": settings.facility, "lot_id": visit.lot_id, "product_id": lot.product.product_id,
        "product_revision": "A", "process_flow_id": "FLOW", "flow_version": "1", "step_number": step.number,
        "recipe_id": f"{step.kind}_M{step.layer}", "recipe_version": "1", "equipment_id": visit.tool.equipment_id,
        "measurement_type": "METROLOGY" if metro else "FDC",
    }  # fmt: skip
    xy = np.array(SITES)[site] if metro else None
    columns: dict[str, Any] = {
        **{name: constant(value, rows) for name, value in texts.items()},
        "event_ts": times(settings, starts),
        "wafer_id": wafer_ids(np.array(visit.wafers)[each]),
        "chamber_id": pa.array(chambers.tolist(), pa.string()),
        "visit_no": constant(visit.visit_no, rows, pa.int32()),
        "is_rework": constant(visit.visit_no > 1, rows),
        "site_no": pa.array((site + 1 if metro else site).astype(np.int32)),
        "site_x_mm": None if xy is None else pa.array(xy[:, 0].copy()),
        "site_y_mm": None if xy is None else pa.array(xy[:, 1].copy()),
        "start_ts": times(settings, starts),
        "end_ts": times(settings, starts + step.wafer_s),
        "process_time_s": constant(step.wafer_s, rows, pa.float64()),
        "queue_time_min": constant(visit.queue_s / 60, rows, pa.float64()),
        **{name: pa.array(np.round(value, 6)) for name, value in values.items()},
        **(measured(SENSORS, np.round(rng.gamma(4, 0.2, (rows, 1)), 4)) if step.kind == "ETCH" else {}),
        "is_ooc": pa.array(np.logical_or.reduce(ooc)) if ooc else None,
    }
    arrays = [pa.nulls(rows, f.type) if columns.get(f.name) is None else columns[f.name].cast(f.type) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _starts(visit: Visit) -> np.ndarray[Any, Any]:
    return visit.start_s + np.arange(len(visit.wafers)) * visit.step.wafer_s
