"""A month exported, verified, dropped and restored; late rows, and what is refused on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import URL, text

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.engine import advisory_key
from gpwarehouse.errors import PartitionError
from gpwarehouse.models import FACTS
from gpwarehouse.partitions import Plan
from tests.conftest import database
from tests.partitions.fab import MEASUREMENTS, NOW, TESTS, command, execute, load_units, names, rows_of, with_policy

EXPORT = f"{TESTS}: export after 12 months"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def fab(wh: Warehouse, archive: Path) -> Any:
    with with_policy(wh, retention=EXPORT, archive_dir=archive, partition_premake=0) as fab:
        yield fab


def manifest(archive: Path, partition: str = "m202506") -> dict[str, Any]:
    said: dict[str, Any] = json.loads((archive / "dw" / TESTS / f"{partition}.json").read_text())
    return said


ODD = r"""
    (1, CAST('0.1' AS float8), CAST('NaN' AS float8), CAST('Infinity' AS float8), CAST('-0' AS float8), '',
        NULL, '{"a": 1.10, "b": null, "c": "é\n"}', CAST('infinity' AS timestamptz), 2147483647, true),
    (2, NULL, '5e-324', '-Infinity', '1.7976931348623157e308', NULL, '', '{}', '-infinity', -2147483648, false),
    (3, '0.30000000000000004', '1e22', '123456789.123456789', '2.2250738585072014e-308',
        E'tab\t "quote", comma\nline\r\\ \\. \\N é', 'NULL', NULL, '0001-01-01 00:00:00.000001+00', NULL, NULL),
    (3, '0.30000000000000004', '1e22', '123456789.123456789', '2.2250738585072014e-308',
        E'tab\t "quote", comma\nline\r\\ \\. \\N é', 'NULL', NULL, '0001-01-01 00:00:00.000001+00', NULL, NULL)"""


def awkward_rows(fab: Warehouse) -> None:
    """Every kind of value that a file or a text could bend, one row twice."""
    load_units(fab, "2025-06", 50)
    said = ("batch_id", "source_record_no", "vth_mv", "idsat_ua_um", "gm_ms_mm", "bvdss_v", "part_id", "bin_name")
    said += ("parameters", "start_ts", "die_x", "is_pass")
    needed = [c.name for c in FACTS[TESTS].__table__.columns if not c.nullable and c.name not in said]
    with fab.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO dw.{TESTS} ({', '.join((*needed, *said))}) SELECT {', '.join(needed)}, 'odd', v.n, v.a, v.b, "
            f"v.c, v.d, v.t, v.u, CAST(v.j AS jsonb), v.s, v.x, v.p FROM dw.{TESTS} f, (VALUES {ODD}) "
            "v (n, a, b, c, d, t, u, j, s, x, p) WHERE f.source_record_no = 1"
        )


def test_a_month_is_exported_verified_dropped_and_restored_row_for_row(fab: Warehouse, archive: Path) -> None:
    awkward_rows(fab)
    load_units(fab, "2026-10", 5)
    before = rows_of(fab)
    report = fab.partitions.apply(now=NOW)
    assert not report.failed, report.failed
    exported = [(o.step.action, o.step.partition, o.rows) for o in report.outcomes if o.step.action != "create"]
    assert exported == [("export", "m202506", 54)]
    assert "m202506" not in names(fab)
    assert len(rows_of(fab)) == 5
    assert len(fab.partitions.plan(now=NOW)) == 0

    said = manifest(archive)
    file = pq.ParquetFile(archive / "dw" / TESTS / said["parts"][0]["file"])
    assert file.metadata.num_rows == said["parts"][0]["rows"] == 54
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert str(file.schema_arrow.field("event_ts").type) == "timestamp[us, tz=UTC]"
    assert file.schema_arrow.metadata[b"gpwarehouse.revision"].decode() == said["parts"][0]["revision"]

    assert fab.partitions.restore(TESTS, "2025-06") == 54
    assert rows_of(fab) == before
    held = fab.partitions.plan(now=NOW)
    assert [step.action for step in held] == []
    assert "restored and is held until" in held.notes[0]


def test_a_restored_month_is_dropped_again_without_a_second_file(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    report = fab.partitions.apply()
    assert not report.failed
    assert "m202506" not in names(fab)
    assert len(manifest(archive)["parts"]) == 1


def test_late_rows_of_an_archived_month_go_to_a_second_file_and_come_back_with_the_first(
    fab: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 7)
    first = rows_of(fab)
    fab.partitions.apply(now=NOW)
    load_units(fab, "2025-06", 3, batch_id="late")
    late = rows_of(fab)
    plan = fab.partitions.plan(now=NOW)
    assert [(s.action, s.partition) for s in plan] == [("export", "m202506")]
    assert "archived before (7 rows in 1 files) and open again" in plan.steps[0].why
    listed = fab.partitions.list(tables=[TESTS]).set_index("partition")
    assert listed.state["m202506"] == "reopened"
    with pytest.raises(PartitionError, match="holds rows already"):
        fab.partitions.restore(TESTS, "2025-06")
    fab.partitions.apply(now=NOW)
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False), (3, False)]
    assert fab.partitions.restore(TESTS, "2025-06") == 10
    assert rows_of(fab) == sorted(first + late)


def test_rows_that_come_to_a_restored_month_are_archived_with_it(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    load_units(fab, "2025-06", 2, batch_id="late")
    all_of_them = rows_of(fab)
    assert not fab.partitions.apply().failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, True), (9, False)]
    assert fab.partitions.restore(TESTS, "2025-06") == 9
    assert rows_of(fab) == all_of_them


def test_a_restored_month_that_was_changed_is_not_archived_by_guessing(fab: Warehouse) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    execute(fab, f"DELETE FROM dw.{TESTS} WHERE die_x = 3")
    report = fab.partitions.apply()
    assert "of the 7 rows archived of this month it holds 6" in str(report.failed[0].error)
    assert len(rows_of(fab)) == 6


@pytest.mark.parametrize("change", ["UPDATE dw.{} SET die_y = 2 WHERE die_y = 1", "DELETE FROM dw.{}"])
def test_a_restored_month_of_which_every_row_was_changed_is_not_taken_for_late_rows(
    fab: Warehouse, archive: Path, change: str
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    execute(fab, change.format(TESTS))
    left = rows_of(fab)
    report = fab.partitions.apply()
    assert "of the 7 rows archived of this month it holds 0. It was restored" in str(report.failed[0].error)
    assert "m202506" in names(fab)
    assert rows_of(fab) == left
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False)]
    execute(fab, f"DELETE FROM dw.{TESTS}")
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 7  # the archive is right
    assert not fab.partitions.apply().failed
    assert manifest(archive)["restored_at"] is None


def test_a_restored_month_is_held_whatever_the_policy_does_with_it(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=3650)
    with with_policy(
        fab, retention=f"{TESTS}: drop after 12 months", archive_dir=archive, partition_premake=0
    ) as other:
        assert not other.partitions.apply().failed
    assert len(rows_of(fab)) == 7


def test_a_damaged_manifest_stops_its_own_month_only(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    load_units(fab, "2025-05", 2)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    load_units(fab, "2025-05", 3, batch_id="late")
    (archive / "dw" / TESTS / "m202506.json").write_text("{")
    plan = fab.partitions.plan()
    assert [(s.action, s.partition) for s in plan if s.action == "export"] == [("export", "m202505")]
    assert any("m202506 is left alone" in note and "is no manifest" in note for note in plan.notes)


@pytest.fixture
def copy(fab: Warehouse, archive: Path, server_url: URL, upgraded_template: str) -> Iterator[Warehouse]:
    """A copy of the same database: the time of its first revision is the same."""
    with database(server_url, upgraded_template) as url, Warehouse(url) as wh:
        with with_policy(wh, retention=EXPORT, archive_dir=archive, partition_premake=0) as copy:
            yield copy


def test_a_copy_of_the_database_is_kept_out_of_the_originals_archive(
    fab: Warehouse, copy: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    load_units(copy, "2025-06", 2, batch_id="another's")
    report = copy.partitions.apply(now=NOW)
    assert "is the archive of another warehouse" in str(report.failed[0].error)
    assert "adopt-archive" in str(report.failed[0].error)
    assert len(rows_of(copy)) == 2
    with pytest.raises(PartitionError, match="give each a GPWAREHOUSE_ARCHIVE_DIR of its own"):
        copy.partitions.restore(TESTS, "2025-06")
    assert [p["rows"] for p in manifest(archive)["parts"]] == [7]


def test_a_database_that_takes_the_others_place_adopts_its_archive_once_and_for_all(
    fab: Warehouse, copy: Warehouse, archive: Path
) -> None:
    with pytest.raises(PartitionError, match="nobody's archive yet"):
        copy.partitions.adopt_archive(reason="restored")
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    with pytest.raises(PartitionError, match="say why"):
        copy.partitions.adopt_archive(reason=" ")
    said = {"GPWAREHOUSE_URL": copy.settings.sqlalchemy_url().render_as_string(hide_password=False)}
    done = command("partitions", "adopt-archive", "--reason", "restored", GPWAREHOUSE_ARCHIVE_DIR=str(archive), **said)
    assert "adopted from" in done.stdout, done.exception
    record = json.loads((archive / "dw" / "warehouse.json").read_text())
    assert (record["before"][0]["reason"], record["before"][0]["warehouse"]) == (
        "restored",
        manifest(archive)["warehouse"],
    )
    with pytest.raises(PartitionError, match="already; there is nothing to adopt"):
        copy.partitions.adopt_archive(reason="again")
    assert copy.partitions.restore(TESTS, "2025-06", hold_days=0) == 7
    assert not copy.partitions.apply().failed
    with pytest.raises(PartitionError, match="is the archive of another warehouse"):
        fab.partitions.restore(TESTS, "2025-06")


def test_an_archive_of_before_it_said_whose_it_is_belongs_to_the_warehouse_its_manifests_name(
    fab: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    (archive / "dw" / "warehouse.json").unlink()
    path = archive / "dw" / TESTS / "m202506.json"
    said = manifest(archive)
    said["warehouse"] = said["warehouse"].split()[0]
    path.write_text(json.dumps(said))
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 7
    said["warehouse"] = "2001-01-01T00:00:00+00:00"
    path.write_text(json.dumps(said))
    with pytest.raises(PartitionError, match=r"another warehouse \(2001-01-01"):
        fab.partitions.restore(TESTS, "2025-06")


def test_late_rows_are_archived_where_a_column_was_dropped_since(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    load_units(fab, "2025-06", 3, batch_id="late")
    execute(fab, f"ALTER TABLE dw.{TESTS} DROP COLUMN rs_ohm_sq CASCADE")
    assert not fab.partitions.apply(now=NOW).failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False), (3, False)]
    with pytest.raises(PartitionError, match="has column 'rs_ohm_sq', which the table has no more"):
        fab.partitions.restore(TESTS, "2025-06")


def test_a_restored_month_of_a_table_that_lost_a_column_is_dropped_and_keeps_its_file(
    fab: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    execute(fab, f"ALTER TABLE dw.{TESTS} DROP COLUMN rs_ohm_sq CASCADE")
    assert not fab.partitions.apply().failed
    assert "m202506" not in names(fab)
    (part,) = manifest(archive)["parts"]
    assert "rs_ohm_sq" in part["columns"]


def test_files_whose_manifest_was_lost_keep_their_month(fab: Warehouse, archive: Path) -> None:
    """What comes late would make a manifest of its own, and the rows before be forgotten."""
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    path = archive / "dw" / TESTS / "m202506.json"
    kept = path.read_text()
    path.unlink()
    (file,) = path.parent.glob("*.parquet")
    assert any(
        f"files of m202506 and no manifest that lists them: {file}" in n for n in fab.partitions.plan(now=NOW).notes
    )
    load_units(fab, "2025-06", 2, batch_id="late")
    report = fab.partitions.apply(now=NOW)
    assert f"{file} is not listed by a manifest" in str(report.failed[0].error)
    assert len(rows_of(fab)) == 2
    plan = fab.partitions.plan(now=NOW)
    with with_policy(
        fab, retention=f"{TESTS}: drop after 12 months", archive_dir=archive, partition_premake=0
    ) as other:
        found = other.partitions.plan(now=NOW)
        assert len(found) == 0
        assert f"m202506 is left alone: {TESTS} m202506: {file} not listed" in " ".join(found.notes)
        (step,) = plan.steps
        refused = other.partitions.apply(Plan((replace(step, action="drop"),)), now=NOW)
        assert "not listed by a manifest" in str(refused.failed[0].error)
    assert len(rows_of(fab)) == 2
    path.write_text(kept)
    assert not fab.partitions.apply(now=NOW).failed
    assert fab.partitions.restore(TESTS, "2025-06") == 9


def test_a_manifest_under_another_months_name_is_refused(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    path = archive / "dw" / TESTS / "m202506.json"
    other = path.with_name("m202505.json")
    other.write_text(path.read_text())
    with pytest.raises(PartitionError, match=r"m202505.json is no manifest .*it is that of fact_test_results m202506"):
        fab.partitions.restore(TESTS, "2025-05")
    other.write_text(path.read_text().replace('"partition": "m202506"', '"partition": "m202505"'))
    with pytest.raises(PartitionError, match=r"m202505.json is no manifest .*its month is from 2025-06-01"):
        fab.partitions.restore(TESTS, "2025-05")
    said = json.loads(path.read_text())
    said |= {"partition": "m202505", "start": "2025-05-01T00:00:00+00:00", "end": "2025-06-01T00:00:00+00:00"}
    other.write_text(json.dumps(said))
    with pytest.raises(PartitionError, match="which is no file of this month"):
        fab.partitions.restore(TESTS, "2025-05")


def test_what_a_killed_archiver_left_is_removed_and_a_living_ones_is_not(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    folder = archive / "dw" / TESTS
    stale, living = folder / ".m202506-2.parquet.77.part", folder / ".m202505.json.78.part"
    other = folder / ".m202504-1.parquet.part"  # none of ours
    for path in (stale, living, other):
        path.write_text("half")
    with fab.engine.connect() as connection:
        key = advisory_key("archive", f"dw.{TESTS}", "m202505")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        fab.partitions.apply(now=NOW)
        assert (stale.exists(), living.exists(), other.exists()) == (False, True, True)
    fab.partitions.apply(now=NOW)
    assert not living.exists()


def test_an_archive_that_is_not_there_is_not_made(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    archive.rmdir()
    report = fab.partitions.apply(now=NOW)
    assert f"{str(archive)!r} is no folder; mount it" in str(report.failed[0].error)
    assert len(rows_of(fab)) == 7
    assert not archive.exists()


def test_rows_that_come_while_a_month_is_archived_keep_it(fab: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpwarehouse.partitions import archiving

    load_units(fab, "2025-06", 7)
    written = archiving.Archiver._written

    def and_a_row_comes(self: Any, *args: Any) -> None:
        written(self, *args)
        load_units(fab, "2025-06", 1, batch_id="late")

    monkeypatch.setattr(archiving.Archiver, "_written", and_a_row_comes)
    report = fab.partitions.apply(now=NOW)
    assert "rows came or went while it was archived" in str(report.failed[0].error)
    assert len(rows_of(fab)) == 8
    monkeypatch.undo()
    assert not fab.partitions.apply(now=NOW).failed
    assert fab.partitions.restore(TESTS, "2025-06") == 8


def test_a_file_that_does_not_hold_the_rows_is_not_taken(
    fab: Warehouse, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpwarehouse.partitions import rows

    load_units(fab, "2025-06", 7)
    monkeypatch.setattr(
        rows, "_typed", lambda array, field: array.cast(field.type) if len(array) > 7 else _bent(array, field)
    )
    report = fab.partitions.apply(now=NOW)
    assert "the file read back holds" in str(report.failed[0].error)
    assert len(rows_of(fab)) == 7
    assert list((archive / "dw" / TESTS).iterdir()) == []


_typed = __import__("gpwarehouse.partitions.rows", fromlist=["_typed"])._typed


def _bent(array: Any, field: Any) -> Any:
    import pyarrow as pa

    return pa.array([1] * len(array), field.type) if field.name == "die_x" else _typed(array, field)


def test_a_file_that_was_changed_since_is_refused(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    path = archive / "dw" / TESTS / manifest(archive)["parts"][0]["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PartitionError, match="is not the file that was archived"):
        fab.partitions.restore(TESTS, "2025-06")
    path.unlink()
    with pytest.raises(PartitionError, match="is missing"):
        fab.partitions.restore(TESTS, "2025-06")
    assert "m202506" not in names(fab)


def test_a_month_that_nothing_is_archived_of_is_told(fab: Warehouse) -> None:
    with pytest.raises(PartitionError, match="nothing is archived of 2019-01"):
        fab.partitions.restore(MEASUREMENTS, "2019-01")


def test_a_month_without_rows_leaves_no_file(fab: Warehouse, archive: Path) -> None:
    with with_policy(fab, partition_premake=0) as kept:
        kept.partitions.apply(months=["2025-06"], now=NOW)
    assert "m202506" in names(fab)
    assert not fab.partitions.apply(now=NOW).failed
    assert "m202506" not in names(fab)
    assert not any(archive.iterdir())


def test_a_month_made_for_late_data_is_held_until_it_came(fab: Warehouse, archive: Path) -> None:
    only = {"tables": [TESTS], "months": ["2025-06"]}
    plan = fab.partitions.plan(**only, hold_days=7, reason="late data of tester 7", now=NOW)
    (step,) = [step for step in plan if step.partition == "m202506"]
    assert (step.action, step.why) == (
        "create",
        "asked for, held until 2026-11-22T08:00:00+00:00: late data of tester 7",
    )
    assert json.loads(json.dumps(plan.to_dict()))["steps"]
    assert not fab.partitions.apply(plan, now=NOW).failed
    day = timedelta(days=1)
    held = fab.partitions.plan(tables=[TESTS], now=NOW + 6 * day)
    assert [s.partition for s in held if s.action == "export"] == []
    assert held.notes == (f"{TESTS}: m202506 is held until 2026-11-22T08:00:00+00:00: late data of tester 7",)
    assert "m202506" not in {s.partition for s in fab.partitions.plan(**only, now=NOW + 6 * day)}
    load_units(fab, "2025-06", 2)
    assert "m202506" not in {s.partition for s in fab.partitions.plan(tables=[TESTS], now=NOW + 6 * day)}
    assert not fab.partitions.apply(tables=[TESTS], now=NOW + 8 * day).failed
    assert "m202506" not in names(fab)
    assert [p["rows"] for p in manifest(archive)["parts"]] == [2]


def test_a_month_that_is_there_is_held_when_asked_for_or_told_and_let_go(fab: Warehouse) -> None:
    load_units(fab, "2025-06", 2)
    plan = fab.partitions.plan(tables=[TESTS], months=["2025-06"], now=NOW)
    assert [(s.action, s.partition) for s in plan if s.partition == "m202506"] == [("hold", "m202506")]
    assert not fab.partitions.apply(plan, now=NOW).failed
    listed = fab.partitions.list(tables=[TESTS]).set_index("partition")
    assert listed.held_until["m202506"] == "2026-12-15T08:00:00+00:00"
    leaving = fab.partitions.plan(tables=[TESTS], now=NOW + timedelta(days=31))
    assert [s.action for s in leaving if s.partition == "m202506"] == ["export"]
    execute(fab, f"COMMENT ON TABLE dw.{TESTS}_1_prt_m202506 IS 'mine'")
    said = {"GPWAREHOUSE_URL": fab.settings.sqlalchemy_url().render_as_string(hide_password=False)}
    held = command("partitions", "hold", TESTS, "2025-06", "--days", "90", "--reason", "audit", **said)
    assert "2025-06 is held until" in held.stdout, held.exception
    report = fab.partitions.apply(leaving, now=NOW + timedelta(days=31))  # held since the plan was made
    assert [(o.done, o.error) for o in report.outcomes if o.step.partition == "m202506"] == [(False, None)]
    done = command("partitions", "hold", TESTS, "2025-06", "--days", "0", "--reason", "over", **said)
    assert "2025-06 is not held" in done.stdout
    with fab.engine.connect() as connection:
        comment = f"SELECT obj_description('dw.{TESTS}_1_prt_m202506'\\:\\:regclass, 'pg_class')"
        assert connection.execute(text(comment)).scalar() == "mine"
    with pytest.raises(PartitionError, match="has no month 2024-01: gpwarehouse partitions apply --month 2024-01"):
        fab.partitions.hold(TESTS, "2024-01", reason="x")
    assert not fab.partitions.apply(leaving, now=NOW + timedelta(days=31)).failed
    assert "m202506" not in names(fab)


def test_a_restore_that_others_keep_from_their_month_names_them(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    with with_policy(fab, retention=EXPORT, archive_dir=archive, partition_premake=0, lock_timeout_s=1) as hurried:
        load_units(hurried, "2025-06", 1, batch_id="x")
        execute(fab, f"DELETE FROM dw.{TESTS}")
        with fab.engine.connect() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            connection.execute(text(f"LOCK TABLE dw.{TESTS}_1_prt_m202506 IN ROW EXCLUSIVE MODE"))
            with pytest.raises(PartitionError, match=f"it is in use by server process {pid}, .* nothing was loaded"):
                hurried.partitions.restore(TESTS, "2025-06")


def test_a_month_that_was_attached_under_another_name_is_archived_as_any(
    fab: Warehouse, archive: Path, server_info: ServerInfo
) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("Greenplum 6 attaches no tables")
    load_units(fab, "2025-06", 7)
    before = rows_of(fab)
    child = f"dw.{TESTS}_1_prt_m202506"
    bounds = "FOR VALUES FROM ('2025-06-01 00:00:00+00') TO ('2025-07-01 00:00:00+00')"
    execute(
        fab,
        f"ALTER TABLE dw.{TESTS} DETACH PARTITION {child}",
        f"ALTER TABLE {child} RENAME TO by_hand",
        f"ALTER TABLE dw.{TESTS} ATTACH PARTITION dw.by_hand {bounds.replace(':', chr(92) + ':')}",
    )
    report = fab.partitions.apply(now=NOW)
    assert report.failed == []
    assert rows_of(fab) == []
    (path,) = (archive / "dw" / TESTS).glob("*.json")
    assert fab.partitions.restore(TESTS, "2025-06") == 7
    assert rows_of(fab) == before
    assert path.stem == "m202506"


KILLED = """
import os, signal
from datetime import datetime
from pathlib import Path
from gpwarehouse.partitions import archiving, rows
from gpwarehouse import Warehouse
from gpwarehouse.settings import WarehouseSettings

def die(*_args, **_kw):
    os.kill(os.getpid(), signal.SIGKILL)

archiving.{where} = die
settings = WarehouseSettings(url={url!r}, retention={rule!r}, archive_dir={archive!r}, partition_premake=0, _env_file=None)
Warehouse(settings=settings).partitions.apply(now=datetime.fromisoformat({now!r}))
"""


@pytest.mark.parametrize("where", ["load_files", "part_of", "change_partitions_after"])
def test_an_archiver_that_is_killed_leaves_nothing_that_is_taken_for_an_archive(
    fab: Warehouse, archive: Path, where: str
) -> None:
    """With the file half done, before the manifest, and before the month is dropped."""
    load_units(fab, "2025-06", 7)
    before = rows_of(fab)
    url = fab.settings.sqlalchemy_url().render_as_string(hide_password=False)
    code = KILLED.format(where=where, url=url, rule=EXPORT, archive=str(archive), now=NOW.isoformat())
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rows_of(fab) == before
    assert (archive / "dw" / TESTS / "m202506.json").exists() == (where == "change_partitions_after")
    deadline = time.monotonic() + 60
    while "m202506" in names(fab):  # the server may take a moment to see that the other is gone
        assert time.monotonic() < deadline
        assert fab.partitions.apply(now=NOW).failed == []
    assert [p["rows"] for p in manifest(archive)["parts"] if not p["superseded"]] == [7]
    files = {path.name for path in (archive / "dw" / TESTS).iterdir()}
    assert files == {"m202506.json", *(part["file"] for part in manifest(archive)["parts"])}
    fab.partitions.restore(TESTS, "2025-06")
    assert rows_of(fab) == before


def test_of_two_that_archive_a_month_at_once_one_does(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    plan = fab.partitions.plan(tables=[TESTS], now=NOW)
    reports: list[Any] = []
    jobs = [threading.Thread(target=lambda: reports.append(fab.partitions.apply(plan, now=NOW))) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=120)
    assert [report.failed for report in reports] == [[], []]
    assert sum(o.done for report in reports for o in report.outcomes if o.step.action == "export") == 1
    assert len(manifest(archive)["parts"]) == 1
