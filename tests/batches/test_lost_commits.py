"""Deletions and replacements whose COMMIT is not answered: what became of it is looked up, and told."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from gpwarehouse.errors import AmbiguousCommitError, LoadError
from tests.batches.lost_commits import losing
from tests.batches.records import months, record, rows
from tests.load.rows import MEASUREMENTS
from tests.queries import rows_of


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_batch_whose_deletion_went_through_unanswered_is_told_as_deleted(wh: Warehouse, deadline: float) -> None:
    mine = wh.load(MEASUREMENTS, rows(1, 2)).batch_id
    with losing(wh, "DELETE FROM dw.fact", after=True, deadline=deadline) as far:
        done = far.batches.delete(mine)
    assert (done.rows, done.batches, len(done.vacuumed)) == (4, (mine,), 2)
    assert (months(wh), record(wh, mine)[0]) == ({}, "DELETED")


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_month_that_was_emptied_unanswered_is_told_as_emptied(wh: Warehouse, deadline: float) -> None:
    mine = wh.load(MEASUREMENTS, rows(1)).batch_id
    with losing(wh, "TRUNCATE", after=True, deadline=deadline) as far:
        done = far.facts.delete_month(MEASUREMENTS, "2025-01")
    assert (done.rows, done.batches, done.loadable) == (2, (mine,), (mine,))
    assert (months(wh), record(wh, mine)[0]) == ({}, "DELETED")


@pytest.mark.parametrize("deadline", [0, 60])
def test_what_did_not_go_through_is_an_error_or_is_done_again(wh: Warehouse, deadline: float) -> None:
    mine = wh.load(MEASUREMENTS, rows(1)).batch_id
    for mark, call in (
        ("DELETE FROM dw.fact", lambda far: far.batches.delete(mine)),
        ("TRUNCATE", lambda far: far.facts.delete_month(MEASUREMENTS, "2025-01")),
    ):
        with losing(wh, mark, after=False, deadline=deadline) as far:
            if deadline:
                assert call(far).rows == 2
                assert wh.load(MEASUREMENTS, rows(1)).rows_loaded == 2
            else:
                with pytest.raises(LoadError, match="nothing was deleted"):
                    call(far)
    assert months(wh) == {1: 2}


def test_what_was_loaded_again_meanwhile_is_not_deleted_again(wh: Warehouse) -> None:
    mine = wh.load(MEASUREMENTS, rows(1)).batch_id
    with losing(wh, "DELETE FROM dw.fact", after=True, deadline=60) as far:
        loaded = []

        def load(connection: object) -> None:
            if months(wh) == {} and not loaded:
                loaded.append(wh.load(MEASUREMENTS, rows(1)).rows_loaded)

        event.listen(far.engine, "rollback", load)
        assert far.batches.delete(mine).rows == 2
    assert (loaded, months(wh), record(wh, mine)[0]) == ([2], {1: 2}, "LOADED")


def test_where_nobody_can_be_asked_it_does_not_say_that_nothing_was_deleted(wh: Warehouse) -> None:
    mine = wh.load(MEASUREMENTS, rows(1)).batch_id
    with (
        losing(wh, "DELETE FROM dw.fact", after=True, gone=True) as far,
        pytest.raises(AmbiguousCommitError, match="could not be asked whether the work was committed") as raised,
    ):
        far.batches.delete(mine)
    assert "nothing was deleted" not in str(raised.value)
    with (
        losing(wh, "TRUNCATE", after=True, gone=True) as far,
        pytest.raises(AmbiguousCommitError, match="run it again, it will not be done twice"),
    ):
        far.facts.delete_month(MEASUREMENTS, "2025-01")


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_month_that_was_replaced_unanswered_is_told_as_replaced(wh: Warehouse, deadline: float) -> None:
    wh.load(MEASUREMENTS, rows(3))
    with losing(wh, "INSERT INTO dw.etl_load_batch", after=True, deadline=deadline) as far:
        made = far.facts.replace_month(MEASUREMENTS, "2025-03", rows(3, lot="L3"))
    assert (made.rows_loaded, made.rows_replaced, made.already_loaded) == (2, 2, False)
    assert [lot for (lot,) in rows_of(wh, f"SELECT DISTINCT batch_id FROM dw.{MEASUREMENTS}")] == [made.batch_id]
