"""Members that a load needs or tells of: inferred, linked, versioned; and the months and hours of its events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.engine import key_lists
from gpwarehouse.errors import KeyCollisionError, LoadError
from gpwarehouse.intake import natural_keys as key_module
from gpwarehouse.models import BEGINNING, DIMENSIONS, END_OF_TIME
from gpwarehouse.models.keys import durable_key
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar, stored, versions
from tests.load.told_members import load_file

WAFER_KEYS = ("wafer_key", "lot_key", "product_key", "equipment_key", "chamber_key", "process_step_key", "recipe_key")


def test_every_key_has_a_member_and_is_the_hash_of_its_natural_key(shared_wh: Warehouse) -> None:
    row = measurement(
        lot_id="MK1.2",
        wafer_id="MK1.2-7",
        product_id="PROD",
        product_revision="B",
        chamber_id="CH-A",
        recipe_id="RCP",
        recipe_version="3",
        flow_version="v1",
    )
    result = shared_wh.load(MEASUREMENTS, [row])
    (found,) = stored(shared_wh, MEASUREMENTS, result.batch_id, *WAFER_KEYS)
    assert found == (
        durable_key("MK1", "07"),
        durable_key("MK1.2"),
        durable_key("PROD", "B"),
        durable_key("FAB", "ETCH-01", ""),
        durable_key("FAB", "ETCH-01", "CH-A"),
        durable_key("FLOW", "v1", "100"),
        durable_key("RCP", "3"),
    )
    for name, key in zip(WAFER_KEYS, found, strict=True):
        dimension = "dim_equipment" if name == "chamber_key" else "dim_" + name.removesuffix("_key")
        columns = ("effective_date", "expiry_date", "is_current", "is_inferred", "batch_id", "source_system")
        own = DIMENSIONS[dimension].durable_key
        (member,) = versions(shared_wh, dimension, f"{own} = :key", *columns, key=key)
        assert member == (BEGINNING, END_OF_TIME, True, True, result.batch_id, "FRAME")


def test_what_is_not_known_has_a_reserved_key(shared_wh: Warehouse) -> None:
    row = {"event_ts": NOON, "lot_id": "BARE", "product_id": " ", "chamber_id": "A"}
    result = shared_wh.load(MEASUREMENTS, [row, {"event_ts": NOON, "lot_id": "BARE"}])
    for keys, chamber in zip(stored(shared_wh, MEASUREMENTS, result.batch_id, *WAFER_KEYS[2:]), (-1, -2), strict=True):
        assert keys == (-1, -1, chamber, -1, -1)
    tests = shared_wh.load("fact_test_results", [{"event_ts": NOON, "lot_id": "BARE"}])
    found = stored(shared_wh, "fact_test_results", tests.batch_id, "tester_key", "prober_key", "recipe_key")
    assert found == [(-1, -2, -2)]
    assert scalar(shared_wh, "SELECT count(*) FROM dw.dim_equipment WHERE equipment_id = ''") == 0


def test_units_without_a_wafer_share_the_placeholder_of_their_lot(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id=lot, wafer_id=wafer) for lot in ("FT1", "FT2") for wafer in (None, " ")]
    result = shared_wh.load(MEASUREMENTS, rows)
    keys = [key for (key,) in stored(shared_wh, MEASUREMENTS, result.batch_id, "wafer_key")]
    assert keys == [durable_key("FT1", "(none)")] * 2 + [durable_key("FT2", "(none)")] * 2
    (row,) = versions(
        shared_wh, "dim_wafer", "wafer_key = :key", "is_placeholder", "wafer_number", "lot_key", key=keys[0]
    )
    assert row == (True, None, durable_key("FT1"))


def test_a_chamber_brings_its_tool(shared_wh: Warehouse) -> None:
    shift = {"event_ts": NOON, "equipment_id": "CT1", "chamber_id": "X", "total_s": 10, "productive_s": 10}
    shared_wh.load("fact_equipment_performance", [shift])
    columns = ("chamber_id", "parent_equipment_key", "hierarchy_level", "facility")
    found = versions(shared_wh, "dim_equipment", "equipment_id = 'CT1'", *columns)
    assert sorted(found) == [
        ("", None, "TOOL", "FAB"),
        ("X", durable_key("FAB", "CT1", ""), "CHAMBER", "FAB"),
    ]


def test_one_wafer_under_all_its_names_is_one_member(shared_wh: Warehouse) -> None:
    names = ["3", "03", " 03", "WN1-03", "WN1.1_3", "WN1.1-03"]
    rows = [measurement(lot_id="WN1.1", wafer_id=name) for name in names]
    result = shared_wh.load(MEASUREMENTS, rows)
    found = set(stored(shared_wh, MEASUREMENTS, result.batch_id, "wafer_key"))
    assert found == {(durable_key("WN1", "03"),)}
    columns = ("wafer_id", "wafer_number", "source_wafer_id")
    assert versions(shared_wh, "dim_wafer", "root_lot_id = 'WN1'", *columns) == [("03", 3, "3")]


def test_the_id_a_source_wrote_last_stands_in_the_wafer_and_makes_no_version(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, [measurement(lot_id="SW1", wafer_id="4")])
    result = shared_wh.load(MEASUREMENTS, [measurement(lot_id="SW1", wafer_id="SW1-04")])
    assert result.members_made == 0
    assert versions(shared_wh, "dim_wafer", "root_lot_id = 'SW1'", "source_wafer_id", "wafer_id") == [("SW1-04", "04")]


def test_the_root_of_a_lot_is_what_dim_lot_says_then_the_pattern_then_the_dot(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, lot_root_pattern=r"^(?P<root>\w+?)-S\d+") as patterned:
        patterned.load(MEASUREMENTS, [measurement(lot_id="RT1-S2.x"), measurement(lot_id="RT2.1")])
    with shared_wh.engine.begin() as connection:
        connection.execute(
            text("UPDATE dw.dim_lot SET root_lot_id = 'MOTHER' WHERE lot_key = :key"), {"key": durable_key("RT2.1")}
        )
    result = shared_wh.load(
        MEASUREMENTS, [measurement(lot_id=lot, spc_rule="after") for lot in ("RT1-S2.x", "RT2.1", "RT3.1.2", "RT4")]
    )
    keys = [key for (key,) in stored(shared_wh, MEASUREMENTS, result.batch_id, "wafer_key")]
    assert keys == [durable_key(root, "02") for root in ("RT1", "MOTHER", "RT3", "RT4")]
    roots = versions(shared_wh, "dim_lot", "lot_id LIKE 'RT%'", "lot_id", "root_lot_id")
    assert sorted(roots) == [("RT1-S2.x", "RT1"), ("RT2.1", "MOTHER"), ("RT3.1.2", "RT3"), ("RT4", "RT4")]


def test_a_lot_and_a_wafer_are_of_the_product_that_a_fact_first_names(shared_wh: Warehouse) -> None:
    def products() -> list[Any]:
        lot = versions(shared_wh, "dim_lot", "lot_id = 'PL1'", "product_key")
        return [*lot, *versions(shared_wh, "dim_wafer", "root_lot_id = 'PL1'", "product_key")]

    shared_wh.load(MEASUREMENTS, [measurement(lot_id="PL1")])
    assert products() == [(-1,), (-1,)]
    filled = shared_wh.load(MEASUREMENTS, [measurement(lot_id="PL1", product_id="A")])
    assert products() == [(durable_key("A", ""),)] * 2
    assert filled.members_made == 3  # the product, and two gaps filled
    shared_wh.load(MEASUREMENTS, [measurement(lot_id="PL1", product_id="B")])
    assert products() == [(durable_key("A", ""),)] * 2


def test_a_wafer_that_changes_its_lot_has_a_version_for_each(shared_wh: Warehouse) -> None:
    rows = [
        measurement(lot_id="WM1", event_ts=NOON),
        measurement(lot_id="WM1.1", event_ts=NOON + timedelta(hours=5)),
        measurement(lot_id="WM1", event_ts=NOON + timedelta(hours=1)),
    ]
    shared_wh.load(MEASUREMENTS, rows)
    columns = ("effective_date", "expiry_date", "lot_key", "is_current")
    expected = [
        (BEGINNING, NOON + timedelta(hours=5), durable_key("WM1"), False),
        (NOON + timedelta(hours=5), END_OF_TIME, durable_key("WM1.1"), True),
    ]
    assert versions(shared_wh, "dim_wafer", "root_lot_id = 'WM1'", *columns) == expected
    shared_wh.load(MEASUREMENTS, [row | {"spc_rule": "again"} for row in rows])
    assert versions(shared_wh, "dim_wafer", "root_lot_id = 'WM1'", *columns) == expected


def test_a_second_load_of_the_same_members_writes_none(shared_wh: Warehouse) -> None:
    rows = [measurement(lot_id="SL1", wafer_id=str(n), product_id="P", chamber_id="A", recipe_id="R") for n in range(5)]
    assert shared_wh.load(MEASUREMENTS, rows).members_made > 5
    before = shared_wh.read("SELECT * FROM dw.dim_wafer WHERE root_lot_id = 'SL1' ORDER BY wafer_key")
    again = shared_wh.load(MEASUREMENTS, [row | {"spc_rule": "again"} for row in rows])
    assert again.members_made == 0
    after = shared_wh.read("SELECT * FROM dw.dim_wafer WHERE root_lot_id = 'SL1' ORDER BY wafer_key")
    assert after.equals(before)


@pytest.mark.parametrize("dimension", ["dim_lot", "dim_wafer"])
def test_another_natural_key_under_the_same_durable_key_is_refused(wh: Warehouse, dimension: str) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    column = DIMENSIONS[dimension].natural_key[-1]
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE dw.{dimension} SET {column} = 'OTHER' WHERE {column} IN ('L1', '02')")
    with pytest.raises(
        KeyCollisionError, match=rf"{dimension}: .*'OTHER'.*stored.*same durable key -?\d+\. Nothing was"
    ):
        wh.load(MEASUREMENTS, [measurement(slot=1)], batch_id="collision")
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 1
    assert scalar(wh, "SELECT status FROM dw.etl_load_batch WHERE batch_id = 'collision'") == "FAILED"


def test_two_natural_keys_of_one_load_with_one_durable_key_are_refused(
    shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = key_module.durable_key

    def clashing(*parts: str, **options: Any) -> int:
        return 77 if parts[0].startswith("CLASH") else real(*parts, **options)

    monkeypatch.setattr(key_module, "durable_key", clashing)
    with pytest.raises(KeyCollisionError, match=r"'CLASH1'.*'CLASH2'.*same durable key 77"):
        shared_wh.load(MEASUREMENTS, [measurement(lot_id=f"CLASH{n}") for n in (1, 2)])


def test_many_members_are_made_and_changed_in_one_go(shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_lists, "CHUNK", 500)
    size = 1_201  # more than the keys asked for at once
    lots = [f"MANY{n}" for n in range(size)]
    table = pa.table({"event_ts": pa.repeat(pa.scalar(NOON), size), "lot_id": lots, "wafer_id": pa.repeat("1", size)})
    made = shared_wh.load(MEASUREMENTS, table)
    assert made.members_made == 2 * size
    filled = shared_wh.load(MEASUREMENTS, table.append_column("product_id", pa.repeat("P9", size)))
    assert filled.members_made == 2 * size + 1
    query = "SELECT count(*) FROM dw.dim_lot WHERE lot_id LIKE 'MANY%' AND product_key = :key AND is_current"
    assert scalar(shared_wh, query, key=durable_key("P9", "")) == size
    assert shared_wh.load(MEASUREMENTS, table.append_column("product_id", pa.repeat("P8", size))).members_made == 1


# What a source tells of its members


def limits(low: float, **more: Any) -> dict[str, Any]:
    return {"1010": {"unit": "V", "lsl": low, "usl": 9.5}, **more}


def step(flow: str, low: float, **more: Any) -> dict[str, list[dict[str, Any]]]:
    row = {"process_flow_id": flow, "flow_version": "", "step_number": "100", "control_limits": limits(low, **more)}
    return {"dim_process_step": [row | {"step_type": "TEST"}]}


def history(wh: Warehouse, flow: str) -> list[tuple[datetime, datetime, float]]:
    rows = versions(
        wh, "dim_process_step", "process_flow_id = :flow", "effective_date", "expiry_date", "control_limits", flow=flow
    )
    return [(start, end, document["1010"]["lsl"]) for start, end, document in rows]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "late"])
@pytest.mark.parametrize("inferred", [False, True], ids=["unheard of", "inferred before"])
def test_limits_that_change_are_in_force_from_the_file_that_first_had_them(
    shared_wh: Warehouse, order: tuple[int, int], inferred: bool
) -> None:
    flow = f"LIM{order[0]}{inferred}"
    times = [NOON, NOON + timedelta(hours=8)]
    if inferred:
        shared_wh.load(MEASUREMENTS, [measurement(process_flow_id=flow, event_ts=NOON - timedelta(days=1))])
    for at in order:
        load_file(shared_wh, step(flow, 1.5 + at), process_flow_id=flow, event_ts=times[at])
    assert history(shared_wh, flow) == [(BEGINNING, times[1], 1.5), (times[1], END_OF_TIME, 2.5)]
    query = """
        SELECT f.event_ts, s.control_limits FROM dw.fact_process_measurements f JOIN dw.dim_process_step s
        ON s.process_step_key = f.process_step_key AND f.event_ts >= s.effective_date AND f.event_ts < s.expiry_date
        WHERE s.process_flow_id = :flow AND f.event_ts >= :noon ORDER BY 1
    """
    with shared_wh.engine.connect() as connection:
        found = connection.execute(text(query), {"flow": flow, "noon": NOON}).all()
    assert [(moment, document["1010"]["lsl"]) for moment, document in found] == [(times[0], 1.5), (times[1], 2.5)]


def test_the_same_limits_again_write_no_version(shared_wh: Warehouse) -> None:
    load_file(shared_wh, step("SAME", 0.1), process_flow_id="SAME")
    again = load_file(shared_wh, step("SAME", 0.1), process_flow_id="SAME", event_ts=NOON + timedelta(days=9))
    assert again.members_made == 0


def test_a_limit_of_a_test_that_is_new_is_added_to_the_version_in_force(shared_wh: Warehouse) -> None:
    load_file(shared_wh, step("NEW", 0.1), process_flow_id="NEW")
    more = {"1011": {"unit": "A", "lsl": 0}}
    load_file(shared_wh, step("NEW", 0.1, **more), process_flow_id="NEW", event_ts=NOON + timedelta(days=9))
    (row,) = versions(shared_wh, "dim_process_step", "process_flow_id = 'NEW'", "control_limits", "is_inferred")
    assert row == (limits(0.1, **more), False)


def test_limits_out_of_order_stop_the_load_of_the_source_that_tells_them(shared_wh: Warehouse) -> None:
    with pytest.raises(
        LoadError, match=r"dim_process_step.*control_limits.*'ORD'.*lsl of '1010' must be at most its usl"
    ):
        load_file(shared_wh, step("ORD", 9.75), process_flow_id="ORD")
    assert versions(shared_wh, "dim_process_step", "process_flow_id = 'ORD'", "control_limits") == []


def test_what_a_source_tells_of_an_inferred_member_is_filled_in(shared_wh: Warehouse) -> None:
    shared_wh.load(MEASUREMENTS, [measurement(equipment_id="T9")])
    tool = {"facility": "FAB", "equipment_id": "T9", "chamber_id": "", "equipment_type": "TESTER", "mtbf_h": 7.5}
    result = load_file(shared_wh, {"dim_equipment": [tool]}, equipment_id="T9", slot=1)
    columns = ("effective_date", "equipment_type", "mtbf_h", "hierarchy_level", "is_inferred", "batch_id")
    expected = [(BEGINNING, "TESTER", 7.5, "TOOL", False, result.batch_id)]
    assert versions(shared_wh, "dim_equipment", "equipment_id = 'T9'", *columns) == expected


def test_columns_of_type_1_are_overwritten_in_place(shared_wh: Warehouse) -> None:
    tool = {"facility": "FAB", "equipment_id": "T1", "chamber_id": "", "model": "M"}
    for hours in (1.0, 2.0):
        load_file(shared_wh, {"dim_equipment": [tool | {"mtbf_h": hours}]}, equipment_id="T1", slot=int(hours))
    columns = ("mtbf_h", "model", "created_at < updated_at")
    assert versions(shared_wh, "dim_equipment", "equipment_id = 'T1'", *columns) == [(2.0, "M", True)]


def test_what_a_fact_implies_of_a_member_does_not_overrule_what_is_known(shared_wh: Warehouse) -> None:
    load_file(
        shared_wh,
        {"dim_equipment": [{"equipment_id": "T2", "chamber_id": "LP1", "hierarchy_level": "LOADPORT"}]},
        equipment_id="T2",
    )
    shared_wh.load(MEASUREMENTS, [measurement(equipment_id="T2", chamber_id="LP1", event_ts=NOON + timedelta(days=1))])
    found = versions(shared_wh, "dim_equipment", "equipment_id = 'T2' AND chamber_id = 'LP1'", "hierarchy_level")
    assert found == [("LOADPORT",)]


def test_a_member_only_the_source_tells_of_is_made_too(shared_wh: Warehouse) -> None:
    told = {"dim_wafer": [{"lot_id": "UNUSED", "wafer_id": "UNUSED-5", "diameter_mm": 300.0}]}
    load_file(shared_wh, told, slot=21)
    columns = ("wafer_id", "diameter_mm", "lot_key", "is_inferred")
    found = versions(shared_wh, "dim_wafer", "root_lot_id = 'UNUSED'", *columns)
    assert found == [("05", 300.0, durable_key("UNUSED"), False)]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("diameter_mm", "large", "dim_wafer: .*does not fit column 'diameter_mm'"),
        ("grade", "BEST", "ck_dim_wafer_grade"),
    ],
)
def test_what_a_source_tells_wrong_fails_the_load(wh: Warehouse, column: str, value: Any, message: str) -> None:
    told = {"dim_wafer": [{"lot_id": "L1", "wafer_id": "02", column: value}]}
    with pytest.raises(LoadError, match=message):
        load_file(wh, told)
    assert scalar(wh, "SELECT count(*) FROM dw.fact_process_measurements") == 0


# Months and hours


def months(wh: Warehouse) -> list[str]:
    from gpwarehouse.dialect.reflection import partitions_of
    from gpwarehouse.engine import dialect_of

    with wh.engine.connect() as connection:
        found = partitions_of(connection, dialect_of(connection), "dw", MEASUREMENTS)
    return sorted(partition.name for partition in found[MEASUREMENTS].partitions)


def test_the_months_of_the_events_are_made_and_no_other(wh: Warehouse) -> None:
    moments = [datetime(2023, 12, 31, 23, 59, 59, 999999, UTC), datetime(2024, 2, 29, tzinfo=UTC)]
    result = wh.load(MEASUREMENTS, [measurement(event_ts=moment) for moment in (*moments, moments[0])])
    assert result.months_made == ("m202312", "m202402")
    assert months(wh) == ["m200001", "m202312", "m202402"]
    assert wh.load(MEASUREMENTS, [measurement(event_ts=moment, slot=1) for moment in moments]).months_made == ()
    hours = wh.read("SELECT time_key FROM dw.dim_time ORDER BY 1").time_key.tolist()
    expected: Iterator[datetime] = (
        start + timedelta(hours=n)
        for start, days in ((datetime(2023, 12, 1, tzinfo=UTC), 31), (datetime(2024, 2, 1, tzinfo=UTC), 29))
        for n in range(days * 24)
    )
    assert hours == [int(f"{moment:%Y%m%d%H}") for moment in expected]


def test_hours_that_are_missing_in_a_month_are_made_again(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, [measurement()])
    with wh.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM dw.dim_time WHERE time_key BETWEEN 2024030500 AND 2024030612")
    wh.load(MEASUREMENTS, [measurement(slot=1)])
    assert scalar(wh, "SELECT count(*) FROM dw.dim_time") == 31 * 24


def test_rejected_rows_make_no_month_and_no_member(wh: Warehouse) -> None:
    rows = [measurement(), measurement(event_ts=NOON + timedelta(days=40), lot_id="BAD", slot=-1)]
    result = wh.load(MEASUREMENTS, rows, max_rejects=1)
    assert result.months_made == ("m202403",)
    assert scalar(wh, "SELECT count(*) FROM dw.dim_lot WHERE lot_id = 'BAD'") == 0
