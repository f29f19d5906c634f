"""What did not change is not written again; what changed, in whatever way, is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpwarehouse import Warehouse
from gpwarehouse.backup import change_marks, create
from gpwarehouse.backup.catalog import OBJECTS, begun, new_id
from gpwarehouse.backup.prune import kept
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import BackupError, InvalidInputError
from gpwarehouse.retention import KeepBackups, parse_keep
from tests.backup.fab import content, odd
from tests.partitions.fab import TESTS, execute

MONTH = f"{TESTS} m202602"


def objects(folder: Path) -> set[str]:
    return {path.name for path in (folder / "objects").rglob("*.parquet")}


def test_an_unchanged_backup_writes_no_object(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    first = backups.create()
    before = objects(tmp_path)
    second = backups.create()
    assert second.written == ()
    assert set(second.unchanged) == set(first.written)
    assert objects(tmp_path) == before
    assert (second.backup.bytes, second.backup.new_bytes) == (first.backup.bytes, 0)
    assert backups.create(full=True).written == first.written


OF_MONTH = "event_ts >= '2026-02-01' AND event_ts < '2026-03-01'"
DELETE = f"DELETE FROM dw.{TESTS} WHERE {OF_MONTH} AND die_x = 3"
CHANGES: dict[str, Callable[[Warehouse], object]] = {
    "loaded": lambda wh: wh.load(TESTS, [odd("2026-02", 500)]),
    "deleted": lambda wh: execute(wh, DELETE),
    "updated": lambda wh: execute(wh, f"UPDATE dw.{TESTS} SET hard_bin = 9 WHERE {OF_MONTH} AND die_x = 3"),
    "one for another": lambda wh: execute(
        wh, DELETE, f"INSERT INTO dw.{TESTS} SELECT * FROM dw.{TESTS} WHERE {OF_MONTH} AND die_x = 4"
    ),
    "batch deleted": lambda wh: wh.batches.delete("odd-2026-02"),
    "emptied": lambda wh: wh.facts.delete_month(TESTS, "2026-02"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_month_that_changed_is_written_and_no_other(
    fab: Warehouse, other: Warehouse, tmp_path: Path, change: str
) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    CHANGES[change](fab)
    second = backups.create()
    months = {label for label in second.written if label.startswith("fact_")}
    assert months == ({MONTH} if change in ("loaded", "deleted", "updated", "one for another") else set())
    assert MONTH not in second.unchanged
    other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)


def test_a_month_that_was_only_rewritten_is_stored_once(
    fab: Warehouse, tmp_path: Path, server_info: ServerInfo
) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    before = objects(tmp_path)
    child = f"dw.{TESTS}_1_prt_m202602"
    with fab.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"VACUUM FULL {child}")
    second = backups.create()
    assert second.written == ()
    assert objects(tmp_path) == before


def test_marks_tell_without_reading_the_rows(
    fab: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_info: ServerInfo
) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    read: list[str] = []
    kept_read = create.read_rows
    monkeypatch.setattr(create, "read_rows", lambda c, t, *a, **k: (read.append(t.name), kept_read(c, t, *a, **k))[1])
    backups.create()
    assert [name for name in read if name.startswith("fact_") and backups_rows(fab, name)] == []
    if server_info.brand is Brand.POSTGRESQL:
        assert [name for name in read if backups_rows(fab, name)] == []


def backups_rows(wh: Warehouse, table: str) -> int:
    return int(wh.read(f"SELECT count(*) AS n FROM dw.{table}").n[0])


def test_a_mark_of_another_server_or_of_too_long_ago_counts_for_nothing(
    fab: Warehouse, tmp_path: Path, server_info: ServerInfo
) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("heap marks are PostgreSQL's")
    from gpwarehouse.backup.snapshot import open_snapshot

    with open_snapshot(fab.engine, "dw") as snapshot:
        unit = next(unit for unit in snapshot.units if unit.relation.name.endswith("m202602") and unit.table == TESTS)
        now = change_marks.read_mark(snapshot.leader, unit)
        assert now is not None
        rows = backups_rows(fab, unit.relation.name)

        def unchanged(rows: int = rows, **other: object) -> bool:
            return change_marks.is_unchanged(snapshot.leader, unit, rows, {**now, **other}, now)

        assert unchanged()
        assert not unchanged(rows + 1)
        assert not unchanged(system="1")
        assert not unchanged(timeline=99)
        assert not unchanged(filenode=1)
        assert not unchanged(oldest=3)
        assert not unchanged(oldest=now["oldest"] - (1 << 31))
        assert not unchanged(oldest=now["next"] + 5)
        assert not change_marks.is_unchanged(snapshot.leader, unit, rows, None, now)


def test_a_backup_that_failed_is_taken_up(
    fab: Warehouse, other: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = fab.backup(str(tmp_path))
    kept_note = create.note_entry
    noted: list[str] = []

    def fail_late(place: object, backup_id: str, entry: object, said: object) -> None:
        kept_note(place, backup_id, entry, said)
        noted.append(entry.label)
        if len(noted) == 6:
            raise BackupError("the disk is full")

    monkeypatch.setattr(create, "note_entry", fail_late)
    with pytest.raises(BackupError, match="the disk is full"):
        backups.create(parallel=1)
    assert [info.state for info in backups.list()] == ["unfinished"]
    assert backups.last() is None
    monkeypatch.undo()
    fab.load(TESTS, [odd("2026-02", 500)])  # nothing of the killed one that changed since may be taken up
    second = backups.create()
    facts = {label for label in noted if label.startswith("fact_")}
    assert facts <= {*second.unchanged, MONTH}
    other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)


def test_objects_that_went_away_are_written_again(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    next((tmp_path / "objects").rglob(f"{TESTS}-m202602*")).unlink()
    assert MONTH in backups.create().written
    other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)


# Retention


def test_the_last_of_days_and_months_are_kept() -> None:
    first = datetime(2026, 1, 1, 3, tzinfo=UTC)
    moments = [(str(n), first + timedelta(hours=8 * n)) for n in range(3 * 90)]
    keep = parse_keep("last 2, days 3, months 2")
    assert keep == KeepBackups(2, 3, 2)
    assert kept(moments, keep) == {"269", "268", "266", "263", "176"}
    assert kept(moments[:1], KeepBackups(0, 1, 0)) == {"0"}
    for wrong in ("", "last", "last 0", "weeks 3", "last 1, last 2"):
        with pytest.raises(ValueError):
            parse_keep(wrong)


def test_prune_removes_only_what_no_kept_backup_needs(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    with pytest.raises(InvalidInputError, match="GPWAREHOUSE_BACKUP_KEEP"):
        backups.prune()
    ids = []
    for number in range(3):
        fab.load(TESTS, [odd("2026-02", 600 + number)])
        ids.append(backups.create().backup.id)
    planned = backups.prune("last 1", plan=True)
    assert [info.id for info in backups.list()] == ids[::-1]
    done = backups.prune("last 1")
    assert planned == done
    assert (done.kept, set(done.removed)) == ((ids[2],), set(ids[:2]))
    assert done.objects
    assert backups.verify().problems == ()
    assert backups.prune("last 1").objects == ()
    other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)


def test_prune_leaves_objects_while_a_backup_runs(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    fab.load(TESTS, [odd("2026-02", 600)])
    backups.create()
    running = new_id()
    with begun(backups.place, running, "w", "dw"):
        backups.place.write(f"{OBJECTS}/{running}/fact-x.parquet", b"x")
        before = objects(tmp_path)
        done = backups.prune("last 1")
        assert (done.objects, done.running) == ((), (running,))
        assert objects(tmp_path) == before
    assert backups.prune("last 1").objects
    killed = new_id(datetime.now(UTC) - timedelta(days=9))
    with pytest.raises(KeyError), begun(backups.place, killed, "w", "dw"):
        raise KeyError
    assert backups.prune("last 1").abandoned == (killed,)
    assert [info.state for info in backups.list()] == ["whole"]


def test_a_damaged_manifest_keeps_all_objects(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    ids = []
    for number in range(3):
        fab.load(TESTS, [odd("2026-02", 600 + number)])
        ids.append(backups.create().backup.id)
    path = tmp_path / "manifests" / f"{ids[1]}.json"
    path.write_bytes(path.read_bytes()[:-5])
    before = objects(tmp_path)
    with pytest.raises(BackupError, match="no object was removed"):
        backups.prune("last 1")
    assert objects(tmp_path) == before
