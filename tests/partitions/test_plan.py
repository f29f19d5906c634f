"""What a plan asks for, and what applying it does: months ahead, gaps, retention, compression."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, inspect, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import AddPartition, AppendOptimized, Brand, RangePartition, ServerInfo
from gpwarehouse.errors import InvalidInputError, LoadError, PartitionError, SettingsError
from gpwarehouse.models import FACTS
from gpwarehouse.partitions import Plan, Step
from gpwarehouse.retention import RetentionRule, parse_retention
from tests.partitions.fab import MEASUREMENTS, NOW, TESTS, contents, execute, load_units, names, with_policy

AHEAD = ["m202611", "m202612", "m202701", "m202702"]


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(step.action, step.partition) for step in plan]


def test_months_ahead_are_made_for_every_fact_and_a_second_plan_is_empty(wh: Warehouse) -> None:
    plan = wh.partitions.plan(now=NOW)
    assert {(s.table, s.partition) for s in plan} == {(table, month) for table in FACTS for month in AHEAD}
    assert "m202611" not in names(wh)
    report = wh.partitions.apply(plan)
    assert all(o.done for o in report.outcomes)
    assert len(wh.partitions.plan(now=NOW)) == 0
    assert names(wh) == ["m200001", *AHEAD]
    again = wh.partitions.apply(plan)
    assert not any(o.done for o in again.outcomes)
    assert not again.failed


def test_gaps_are_filled_inside_the_window_only(wh: Warehouse) -> None:
    with with_policy(wh, partition_premake=0, partition_window=3) as fab:
        fab.partitions.apply(months=["2026-01", "2026-09"], tables=[TESTS], now=NOW)
        assert names(fab) == ["m200001", "m202601", "m202609", "m202611"]
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        assert [(s.partition, s.why) for s in plan] == [("m202608", "gap"), ("m202610", "gap")]
        fab.partitions.apply(plan)
        assert len(fab.partitions.plan(tables=[TESTS], now=NOW)) == 0


def test_a_gap_that_a_partition_of_odd_bounds_holds_part_of_is_told(wh: Warehouse) -> None:
    with with_policy(wh, partition_premake=1) as fab:
        odd = RangePartition("odd", datetime(2026, 12, 10, tzinfo=UTC), datetime(2026, 12, 20, tzinfo=UTC))
        with fab.engine.begin() as connection:
            connection.execute(AddPartition(FACTS[TESTS].__table__, odd))
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        assert told(plan) == [("create", "m202611")]
        assert "m202612 is not made: partition odd holds part of it" in plan.notes[0]


def test_a_month_that_is_old_enough_is_dropped_and_a_newer_one_is_refused(wh: Warehouse) -> None:
    with with_policy(wh, retention="*: drop after 12 months", partition_premake=0) as fab:
        load_units(fab, "2025-10", 3)
        load_units(fab, "2025-11", 4)
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        assert [step for step in told(plan) if step[0] != "create"] == [("drop", "m202510")]
        newer = Step("drop", TESTS, "m202511", datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC), "")
        with pytest.raises(PartitionError, match=r"'drop' is refused, the policy is 'drop after 12 months'"):
            fab.partitions.apply(Plan((*plan.steps, newer)), now=NOW)
        assert len(contents(fab)) == 7
        report = fab.partitions.apply(plan, now=NOW)
        assert [(o.step.partition, o.rows) for o in report.outcomes if o.rows] == [("m202510", 3)]
        assert len(contents(fab)) == 4


def test_what_changed_is_analyzed(wh: Warehouse) -> None:
    with with_policy(wh, retention="*: drop after 12 months", partition_premake=0, partition_window=0) as fab:
        load_units(fab, "2025-06", 3)
        fab.partitions.apply(tables=[MEASUREMENTS], months=["2025-06"], hold_days=0, now=NOW)
        said: list[str] = []
        event.listen(fab.engine, "after_cursor_execute", lambda *args: said.append(args[2]))
        fab.partitions.apply(tables=[TESTS, MEASUREMENTS], now=NOW)
    analyzed = [statement for statement in said if statement.startswith("ANALYZE")]
    assert [TESTS in statement for statement in analyzed] == [True]  # of the other, an empty month went


def test_a_partition_without_a_lower_bound_is_left_alone_and_told(wh: Warehouse) -> None:
    with with_policy(wh, retention="*: drop after 12 months", partition_premake=0) as fab:
        with fab.engine.begin() as connection:
            before = RangePartition("before", None, datetime(1999, 1, 1, tzinfo=UTC))
            connection.execute(AddPartition(FACTS[TESTS].__table__, before))
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        assert told(plan) == [("create", "m202611")]
        assert plan.notes == (f"{TESTS}: before has no lower bound; it is left alone, split it by months",)


def test_a_default_partition_and_its_rows_are_told(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("the DDL of the others differs")
    execute(wh, f"CREATE TABLE dw.rest PARTITION OF dw.{TESTS} DEFAULT")
    load_units(wh, "2025-06", 2)
    with wh.engine.begin() as connection:
        late = "CAST('2025-07-05 00:00+00' AS timestamptz)"
        names = [column.name for column in FACTS[TESTS].__table__.columns]
        values = ", ".join(late if name == "event_ts" else name for name in names)
        connection.execute(text(f"INSERT INTO dw.{TESTS} ({', '.join(names)}) SELECT {values} FROM dw.{TESTS}"))
    (note,) = wh.partitions.plan(tables=[TESTS], now=NOW).notes
    assert note.startswith(f"{TESTS}: retention takes no rows of the default partition rest")
    with pytest.raises(LoadError, match=r"default partition .* SplitDefaultPartition"):
        load_units(wh, "2025-07", 1)
    assert len(contents(wh)) == 4


def test_a_month_whose_table_has_an_odd_name_is_left_alone_and_told(wh: Warehouse, server_info: ServerInfo) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("Greenplum has a partition keep its name")
    load_units(wh, "2025-05", 2)
    load_units(wh, "2025-06", 2)
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(f'ALTER TABLE dw.{TESTS}_1_prt_m202506 RENAME TO "june:x %%s"')
    with with_policy(wh, retention=f"{TESTS}: drop after 12 months", partition_premake=0) as other:
        report = other.partitions.apply(tables=[TESTS], now=NOW)
    assert not report.failed
    assert any("june:x %s is left alone: rename its table" in note for note in report.notes)
    assert len(contents(wh)) == 2


def test_without_a_policy_nothing_leaves(wh: Warehouse) -> None:
    load_units(wh, "2001-02", 1)
    assert {step.action for step in wh.partitions.plan(now=NOW)} == {"create"}
    step = Step("drop", TESTS, "m200102", datetime(2001, 2, 1, tzinfo=UTC), datetime(2001, 3, 1, tzinfo=UTC), "")
    with pytest.raises(PartitionError, match="the policy is 'keep'"):
        wh.partitions.apply(Plan((step,)))


def test_the_month_of_the_first_revision_is_emptied_never_dropped(wh: Warehouse) -> None:
    with with_policy(wh, retention="*: drop after 12 months", partition_premake=0) as fab:
        load_units(fab, "2000-01", 3)
        assert ("drop", "m200001") in told(fab.partitions.plan(now=NOW))
        assert not fab.partitions.apply(now=NOW).failed
        assert names(fab)[0] == "m200001"
        assert contents(fab) == []
        assert len(fab.partitions.plan(now=NOW)) == 0


@pytest.mark.parametrize(("action", "schema"), [("detach", "dw"), ("move", "dw_archive")])
def test_a_detached_month_keeps_its_rows_in_a_table_of_its_own(wh: Warehouse, action: str, schema: str) -> None:
    with with_policy(wh, retention=f"{TESTS}: {action} after 12 months", partition_premake=0) as fab:
        for count, table in (3, f"{TESTS}_detached_m202506"), (4, f"{TESTS}_detached_m202506_2"):
            load_units(fab, "2025-06", count)
            rows = contents(fab)
            assert len(rows) == count
            report = fab.partitions.apply(tables=[TESTS], now=NOW)
            assert not report.failed, report.failed
            assert "m202506" not in names(fab)
            assert contents(fab) == []
            with fab.engine.connect() as connection:
                out = connection.execute(text(f"SELECT CAST(t AS text) FROM {schema}.{table} t"))
                assert sorted(tuple(row) for row in out) == rows
        assert f"{TESTS}_1_prt_m202506" not in inspect(fab.engine).get_table_names("dw")
        assert len(fab.partitions.plan(tables=[TESTS], now=NOW)) == 0


def test_cold_months_are_compressed_harder_once(wh: Warehouse, server_info: ServerInfo) -> None:
    with with_policy(wh, retention="*: compress after 6 months", partition_premake=0) as fab:
        load_units(fab, "2026-03", 40)
        load_units(fab, "2026-09", 2)
        rows = contents(fab)
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        if server_info.brand is Brand.POSTGRESQL:
            assert "has no append-optimized storage" in plan.notes[0]
            assert "compress" not in {step.action for step in plan}
            return
        compressing = [step for step in plan if step.action == "compress"]
        assert "m202603" in {step.partition for step in compressing}
        report = fab.partitions.apply(plan, now=NOW)
        assert not report.failed, report.failed
        assert contents(fab) == rows
        assert {o.step.partition: o.rows for o in report.outcomes if o.rows} == {"m202603": 40}
        stored = inspect(fab.engine).get_multi_storage("dw")  # type: ignore[attr-defined]
        assert stored["dw", f"{TESTS}_1_prt_m202603"] == AppendOptimized(
            orientation="column", compresstype="zstd", compresslevel=9, blocksize=32768, checksum=True
        )
        assert stored["dw", f"{TESTS}_1_prt_m202609"].compresslevel == 1
        assert "compress" not in {s.action for s in fab.partitions.plan(tables=[TESTS], now=NOW)}
        load_units(fab, "2026-03", 1, batch_id="late")
        assert len(contents(fab)) == 43


def test_two_that_apply_at_once_make_each_month_once(wh: Warehouse) -> None:
    reports: list[Any] = []
    jobs = [threading.Thread(target=lambda: reports.append(wh.partitions.apply(now=NOW))) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=120)
    assert [report.failed for report in reports] == [[], []]
    assert sum(o.done for report in reports for o in report.outcomes) == len(FACTS) * len(AHEAD)


def test_a_step_that_fails_is_told_and_the_others_are_done(
    wh: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with with_policy(wh, retention=f"{TESTS}: export after 12 months; {MEASUREMENTS}: drop after 12 months",
                     archive_dir=blocked, partition_premake=0) as fab:  # fmt: skip
        load_units(fab, "2025-06", 3)
        fab.partitions.apply(tables=[MEASUREMENTS], months=["2025-06"], hold_days=0, now=NOW)
        report = fab.partitions.apply(now=NOW)
        assert [(o.step.action, o.step.table) for o in report.failed] == [("export", TESTS)]
        assert "is no folder; mount it, or make it" in str(report.failed[0].error)
        assert len(contents(fab)) == 3
        assert "m202506" not in names(fab, MEASUREMENTS)


def test_sizes_and_skew_are_told_by_month_and_segment(wh: Warehouse, server_info: ServerInfo) -> None:
    load_units(wh, "2026-03", 40)
    skew = wh.partitions.skew(tables=[TESTS], months=["2026-03"])
    assert skew.rows.sum() == 40
    assert (skew.partition == "m202603").all()
    assert (skew.skew_pct >= 0).all()
    assert (skew.bytes > 0).any()
    segments = [-1] if server_info.brand is Brand.POSTGRESQL else [0, 1]
    assert sorted(skew.segment) == segments
    everything = wh.partitions.skew()
    assert set(everything.table) == set(FACTS)
    assert everything[everything.partition == "m200001"].skew_pct.isna().all()


def test_wrong_names_and_policies_are_told_with_what_is_allowed(wh: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'dim_lot' is no partitioned fact; allowed: fact_process"):
        wh.partitions.plan(tables=["dim_lot"])
    with pytest.raises(InvalidInputError, match="'2026-13' is no month"):
        wh.partitions.plan(months=["2026-13"])
    with pytest.raises(InvalidInputError, match="has no time zone"):
        wh.partitions.plan(now=datetime(2026, 1, 1))
    with with_policy(wh, retention="dim_lot: keep") as fab:
        with pytest.raises(SettingsError, match="names 'dim_lot', which is no partitioned fact"):
            fab.partitions.plan()
    with with_policy(wh, retention="*: export after 3 months") as fab:
        with pytest.raises(SettingsError, match="ARCHIVE_DIR names no folder"):
            fab.partitions.plan()
    with pytest.raises(PartitionError, match="ARCHIVE_DIR"):
        wh.partitions.restore(TESTS, "2025-06")


@given(
    compress=st.none() | st.integers(1, 1200),
    leaving=st.none() | st.tuples(st.sampled_from(["detach", "move", "export", "drop"]), st.integers(1201, 9999)),
)
def test_a_rule_reads_back_as_it_is_written(compress: int | None, leaving: tuple[str, int] | None) -> None:
    rule = RetentionRule(compress, *(leaving or (None, None)))
    assert RetentionRule.parse(str(rule)) == rule
    assert parse_retention(f"fact_a: {rule}; *: keep") == parse_retention({"*": "keep", "fact_a": str(rule)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fact_a: burn after 3 months", "'burn after 3 months' is no rule"),
        ("fact_a: drop after 0 months", "is no rule"),
        ("fact_a: drop", "is no rule"),
        ("fact_a: drop after 3 months, export after 4 months", "cannot both be"),
        ("fact_a: drop after 3 months, drop after 4 months", "stands twice"),
        ("fact_a: drop after 3 months, compress after 3 months", "comes no earlier"),
        ("fact_a: keep; fact_a: keep", "'fact_a' stands twice"),
        ("Fact-A: keep", "is no table's name"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_part_that_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_retention(text)


def test_a_load_in_the_same_months_is_waited_for_and_not_held_up(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpwarehouse.months import partitions

    monkeypatch.setattr(partitions, "ATTEMPT_MS", 100)
    with with_policy(wh, retention=f"{TESTS}: drop after 12 months", partition_premake=0, partition_window=0) as fab:
        load_units(fab, "2025-06", 3)
        fab.partitions.apply(tables=[TESTS], months=["2026-05"], now=NOW.replace(year=2025, month=7))
        attempts = threading.Semaphore(0)
        event.listen(fab.engine, "handle_error", lambda _: attempts.release())
        reports: list[Any] = []
        with wh.engine.connect() as loading:
            loading.execute(text(f"INSERT INTO dw.{TESTS} SELECT * FROM dw.{TESTS} WHERE false"))
            loading.execute(text(f"LOCK TABLE dw.{TESTS} IN ROW EXCLUSIVE MODE"))
            job = threading.Thread(target=lambda: reports.append(fab.partitions.apply(tables=[TESTS], now=NOW)))
            job.start()
            assert attempts.acquire(timeout=60)
            load_units(wh, "2026-05", 4)
            loading.rollback()
        job.join(timeout=60)
        assert reports[0].failed == []
        assert "m202506" not in names(fab)
        assert len(contents(fab)) == 4


def test_a_step_that_waits_says_for_whom_and_gives_up_naming_him(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpwarehouse.months import partitions

    monkeypatch.setattr(partitions, "ATTEMPT_MS", 100)
    with with_policy(wh, retention=f"{TESTS}: drop after 12 months", partition_premake=0, partition_window=0) as fab:
        load_units(fab, "2025-06", 3)
        told: list[str] = []
        with wh.engine.connect() as loading:
            pid = loading.execute(text("SELECT pg_backend_pid()")).scalar_one()
            loading.execute(text("SET LOCAL application_name = 'a long load'"))
            loading.execute(text(f"LOCK TABLE dw.{TESTS} IN ROW EXCLUSIVE MODE"))
            report = fab.partitions.apply(tables=[TESTS], now=NOW, wait_s=2, progress=told.append)
        (failed,) = [outcome for outcome in report.failed if outcome.step.action == "drop"]
        said = rf"server process {pid}, user (postgres|gpadmin), application 'a long load', from .* since \d{{4}}-"
        assert re.search(
            rf"was in use for 2 s, so its partitions were not changed\. It is used by {said}", failed.error or ""
        )
        assert f"pg_terminate_backend({pid})" in str(failed.error)
        waits = [line for line in told if line.startswith(f"waiting for table {TESTS}, which is used by")]
        assert waits
        assert re.search(said, waits[0])
        assert "m202506" in names(fab)


def test_each_step_is_told_when_it_begins_and_ends(wh: Warehouse) -> None:
    with with_policy(wh, retention=f"{TESTS}: drop after 12 months", partition_premake=0, partition_window=0) as fab:
        load_units(fab, "2025-06", 3)
        told: list[str] = []
        fab.partitions.apply(tables=[TESTS], now=NOW, progress=told.append)
    assert [line.partition(", ")[0] for line in told] == [
        f"create {TESTS} m202611: ahead", f"create {TESTS} m202611: done",
        f"drop {TESTS} m202506: drop after 12 months", f"drop {TESTS} m202506: done",
    ]  # fmt: skip
    assert ", 3 rows, " in told[-1]


def test_a_step_that_somebody_else_did_meanwhile_is_left_out(wh: Warehouse) -> None:
    with with_policy(wh, retention="*: drop after 12 months", partition_premake=0) as fab:
        load_units(fab, "2025-06", 3)
        plan = fab.partitions.plan(tables=[TESTS], now=NOW)
        reports: list[Any] = []
        jobs = [threading.Thread(target=lambda: reports.append(fab.partitions.apply(plan, now=NOW))) for _ in range(3)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(timeout=120)
    assert [report.failed for report in reports] == [[], [], []]
    assert sum(o.done for report in reports for o in report.outcomes if o.step.action == "drop") == 1
