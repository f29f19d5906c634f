"""Months that lay in the archive while their wafers were re-keyed to another root lot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gpwarehouse import Warehouse
from gpwarehouse.models.keys import durable_key
from tests.partitions.fab import (
    EXPORT,
    NOW,
    TESTS,
    command,
    contents,
    execute,
    manifest,
    names,
    unit,
    with_policy,
)

SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def key(root: str, wafer: int) -> int:
    return durable_key(root, f"{wafer:02d}")


def archived(fab: Warehouse, *units: dict[str, Any]) -> list[tuple[Any, ...]]:
    """These units of June 2025 went to the archive; July's stay."""
    fab.load(TESTS, list(units), batch_id="june")
    before = contents(fab)
    assert not fab.partitions.apply(now=NOW).failed
    fab.load(TESTS, [u | {"event_ts": "2026-07-05T10:00:00+00:00"} for u in units], batch_id="july")
    assert "m202506" not in names(fab)
    return before


def of(lot: str, number: int, **values: Any) -> dict[str, Any]:
    """A unit of wafer ``number`` + 1 of a lot."""
    return unit("2025-06", number, lot_id=lot, **values)


def june(fab: Warehouse) -> dict[int, int]:
    with fab.engine.connect() as connection:
        found = connection.execute(
            text(f"SELECT wafer_key, count(*) FROM dw.{TESTS} WHERE batch_id = 'june' GROUP BY 1")
        )
        return {row[0]: row[1] for row in found}


def test_a_restored_month_has_the_keys_that_its_wafers_have_by_now(
    fab: Warehouse, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = archived(fab, of("A.1", 0), of("A.1", 1), of("A.1", 0, die_x=99), of("B.1", 0))
    fab.merge("dim_lot", [{"lot_id": "A.1", "root_lot_id": "M"}], effective=SINCE)
    assert fab.dimensions.rekey_wafers().wafers == 2
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 4
    assert june(fab) == {key("M", 1): 2, key("M", 2): 1, key("B", 1): 1}
    (line,) = [r.getMessage() for r in caplog.records if "root lot was corrected" in r.getMessage()]
    assert f"{TESTS} m202506: 3 rows of 2 wafers" in line
    assert "of root 'A' is of root 'M' now" in line
    assert len(fab.data.check(tables=[TESTS], checks=["orphan key"])) == 0
    with fab.engine.connect() as connection:
        query = f"SELECT CAST(t AS text) FROM dw.{TESTS} t WHERE batch_id = 'june'"
        after = sorted(tuple(row) for row in connection.execute(text(query)))
    moved = {str(key("A", n)): str(key("M", n)) for n in (1, 2)}
    as_moved = []
    for (row,) in before:
        for old, new in moved.items():
            row = row.replace(old, new)
        as_moved.append((row,))
    assert after == sorted(as_moved)  # and nothing else is different


def test_a_restored_month_with_other_keys_is_archived_again_with_them(fab: Warehouse, archive: Path) -> None:
    archived(fab, of("A.1", 0), of("A.1", 1))
    fab.merge("dim_lot", [{"lot_id": "A.1", "root_lot_id": "M"}], effective=SINCE)
    fab.dimensions.rekey_wafers()
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    report = fab.partitions.apply(now=NOW)
    assert [str(o.error) for o in report.failed] == []
    assert [(p["rows"], p["superseded"]) for p in manifest(archive)["parts"]] == [(2, True), (2, False)]
    assert "m202506" not in names(fab)
    said: list[str] = []
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0, progress=said.append) == 2
    assert said == []
    assert june(fab) == {key("M", 1): 1, key("M", 2): 1}


def test_wafers_re_keyed_after_their_month_was_restored_are_archived_again(fab: Warehouse, archive: Path) -> None:
    archived(fab, of("A.1", 0), of("B.1", 1))
    fab.partitions.restore(TESTS, "2025-06", hold_days=0)
    assert fab.dimensions.rekey_wafers([{"root_lot_id": "A", "true_root_lot_id": "M"}]).rows[TESTS] == 2
    assert [str(o.error) for o in fab.partitions.apply(now=NOW).failed] == []
    assert fab.partitions.restore(TESTS, "2025-06", hold_days=0) == 2
    assert june(fab) == {key("M", 1): 1, key("B", 2): 1}


def test_a_chain_of_re_keyings_is_gone_through_at_once(fab: Warehouse) -> None:
    """Told by frames, and never by dim_lot: the lots of the wafers tell it."""
    archived(fab, of("A.1", 0))
    fab.dimensions.rekey_wafers([{"root_lot_id": "A", "true_root_lot_id": "B"}])
    fab.dimensions.rekey_wafers([{"root_lot_id": "B", "true_root_lot_id": "C"}])
    fab.partitions.restore(TESTS, "2025-06")
    assert june(fab) == {key("C", 1): 1}


def test_lots_of_one_root_may_go_to_different_ones(fab: Warehouse) -> None:
    """The wafers 01 and 02 are there under both; the row's own lot decides."""
    archived(fab, of("A.1", 0), of("A.2", 1), of("M", 0), of("M", 1), of("N", 0), of("N", 1))
    fab.merge(
        "dim_lot", [{"lot_id": "A.1", "root_lot_id": "M"}, {"lot_id": "A.2", "root_lot_id": "N"}], effective=SINCE
    )
    assert fab.dimensions.rekey_wafers().merged == 2
    fab.partitions.restore(TESTS, "2025-06")
    assert june(fab) == {key("M", 1): 2, key("M", 2): 1, key("N", 1): 1, key("N", 2): 2}


def test_a_row_that_could_be_of_two_wafers_is_left_and_told(fab: Warehouse) -> None:
    archived(fab, of("A.1", 0), of("A.2", 2))
    mapping = [{"root_lot_id": "A", "wafer_id": str(n), "true_root_lot_id": root} for n, root in ((1, "M"), (3, "N"))]
    fab.dimensions.rekey_wafers(mapping)
    fab.load(TESTS, [unit("2026-07", 0, lot_id="N.1")], batch_id="another 01")
    fab.merge("dim_lot", [{"lot_id": "A.1", "root_lot_id": None}], effective=SINCE)
    said: list[str] = []
    fab.partitions.restore(TESTS, "2025-06", progress=said.append)
    assert june(fab) == {key("A", 1): 1, key("N", 3): 1}
    assert (
        f"1 rows have 1 values of wafer_key that dim_wafer does not have, and nothing tells whose they are now ({key('A', 1)})"
        in said[-1]
    )
    assert "restore it again" in said[-1]


def test_keys_that_nobody_has_stay_and_are_told_on_the_command_line(fab: Warehouse, archive: Path) -> None:
    archived(fab, of("A.1", 0), of("B.1", 0))
    execute(fab, f"DELETE FROM dw.dim_wafer WHERE wafer_key = {key('A', 1)}")
    url = fab.settings.sqlalchemy_url().render_as_string(hide_password=False)
    said = {"GPWAREHOUSE_URL": url, "GPWAREHOUSE_ARCHIVE_DIR": str(archive)}
    done = command("partitions", "restore", TESTS, "2025-06", **said)
    assert "2 rows of 2025-06 restored" in done.stdout, done.exception
    assert "1 rows have 1 values of wafer_key that dim_wafer does not have" in done.stderr
    assert june(fab) == {key("A", 1): 1, key("B", 1): 1}


def test_roots_that_only_the_names_of_lots_tell_are_found_by_the_pattern(wh: Warehouse, archive: Path) -> None:
    more = {"retention": EXPORT, "archive_dir": archive, "partition_premake": 0}
    with with_policy(wh, lot_root_pattern=r"^(\w+)-", **more) as fab:
        archived(fab, of("A-1", 0))
        assert june(fab) == {}
        fab.dimensions.rekey_wafers([{"root_lot_id": "A", "true_root_lot_id": "M"}])
        fab.partitions.restore(TESTS, "2025-06")
        assert june(fab) == {key("M", 1): 1}


def test_a_re_keying_warns_of_wafers_that_restoring_could_not_tell_again(fab: Warehouse) -> None:
    archived(fab, of("A.1", 0), of("A.1", 1), of("B.1", 0))
    fab.merge("dim_wafer", [{"lot_id": "B.1", "wafer_id": "1", "grade": "PRIME"}], effective=SINCE)
    execute(fab, f"UPDATE dw.dim_wafer SET lot_key = -1 WHERE wafer_key = {key('B', 1)}")
    mapping = [{"root_lot_id": old, "true_root_lot_id": "M"} for old in "A"] + [
        {"root_lot_id": "B", "true_root_lot_id": "N"}
    ]
    result = fab.dimensions.rekey_wafers(mapping, dry_run=True)
    assert result.warnings == ()
    result = fab.dimensions.rekey_wafers(mapping)
    (line,) = result.warnings
    assert f"these months are archived: {TESTS} 2025-06. A restore would bring back rows of 1 of these 3 wafers" in line
    assert "correct the root lots in dim_lot" in line
    fab.merge("dim_lot", [{"lot_id": "B.1", "root_lot_id": "N"}], effective=SINCE)
    fab.partitions.restore(TESTS, "2025-06")
    assert june(fab) == {key("M", 1): 1, key("M", 2): 1, key("N", 1): 1}
