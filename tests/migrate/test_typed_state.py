"""Revision 0004: the sentences about batches that code read back become columns and rows, and sentences again on the way down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, text

from gpwarehouse import Warehouse, migrate
from gpwarehouse.errors import BatchConflictError, InvalidInputError
from tests.batches.records import site
from tests.conftest import database
from tests.dimensions.rows import day
from tests.load.rows import MEASUREMENTS
from tests.migrate.site import write_revision
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
        ORDER BY batch_id, cause, month, rows_removed DESC"""
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
