"""A month exported, verified, dropped and restored; late rows, and what is refused on the way."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.dialect import ServerInfo
from gpwarehouse.errors import PartitionError
from gpwarehouse.models import FACTS
from tests.migrate.site import HEAD
from tests.partitions.fab import (
    EXPORT,
    MEASUREMENTS,
    NOW,
    TESTS,
    contents,
    execute,
    load_units,
    manifest,
    names,
    with_policy,
)
from tests.processes import run_code

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
    before = contents(fab)
    report = fab.partitions.apply(now=NOW)
    assert not report.failed, report.failed
    exported = [(o.step.action, o.step.partition, o.rows) for o in report.outcomes if o.step.action != "create"]
    assert exported == [("export", "m202506", 54)]
    assert "m202506" not in names(fab)
    assert len(contents(fab)) == 5
    assert len(fab.partitions.plan(now=NOW)) == 0

    said = manifest(archive)
    file = pq.ParquetFile(archive / "dw" / TESTS / said["parts"][0]["file"])
    assert file.metadata.num_rows == said["parts"][0]["rows"] == 54
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert str(file.schema_arrow.field("event_ts").type) == "timestamp[us, tz=UTC]"
    assert file.schema_arrow.metadata[b"gpwarehouse.revision"].decode() == said["parts"][0]["revision"]

    assert fab.partitions.restore(TESTS, "2025-06") == 54
    assert contents(fab) == before
    held = fab.partitions.plan(now=NOW)
    assert [step.action for step in held] == []
    assert held.notes[0].endswith(": restored from the archive")


def test_a_month_archived_at_another_revision_says_so_when_it_comes_back(fab: Warehouse, archive: Path) -> None:
    """A change of data by a revision between passed it by."""
    load_units(fab, "2025-06", 3)
    execute(fab, "INSERT INTO dw.alembic_version VALUES ('a1')")
    fab.partitions.apply(now=NOW)
    assert [part["revision"] for part in manifest(archive)["parts"]] == [f"{HEAD}, a1"]
    execute(fab, "UPDATE dw.alembic_version SET version_num = 'a2' WHERE version_num = 'a1'")
    said: list[str] = []
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0, progress=said.append) == 3
    assert len(said) == 1
    assert f"{TESTS} m202506: rows archived at revision {HEAD}, a1, the schema is at {HEAD}, a2" in said[0]


def test_a_restored_month_is_dropped_again_without_a_second_file(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    report = fab.partitions.apply(now=NOW)
    assert not report.failed
    assert "m202506" not in names(fab)
    assert len(manifest(archive)["parts"]) == 1


def test_late_rows_of_an_archived_month_go_to_a_second_file_and_come_back_with_the_first(
    fab: Warehouse, archive: Path
) -> None:
    load_units(fab, "2025-06", 7)
    first = contents(fab)
    fab.partitions.apply(now=NOW)
    load_units(fab, "2025-06", 3, batch_id="late")
    late = contents(fab)
    plan = fab.partitions.plan(now=NOW)
    assert [(s.action, s.partition) for s in plan] == [("export", "m202506")]
    assert "archived before (7 rows in 1 files) and open again: no mark of a restore" in plan.steps[0].why
    listed = fab.partitions.list(tables=[TESTS]).set_index("partition")
    assert listed.state["m202506"] == "reopened"
    with pytest.raises(PartitionError, match="holds rows already"):
        fab.partitions.restore(TESTS, "2025-06")
    fab.partitions.apply(now=NOW)
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False), (3, False)]
    assert fab.partitions.restore(TESTS, "2025-06") == 10
    assert contents(fab) == sorted(first + late)


def test_rows_that_come_to_a_restored_month_are_archived_with_it(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    load_units(fab, "2025-06", 2, batch_id="late")
    all_of_them = contents(fab)
    assert not fab.partitions.apply(now=NOW).failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, True), (9, False)]
    assert fab.partitions.restore(TESTS, "2025-06") == 9
    assert contents(fab) == all_of_them


def test_a_restored_month_that_was_changed_is_not_archived_by_guessing(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    execute(fab, f"DELETE FROM dw.{TESTS} WHERE die_x = 3")
    report = fab.partitions.apply(now=NOW)
    assert "of the 7 rows archived of this month it holds 6" in str(report.failed[0].error)
    assert len(contents(fab)) == 6
    for path in (archive / "dw" / TESTS).glob("m202506*"):  # as it says, if the table is right
        path.rename(archive / path.name)
    assert not fab.partitions.apply(now=NOW).failed
    assert fab.partitions.restore(TESTS, "2025-06") == 6


@pytest.mark.parametrize("change", ["UPDATE dw.{} SET die_y = 2 WHERE die_y = 1", "DELETE FROM dw.{}"])
def test_a_restored_month_of_which_every_row_was_changed_is_not_taken_for_late_rows(
    fab: Warehouse, archive: Path, change: str
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    execute(fab, change.format(TESTS))
    left = contents(fab)
    report = fab.partitions.apply(now=NOW)
    assert "of the 7 rows archived of this month it holds 0. It was restored" in str(report.failed[0].error)
    assert "m202506" in names(fab)
    assert contents(fab) == left
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False)]
    execute(fab, f"DELETE FROM dw.{TESTS}")
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 7  # the archive is right
    assert not fab.partitions.apply(now=NOW).failed
    load_units(fab, "2025-06", 2, batch_id="late")  # the mark went with the partition
    assert not fab.partitions.apply(now=NOW).failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False), (2, False)]


@pytest.mark.parametrize("told_in", ["restored_at", "hold_until", None])
def test_a_month_that_an_earlier_build_restored_is_known_by_its_manifest_or_a_comment(
    fab: Warehouse, archive: Path, told_in: str | None
) -> None:
    """Those builds put no mark on the partition."""
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    child = f"dw.{TESTS}_1_prt_m202506"
    execute(fab, f"COMMENT ON TABLE {child} IS NULL", f"DELETE FROM dw.{TESTS} WHERE die_x = 3")
    if told_in is None:
        assert "no mark of a restore, so what it holds is late" in fab.partitions.plan(now=NOW).steps[0].why
        told = str(fab.partitions.apply(now=NOW).failed[0].error)
        comment = told[told.index("COMMENT ON TABLE") : told.index("; then the next run")]
        execute(fab, comment)
    else:
        path = archive / "dw" / TESTS / "m202506.json"
        path.write_text(json.dumps(manifest(archive) | {told_in: "2026-11-20T08:00:00+00:00"}))
    assert "and open again: restored" in fab.partitions.plan(now=NOW).steps[0].why
    assert "it holds 6. It was restored" in str(fab.partitions.apply(now=NOW).failed[0].error)
    execute(fab, f"DELETE FROM dw.{TESTS}")
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 7
    assert not fab.partitions.apply(now=NOW).failed
    load_units(fab, "2025-06", 2, batch_id="late")
    assert not fab.partitions.apply(now=NOW).failed
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(7, False), (2, False)]


def test_a_restored_month_is_held_whatever_the_policy_does_with_it(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=3650)
    with with_policy(
        fab, retention=f"{TESTS}: drop after 12 months", archive_dir=archive, partition_premake=0
    ) as other:
        assert not other.partitions.apply(now=NOW).failed
    assert len(contents(fab)) == 7


def test_a_damaged_manifest_stops_its_own_month_only(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    load_units(fab, "2025-05", 2)
    fab.partitions.apply(now=NOW)
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    load_units(fab, "2025-05", 3, batch_id="late")
    (archive / "dw" / TESTS / "m202506.json").write_text("{")
    plan = fab.partitions.plan(now=NOW)
    assert [(s.action, s.partition) for s in plan if s.action == "export"] == [("export", "m202505")]
    assert any("m202506 is left alone" in note and "is no manifest" in note for note in plan.notes)


def test_an_archive_that_is_not_there_is_not_made(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2025-06", 7)
    archive.rmdir()
    report = fab.partitions.apply(now=NOW)
    assert f"{str(archive)!r} is no folder; mount it" in str(report.failed[0].error)
    assert len(contents(fab)) == 7
    assert not archive.exists()


def test_rows_that_come_while_a_month_is_archived_keep_it(fab: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpwarehouse.partitions import archive_month

    load_units(fab, "2025-06", 7)
    written = archive_month.Archiver._write

    def and_a_row_comes(self: Any, *args: Any) -> None:
        written(self, *args)
        load_units(fab, "2025-06", 1, batch_id="late")

    monkeypatch.setattr(archive_month.Archiver, "_write", and_a_row_comes)
    report = fab.partitions.apply(now=NOW)
    assert "its rows changed while it was archived" in str(report.failed[0].error)
    assert len(contents(fab)) == 8
    monkeypatch.undo()
    assert not fab.partitions.apply(now=NOW).failed
    assert fab.partitions.restore(TESTS, "2025-06") == 8


def test_a_file_that_does_not_hold_the_rows_is_not_taken(
    fab: Warehouse, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpwarehouse.partitions import parquet_rows

    load_units(fab, "2025-06", 7)
    monkeypatch.setattr(
        parquet_rows, "_convert", lambda array, field: array.cast(field.type) if len(array) > 7 else _bent(array, field)
    )
    report = fab.partitions.apply(now=NOW)
    assert "the file read back holds" in str(report.failed[0].error)
    assert len(contents(fab)) == 7
    assert list((archive / "dw" / TESTS).iterdir()) == []


_typed = __import__("gpwarehouse.partitions.parquet_rows", fromlist=["_convert"])._convert


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


def test_a_month_that_was_attached_under_another_name_is_archived_as_any(
    fab: Warehouse, archive: Path, server_info: ServerInfo
) -> None:
    if server_info.postgres_version < (12,):
        pytest.skip("Greenplum 6 attaches no tables")
    load_units(fab, "2025-06", 7)
    before = contents(fab)
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
    assert contents(fab) == []
    (path,) = (archive / "dw" / TESTS).glob("*.json")
    assert fab.partitions.restore(TESTS, "2025-06") == 7
    assert contents(fab) == before
    assert path.stem == "m202506"


KILLED = """
import os, signal
from datetime import datetime
from pathlib import Path
from gpwarehouse.partitions import archive_month
from gpwarehouse import Warehouse
from gpwarehouse.settings import WarehouseSettings

def die(*_args, **_kw):
    os.kill(os.getpid(), signal.SIGKILL)

archive_month.{where} = die
settings = WarehouseSettings(url={url!r}, retention={rule!r}, archive_dir={archive!r}, partition_premake=0, _env_file=None)
Warehouse(settings=settings).partitions.apply(now=datetime.fromisoformat({now!r}))
"""


@pytest.mark.parametrize("where", ["load_files", "part_of", "change_partitions_after"])
def test_an_archiver_that_is_killed_leaves_nothing_that_is_taken_for_an_archive(
    fab: Warehouse, archive: Path, where: str
) -> None:
    """With the file half done, before the manifest, and before the month is dropped."""
    load_units(fab, "2025-06", 7)
    before = contents(fab)
    url = fab.settings.sqlalchemy_url().render_as_string(hide_password=False)
    code = KILLED.format(where=where, url=url, rule=EXPORT, archive=str(archive), now=NOW.isoformat())
    killed = run_code(code)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert contents(fab) == before
    assert (archive / "dw" / TESTS / "m202506.json").exists() == (where == "change_partitions_after")
    deadline = time.monotonic() + 60
    while "m202506" in names(fab):  # the server may take a moment to see that the other is gone
        assert time.monotonic() < deadline
        assert fab.partitions.apply(now=NOW).failed == []
    assert [p["rows"] for p in manifest(archive)["parts"] if not p["superseded"]] == [7]
    files = {path.name for path in (archive / "dw" / TESTS).iterdir()}
    assert files == {"m202506.json", *(part["file"] for part in manifest(archive)["parts"])}
    fab.partitions.restore(TESTS, "2025-06")
    assert contents(fab) == before


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


@pytest.mark.parametrize("late", [0, 2])
def test_a_restore_that_does_not_commit_leaves_a_month_like_any_other(
    fab: Warehouse, archive: Path, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    load_units(fab, "2025-06", 7)
    fab.partitions.apply(tables=[TESTS])
    files = {path.name: path.read_bytes() for path in (archive / "dw" / TESTS).iterdir()}

    with monkeypatch.context() as patched:
        patched.setattr(fab.engine.dialect, "do_commit", _failing_once_rows_are_there(fab.engine.dialect.do_commit))
        with pytest.raises(KeyboardInterrupt):
            fab.partitions.restore(TESTS, "2025-06", hold_days=90)
    assert {path.name: path.read_bytes() for path in (archive / "dw" / TESTS).iterdir()} == files
    assert contents(fab) == []
    if late:
        load_units(fab, "2025-06", late, batch_id="late")
    assert not fab.partitions.apply(tables=[TESTS]).failed
    assert "m202506" not in names(fab)
    assert fab.partitions.restore(TESTS, "2025-06") == 7 + late


def _failing_once_rows_are_there(commit: Any) -> Any:
    def do_commit(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM dw.{TESTS}")
            if cursor.fetchone()[0]:
                connection.rollback()
                raise KeyboardInterrupt
        commit(connection)

    return do_commit


def test_the_month_of_the_first_revision_is_no_restored_one_once_it_was_emptied(fab: Warehouse, archive: Path) -> None:
    load_units(fab, "2000-01", 3)
    fab.partitions.apply(tables=[TESTS])
    assert fab.partitions.restore(TESTS, "2000-01", hold_days=0) == 3
    assert not fab.partitions.apply(tables=[TESTS]).failed
    load_units(fab, "2000-01", 2, batch_id="late")
    assert not fab.partitions.apply(tables=[TESTS]).failed
    assert fab.partitions.restore(TESTS, "2000-01") == 5
