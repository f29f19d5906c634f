"""The dimension members of a generated fab, by dimension, as a loader's source gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gpwarehouse.generate.lots import Lot
from gpwarehouse.generate.plan import MEASURES, PROGRAM_REVISION, TOOLS, Measure, Settings, products, route
from gpwarehouse.generate.probing import LEAKAGE, VTH
from gpwarehouse.generate.rows import instant

__all__ = ["fixed_members", "lot_members"]

Rows = list[dict[str, Any]]


def fixed_members(settings: Settings) -> dict[str, Rows]:
    """Products, steps with their limits, recipes, tools and chambers, as many in a small fab as in a large one."""
    return {
        "dim_product": [
            {
                "product_id": p.product_id, "revision": "A", "product_name": f"Product {p.product_id}", "wafer_size_mm": 200.0,
                "die_size_x_mm": p.die_mm, "die_size_y_mm": p.die_mm, "die_area_mm2": p.die_mm**2,
                "d0_target_per_cm2": p.d0_per_cm2, "lifecycle_status": "ACTIVE",
            }
            for p in products(settings)
        ],
        "dim_process_step": [*_list_route_steps(settings), *_list_test_steps(settings)],
        "dim_recipe": [
            {"recipe_id": f"{s.kind}_M{s.layer}", "recipe_version": "1", "recipe_type": "PRODUCTION",
             "total_time_s": s.wafer_s, "approval_status": "RELEASED"}
            for s in route(settings)
        ],
        "dim_equipment": list(_list_equipment(settings)),
    }  # fmt: skip


def _describe_limits(measure: Measure) -> dict[str, Any]:
    control = 3 * measure.sigma
    return {
        "unit": measure.unit, "lsl": measure.lsl, "lcl": measure.target - control, "target": measure.target,
        "ucl": measure.target + control, "usl": measure.usl, "limit_version": "1",
    }  # fmt: skip


def _list_route_steps(settings: Settings) -> Iterator[dict[str, Any]]:
    types = {"CD": "METROLOGY", "THK": "METROLOGY", "INSPECTION": "INSPECTION"}
    for number, step in enumerate(route(settings), 1):
        measures = MEASURES[step.kind]
        yield {
            "process_flow_id": "FLOW", "flow_version": "1", "step_number": step.number, "step_name": step.name,
            "step_sequence": number, "module": "BEOL", "layer_name": f"M{step.layer}", "process_area": step.group,
            "step_type": types.get(step.kind, "PROCESS"), "tool_group_required": step.group,
            "std_process_time_s": step.wafer_s,
            "control_limits": {m.column: _describe_limits(m) for m in measures} if measures else None,
        }  # fmt: skip


def _list_test_steps(settings: Settings) -> Iterator[dict[str, Any]]:
    limits = {
        "vth_mv": _describe_limits(Measure("vth_mv", "mV", *VTH, VTH[0])),
        "1100": _describe_limits(LEAKAGE) | {"name": "ILEAK"},
    }
    for product in products(settings):
        yield {
            "process_flow_id": product.program, "flow_version": PROGRAM_REVISION, "step_number": "CP1",
            "step_name": "Wafer probe", "step_type": "TEST", "control_limits": limits,
        }  # fmt: skip


def _list_equipment(settings: Settings) -> Iterator[dict[str, Any]]:
    for tools in TOOLS.values():
        for tool in tools:
            told = {
                "facility": settings.facility, "equipment_id": tool.equipment_id, "equipment_group": tool.group,
                "equipment_type": tool.equipment_type, "area": tool.group, "wafer_size_mm": 200.0,
            }  # fmt: skip
            yield {
                **told, "chamber_id": "", "hierarchy_level": "TOOL", "throughput_wph": tool.wph,
                "chamber_count": len(tool.chambers), "is_cluster_tool": bool(tool.chambers),
            }  # fmt: skip
            for chamber in tool.chambers:
                yield {**told, "chamber_id": chamber, "hierarchy_level": "CHAMBER", "chamber_position": chamber}


def lot_members(settings: Settings, lots: Iterable[Lot]) -> dict[str, Rows]:
    """Lots with their parents, and wafers with their substrates."""
    lot_rows: Rows = []
    wafers: Rows = []
    for lot in lots:
        last = lot.wafer_lots()
        complete = instant(settings, lot.end_s)
        own = {
            "root_lot_id": lot.lot_id, "lot_type": "PROD", "process_flow_id": "FLOW", "lot_status": "COMPLETE",
            "start_ts": instant(settings, lot.start_s), "complete_ts": complete,
        }  # fmt: skip
        for name in (lot.lot_id, *(event.child for event in lot.events if event.kind == "SPLIT")):
            child = next((event for event in lot.events if (event.child, event.kind) == (name, "SPLIT")), None)
            lot_rows.append(
                {
                    **own, "lot_id": name, "wafer_count": sum(1 for where in last.values() if where == name),
                    "original_wafer_count": settings.wafers if child is None else child.wafers,
                    "parent_lot_id": None if child is None else lot.lot_id, "genealogy_level": 0 if child is None else 1,
                }
            )  # fmt: skip
        wafers += [
            {
                "lot_id": lot.lot_id, "wafer_id": f"{wafer:02d}", "wafer_number": wafer, "diameter_mm": 200.0,
                "substrate_material": "SI", "grade": "PRIME", "crystal_orientation": "100", "quality_status": "GOOD",
            }
            for wafer in range(1, settings.wafers + 1)
        ]  # fmt: skip
    return {"dim_lot": lot_rows, "dim_wafer": wafers}
