"""Rows of ``fact_defect_inspection``: the defects that later kill die, and some that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gpwarehouse.generate.dies import RANDOM, SCRATCH, WaferDies
from gpwarehouse.generate.lots import Lot, Visit
from gpwarehouse.generate.plan import stream
from gpwarehouse.generate.rows import TIMESTAMP, constant, times, wafer_ids

__all__ = ["SCHEMA", "defect_rows", "is_inspected"]

NUISANCE = 0.5
"""Mean number of defects per inspection that kill no die."""

SCHEMA = pa.schema(
    [
        ("event_ts", TIMESTAMP),
        *((name, pa.string()) for name in (
            "facility", "lot_id", "wafer_id", "product_id", "product_revision", "process_flow_id", "flow_version",
            "step_number", "inspection_equipment_id", "inspection_id", "layer_name", "orientation_mark", "class_name",
        )),
        *((name, pa.int32()) for name in ("test_no", "inspected_die", "die_x", "die_y", "class_number", "cluster_no")),
        ("inspected_area_cm2", pa.float64()),
        *((name, pa.bool_()) for name in ("is_defect", "is_adder", "is_killer")),
        ("defect_id", pa.int64()),
        *((name, pa.float64()) for name in ("x_rel_um", "y_rel_um", "wafer_x_mm", "wafer_y_mm", "size_um")),
    ]
)  # fmt: skip
_CLASSES = ("PARTICLE", "SCRATCH", "NUISANCE")


def is_inspected(wafer: int) -> bool:
    """Whether a wafer is in the sample: the 1st and 4th of each five."""
    return wafer % 5 in (1, 4)


def defect_rows(lot: Lot, visit: Visit, place: int, dies: WaferDies) -> pa.Table:
    """Make the rows of the inspection of one wafer in a visit; a wafer without defects has one row.

    :param place: place of the wafer in the visit.
    """
    wafer, step, settings = visit.wafers[place], visit.step, lot.settings
    rng = stream(settings.seed, "defect", lot.number, wafer, step.layer, visit.visit_no)
    killers = np.flatnonzero(np.isin(dies.cause, (RANDOM, SCRATCH)) & (dies.layer == step.layer))
    harmless = rng.integers(0, len(dies.x), int(rng.poisson(NUISANCE)))
    die = np.concatenate([killers, harmless])
    found, rows = len(die) > 0, max(len(die), 1)
    killer = np.arange(rows) < len(killers)
    scratch = np.isin(die, killers) & (dies.cause[die] == SCRATCH) if found else np.zeros(1, bool)
    kinds = np.where(killer & scratch, 1, np.where(killer, 0, 2))
    texts = {
        "facility": settings.facility, "lot_id": visit.lot_id, "product_id": lot.product.product_id,
        "product_revision": "A", "process_flow_id": "FLOW", "flow_version": "1", "step_number": step.number,
        "inspection_equipment_id": visit.tool.equipment_id, "layer_name": f"M{step.layer}", "orientation_mark": "DOWN",
        "inspection_id": f"{visit.lot_id}-{wafer:02d}-{step.number}",
    }  # fmt: skip
    values: dict[str, Any] = {
        **{name: constant(value, rows) for name, value in texts.items()},
        **(_describe_defects(rng, lot.product.die_mm * 1000, dies.x[die], dies.y[die], kinds) if found else {}),
        "event_ts": times(settings, np.full(rows, visit.start_s + place * step.wafer_s)),
        "wafer_id": wafer_ids(np.full(rows, wafer)),
        "test_no": constant(1, rows),
        "inspected_die": constant(len(dies.x), rows),
        "inspected_area_cm2": constant(len(dies.x) * lot.product.die_mm**2 / 100, rows),
        "is_defect": constant(found, rows),
    }
    arrays = [pa.nulls(rows, f.type) if f.name not in values else values[f.name].cast(f.type) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _describe_defects(rng: np.random.Generator, um: float, columns: Any, lines: Any, kinds: Any) -> dict[str, Any]:
    """Make the columns that only rows of defects have: position, size and class.

    :param um: edge length of a die in µm.
    :param columns: column of the die of each defect.
    :param lines: row of the die of each defect.
    :param kinds: number of each defect's class in the list of classes.
    """
    rows = len(kinds)
    x_rel, y_rel = rng.uniform(0, um, rows), rng.uniform(0, um, rows)
    return {
        "class_name": pa.array([_CLASSES[kind] for kind in kinds], pa.string()),
        "class_number": pa.array(kinds + 1),
        "cluster_no": pa.array(np.where(kinds == 1, 1, 0)),
        "die_x": pa.array(columns),
        "die_y": pa.array(lines),
        "defect_id": pa.array(np.arange(1, rows + 1)),
        "is_adder": constant(True, rows),
        "is_killer": pa.array(kinds < 2),
        "x_rel_um": pa.array(np.round(x_rel, 2)),
        "y_rel_um": pa.array(np.round(y_rel, 2)),
        "wafer_x_mm": pa.array(np.round(((columns - 0.5) * um + x_rel) / 1000, 4)),
        "wafer_y_mm": pa.array(np.round(((lines - 0.5) * um + y_rel) / 1000, 4)),
        "size_um": pa.array(np.round(rng.lognormal(-1, 0.5, rows), 3)),
    }
