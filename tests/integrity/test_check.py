"""Each fault is planted by hand in a sound warehouse, and the check finds it and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import InvalidInputError
from gpwarehouse.models.keys import durable_key
from gpwarehouse.sources.synthetic import write_demo_lot
from tests.partitions.fab import command

WAFER = durable_key("L1", "01")
MARCH, APRIL = datetime(2024, 3, 5, 12, tzinfo=UTC), datetime(2024, 4, 2, 12, tzinfo=UTC)
MEASUREMENTS, TESTS = "fact_process_measurements", "fact_test_results"
DEFECTS, SHIFTS = "fact_defect_inspection", "fact_equipment_performance"


def visit(wafer: int, when: datetime, **values: Any) -> dict[str, Any]:
    return {
        "event_ts": when, "lot_id": "L1", "wafer_id": str(wafer), "process_flow_id": "F", "step_number": "100",
        "equipment_id": "ETCH-01", "chamber_id": "A", "product_id": "P",
    } | values  # fmt: skip


@pytest.fixture(scope="module")
def sound(shared_wh: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """All four facts, two months, retests, a clean inspection, a chamber's shifts, a sublot."""
    wh = shared_wh
    visits = [visit(w, when, visit_no=n) for w in range(1, 6) for n, when in enumerate((MARCH, APRIL), 1)]
    wh.load(MEASUREMENTS, visits, batch_id="both")
    wh.load(MEASUREMENTS, [visit(9, APRIL, lot_id="L1.02")], batch_id="sublot")
    wh.load_file(write_demo_lot(tmp_path_factory.mktemp("lot") / "lot.stdf.gz", wafers=2).path, batch_id="stdf")
    inspected = visit(1, MARCH, inspection_id="I1", test_no=1)
    inspected.pop("chamber_id")
    wh.load(DEFECTS, [inspected | {"is_defect": True, "defect_id": n} for n in (1, 2)], batch_id="defects")
    wh.load(DEFECTS, [inspected | {"is_defect": False, "inspection_id": "I2"}], batch_id="clean")
    states = {"productive_s": 43200.0, "total_s": 43200.0, "equipment_id": "CVD-07", "chamber_id": "B"}
    wh.load(SHIFTS, [states | {"event_ts": MARCH}, states | {"event_ts": APRIL}], batch_id="shifts")
    assert found(wh) == []
    yield wh
    assert found(wh) == []


@pytest.fixture
def wh(sound: Warehouse, server_info: ServerInfo) -> Iterator[Warehouse]:
    """The sound warehouse; what a test changed by :func:`spoil` is undone."""
    yield sound
    for undo in reversed(_UNDO):
        _run(sound, *undo)
    _UNDO.clear()
    if server_info.brand is Brand.POSTGRESQL:  # elsewhere a check of all takes 8 s: the next test finds what is left
        assert found(sound) == []


_UNDO: list[tuple[str, ...]] = []


def _run(wh: Warehouse, *statements: str) -> None:
    with wh.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def spoil(wh: Warehouse, *statements: str, undo: tuple[str, ...] | str) -> None:
    _UNDO.append((undo,) if isinstance(undo, str) else undo)
    _run(wh, *statements)


def found(wh: Warehouse, **asked: Any) -> list[tuple[Any, ...]]:
    """Check, table, month and count of each finding; tables made from others, which spoiling leaves behind, only if asked for."""
    frame = wh.data.check(**asked)
    if "checks" not in asked:
        frame = frame[~frame["check"].isin(["aggregates", "step limits"])]
    frame = frame.astype(object).where(frame.notna(), None)
    return [
        (row.check, row.table, row.month, row.count)
        for row in frame[["check", "table", "month", "count"]].itertuples(index=False, name="Found")
    ]


def test_aggregates_that_are_not_what_the_rows_come_to_are_found_and_made_anew(wh: Warehouse) -> None:
    assert found(wh, checks=["aggregates", "step limits"]) == []
    with wh.engine.begin() as connection:
        connection.execute(text("DELETE FROM dw.agg_test_values"))
    assert {finding[:2] for finding in found(wh, checks=["aggregates"])} == {("aggregates", "agg_test_values")}
    assert wh.data.rebuild_aggregates()["written"].sum() > 0
    assert found(wh, checks=["aggregates"]) == []


def copy_of(table: str, where: str, **changed: str) -> str:
    """A statement that inserts rows like others, but for some columns."""
    from gpwarehouse.models import Base

    names = [column.name for column in Base.metadata.tables[f"dw.{table}"].columns]
    values = [changed.get(name, name) for name in names]
    return f"INSERT INTO dw.{table} ({', '.join(names)}) SELECT {', '.join(values)} FROM dw.{table} WHERE {where}"


@pytest.mark.parametrize(
    ("column", "value"), [("lot_key", "12345"), ("chamber_key", "7"), ("recipe_key", "-5"), ("time_key", "1999010100")]
)
def test_a_key_without_its_member_is_found_in_its_month(wh: Warehouse, column: str, value: str) -> None:
    row = copy_of(
        MEASUREMENTS, f"wafer_key = {WAFER} AND visit_no = 1", visit_no="9", batch_id="'extra'", **{column: value}
    )
    spoil(wh, row, _batch("extra", 1), undo=_gone("extra"))
    assert found(wh) == [("orphan key", MEASUREMENTS, "2024-03", 1)]
    assert f"{column} {value}" in wh.data.check().loc[0, "sample"]


def _batch(name: str, rows: int, first: datetime = MARCH, last: datetime = MARCH, target: str = MEASUREMENTS) -> str:
    return (
        "INSERT INTO dw.etl_load_batch (batch_id, target, checksum, status, rows_loaded, min_event_ts, max_event_ts) "
        f"VALUES ('{name}', '{target}', 'x', 'LOADED', {rows}, '{first}', '{last}')"
    )


def _gone(name: str, target: str = MEASUREMENTS) -> tuple[str, str]:
    return (
        f"DELETE FROM dw.{target} WHERE batch_id = '{name}'",
        f"DELETE FROM dw.etl_load_batch WHERE batch_id = '{name}'",
    )


@pytest.mark.parametrize(
    ("fact", "of", "rows"),
    [
        (MEASUREMENTS, "both", 5),
        (TESTS, "stdf", None),
        (DEFECTS, "defects", 2),
        (DEFECTS, "clean", 1),
        (SHIFTS, "shifts", 1),
    ],
)
def test_records_loaded_twice_are_found(wh: Warehouse, fact: str, of: str, rows: int | None) -> None:
    copied = copy_of(fact, f"batch_id = '{of}' AND event_ts < '2024-04-01+00'", batch_id="'again'")
    with wh.engine.connect() as connection:
        count = text(f"SELECT count(*) FROM dw.{fact} WHERE batch_id = '{of}' AND event_ts < '2024-04-01+00'")
        there = connection.execute(count).scalar_one()
    spoil(
        wh,
        copied,
        _batch("again", there, MARCH.replace(day=1), MARCH.replace(day=30), target=fact),
        undo=_gone("again", fact),
    )
    assert there == (rows or there)
    assert found(wh) == [("doubled grain", fact, "2024-03", there)]
    sample = wh.data.check().loc[0, "sample"]
    assert "again" in sample
    assert of in sample


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("gap", ("1900-01-01+00", "2024-01-01+00"), ("2024-01-02+00", "9999-12-31+00")),
        ("overlap", ("1900-01-01+00", "2024-01-02+00"), ("2024-01-01+00", "9999-12-31+00")),
        ("first", ("1950-01-01+00", "2024-01-01+00"), ("2024-01-01+00", "9999-12-31+00")),
    ],
)
def test_broken_chains_of_versions_are_found(
    wh: Warehouse, kind: str, old: tuple[str, str], new: tuple[str, str]
) -> None:
    spoil(wh, _version(*old, current=False), _version(*new), undo="DELETE FROM dw.dim_recipe WHERE recipe_key = 77")
    assert found(wh) == [("versions", "dim_recipe", None, 1)]
    assert wh.data.check().loc[0, "sample"] == f"{kind}: recipe_key 77"


def _version(begin: str, end: str, *, current: bool = True) -> str:
    return copy_of(
        "dim_recipe", "recipe_key = -1", recipe_key="77", recipe_id="'R'", is_current=str(current).lower(),
        effective_date=f"CAST('{begin}' AS timestamptz)", expiry_date=f"CAST('{end}' AS timestamptz)",
    )  # fmt: skip


@pytest.mark.parametrize("current", [(False, False), (True, False)])
def test_a_member_must_have_one_current_version_which_is_the_last(wh: Warehouse, current: tuple[bool, bool]) -> None:
    spoil(
        wh,
        _version("1900-01-01+00", "2024-01-01+00", current=current[0]),
        _version("2024-01-01+00", "9999-12-31+00", current=current[1]),
        undo="DELETE FROM dw.dim_recipe WHERE recipe_key = 77",
    )
    assert found(wh) == [("versions", "dim_recipe", None, 1)]
    assert wh.data.check().loc[0, "sample"] == "current: recipe_key 77"


def test_a_batch_whose_rows_are_gone_or_fewer_is_found(wh: Warehouse) -> None:
    spoil(wh, _batch("lost", 3), undo=_gone("lost"))
    assert found(wh) == [("batch", MEASUREMENTS, "2024-03", 3)]
    spoil(wh, copy_of(MEASUREMENTS, f"wafer_key = {WAFER} AND visit_no = 1", visit_no="9", batch_id="'lost'"), undo=())
    assert found(wh) == [("batch", MEASUREMENTS, "2024-03", 2)]
    assert "3 rows counted, 1 there" in wh.data.check().loc[0, "sample"]


def test_a_batch_is_compared_only_where_all_its_months_are_checked_and_there(wh: Warehouse) -> None:
    first, last = MARCH, datetime(2024, 6, 1, tzinfo=UTC)  # a month that is archived, or was never made
    spoil(wh, _batch("archived", 30, first, last), undo=_gone("archived"))
    spoil(
        wh, copy_of(MEASUREMENTS, f"wafer_key = {WAFER} AND visit_no = 1", visit_no="9", batch_id="'archived'"), undo=()
    )
    assert found(wh) == []
    assert found(wh, months=["2024-03"]) == []


def test_a_month_without_a_row_of_a_batch_that_began_in_it_is_found(wh: Warehouse) -> None:
    spoil(wh, _batch("late", 2, MARCH, datetime(2024, 6, 1, tzinfo=UTC)), undo=_gone("late"))
    assert found(wh, months=["2024-03"]) == [("batch", MEASUREMENTS, "2024-03", 1)]


def test_rows_of_no_batch_are_found(wh: Warehouse) -> None:
    spoil(
        wh,
        copy_of(SHIFTS, "event_ts < '2024-04-01+00'", batch_id="'nobody'", event_ts="event_ts + interval '12 hours'"),
        undo=_gone("nobody", SHIFTS),
    )
    assert found(wh) == [("batch", SHIFTS, "2024-03", 1)]


def test_a_batch_of_another_fact_does_not_excuse_rows(wh: Warehouse) -> None:
    spoil(
        wh,
        copy_of(SHIFTS, "event_ts < '2024-04-01+00'", batch_id="'both'", event_ts="event_ts + interval '12 hours'"),
        undo=f"DELETE FROM dw.{SHIFTS} WHERE batch_id = 'both'",
    )
    assert found(wh) == [("batch", SHIFTS, "2024-03", 1)]


def test_rows_in_bulk_on_the_unknown_wafer_are_found(wh: Warehouse) -> None:
    copied = copy_of(
        MEASUREMENTS, f"wafer_key = {WAFER} AND visit_no = 1", wafer_key="-1", visit_no="g.n", batch_id="'bulk'"
    ).replace(" WHERE", " CROSS JOIN generate_series(1, 20) AS g (n) WHERE")
    spoil(wh, copied, _batch("bulk", 20), undo=_gone("bulk"))
    asked = {"skew_rows": 20, "tables": [MEASUREMENTS]}
    assert found(wh, **asked) == [("skew", MEASUREMENTS, "2024-03", 20)]
    assert wh.data.check(**asked).loc[0, "sample"] == "wafer_key -1 (unknown), 80% of the rows"
    assert found(wh, **asked, skew_share=0.9) == []
    assert found(wh) == []  # twenty rows slow nobody


def test_a_wafer_whose_root_lot_nobody_names_is_found(wh: Warehouse) -> None:
    spoil(
        wh,
        copy_of("dim_wafer", f"wafer_key = {WAFER}", wafer_key="5", root_lot_id="'L9'"),
        undo="DELETE FROM dw.dim_wafer WHERE wafer_key = 5",
    )
    assert found(wh) == [("root lot", "dim_wafer", None, 1)]


def test_wafers_whose_root_turns_out_to_have_a_root_are_found(wh: Warehouse) -> None:
    change = "UPDATE dw.dim_lot SET root_lot_id = '{}' WHERE lot_id = 'L1'"
    spoil(wh, change.format("L0"), undo=change.format("L1"))
    assert found(wh) == [("root lot", "dim_wafer", None, 6)]
    assert "rekey_wafers" in wh.data.check().loc[0, "remedy"]


def test_two_stays_at_a_time_are_found(wh: Warehouse) -> None:
    stay = "INSERT INTO dw.bridge_wafer_lot (wafer_key, from_ts, to_ts, lot_key) VALUES ({}, '{}', '{}', {})"
    lot, sublot = durable_key("L1"), durable_key("L1.02")
    undo = "DELETE FROM dw.bridge_wafer_lot"
    spoil(
        wh,
        stay.format(WAFER, "2024-01-01+00", "2024-02-01+00", lot),
        stay.format(WAFER, "2024-02-01+00", "9999-12-31+00", sublot),
        undo=undo,
    )
    assert found(wh) == []
    spoil(wh, stay.format(WAFER, "2024-01-15+00", "2024-02-01+00", lot), undo=())
    assert found(wh) == [("stay", "bridge_wafer_lot", None, 1)]


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (
            "bridge_lot_genealogy",
            "(parent_lot_key, child_lot_key, event_type, event_ts) VALUES (11, {lot}, 'SPLIT', now())",
        ),
        ("bridge_wafer_lot", "(wafer_key, from_ts, lot_key) VALUES (11, now(), {lot})"),
    ],
)
def test_a_bridge_that_leads_nowhere_is_found(wh: Warehouse, table: str, values: str) -> None:
    spoil(wh, f"INSERT INTO dw.{table} " + values.format(lot=durable_key("L1")), undo=f"DELETE FROM dw.{table}")
    assert found(wh) == [("orphan key", table, None, 1)]


def test_a_chamber_whose_tool_has_no_row_is_found(wh: Warehouse) -> None:
    change = "UPDATE dw.dim_equipment SET parent_equipment_key = {} WHERE equipment_id = 'CVD-07' AND chamber_id = 'B'"
    spoil(wh, change.format(99), undo=change.format(durable_key("FAB", "CVD-07", "")))
    assert found(wh) == [("orphan key", "dim_equipment", None, 1)]


def test_months_tables_and_checks_narrow_what_is_looked_at(wh: Warehouse) -> None:
    seen: list[str] = []
    wh.data.check(months=["2024-04"], progress=seen.append, tables=[MEASUREMENTS, SHIFTS, "dim_lot"])
    assert seen == [f"{MEASUREMENTS} 2024-04", f"{SHIFTS} 2024-04", "dim_lot"]
    seen.clear()
    wh.data.check(since="2024-04", progress=seen.append, tables=[MEASUREMENTS], checks=["batch"])
    assert seen == [f"{MEASUREMENTS} 2024-04"]
    for wrong in ({"months": ["April"]}, {"tables": ["fact_x"]}, {"checks": ["all"]}, {"skew_share": 2}):
        with pytest.raises(InvalidInputError):
            wh.data.check(**wrong)


def test_nothing_is_written_and_each_query_reads_one_month(wh: Warehouse) -> None:
    from sqlalchemy import event

    statements: list[str] = []

    def heard(_c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> None:
        if "fact_process_measurements" in statement and "WHERE" in statement and "pg_" not in statement:
            statements.append(cursor.mogrify(statement, parameters).decode())

    event.listen(wh.engine, "before_cursor_execute", heard)
    try:
        wh.data.check(tables=[MEASUREMENTS], months=["2024-03"], skew_rows=1, skew_share=1)
    finally:
        event.remove(wh.engine, "before_cursor_execute", heard)
    assert len(statements) > 10
    for statement in (s for s in statements if "FROM dw.etl_load_batch" not in s):
        plan = wh.read("EXPLAIN " + statement.replace(":", "\\:"))["QUERY PLAN"].str.cat(sep="\n")
        assert "m202404" not in plan
        assert "m202403" in plan or re.search(r"(selected|scan): 1 \(out of", plan)  # ORCA counts the partitions


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN"])
def test_numbers_that_are_not_finite_are_found(wh: Warehouse, value: str) -> None:
    one = "WHERE source_record_no = (SELECT min(source_record_no) FROM dw.{0} WHERE batch_id = 'both') AND batch_id = 'both'"
    spoil(
        wh, f"UPDATE dw.{MEASUREMENTS} SET sample_mean = '{value}' {one.format(MEASUREMENTS)}",
        undo=f"UPDATE dw.{MEASUREMENTS} SET sample_mean = NULL {one.format(MEASUREMENTS)}",
    )  # fmt: skip
    spoil(
        wh, f"UPDATE dw.dim_product SET die_origin_x = '{value}' WHERE product_id = 'P'",
        undo="UPDATE dw.dim_product SET die_origin_x = NULL WHERE product_id = 'P'",
    )  # fmt: skip
    assert [row[:2] for row in found(wh)] == [("not finite", MEASUREMENTS), ("not finite", "dim_product")]
    assert found(wh, months=["2024-03", "2024-04"], tables=[MEASUREMENTS], checks=["orphan key"]) == []


def test_a_month_that_no_fact_has_is_an_error_and_not_a_month_without_faults(wh: Warehouse) -> None:
    with pytest.raises(InvalidInputError, match="there is no month 2031-01 in fact_process_measurements, "):
        wh.data.check(months=["2024-03", "2031-01"])
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    done = command("--url", url, "data", "check", "--month", "2031-01")
    assert done.exit_code == 1
    assert "so nothing was checked" in str(done.exception)
    with pytest.raises(InvalidInputError, match="'2024-03-99' is no month"):
        wh.data.check(months=["2024-03-99"])


def test_the_command_tells_json_and_an_exit_code(wh: Warehouse) -> None:
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    assert command("--url", url, "data", "check").exit_code == 0
    spoil(wh, _batch("lost", 3), undo=_gone("lost"))
    done = command("--url", url, "data", "check", "--json", "--since", "2024-03", "--only", "batch")
    assert done.exit_code == 1
    assert [row["count"] for row in json.loads(done.stdout)] == [3]
    assert command("--url", url, "data", "check", "--month", "2024-04").exit_code == 0
    assert "batch_id lost" in command("--url", url, "data", "check").stdout


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"lsl": 5, "usl": 1}, "lsl of 'cd' must be at most its usl: 5 > 1"),
        ({"lsl": 1, "ucl": 9, "usl": 8.5}, "ucl of 'cd' must be at most its usl: 9 > 8.5"),
        ({"target": "4"}, "target of 'cd' must be a number"),
    ],
)
def test_limits_that_were_stored_out_of_order(wh: Warehouse, limits: dict[str, Any], reason: str) -> None:
    key = durable_key("F", "", "100")
    document = json.dumps({"ox": {"lsl": 1, "usl": 2}, "cd": limits})
    spoil(
        wh,
        f"UPDATE dw.dim_process_step SET control_limits = '{document}' WHERE process_step_key = {key}",
        undo=f"UPDATE dw.dim_process_step SET control_limits = NULL WHERE process_step_key = {key}",
    )
    assert found(wh) == [("limits", "dim_process_step", None, 1)]
    (problem,) = wh.data.check(checks=["limits"], tables=["dim_process_step"]).itertuples()
    assert reason in problem.sample
    assert str(key) in problem.sample
    assert "wh.merge" in problem.remedy
