"""``fact_test_results``: electrical test, from wafer acceptance to final test."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped

from gpwarehouse.models.base import RECIPE, Base, Domain, col, tool_role
from gpwarehouse.models.keys import NOT_APPLICABLE_KEY
from gpwarehouse.models.relations import to_current
from gpwarehouse.models.wafer_fact import MeasuredFact, WaferFact

if TYPE_CHECKING:
    from gpwarehouse.models.dim_equipment import DimEquipment

__all__ = ["MEASURES", "FactTestResults"]

MEASURES: dict[str, str] = {
    "vth_mv": "mV",
    "idsat_ua_um": "uA/um",
    "ileak_pa_um": "pA/um",
    "tox_nm": "nm",
    "rs_ohm_sq": "ohm/sq",
    "rc_ohm": "ohm",
    "gm_ms_mm": "mS/mm",
    "bvdss_v": "V",
    "idd_ma": "mA",
    "fmax_mhz": "MHz",
}
"""The measures that have a column, and their units; ``v_test_values`` unfolds them beside ``parameters``."""


class FactTestResults(MeasuredFact, WaferFact, Base):
    """Insertion of a tested unit: a WAT site, a die at wafer probe or a part at final test; retests have rows too.

    Grain: unit, insertion. Which insertion counts is for the views to say (``v_wafer_yield``): a retest may come in
    another file.
    """

    __tablename__ = "fact_test_results"

    recipe_key: Mapped[int] = col(
        "Recipe (dim_recipe); -2 where the test has none but its program",
        role=replace(RECIPE, absent=NOT_APPLICABLE_KEY),
        sort_order=-86,
    )
    tester_key: Mapped[int] = col(
        "Tester (dim_equipment; STDF V4 MIR.NODE_NAM)", role=tool_role("tester_id"), sort_order=-79
    )
    prober_key: Mapped[int] = col(
        "Prober or handler (dim_equipment; STDF V4 SDR.HAND_ID); -2 where there was none",
        role=tool_role("prober_id", absent=NOT_APPLICABLE_KEY),
        sort_order=-78,
    )
    test_type: Mapped[str | None] = col(
        "Wafer acceptance (WAT), wafer probe (CP) or final test (FT)", domain=Domain(values=("WAT", "CP", "FT"))
    )
    test_stage: Mapped[str | None] = col("Stage, e.g. CP1 (STDF V4 MIR.TEST_COD)")
    test_program: Mapped[str | None] = col("Test program (STDF V4 MIR.JOB_NAM)")
    program_revision: Mapped[str | None] = col("Revision of the test program (STDF V4 MIR.JOB_REV)")
    probe_card_id: Mapped[str | None] = col("Probe card (STDF V4 SDR.CARD_ID)")
    load_board_id: Mapped[str | None] = col("Load board (STDF V4 SDR.LOAD_ID)")
    temperature_c: Mapped[float | None] = col(
        "Test temperature, degC (STDF V4 MIR.TST_TEMP)", domain=Domain(gt=-273.15)
    )
    insertion_no: Mapped[int | None] = col("Insertion of the unit in its file, from 1", Integer(), domain=Domain(ge=0))
    retest_no: Mapped[int | None] = col(
        "Retests before it, 0 for the first pass (STDF V4 MIR.RTST_COD, PRR.PART_FLG)", Integer(), domain=Domain(ge=0)
    )
    is_first_pass: Mapped[bool | None] = col("Whether it is the unit's first insertion in its file")
    is_final_result: Mapped[bool | None] = col("Whether it is the unit's last insertion in its file")
    head_no: Mapped[int | None] = col("Test head (STDF V4 PRR.HEAD_NUM)", Integer(), domain=Domain(ge=0))
    site_no: Mapped[int | None] = col("Test site (STDF V4 PRR.SITE_NUM)", Integer(), domain=Domain(ge=0))
    die_x: Mapped[int | None] = col("Die column (STDF V4 PRR.X_COORD; -32768 is NULL)", Integer())
    die_y: Mapped[int | None] = col("Die row (STDF V4 PRR.Y_COORD; -32768 is NULL)", Integer())
    part_id: Mapped[str | None] = col("Part (STDF V4 PRR.PART_ID)")
    start_ts: Mapped[datetime | None] = col("Start of the test, UTC (STDF V4 MIR.START_T, WIR.START_T)")
    test_time_ms: Mapped[float | None] = col("Test time, ms (STDF V4 PRR.TEST_T)", domain=Domain(ge=0))
    tests_executed: Mapped[int | None] = col(
        "Tests executed, count (STDF V4 PRR.NUM_TEST)", Integer(), domain=Domain(ge=0)
    )
    hard_bin: Mapped[int | None] = col(
        "Hardware bin (STDF V4 PRR.HARD_BIN; 65535 is NULL)", Integer(), domain=Domain(ge=0)
    )
    soft_bin: Mapped[int | None] = col(
        "Software bin (STDF V4 PRR.SOFT_BIN; 65535 is NULL)", Integer(), domain=Domain(ge=0)
    )
    bin_name: Mapped[str | None] = col("Name of the bin (STDF V4 SBR.SBIN_NAM, HBR.HBIN_NAM)")
    is_pass: Mapped[bool | None] = col(
        "Whether the unit passed; NULL where no verdict (STDF V4 PRR.PART_FLG bits 3, 4)"
    )
    fail_kind: Mapped[str | None] = col(
        "Whether it failed a functional test (STDF V4 FTR) or only parametric ones (PTR, MPR); NULL where it passed",
        domain=Domain(values=("PARAMETRIC", "FUNCTIONAL")),
    )
    vth_mv: Mapped[float | None] = col("Threshold voltage, mV, signed")
    idsat_ua_um: Mapped[float | None] = col("Saturation current by gate width, uA/um, signed")
    ileak_pa_um: Mapped[float | None] = col("Leakage current by gate width, pA/um, signed")
    tox_nm: Mapped[float | None] = col("Electrical oxide thickness, nm", domain=Domain(ge=0))
    rs_ohm_sq: Mapped[float | None] = col("Sheet resistance, ohm per square")
    rc_ohm: Mapped[float | None] = col("Contact resistance, ohm")
    gm_ms_mm: Mapped[float | None] = col("Transconductance by gate width, mS/mm")
    bvdss_v: Mapped[float | None] = col("Drain-source breakdown voltage, V, signed")
    idd_ma: Mapped[float | None] = col("Supply current, mA")
    fmax_mhz: Mapped[float | None] = col("Greatest clock frequency passed, MHz", domain=Domain(ge=0))
    parameters: Mapped[dict[str, Any] | None] = col(
        "What was told of the unit and is no value of measured: texts, booleans, nested things, numbers with more digits than "
        "a double keeps: {name: value} (STDF V4 GDR, DTR)",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
    )
    parameter_counts: Mapped[dict[str, Any] | None] = col(
        "How often a test number came in the insertion, where more than once: {test number: count}; of rows without "
        "measured, which keeps every occurrence",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
    )
    verdicts: Mapped[str | None] = col(
        "The tester's verdicts, a letter a position of the list: P passed, F failed, N executed without a verdict, - not "
        "executed (STDF V4 TEST_FLG bits 4, 6, 7); NULL: none are known",
        sort_order=912,
    )
    failed: Mapped[list[int] | None] = col(
        "Positions of the list whose test failed, ascending; empty where none did, NULL where verdicts are not known",
        ARRAY(Integer()),
        sort_order=913,
    )
    own_limits: Mapped[dict[str, Any] | None] = col(
        "Limits of the part where they are not its list's: {position: {lsl, usl, lsl_inclusive, usl_inclusive}}",
        JSONB(none_as_null=True),
        domain=Domain(json="object"),
        sort_order=914,
    )
    unit_id: Mapped[str | None] = col(
        "Identity of a packaged part: its 2D code or part text; NULL where it has none", sort_order=915
    )
    sublot_id: Mapped[str | None] = col("Sublot (STDF V4 MIR.SBLOT_ID)", sort_order=916)
    retest_of_bins: Mapped[str | None] = col(
        "Bins whose parts this insertion tests again (STDF V4 MIR.RTST_COD); NULL where it is no retest", sort_order=917
    )

    tester: Mapped[DimEquipment] = to_current("FactTestResults", "tester_key", "DimEquipment", "equipment_key")
    prober: Mapped[DimEquipment] = to_current("FactTestResults", "prober_key", "DimEquipment", "equipment_key")
