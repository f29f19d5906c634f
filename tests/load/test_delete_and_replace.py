"""Batches and months taken out, and months replaced; what the record of the batches says afterwards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError, LoadError, PartitionError, TooManyRejectsError
from gpwarehouse.models import BEGINNING
from tests.batches.records import months, record, removed, rows
from tests.command_line import run
from tests.dimensions.rows import day, history
from tests.load.rows import MEASUREMENTS
from tests.load.told_members import load_file
from tests.partitions.fab import with_policy
from tests.queries import rows_of


def test_a_batch_is_deleted_and_can_be_loaded_again(wh: Warehouse) -> None:
    mine = wh.load(MEASUREMENTS, rows(1, 2)).batch_id
    wh.load(MEASUREMENTS, rows(2, lot="L2"))
    done = wh.batches.delete(mine)
    assert (done.rows, done.batches, done.loadable, done.warnings) == (4, (mine,), (mine,), ())
    assert months(wh) == {2: 2}
    assert record(wh, mine) == ("DELETED", 0, None)
    assert removed(wh, mine) == [("BATCH_DELETED", None, 4, None, None)]
    assert wh.batches.delete(mine).rows == 0
    again = wh.load(MEASUREMENTS, rows(1, 2))
    assert (again.already_loaded, again.rows_loaded, record(wh, mine)[0]) == (False, 4, "LOADED")
    assert removed(wh, mine) == []
    with pytest.raises(InvalidInputError, match="no batch 'nobody'"):
        wh.batches.delete("nobody")
    merged = wh.merge("dim_lot", [{"lot_id": "L1", "owner": "A"}], effective=day(1))
    with pytest.raises(InvalidInputError, match="Only batches of facts"):
        wh.batches.delete(merged.batch_id)


def test_a_month_is_emptied_unless_that_would_tear_a_batch(wh: Warehouse) -> None:
    inside = wh.load(MEASUREMENTS, rows(3)).batch_id
    across = wh.load(MEASUREMENTS, rows(3, 4, lot="L2")).batch_id
    with pytest.raises(PartitionError, match=f"other months; the first is '{across}'"):
        wh.facts.delete_month(MEASUREMENTS, "2025-03")
    assert months(wh) == {3: 4, 4: 2}
    done = wh.facts.delete_month(MEASUREMENTS, "2025-03", across=True)
    assert (done.rows, done.batches, done.loadable) == (4, tuple(sorted([inside, across])), (inside,))
    assert months(wh) == {4: 2}
    assert (record(wh, inside), record(wh, across)) == (("DELETED", 0, None), ("LOADED", 2, None))
    assert removed(wh, inside) == removed(wh, across) == [("MONTH_DELETED", "2025-03", 2, None, None)]
    assert wh.data.check(checks=["batch"], months=["2025-03", "2025-04"]).empty
    assert wh.data.check(checks=["batch"], months=["2025-03"]).empty
    assert wh.load(MEASUREMENTS, rows(3)).rows_loaded == 2
    assert wh.load(MEASUREMENTS, rows(3, 4, lot="L2")).already_loaded
    with pytest.raises(PartitionError, match="no partition for 2031-01"):
        wh.facts.delete_month(MEASUREMENTS, "2031-01")


def test_a_month_is_replaced_and_its_batches_do_not_come_back(wh: Warehouse) -> None:
    inside = wh.load(MEASUREMENTS, rows(3)).batch_id
    across = wh.load(MEASUREMENTS, rows(3, 4, lot="L2")).batch_id
    made = wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot="L3"))
    assert (made.rows_loaded, made.rows_replaced, made.already_loaded) == (2, 4, False)
    assert months(wh) == {3: 2, 4: 2}
    assert {row[0] for row in rows_of(wh, f"SELECT batch_id FROM dw.{MEASUREMENTS}")} == {made.batch_id, across}
    assert (record(wh, inside), record(wh, across)) == (("LOADED", 0, None), ("LOADED", 2, None))
    assert removed(wh, inside) == removed(wh, across) == [("MONTH_REPLACED", "2025-03", 2, made.batch_id, None)]
    assert wh.data.check(checks=["batch"], months=["2025-03", "2025-04"]).empty
    assert wh.data.check(checks=["batch"], months=["2025-03"]).empty
    assert wh.load(MEASUREMENTS, rows(3)).already_loaded
    assert wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot="L3")).already_loaded
    wh.load(MEASUREMENTS, rows(3, lot="L4"))
    again = wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3))  # what was loaded before is no reason not to
    assert (again.rows_loaded, again.rows_replaced) == (2, 4)
    assert months(wh) == {3: 2, 4: 2}
    assert wh.schema.validate() == []
    wh.load(MEASUREMENTS, rows(3, lot="L5"))
    assert wh.batches.delete(again.batch_id).rows == 2
    assert wh.read(f"SELECT count(*) AS n FROM dw.{MEASUREMENTS} WHERE event_ts >= '2025-03-01+00'").n[0] == 4


def test_rows_of_other_months_are_rejected_and_the_month_stays_as_it_is(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, rows(3))
    with pytest.raises(TooManyRejectsError, match="is outside 2025-03-01 to 2025-04-01"):
        wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, 4, lot="L2"), max_rejects=0)
    assert months(wh) == {3: 2}
    made = wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, 4, lot="L2"), max_rejects=2)
    assert (made.rows_loaded, made.rows_rejected) == (2, 2)
    assert len(wh.batches.rejects(made.batch_id)) == 2
    with pytest.raises(InvalidInputError, match="'2025-13' is no month"):
        wh.facts.replace_month(MEASUREMENTS, "2025-13", rows(3))
    with pytest.raises(InvalidInputError, match="no partitioned fact"):
        wh.facts.replace_month("dim_lot", "2025-03", rows(3))


def test_a_month_that_is_not_there_yet_is_made(wh: Warehouse) -> None:
    made = wh.facts.replace_month(MEASUREMENTS, "2025-07", rows(7))
    assert (made.rows_loaded, made.rows_replaced, made.months_made) == (2, 0, ("m202507",))
    assert months(wh) == {7: 2}


def test_a_batch_of_an_archived_month_is_neither_deleted_nor_replaced(wh: Warehouse, tmp_path: Path) -> None:
    """Restored, its rows would stand beside those that were loaded in their place."""
    wh.load(MEASUREMENTS, rows(3, 4), batch_id="mine")
    policy = {"retention": f"{MEASUREMENTS}: export after 12 months", "archive_dir": tmp_path, "partition_premake": 0}
    with with_policy(wh, **policy) as far:
        far.partitions.apply(tables=[MEASUREMENTS])
        assert months(wh) == {}
        words = (
            "4 rows, but the table holds 0 of them; its months 2025-03, 2025-04 have no partition.* partitions restore"
        )
        before = record(wh, "mine")
        with pytest.raises(LoadError, match=words):
            wh.batches.delete("mine")
        with pytest.raises(LoadError, match=words):
            wh.load(MEASUREMENTS, rows(3, 4), batch_id="mine", on_conflict="replace")
        with pytest.raises(LoadError, match="holds 0 of them; every month of it has a partition"):  # made by the load
            wh.load(MEASUREMENTS, rows(3, 4), batch_id="mine", on_conflict="replace")
        assert (record(wh, "mine"), months(wh)) == (before, {})
        for month in ("2025-03", "2025-04"):
            far.partitions.restore(MEASUREMENTS, month)
    assert wh.load(MEASUREMENTS, rows(3, 4), batch_id="mine", on_conflict="replace").rows_replaced == 4
    assert wh.batches.delete("mine").rows == 4
    assert months(wh) == {}


def test_rows_that_went_with_a_month_are_not_missed(wh: Warehouse) -> None:
    across = wh.load(MEASUREMENTS, rows(3, 4), batch_id="across").batch_id
    gone = wh.load(MEASUREMENTS, rows(4, lot="L2"), batch_id="gone").batch_id
    wh.facts.delete_month(MEASUREMENTS, "2025-03", across=True)
    wh.facts.replace_month(MEASUREMENTS, "2025-04", rows(4, lot="L3"))
    assert [record(wh, batch)[:2] for batch in (across, gone)] == [("LOADED", 0)] * 2
    assert wh.load(MEASUREMENTS, rows(3, 4)).already_loaded
    assert wh.data.check(checks=["batch"], months=["2025-03", "2025-04"]).empty
    assert wh.load(MEASUREMENTS, rows(3), batch_id=across, on_conflict="replace").rows_loaded == 2
    assert (wh.batches.delete(gone).rows, record(wh, gone)[0]) == (0, "DELETED")
    assert months(wh) == {3: 2, 4: 2}


def test_a_month_that_was_replaced_can_be_put_back(wh: Warehouse) -> None:
    def lots() -> list[str]:
        found = rows_of(wh, f"SELECT DISTINCT lot_id FROM dw.{MEASUREMENTS} JOIN dw.dim_lot USING (lot_key)")
        return [lot for (lot,) in found]

    first = wh.load(MEASUREMENTS, rows(3, lot="O")).batch_id
    for lot in ("A", "B", "A", "B"):
        made = wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot=lot))
        assert (made.already_loaded, made.rows_loaded, made.rows_replaced, lots()) == (False, 2, 2, [lot])
        assert wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot=lot)).already_loaded
        assert wh.load(MEASUREMENTS, rows(3, lot="O")).already_loaded
        assert wh.data.check(checks=["batch"], months=["2025-03"]).empty
    assert record(wh, first)[:2] == ("LOADED", 0)
    assert wh.facts.delete_month(MEASUREMENTS, "2025-03").rows == 2
    assert wh.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot="A")).rows_loaded == 2
    assert lots() == ["A"]


def test_corrected_rejects_of_a_replaced_month_are_rows_of_that_month(wh: Warehouse) -> None:
    frame = [row | {"slot": slot} for row, slot in zip(rows(6, 6), (1, -2, -3, 4), strict=True)]
    made = wh.facts.replace_month(MEASUREMENTS, "2025-06", frame, max_rejects=2)
    assert rows_of(wh, "SELECT status, origin, month_replaced, error FROM dw.etl_load_batch") == [
        ("LOADED", "REPLACE_MONTH", day(6, 1), None)
    ]
    given = wh.batches.rejects(made.batch_id, as_given=True).assign(slot=5)
    given.loc[0, "event_ts"] = day(7, 1).isoformat()
    again = wh.batches.reload(made.batch_id, given)
    assert (again.rows_loaded, again.rows_rejected) == (1, 1)
    assert "is outside 2025-06-01 to 2025-07-01" in wh.batches.rejects(made.batch_id).reason[0]
    assert months(wh) == {6: 3}
    wh.facts.replace_month(MEASUREMENTS, "2025-06", rows(6, lot="L2"))
    with pytest.raises(InvalidInputError, match=r"no rows any more \(2025-06: 3 rows replaced with the month by"):
        wh.batches.reload(made.batch_id, given)
    assert months(wh) == {6: 2}


@pytest.mark.parametrize("late", ["merge", "load"])
def test_what_a_deleted_batch_told_of_a_member_keeps_its_date(wh: Warehouse, late: str) -> None:
    mine = load_file(wh, {"dim_lot": [{"lot_id": "L1", "owner": "B"}]}, event_ts=day(5)).batch_id
    wh.batches.delete(mine)
    if late == "merge":
        wh.merge("dim_lot", [{"lot_id": "L1", "owner": "A"}], effective=day(2))
    else:
        load_file(wh, {"dim_lot": [{"lot_id": "L1", "owner": "A"}]}, event_ts=day(2))
    assert history(wh, "L1", "owner") == [(BEGINNING, "A"), (day(5), "B")]


def test_months_are_emptied_and_replaced_from_a_shell_when_told_to(wh: Warehouse, tmp_path: Path) -> None:
    wh.load(MEASUREMENTS, rows(3))
    across = wh.load(MEASUREMENTS, rows(3, 4, lot="L2")).batch_id
    pd.DataFrame(rows(3, lot="L3")).to_parquet(tmp_path / "march.parquet")
    url = wh.settings.sqlalchemy_url().render_as_string(hide_password=False)

    def said(*args: str, code: int = 0) -> str:
        done = run("--url", url, *args, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    replace = ("facts", "replace-month", MEASUREMENTS, "2025-03", "march.parquet")
    refused = said(*replace, code=1)
    assert f"{MEASUREMENTS}: 2025-03 holds 4 rows of 2 batches" in refused
    assert "to replace them, say --yes-drop-data; nothing was changed" in refused
    assert f"first is '{across}'" in said("facts", "delete-month", MEASUREMENTS, "2025-03", "--yes-drop-data", code=1)
    assert months(wh) == {3: 4, 4: 2}
    assert "4 rows replaced" in said(*replace, "--yes-drop-data")
    assert "to empty it, say --yes-drop-data" in said(
        "facts", "delete-month", MEASUREMENTS, "2025-04", "--across", code=1
    )
    assert months(wh) == {3: 2, 4: 2}
    assert "2 rows of 2025-04 deleted" in said(
        "facts", "delete-month", MEASUREMENTS, "2025-04", "--across", "--yes-drop-data"
    )
    assert months(wh) == {3: 2}
    assert "give a count, or a share" in said(*replace, "--max-rejects", "many", code=1)
    pd.DataFrame(rows(7)).to_parquet(tmp_path / "july.parquet")
    assert "0 rows replaced" in said(
        "facts", "replace-month", MEASUREMENTS, "2025-07", "july.parquet"
    )  # a month not there yet
    assert months(wh) == {3: 2, 7: 2}
