"""What is backed up comes back row for row; what is not whole is refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import URL

from gpwarehouse import Warehouse
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import BackupError, InvalidInputError, MigrationError
from gpwarehouse.models import FACTS
from gpwarehouse.months import partitions_there
from gpwarehouse.partitions.holds import holds_of
from tests.backup.fab import MONTHS, content, odd
from tests.conftest import database
from tests.partitions.fab import TESTS, execute, with_policy
from tests.queries import rows_of


def test_all_tables_come_back_row_for_row(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    made = fab.backup(str(tmp_path)).create()
    assert made.backup.state == "whole"
    assert made.backup.rows > 500
    restored = other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)
    assert restored.rows > 500
    assert restored.warnings == ()
    assert all(each.equal for each in other.backup(str(tmp_path)).compare())
    assert other.schema.validate() == fab.schema.validate()
    assert other.data.check().to_dict("records") == fab.data.check().to_dict("records")
    assert other.load(TESTS, [odd("2026-01", n) for n in range(20)], batch_id="odd-2026-01").already_loaded


def test_a_backup_goes_into_a_schema_of_another_name(fab: Warehouse, server_url: URL, tmp_path: Path) -> None:
    fab.backup(str(tmp_path)).create()
    with database(server_url) as url, Warehouse(url, schema_name="house") as moved:
        with pytest.raises(BackupError, match="is at revision none"):
            moved.backup(str(tmp_path)).restore()
        moved.backup(str(tmp_path)).restore(to_head=True)
        assert content(moved) == content(fab)
        assert moved.schema.validate() == fab.schema.validate()


def test_a_schema_whose_history_an_older_package_made_is_restored_into(
    fab: Warehouse, other: Warehouse, tmp_path: Path
) -> None:
    fab.backup(str(tmp_path)).create()
    execute(other, "ALTER TABLE dw.etl_migration_history DROP COLUMN part_of")
    other.backup(str(tmp_path)).restore()
    assert content(other) == content(fab)
    assert rows_of(other, "SELECT count(*) FROM dw.etl_migration_history WHERE part_of IS NOT NULL") == [(0,)]


def test_verify_reads_the_rows_without_a_server(fab: Warehouse, tmp_path: Path) -> None:
    made = fab.backup(str(tmp_path)).create()
    nobody = Warehouse("postgresql://nobody@127.0.0.1:1/nothing").backup(str(tmp_path))
    found = nobody.verify()
    assert (found.backup_id, found.problems) == (made.backup.id, ())
    assert found.rows == made.backup.rows
    victim = max((tmp_path / "objects").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    assert "and should have" in nobody.verify(quick=True).problems[0]
    bent = bytearray(whole)
    bent[len(bent) // 2] ^= 1
    victim.write_bytes(bytes(bent))
    assert nobody.verify(quick=True).problems == ()
    assert "SHA-256" in nobody.verify().problems[0]
    victim.unlink()
    assert "is missing" in nobody.verify().problems[0]


def test_what_a_verify_found_is_noted_until_the_next_and_goes_with_the_backup(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    first = backups.create().backup.id
    assert backups.last_verified() is None
    assert backups.verify(quick=True).problems == ()
    assert backups.last_verified() is None, "a listing tells little"
    for path in (tmp_path / "objects").rglob(f"{TESTS}*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    damaged = backups.verify()
    found = backups.last_verified()
    assert found is not None
    assert (found.backup_id, found.problems) == (first, len(damaged.problems))
    assert found.problems > 0
    second = backups.create(full=True).backup.id
    assert backups.verify().warnings == ()
    found = backups.last_verified()
    assert found is not None
    assert (found.backup_id, found.problems) == (second, 0)
    backups.prune("last 1")
    assert [path.name for path in (tmp_path / "verified").rglob("*.json") if path.parent.name == first] == []


def test_a_verify_of_a_place_that_cannot_be_written_warns(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    (tmp_path / "verified").write_text("in the way")
    found = backups.verify()
    assert found.problems == ()
    assert "not noted for monitoring" in found.warnings[0]


def test_a_cut_manifest_is_no_backup(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    first = backups.create().backup
    second = backups.create().backup
    path = tmp_path / "manifests" / f"{second.id}.json"
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert [info.state for info in backups.list()] == ["damaged", "whole"]
        last = backups.last()
        assert last is not None
        assert last.id == first.id
        with pytest.raises(BackupError, match="cut or damaged"):
            backups.verify(second.id)
    bent = json.loads(whole)
    bent["backup"] = bent["backup"].replace(f'"rows":{first.rows}', '"rows":1').replace("2026-01", "2026-02")
    path.write_text(json.dumps(bent))
    assert backups.list()[0].state == "damaged"


def test_a_damaged_object_is_not_restored(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    fab.backup(str(tmp_path)).create()
    victim = next(path for path in sorted((tmp_path / "objects").rglob(f"{TESTS}-m202602*.parquet")))
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackupError, match="bytes, and should have"):
        other.backup(str(tmp_path)).restore()
    with pytest.raises(MigrationError, match="is being restored"):
        other.load(TESTS, [odd("2026-05", 1)])
    with pytest.raises(MigrationError, match="is being restored"):
        other.upgrade()
    with pytest.raises(BackupError, match="is not ended"):
        other.backup(str(tmp_path / "elsewhere")).create()
    victim.write_bytes(whole)
    again = other.backup(str(tmp_path)).restore()
    assert again.same  # what was there stayed
    assert content(other) == content(fab)
    other.load(TESTS, [odd("2026-05", 1)])


def test_rows_that_come_back_changed_are_refused(
    fab: Warehouse, other: Warehouse, tmp_path: Path, server_info: ServerInfo
) -> None:
    if server_info.brand is not Brand.POSTGRESQL:
        pytest.skip("Greenplum has no triggers on partitioned tables")
    fab.backup(str(tmp_path)).create()
    execute(
        other,
        "CREATE FUNCTION dw.bend() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.die_x := 7; RETURN NEW; END'",
        f"CREATE TRIGGER bend BEFORE INSERT ON dw.{TESTS} FOR EACH ROW EXECUTE PROCEDURE dw.bend()",
    )
    with pytest.raises(BackupError, match="were not kept"):
        other.backup(str(tmp_path)).restore()
    assert other.read("SELECT count(*) AS n FROM dw.fact_test_results").n[0] == 0


def test_only_an_empty_warehouse_is_restored_into(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    fab.backup(str(tmp_path)).create()
    other.load(TESTS, [odd("2026-05", 1)])
    before = content(other)
    with pytest.raises(BackupError, match="holds rows already"):
        other.backup(str(tmp_path)).restore()
    assert content(other) == before
    result = other.backup(str(tmp_path)).restore(update=True)
    assert set(result.emptied) == {f"{TESTS} m202605", "agg_test_values m202605"}
    assert content(other) == content(fab)


def test_one_month_or_table_comes_back_alone(fab: Warehouse, tmp_path: Path) -> None:
    backups = fab.backup(str(tmp_path))
    backups.create()
    before = content(fab)
    fab.facts.delete_month(TESTS, "2026-02")
    execute(fab, "TRUNCATE dw.bridge_wafer_lot")
    with pytest.raises(InvalidInputError, match="has no month 2019-01"):
        backups.restore(tables=[TESTS], months=["2019-01"])
    with pytest.raises(InvalidInputError, match="has no table"):
        backups.restore(tables=["fact_of_life"])
    result = backups.restore(tables=[TESTS], months=["2026-02"])
    assert result.restored == (f"{TESTS} m202602",)
    assert backups.restore(tables=["bridge_wafer_lot"]).restored == ("bridge_wafer_lot",)
    after = content(fab)
    assert {name for name in after if after[name] != before[name]} <= {
        "etl_load_batch",
        "etl_removal",
    }  # they tell of the deletion
    execute(fab, f"DELETE FROM dw.{TESTS} WHERE die_x = 3")
    with pytest.raises(BackupError, match="update=True"):
        backups.restore(tables=[TESTS], months=["2026-02"])
    backups.restore(tables=[TESTS], months=["2026-02"], update=True)
    backups.restore(update=True)
    assert content(fab) == before


def test_rows_without_their_batches_are_told(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    fab.backup(str(tmp_path)).create()
    result = other.backup(str(tmp_path)).restore(tables=[TESTS], months=["2026-02"])
    assert any("does not know 1 of the batches" in line for line in result.warnings)
    assert any("dim_wafer does not have" in line for line in result.warnings)


def test_holds_come_back(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    fab.partitions.hold(TESTS, "2026-02", days=90, reason="audit's")
    fab.backup(str(tmp_path)).create()
    other.backup(str(tmp_path)).restore()
    fact = FACTS[TESTS].__table__
    with other.engine.connect() as connection:
        held = holds_of(connection, fact, partitions_there(connection, fact))
    assert [(name, hold.reason) for name, hold in held.items()] == [("m202602", "audit's")]


def test_backups_while_others_load_hold_whole_batches(fab: Warehouse, other: Warehouse, tmp_path: Path) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def load() -> None:
        number = 0
        try:
            with with_policy(fab) as mine:
                while not stop.is_set():
                    number += 1
                    rows = [odd(month, 100 + 7 * number + n) for month in MONTHS for n in range(3)]
                    mine.load(TESTS, rows, batch_id=f"busy-{number}")
                    mine.load(TESTS, [odd(f"2025-{number % 12 + 1:02}", number)], batch_id=f"month-{number}")
        except BaseException as error:
            failures.append(error)

    loader = threading.Thread(target=load)
    loader.start()
    try:
        backups = fab.backup(str(tmp_path))
        made = [backups.create(parallel=1 + n % 3).backup for n in range(4)]
    finally:
        stop.set()
        loader.join()
    assert failures == []
    assert len({info.rows for info in made}) > 1  # rows came meanwhile
    for info in made:
        other.backup(str(tmp_path)).restore(info.id, update=True)
        batches = other.read(
            f"SELECT b.batch_id, b.rows_loaded, count(f.batch_id) AS found FROM dw.etl_load_batch b FULL JOIN dw.{TESTS} f "
            f"ON f.batch_id = b.batch_id WHERE COALESCE(b.target, '{TESTS}') = '{TESTS}' GROUP BY 1, 2"
        )
        assert (batches.rows_loaded == batches.found).all()
        assert batches.batch_id.notna().all()
        assert other.data.check(checks=["batch", "orphan key"]).empty


def test_a_table_of_somebodys_own_must_be_made_before_its_rows_are_restored(
    wh: Warehouse, server_url: URL, tmp_path: Path
) -> None:
    make = "CREATE TABLE dw.my_own (k int, t text)"
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(make)
        connection.exec_driver_sql("INSERT INTO dw.my_own VALUES (1, 'a'), (2, NULL)")
    wh.backup(str(tmp_path)).create()
    with database(server_url) as url, Warehouse(url) as other:
        other.upgrade()
        with pytest.raises(BackupError, match="dw has no table my_own, whose rows the backup has; make it as it was"):
            other.backup(str(tmp_path)).restore()
        assert other.health().status == "healthy"
        with other.engine.begin() as connection:
            connection.exec_driver_sql(make)
        other.backup(str(tmp_path)).restore()
        assert other.read("SELECT count(*) AS n FROM dw.my_own").n[0] == 2


def test_where_the_newest_backup_is_damaged_no_older_one_is_taken_unasked(wh: Warehouse, tmp_path: Path) -> None:
    backups = wh.backup(str(tmp_path))
    older, newer = backups.create().backup, backups.create().backup
    (manifest,) = tmp_path.glob(f"manifests/{newer.id}.json")
    manifest.write_bytes(manifest.read_bytes()[:-30])
    for ask in (backups.verify, backups.compare, backups.restore):
        with pytest.raises(BackupError, match=f"the newest backup, {newer.id}, is damaged .*{older.id}"):
            ask()
    assert backups.verify(older.id).problems == ()
