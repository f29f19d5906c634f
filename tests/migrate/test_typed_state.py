"""Revision 0004: the sentences about batches that code read back become columns and rows, and sentences again on the way down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import URL, create_engine, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.batches import ledger
from gpwarehouse.dialect import Brand, ServerInfo
from gpwarehouse.errors import BatchConflictError, TooManyRejectsError
from gpwarehouse.migrate import history
from gpwarehouse.settings import WarehouseSettings
from tests.batches.records import site
from tests.conftest import database
from tests.dimensions.rows import day
from tests.load.rows import MEASUREMENTS
from tests.migrate.kills import ENDS_WITHIN_S, chosen, counted, die_after, text_of
from tests.migrate.scripts import run_script
from tests.migrate.site import write_revision
from tests.processes import PROCESS
from tests.queries import rows_of

ELSEWHERE = "records may be in other batches: "
GONE = "deleted: 2 rows; it can be loaded again"
BY_U = "2025-03: 1 rows by key, batch U"
REFUSED = f"{MEASUREMENTS}: other batches now hold records of batch 'A': 'U' (1 rows, 2025-03); see the manual"
QUOTES = (
    f"{MEASUREMENTS}: batch 'A' loaded 3 rows, but 1 is there (its note: 2025-01: 1 rows by key, batch U; {BY_U}); stop"
)


def month(number: int) -> datetime:
    return datetime(2025, number, 1, tzinfo=UTC)


class Case(NamedTuple):
    """What revision 0003 has of a batch, and what revision 0004 has of it.

    :ivar state: the columns that differ from those of a batch that is just loaded.
    :ivar removals: cause, batch, month, month now, rows.
    """

    status: str
    rows_read: int
    rows_loaded: int
    error: str | None
    state: dict[str, Any] = {}  # noqa: RUF012
    removals: list[tuple[Any, ...]] = []  # noqa: RUF012
    target: str = MEASUREMENTS


KEY = ("KEY", "U", month(3), None, 1)
ANY, ITS = {"scattered": "ANY_MONTH"}, {"scattered": "ITS_MONTHS"}
DELETED = {"status": "DELETED", "error": None}
CASES = {
    "plain": Case("LOADED", 3, 3, None),
    "merge": Case("LOADED", 3, 3, None, {"origin": "MERGE"}, target="dim_lot"),
    "U": Case("LOADED", 3, 3, None, {"origin": "UPSERT"}),
    "failed": Case("FAILED", 3, 0, "dim_lot: deleted: 2 rows"),
    "failed, with a note quoted": Case("FAILED", 3, 0, QUOTES),
    "loads": Case(
        "FAILED", 3, 0, "rows may be there: it is being loaded", {"may_hold_rows": True, "error": "it is being loaded"}
    ),
    "left": Case("FAILED", 3, 0, f"rows may be there: {QUOTES}", {"may_hold_rows": True, "error": QUOTES}),
    "cleaned": Case(
        "FAILED", 3, 0, "failed; 3 rows that it had left were deleted by batch B; C", {"error": None},
        [("LEFT_BEHIND", "B; C", None, None, 3)],
    ),
    "cleaned by hand": Case(
        "FAILED", 3, 0, "failed; 0 rows that it had left were deleted by wh.batches.delete", {"error": None},
        [("LEFT_BEHIND", None, None, None, 0)],
    ),
    "deleted": Case("FAILED", 2, 0, GONE, {**DELETED, "rows_removed": 2}, [("BATCH_DELETED", None, None, None, 2)]),
    "deleted with its month": Case(
        "FAILED", 2, 0, "deleted with 2025-03: 2 rows", {**DELETED, "rows_removed": 2},
        [("MONTH_DELETED", None, month(3), None, 2)],
    ),
    "across": Case(
        "LOADED", 4, 2, "deleted with 2025-03: 2 of its rows", {**ITS, "rows_removed": 2, "error": None},
        [("MONTH_DELETED", None, month(3), None, 2)],
    ),
    "replaced": Case(
        "LOADED", 2, 0, "2025-03 replaced by batch 50 %: it's: 2 of its rows", {**ITS, "rows_removed": 2, "error": None},
        [("MONTH_REPLACED", "50 %: it's", month(3), None, 2)],
    ),
    "moved": Case(
        "LOADED", 3, 2, f"{BY_U}, now in 2025-04", {**ANY, "rows_removed": 1, "error": None},
        [("KEY", "U", month(3), month(4), 1)],
    ),
    "moved by an odd one": Case(
        "LOADED", 3, 2, f"{BY_U}, now in 2025-13, now in 2025-04", {**ANY, "rows_removed": 1, "error": None},
        [("KEY", "U, now in 2025-13", month(3), month(4), 1)],
    ),
    "three times": Case(
        "LOADED", 9, 3, f"2025-02, 2025-03: 3 rows by key, batch U; {BY_U}; 2025-03 replaced by batch M: 2 of its rows",
        {**ITS, "rows_removed": 6, "error": None},
        [("KEY", "U", month(2), None, 3), KEY, ("KEY", "U", month(3), None, 0), ("MONTH_REPLACED", "M", month(3), None, 2)],
    ),
    "month": Case(
        "LOADED", 2, 2, "in the place of 2025-06", {"origin": "REPLACE_MONTH", "month_replaced": month(6), "error": None}
    ),
    "month moved": Case(
        "LOADED", 2, 1, f"in the place of 2025-03; {BY_U}, now in 2025-04",
        {**ANY, "origin": "REPLACE_MONTH", "month_replaced": month(3), "rows_removed": 1, "error": None},
        [("KEY", "U", month(3), month(4), 1)],
    ),
    "D": Case(
        "LOADED", 5, 0, "2025-02, 2025-03: 4 rows deleted by key", {"origin": "DELETE", "rows_replaced": 4, "error": None}
    ),
    "deleted by key": Case(
        "LOADED", 5, 1, "2025-02, 2025-03: 4 rows by key, batch D", {**ITS, "rows_removed": 4, "error": None},
        [("KEY", "D", month(2), None, 4), ("KEY", "D", month(3), None, 0)],
    ),
    "D0": Case(
        "LOADED", 5, 0, "0 rows had these keys; batch D0", {"origin": "DELETE", "rows_replaced": 0, "error": None}
    ),
    "scattered": Case(
        "FAILED", 3, 0, f"{ELSEWHERE}{GONE}; before: {BY_U}", {**DELETED, **ITS, "rows_removed": 3},
        [("BATCH_DELETED", None, None, None, 2), KEY],
    ),
    "scattered, and refused": Case(
        "FAILED", 3, 0, f"{ELSEWHERE}{GONE}; before: {BY_U}; {REFUSED}",
        {**DELETED, **ITS, "rows_removed": 3, "error": REFUSED}, [("BATCH_DELETED", None, None, None, 2), KEY],
    ),
    "scattered with its month": Case(
        "FAILED", 3, 0, f"{ELSEWHERE}deleted with 2025-03: 2 rows; before: {BY_U}, now in 2025-04",
        {**DELETED, **ANY, "rows_removed": 3},
        [("KEY", "U", month(3), month(4), 1), ("MONTH_DELETED", None, month(3), None, 2)],
    ),
    "in the place of what is elsewhere": Case(
        "LOADED", 3, 3, f"{ELSEWHERE}in any month; {ELSEWHERE}{GONE}; before: {BY_U}", {**ANY, "error": None},
        [("BATCH_DELETED", None, None, None, 2), KEY],
    ),
    "in the place of what nobody knows": Case("LOADED", 3, 3, f"{ELSEWHERE}in any month; ", {**ANY, "error": None}),
    "deleted, and elsewhere": Case(
        "FAILED", 2, 0, f"{ELSEWHERE}{GONE}; before: {ELSEWHERE}in any month; {BY_U}", {**DELETED, **ANY, "rows_removed": 2},
        [("BATCH_DELETED", None, None, None, 2), KEY],
    ),
    "cut": Case(
        "LOADED", 999, 500, "; ".join([BY_U] * 200)[:4000], {**ANY, "rows_removed": 499, "error": None}, [KEY] * 120
    ),
    "by hand": Case("LOADED", 3, 0, "set right by hand; ask us", {**ITS, "error": "set right by hand; ask us"}),
}  # fmt: skip


def read_before(row: Any) -> tuple[Any, ...]:
    """What the package at revision 0003 reads from a batch's row."""
    said = row.error or ""
    was_deleted = said.startswith(("deleted", f"{ELSEWHERE}deleted"))
    has_left = row.status == "FAILED" and said.startswith("rows may be there: ")
    is_loaded = row.status == "LOADED" and (row.rows_loaded > 0 or row.error is not None)
    replaced = said[16:23] if row.status == "LOADED" and said.startswith("in the place of ") else None
    elsewhere = row.rows_loaded < row.rows_read - row.rows_rejected or said.startswith(ELSEWHERE)
    anywhere = "in any month; " in said or ", now in " in said or len(said) >= 4000
    state = "DELETED" if row.status == "FAILED" and was_deleted else row.status
    is_marked = row.status == "FAILED" and said.startswith(ELSEWHERE)
    return state, has_left, is_loaded, replaced, elsewhere, anywhere and (elsewhere or is_marked), is_marked


def fill(wh: Warehouse) -> None:
    """Write the batches as the package at revision 0003 did, and hashes as the one at revision 0001 did."""
    insert = """INSERT INTO dw.etl_load_batch (batch_id, target, checksum, status, rows_read, rows_loaded, rows_rejected, error,
            min_event_ts, max_event_ts, started_at, finished_at)
        VALUES (%s, %s, %s, %s, %s, %s, 0, %s, '2025-02-03 00:00:00+00', '2025-03-20 00:00:00+00', now(), now())"""
    dated = """INSERT INTO dw.dim_lot (lot_key, lot_id, row_hash, effective_date, expiry_date, is_current) VALUES
        (7, 'L', repeat('0', 32) || '@2025-03-04T05:06:07.000000Z', '1900-01-01 00:00:00+00', '2025-05-01 00:00:00+00', false),
        (7, 'L', repeat('1', 32), '2025-05-01 00:00:00+00', '9999-12-31 00:00:00+00', true)"""
    with wh.engine.begin() as connection:
        for name, case in CASES.items():
            values = (name, case.target, name, case.status, case.rows_read, case.rows_loaded, case.error)
            connection.exec_driver_sql(insert, values)
        connection.exec_driver_sql(dated)


def batches(wh: Warehouse) -> dict[str, Any]:
    """The rows of all batches."""
    with wh.engine.connect() as connection:
        return {row.batch_id: row for row in connection.execute(text("SELECT * FROM dw.etl_load_batch"))}


def removals(wh: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Batch → cause, batch, month, month now, rows."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    query = """SELECT batch_id, cause, by_batch_id, month, month_now, rows_removed FROM dw.etl_removal
        ORDER BY batch_id, cause, month, rows_removed DESC, month_now"""
    for batch_id, *values in rows_of(wh, query):
        found.setdefault(batch_id, []).append(tuple(values))
    return found


def versions(wh: Warehouse) -> list[tuple[Any, ...]]:
    return rows_of(wh, "SELECT row_hash, known_from FROM dw.dim_lot WHERE lot_id = 'L' ORDER BY effective_date")


def check_brought_over(wh: Warehouse) -> None:
    """Every batch is as its case says."""
    usual = {"origin": None, "rows_removed": 0, "rows_replaced": None, "month_replaced": None, "scattered": None}
    gone, there = removals(wh), batches(wh)
    assert there.keys() == CASES.keys()
    for name, case in CASES.items():
        state = {**usual, "may_hold_rows": False, "status": case.status, "error": case.error, **case.state}
        assert {column: there[name]._mapping[column] for column in state} == state, name
        assert gone.get(name, []) == case.removals, name
    since = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert versions(wh) == [("0" * 32, since), ("1" * 32, since)]


def test_a_database_full_of_batches_in_every_state_goes_up_down_and_up_again(empty_url: URL) -> None:
    with Warehouse(empty_url) as wh:
        wh.upgrade("0003")
        fill(wh)
        before = batches(wh)
        wh.upgrade()
        check_brought_over(wh)
        migrate.check(wh.settings)
        wh.downgrade("0003", drop_data=True)
        after = batches(wh)
        assert before.keys() == after.keys()
        for name, row in before.items():
            assert read_before(after[name]) == read_before(row), name
        alike = [name for name in before if after[name].error == before[name].error]
        assert set(before) - set(alike) == {"three times", "deleted by key", "in the place of what is elsewhere", "cut"} | {
            "deleted, and elsewhere"
        }  # fmt: skip
        wh.upgrade()
        check_brought_over(wh)


def states(wh: Warehouse) -> list[tuple[Any, ...]]:
    """What is kept of each batch on the way down and up again."""
    columns = "batch_id, status, rows_loaded, rows_removed, month_replaced, scattered, may_hold_rows, error"
    return rows_of(wh, f"SELECT {columns} FROM dw.etl_load_batch ORDER BY batch_id")


def sites(*numbers: int, **values: Any) -> list[dict[str, Any]]:
    return [site(number, **values) for number in numbers]


def do_all(wh: Warehouse) -> None:
    """Bring batches into every state as this package does."""
    february, april = {"event_ts": day(2, 5)}, {"event_ts": day(4, 5)}
    for batch_id, rows in {
        "moved": [*sites(0, 1), *sites(0, **february)],
        "gone": sites(2, 3, 4),
        "elsewhere": sites(10, 11, 12),
        "replaced": sites(20, **april),
        "across": [*sites(21, **april), *sites(22)],
        "alone": sites(30, **february),
    }.items():
        wh.load(MEASUREMENTS, rows, batch_id=batch_id)
    wh.facts.upsert(MEASUREMENTS, [*sites(1, slot=1), *sites(0, slot=2, **april)], months=["2025-02"], batch_id="U")
    wh.facts.upsert(MEASUREMENTS, sites(10, 11, slot=1), batch_id="V")
    wh.facts.delete(MEASUREMENTS, sites(2), batch_id="D")
    wh.facts.delete(MEASUREMENTS, sites(99), batch_id="D0")
    wh.batches.delete("gone")
    wh.facts.replace_month(MEASUREMENTS, "2025-04", sites(40, **april), batch_id="month")
    wh.facts.delete_month(MEASUREMENTS, "2025-02", across=True)
    assert wh.load(MEASUREMENTS, sites(12, 13), batch_id="elsewhere", on_conflict="replace").rows_replaced == 1
    for batch_id, rows in (("failed", sites(50, slot=-1)), ("gone", sites(2, 3, slot=-1))):
        with pytest.raises(TooManyRejectsError):
            wh.load(MEASUREMENTS, rows, batch_id=batch_id)
    started = day(3, 5)
    counts = {"rows_read": 3, "rows_loaded": 3, "rows_rejected": 0, "min_event_ts": started, "max_event_ts": started}
    batch = ledger.Batch("left", MEASUREMENTS, None, None, "left", started_at=started, **counts)
    ledger.announce(wh.engine, batch)
    ledger.announce(wh.engine, replace(batch, batch_id="cleaned", checksum="cleaned"))
    assert wh.batches.delete("cleaned").rows == 0


def test_what_this_package_wrote_is_read_by_the_one_before_it_and_comes_back(wh: Warehouse) -> None:
    do_all(wh)
    there, kept, gone = batches(wh), states(wh), removals(wh)
    assert {row.status for row in there.values()} == {"LOADED", "FAILED", "DELETED"}
    assert {row.scattered for row in there.values()} == {None, "ITS_MONTHS", "ANY_MONTH"}
    assert {cause for rows in gone.values() for cause, *_ in rows} == {
        "BATCH_DELETED", "MONTH_DELETED", "MONTH_REPLACED", "KEY", "LEFT_BEHIND"
    }  # fmt: skip
    wh.downgrade("0003", drop_data=True)
    for name, row in batches(wh).items():
        now = there[name]
        counts = now.status == "LOADED" and bool(now.rows_loaded or now.rows_removed or now.origin == "DELETE")
        replaced = f"{now.month_replaced:%Y-%m}" if now.month_replaced else None
        status, has_left, is_loaded, month_replaced, elsewhere, anywhere, is_marked = read_before(row)
        assert (status, has_left, is_loaded, month_replaced) == (now.status, now.may_hold_rows, counts, replaced), name
        assert elsewhere or now.status != "LOADED" or now.scattered is None, name
        assert is_marked == (now.status == "DELETED" and now.scattered is not None), name
        assert anywhere == (now.scattered == "ANY_MONTH"), name
    wh.upgrade()
    assert (states(wh), removals(wh)) == (kept, gone)
    origins = {name: row.origin for name, row in batches(wh).items() if row.origin is not None}
    assert origins == {
        "U": "UPSERT",
        "D": "DELETE",
        "D0": "DELETE",
        "month": "REPLACE_MONTH",
    }  # nothing tells of V any more


def test_batches_that_were_brought_over_are_refused_and_left_out_as_before(wh: Warehouse) -> None:
    do_all(wh)
    wh.downgrade("0003", drop_data=True)
    wh.upgrade()
    with pytest.raises(BatchConflictError, match=r"'V' \(2 rows, 2025-03\)"):
        wh.load(MEASUREMENTS, sites(10, 11), batch_id="elsewhere", on_conflict="replace")
    with pytest.raises(BatchConflictError, match=r"'U' \(1 rows, 2025-04\)|'U' \(1 rows, 2025-03\)"):
        wh.load(MEASUREMENTS, sites(0, 1), batch_id="moved", on_conflict="replace")
    assert wh.facts.delete(MEASUREMENTS, sites(99), batch_id="D0").already_loaded
    assert wh.load(MEASUREMENTS, sites(20, event_ts=day(4, 5)), batch_id="replaced").already_loaded
    assert wh.load(MEASUREMENTS, sites(2, 3, 4), batch_id="gone").rows_loaded == 3
    assert wh.data.check(checks=["batch", "doubled grain"]).empty


# The history


COUNT = (
    "UPDATE {schema}.dim_lot SET rework_count = COALESCE(rework_count, 0) + 1 WHERE {batch} AND lot_key NOT IN (-1, -2)"
)
HALF = """INSERT INTO dw.etl_migration_history (revision, direction, checksum, applied_by, package_version, note)
    VALUES ('a1', 'upgrade batch', '', 'x', '0', 'count: lot_key from None to -4611686018427387904')"""


@pytest.mark.parametrize("column", ["missing", "empty"])
def test_a_change_in_batches_that_the_package_before_began_goes_on_where_it_stopped(
    empty_url: URL, tmp_path: Path, column: str
) -> None:
    """The column is missing before the first upgrade to revision 0004, and empty after a downgrade from it."""
    change = f'op.run_batched("{COUNT}", table="dim_lot", by="lot_key", slices=4, name="count")'
    write_revision(tmp_path, "a1", None, change, depends="0003")
    with Warehouse(empty_url, migrations=tmp_path) as wh:
        wh.upgrade("0003")
        with wh.engine.begin() as connection:
            connection.execute(text(LOTS))
            connection.execute(text(HALF))
            done = "UPDATE dw.dim_lot SET rework_count = 1 WHERE lot_key < -4611686018427387904"
            connection.execute(text(done))
            if column == "missing":
                connection.execute(text("ALTER TABLE dw.etl_migration_history DROP COLUMN part_of"))
        assert {one.revision: one.interrupted for one in wh.schema.revisions()}["a1"] == "upgrade"
        told: list[str] = []
        wh.upgrade(progress=told.append)
        assert sum("done before" in line for line in told) == 1
        counts = rows_of(wh, "SELECT rework_count FROM dw.dim_lot WHERE lot_key NOT IN (-1, -2)")
        assert counts == [(1,)] * 8
        assert rows_of(wh, "SELECT count(*) FROM dw.etl_migration_history WHERE part_of IS NOT NULL") == [(0,)]


LOTS = """INSERT INTO dw.dim_lot (lot_key, lot_id, product_key, effective_date, row_hash)
    SELECT (i * 2 + 1) * 1152921504606846976, 'L' || i, -1, '1900-01-01+00', 'x' FROM generate_series(-4, 3) i"""


def test_the_parts_of_a_change_are_marked_for_both_packages(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.execute(history.part_row("dw", "a1", "downgrade", "count: all"))
    found = rows_of(wh, "SELECT direction, part_of, note FROM dw.etl_migration_history WHERE revision = 'a1'")
    assert found == [("downgrade batch", "downgrade", "count: all")]


def test_sql_for_a_dba_brings_a_database_of_the_package_before_over(empty_url: URL, server_info: ServerInfo) -> None:
    name = "postgresql" if server_info.brand is Brand.POSTGRESQL else f"greenplum{server_info.version[0]}"
    offline = WarehouseSettings(server=name, _env_file=None)
    with Warehouse(empty_url) as wh:
        wh.upgrade("0003")
        fill(wh)
        with wh.engine.begin() as connection:
            connection.execute(text("ALTER TABLE dw.etl_migration_history DROP COLUMN part_of"))
            connection.execute(text(HALF))
        engine = create_engine(empty_url)
        run_script(engine, migrate.offline_sql(offline, "0003:0004"))
        check_brought_over(wh)
        assert rows_of(wh, "SELECT part_of FROM dw.etl_migration_history WHERE revision = 'a1'") == [("upgrade",)]
        run_script(engine, migrate.offline_sql(offline, "0004:0003", direction="downgrade"))
        engine.dispose()
        assert batches(wh)["deleted"].error == GONE


# Killed


def go(url: str, direction: str) -> None:
    with Warehouse(url) as wh:
        if direction == "up":
            wh.upgrade()
        else:
            wh.downgrade("0003", drop_data=True)


def go_and_die(url: str, direction: str, k: int) -> None:
    die_after(k, lambda: go(url, direction))


@pytest.fixture(scope="module")
def full(server_url: URL) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name of a database at revision 0003 with batches in every state, and the statements of the way up and down."""
    with database(server_url) as url:
        with Warehouse(url) as wh:
            wh.upgrade("0003")
            fill(wh)
        found: dict[str, list[str]] = {"up": [], "down": []}
        assert url.database is not None
        with database(server_url, url.database) as copy:
            for direction, statements in found.items():
                with counted(statements.append):
                    go(text_of(copy), direction)
        yield url.database, found["up"], found["down"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_migrator_killed_amid_the_change_leaves_what_the_next_one_completes(
    server_url: URL, full: tuple[str, list[str], list[str]], direction: str
) -> None:
    template, up, down = full
    statements = up if direction == "up" else down
    killed = chosen(statements)
    assert len(killed) >= 13
    for k in killed:
        with database(server_url, template) as url:
            if direction == "down":
                go(text_of(url), "up")
            process = PROCESS.Process(target=go_and_die, args=(text_of(url), direction, k))
            process.start()
            process.join(ENDS_WITHIN_S)
            assert process.exitcode == -signal.SIGKILL, (k, statements[k - 1])
            with Warehouse(url) as wh:
                wh.upgrade()
                check_brought_over(wh)
