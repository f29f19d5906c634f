"""The dimension members of an STDF file: lot, product, wafers, tester, prober or handler, test step.

Column names are those of the dimension tables. Only attributes that are constant from file to file are used: those that differ
in every run (test times, counts) would begin a version of the dimension in every load. The limits of tests are not those of the
step: they belong to the file's list of parameters, because two testers may run one program with different limits. The step has
the specification limits (LO_SPEC, HI_SPEC), if there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpwarehouse.sources.stdf_records import Header
from gpwarehouse.sources.stdf_texts import shortest

__all__ = ["members_of"]

# MIR.MODE_COD (STDF V4, "MIR"); codes that are not listed are the customer's own and are ignored.
LOT_TYPES = {"P": "PROD", "D": "ENG", "E": "ENG", "Q": "QUAL"}
# WCR.WF_UNITS: 1 inches, 2 centimetres, 3 millimetres, 4 mils; 0 not known
MILLIMETRES = {1: 25.4, 2: 10.0, 3: 1.0, 4: 0.0254}
FLATS = {"U": "UP", "D": "DOWN", "L": "LEFT", "R": "RIGHT"}

Row = dict[str, Any]


def members_of(
    header: Header, constants: dict[str, str | None], specs: Mapping[str, Row], wafer_of_all: str | None
) -> dict[str, list[Row]]:
    """Make dimension table → rows, without unknown attributes.

    :param specs: specification limits by name of the test.
    :param wafer_of_all: the wafer of a file that names none.
    """
    found = {
        "dim_product": [_make_product(header, constants)],
        "dim_lot": [_make_lot(header, constants)],
        "dim_wafer": _make_wafers(header, constants, wafer_of_all),
        "dim_equipment": _make_equipment(header, constants),
        "dim_process_step": [_make_step(constants, specs)],
    }
    keys = {
        "dim_product": "product_id",
        "dim_lot": "lot_id",
        "dim_wafer": "wafer_id",
        "dim_equipment": "equipment_id",
        "dim_process_step": "process_flow_id",
    }
    return {
        table: [
            {key: value for key, value in row.items() if value is not None}
            for row in rows
            if row[keys[table]] is not None
        ]
        for table, rows in found.items()
    }


def _make_product(header: Header, constants: dict[str, str | None]) -> Row:
    mir, size = header.mir, header.wafer_map
    return {
        "product_id": constants["product_id"],
        "revision": constants["product_revision"],
        "product_family": mir["FAMLY_ID"],
        "package_type": mir["PKG_TYP"],
        "process_family": mir["PROC_ID"],
        "mask_set_id": next((wafer.mask_id for wafer in header.wafers if wafer.mask_id), None),
        "wafer_size_mm": _to_mm(size, "WAFR_SIZ"),
        "die_size_x_mm": _to_mm(size, "DIE_WID"),
        "die_size_y_mm": _to_mm(size, "DIE_HT"),
        "orientation_mark": FLATS.get(size.get("WF_FLAT") or ""),
    }


def _make_lot(header: Header, constants: dict[str, str | None]) -> Row:
    return {
        "lot_id": constants["lot_id"],
        "lot_type": LOT_TYPES.get(header.mir["MODE_COD"] or ""),
    }


def _make_wafers(header: Header, constants: dict[str, str | None], wafer_of_all: str | None) -> list[Row]:
    diameter = _to_mm(header.wafer_map, "WAFR_SIZ")
    rows: dict[str | None, Row] = {}
    if wafer_of_all is not None:
        rows[wafer_of_all] = {"lot_id": constants["lot_id"], "wafer_id": wafer_of_all, "diameter_mm": diameter}
    for wafer in header.wafers:
        rows[wafer.wafer_id] = {
            "lot_id": constants["lot_id"],
            "wafer_id": wafer.wafer_id,
            "scribe_id": wafer.fab_id,
            "diameter_mm": diameter,
        }
    return list(rows.values())


def _make_equipment(header: Header, constants: dict[str, str | None]) -> list[Row]:
    mir, facility = header.mir, constants["facility"]
    software = " ".join(text for text in (mir["EXEC_TYP"], mir["EXEC_VER"]) if text)
    tester = {
        "facility": facility,
        "equipment_id": constants["equipment_id"],
        "chamber_id": "",
        "equipment_type": "TESTER",
        "model": mir["TSTR_TYP"],
        "serial_no": mir["SERL_NUM"],
        "software_version": software or None,
        "area": mir["FLOOR_ID"],
        "hierarchy_level": "TOOL",
    }
    rows = {tester["equipment_id"]: tester}
    wafers = bool(header.wafers)
    for site in header.sites:
        name = site.record["HAND_ID"] or site.record["HAND_TYP"]
        rows.setdefault(
            name,
            {
                "facility": facility,
                "equipment_id": name,
                "chamber_id": "",
                "equipment_type": "PROBER" if wafers else "OTHER",
                "equipment_family": None if wafers else "HANDLER",
                "model": site.record["HAND_TYP"],
                "hierarchy_level": "TOOL",
            },
        )
    return list(rows.values())


def _make_step(constants: dict[str, str | None], specs: Mapping[str, Row]) -> Row:
    return {
        "process_flow_id": constants["process_flow_id"],
        "flow_version": constants["flow_version"],
        "step_number": constants["step_number"],
        "step_name": constants["test_stage"],
        "step_type": "TEST",
        "control_limits": dict(specs) or None,
    }


def _to_mm(record: Row, name: str) -> float | None:
    """Convert a WCR length to millimetres; 0 is "not known" (STDF V4, "WCR")."""
    value, factor = record.get(name), MILLIMETRES.get(record.get("WF_UNITS") or 0)
    return shortest(value * factor) if value and factor else None
