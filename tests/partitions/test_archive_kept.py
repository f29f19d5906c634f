"""What an archive is kept from: copies of the database, lost and mixed up manifests, leftovers; and months held."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from gpwarehouse import Warehouse
from gpwarehouse.engine import advisory_key
from gpwarehouse.errors import PartitionError
from gpwarehouse.partitions import Plan
from tests.conftest import database
from tests.partitions.fab import (
    EXPORT,
    NOW,
    TESTS,
    command,
    contents,
    execute,
    load_units,
    manifest,
    names,
    with_policy,
)


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
    assert len(contents(copy)) == 2
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
    assert len(contents(fab)) == 2
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
    assert len(contents(fab)) == 2
    path.write_text(kept)
    assert not fab.partitions.apply(now=NOW).failed
    assert fab.partitions.restore(TESTS, "2025-06") == 9


def test_a_manifest_under_another_months_name_is_refused(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    path = archive / "dw" / TESTS / "m202506.json"
    other = path.with_name("m202505.json")
    other.write_text(path.read_text())
    with pytest.raises(PartitionError, match=r"m202505.json is no manifest .*it belongs to fact_test_results m202506"):
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
    assert "m202506" not in {s.partition for s in fab.partitions.plan(**only, hold_days=1, now=NOW + 6 * day)}
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


def test_a_hold_put_while_a_month_is_archived_keeps_it(
    fab: Warehouse, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpwarehouse.partitions import archive_month

    load_units(fab, "2025-06", 7)
    written = archive_month.Archiver._write

    def and_it_is_held(self: archive_month.Archiver, *args: Any) -> None:
        written(self, *args)
        assert fab.partitions.hold(TESTS, "2025-06", days=90, reason="audit") is not None

    monkeypatch.setattr(archive_month.Archiver, "_write", and_it_is_held)
    report = fab.partitions.apply(tables=[TESTS])
    (export,) = [o for o in report.outcomes if o.step.action == "export"]
    assert (export.done, export.error, str(export).split(",")[0]) == (False, None, "left out")
    assert len(contents(fab)) == 7
    monkeypatch.undo()
    fab.partitions.hold(TESTS, "2025-06", days=0, reason="over")
    assert not fab.partitions.apply(tables=[TESTS]).failed
    assert "m202506" not in names(fab)
    assert len(manifest(archive)["parts"]) == 1


def test_an_outdated_manifest_gives_no_part_of_a_month(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 5)
    fab.partitions.apply(tables=[TESTS], now=NOW)
    path = archive / "dw" / TESTS / "m202506.json"
    outdated = path.read_text()
    load_units(fab, "2025-06", 3, batch_id="late")
    fab.partitions.apply(tables=[TESTS], now=NOW)
    newest = path.read_text()
    path.write_text(outdated)
    with pytest.raises(PartitionError, match=r"m202506-2\.parquet not listed by a manifest; bring the manifest back"):
        fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    assert "m202506" not in names(fab)

    path.write_text(newest)
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 8
    execute(fab, f"DELETE FROM dw.{TESTS} WHERE batch_id = 'late'")
    path.write_text(outdated)  # which is content with what the month holds
    (failed,) = fab.partitions.apply(tables=[TESTS]).failed
    assert "m202506-2.parquet is not listed by a manifest" in str(failed.error)
    assert len(contents(fab)) == 5


def test_a_file_that_a_killed_archiver_left_and_the_listed_ones_cover_is_listed_as_superseded(
    fab: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 5)
    fab.partitions.apply(tables=[TESTS], now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    folder = archive / "dw" / TESTS
    shutil.copy(folder / "m202506-1.parquet", folder / "m202506-2.parquet")
    assert not fab.partitions.apply(tables=[TESTS]).failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(5, False), (5, True)]
    assert fab.partitions.restore(TESTS, "2025-06") == 5


def test_a_restored_month_is_held_as_any_whoever_asks(fab: Warehouse, archive: Path) -> None:
    """By plans made before it was restored, under settings that know no archive; and it can be let go."""
    load_units(fab, "2025-06", 7)
    plan = fab.partitions.plan(tables=[TESTS])
    fab.partitions.apply(plan)
    fab.partitions.restore(TESTS, "2025-06", hold_days=90)
    (outcome,) = [o for o in fab.partitions.apply(plan).outcomes if o.step.action == "export"]
    assert (outcome.done, outcome.error) == (False, None)
    with with_policy(fab, retention=f"{TESTS}: drop after 12 months", partition_premake=0) as other:
        plan = other.partitions.plan(tables=[TESTS])
        assert [s.action for s in plan if s.partition == "m202506"] == []
        assert any("m202506 is held until" in note and "restored" in note for note in plan.notes)
        assert other.partitions.list(tables=[TESTS]).set_index("partition").held_until["m202506"] is not None
    assert len(contents(fab)) == 7
    fab.partitions.hold(TESTS, "2025-06", days=0, reason="looked at")
    assert not fab.partitions.apply(tables=[TESTS]).failed
    assert "m202506" not in names(fab)


def test_a_restore_shortens_no_hold(fab: Warehouse) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(tables=[TESTS])
    fab.partitions.apply(tables=[TESTS], months=["2025-06"], hold_days=90, reason="audit")
    fab.partitions.restore(TESTS, "2025-06", hold_days=3)
    assert any(note.endswith(": audit") for note in fab.partitions.plan(tables=[TESTS]).notes)


def test_a_month_asked_for_is_held_as_long_as_was_promised(fab: Warehouse) -> None:
    """Where somebody else made it meanwhile, and where it was held for a shorter time."""
    only = {"tables": [TESTS], "months": ["2025-06"], "now": NOW}
    plan = fab.partitions.plan(**only, hold_days=7, reason="tester 7")
    fab.partitions.apply(**only, hold_days=0)
    (outcome,) = [o for o in fab.partitions.apply(plan, now=NOW).outcomes if o.step.partition == "m202506"]
    assert outcome.done
    listed = fab.partitions.list(tables=[TESTS]).set_index("partition")
    assert listed.held_until["m202506"] == "2026-11-22T08:00:00+00:00"
    assert not any(o.done for o in fab.partitions.apply(plan, now=NOW).outcomes)

    fab.partitions.apply(**only, hold_days=90, reason="tester 8")
    fab.partitions.apply(**only, hold_days=3, reason="tester 9")
    notes = fab.partitions.plan(tables=[TESTS], now=NOW).notes
    assert notes == (f"{TESTS}: m202506 is held until 2027-02-13T08:00:00+00:00: tester 8",)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("until 2027-01-01: by hand", "held until 2027-01-01T00:00:00+00:00: by hand"),
        ("until 2027-01-01 08:00", "held until 2027-01-01T08:00:00+00:00: "),
        ("until further notice: by hand", "held without end: its comment, 'gpwarehouse: held until further notice: by"),
        ("until infinity: audit", "held without end: its comment, 'gpwarehouse: held until infinity: audit'"),
        ("for Ann", "held without end: its comment, 'gpwarehouse: held for Ann'"),
    ],
)
def test_a_hold_that_was_written_by_hand_stops_its_own_month_only(fab: Warehouse, written: str, told: str) -> None:
    for month in "2025-05", "2025-06":
        load_units(fab, month, 2)
    said = f"COMMENT ON TABLE dw.{TESTS}_1_prt_m202506 IS E'mine\\ngpwarehouse: held {written}\\nmine, too'"
    execute(fab, said.replace(":", "\\:"))
    plan = fab.partitions.plan(tables=[TESTS], now=NOW)
    assert [s.partition for s in plan if s.action == "export"] == ["m202505"]
    (note,) = [note for note in plan.notes if "m202506" in note]
    assert note.startswith(f"{TESTS}: m202506 is {told}")
    assert "m202506" in names(fab)
    fab.partitions.hold(TESTS, "2025-06", days=0, reason="over")
    assert not fab.partitions.apply(tables=[TESTS], now=NOW).failed
    assert "m202506" not in names(fab)
