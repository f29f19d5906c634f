"""``fact_process_measurements``: what the tools did and measured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import Base, Domain, col
from gpwarehouse.models.wafer_fact import MeasuredFact, WaferFact

__all__ = ["MEASURES", "FactProcessMeasurements"]

MEASURES: dict[str, str] = {
    "temperature_c": "degC",
    "pressure_torr": "Torr",
    "rf_power_w": "W",
    "rf_bias_power_w": "W",
    "reflected_power_w": "W",
    "gas_flow_sccm": "sccm",
    "chuck_temp_c": "degC",
    "endpoint_time_s": "s",
    "film_thickness_nm": "nm",
    "cd_nm": "nm",
    "overlay_x_nm": "nm",
    "overlay_y_nm": "nm",
    "etch_rate_nm_min": "nm/min",
    "deposition_rate_nm_min": "nm/min",
    "removal_rate_nm_min": "nm/min",
    "refractive_index": "1",
    "sheet_resistance_ohm_sq": "ohm/sq",
    "uniformity_pct": "percent",
}
"""The measures that have a column, and their units; ``v_process_values`` unfolds them beside ``parameters``."""


class FactProcessMeasurements(MeasuredFact, WaferFact, Base):
    """Measurement of a wafer at a visit of a step, by chamber and site; every visit leaves a row, measured or not.

    Grain: wafer, step visit, chamber, site.
    """

    __tablename__ = "fact_process_measurements"

    measurement_type: Mapped[str | None] = col(
        "Where the values came from: trace data, fault detection (SEMI E133) or metrology",
        domain=Domain(values=("TRACK", "FDC", "METROLOGY")),
    )
    visit_no: Mapped[int] = col(
        "Visit of the wafer to the step, from 1; a rework comes back",
        Integer(),
        server_default=text("1"),
        domain=Domain(ge=0),
    )
    is_rework: Mapped[bool | None] = col("Whether the visit was a rework")
    site_no: Mapped[int] = col(
        "Measured site; 0 where the tool reports the wafer as a whole",
        Integer(),
        server_default=text("0"),
        domain=Domain(ge=0),
    )
    site_x_mm: Mapped[float | None] = col("Site in x from the wafer's centre, mm (SEMI M20)")
    site_y_mm: Mapped[float | None] = col("Site in y from the wafer's centre, mm (SEMI M20)")
    start_ts: Mapped[datetime | None] = col("Start of the processing, UTC (SEMI E90 substrate processing state)")
    end_ts: Mapped[datetime | None] = col("End of the processing, UTC (SEMI E90 substrate processing state)")
    process_time_s: Mapped[float | None] = col("Time processed, s", domain=Domain(ge=0))
    queue_time_min: Mapped[float | None] = col(
        "Time waited since the end of the queue's starting step, min", domain=Domain(ge=0)
    )
    temperature_c: Mapped[float | None] = col("Temperature, degC", domain=Domain(gt=-273.15))
    pressure_torr: Mapped[float | None] = col("Chamber pressure, Torr", domain=Domain(ge=0))
    rf_power_w: Mapped[float | None] = col("RF source power, forward, W", domain=Domain(ge=0))
    rf_bias_power_w: Mapped[float | None] = col("RF bias power, forward, W", domain=Domain(ge=0))
    reflected_power_w: Mapped[float | None] = col("RF power reflected, W", domain=Domain(ge=0))
    gas_flow_sccm: Mapped[float | None] = col("Gas flow, all gases together, sccm", domain=Domain(ge=0))
    gas_flows: Mapped[dict[str, Any] | None] = col(
        "Gas flow by gas: {gas: sccm}", JSONB(none_as_null=True), domain=Domain(json="object")
    )
    chuck_temp_c: Mapped[float | None] = col("Chuck temperature, degC", domain=Domain(gt=-273.15))
    endpoint_time_s: Mapped[float | None] = col("Time to the endpoint, s", domain=Domain(ge=0))
    film_thickness_nm: Mapped[float | None] = col("Film thickness, nm", domain=Domain(ge=0))
    cd_nm: Mapped[float | None] = col("Critical dimension, nm (SEMI P35)", domain=Domain(ge=0))
    overlay_x_nm: Mapped[float | None] = col("Overlay error in x, nm, signed (SEMI P18)")
    overlay_y_nm: Mapped[float | None] = col("Overlay error in y, nm, signed (SEMI P18)")
    etch_rate_nm_min: Mapped[float | None] = col("Etch rate, nm/min")
    deposition_rate_nm_min: Mapped[float | None] = col("Deposition rate, nm/min")
    removal_rate_nm_min: Mapped[float | None] = col("Removal rate (CMP), nm/min")
    refractive_index: Mapped[float | None] = col("Refractive index at the tool's wavelength, no unit")
    sheet_resistance_ohm_sq: Mapped[float | None] = col(
        "Sheet resistance, ohm per square (SEMI MF84, MF374)", domain=Domain(ge=0)
    )
    uniformity_pct: Mapped[float | None] = col("Non-uniformity within the wafer, percent", domain=Domain(ge=0))
    parameters: Mapped[dict[str, Any] | None] = col(
        "What was told of the measurement and is no value of measured: texts, booleans, nested things, numbers with more digits "
        "than a double keeps: {name: value}",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
    )
    sample_n: Mapped[int | None] = col("Readings the statistics stand on, count", Integer(), domain=Domain(ge=0))
    sample_mean: Mapped[float | None] = col("Mean of the readings, in the parameter's unit")
    sample_sigma: Mapped[float | None] = col(
        "Standard deviation of the readings, in the parameter's unit", domain=Domain(ge=0)
    )
    cp: Mapped[float | None] = col(
        "Cp as the source reported it; v_process_capability computes it", domain=Domain(ge=0)
    )
    cpk: Mapped[float | None] = col("Cpk as the source reported it, at most cp; v_process_capability computes it")
    quality_score: Mapped[float | None] = col("Score of the visit by the source, 0 to 100", domain=Domain(ge=0, le=100))
    is_ooc: Mapped[bool | None] = col("Whether it was out of control, by the source")
    is_oos: Mapped[bool | None] = col("Whether it was out of specification, by the source")
    spc_rule: Mapped[str | None] = col("SPC rule that was broken, e.g. WE1 (Western Electric)")

    @classmethod
    def table_constraints(cls) -> Sequence[Any]:
        """Cpk is at most Cp; the slack is for the last digit, where mean and target are equal."""
        return (
            CheckConstraint("cpk <= cp + 0.000001", name="cpk_cp"),
            CheckConstraint("start_ts <= end_ts", name="start_end"),
        )
