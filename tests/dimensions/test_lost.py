"""Connections lost around a merge or an upsert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event

from gpwarehouse import Warehouse
from gpwarehouse.errors import BatchConflictError, LoadError
from tests.dimensions.rows import day, history


@contextmanager
def failing(wh: Warehouse, mark: str, times: int = 1) -> Iterator[None]:
    """The driver says that the connection is lost, the first ``times`` that a statement has ``mark`` in it."""
    left = [times]

    def fail(cursor: object, statement: str, parameters: object, context: object) -> None:
        if mark in statement and left[0]:
            left[0] -= 1
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    event.listen(wh.engine, "do_execute", fail)
    try:
        yield
    finally:
        event.remove(wh.engine, "do_execute", fail)


def test_look_ups_of_roots_are_done_again(shared_wh: Warehouse) -> None:
    shared_wh.read("SELECT 1")  # a server never met is not waited for
    with failing(shared_wh, "dim_lot"):
        assert shared_wh.merge("dim_wafer", [{"lot_id": "A", "wafer_id": "1"}], effective=day(1)).members_new == 1
    with failing(shared_wh, "dim_lot"):
        stays = [{"lot_id": "A", "wafer_id": "1", "from_ts": day(1)}]
        assert shared_wh.dimensions.upsert_bridge("bridge_wafer_lot", stays).rows_inserted == 1


def test_look_ups_that_fail_are_explained(shared_wh: Warehouse) -> None:
    url = shared_wh.settings.sqlalchemy_url().render_as_string(hide_password=False)
    with Warehouse(url, retry_deadline_s=0) as hasty:
        hasty.read("SELECT 1")
        with failing(hasty, "dim_lot", 9), pytest.raises(LoadError, match="nothing was changed"):
            hasty.merge("dim_wafer", [{"lot_id": "B", "wafer_id": "1"}], effective=day(1))
        with failing(hasty, "dim_lot", 9), pytest.raises(LoadError, match="nothing was changed"):
            hasty.dimensions.upsert_bridge("bridge_wafer_lot", [{"lot_id": "B", "wafer_id": "1", "from_ts": day(1)}])


def test_a_merge_stands_where_its_statistics_fail(shared_wh: Warehouse) -> None:
    with failing(shared_wh, "ANALYZE dw"):
        merged = shared_wh.merge("dim_lot", [{"lot_id": "S", "owner": "A"}], effective=day(1), analyze="always")
    assert merged.warnings == ("dim_lot: server closed the connection unexpectedly",)
    assert [row[1:] for row in history(shared_wh, "S", "owner")] == [("A",)]


def test_a_merge_whose_commit_was_lost_is_found_to_be_done(
    shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_wh.read("SELECT 1")
    commit, lost = shared_wh.engine.dialect.do_commit, [True]

    def lose(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'dw.dim_lot'::regclass"
            )
            merging = cursor.fetchone()[0]
        commit(connection)
        if merging and lost.pop():
            lost.append(False)
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(shared_wh.engine.dialect, "do_commit", lose)
    merged = shared_wh.merge("dim_lot", [{"lot_id": "C", "owner": "A"}], effective=day(1))
    assert (lost, merged.already_merged, merged.members_new) == ([False], False, 1)
    assert (
        shared_wh.read("SELECT count(*) AS n FROM dw.etl_load_batch WHERE batch_id = :b", {"b": merged.batch_id}).n[0]
        == 1
    )


def test_a_job_that_began_in_the_same_microsecond_is_another_one(
    shared_wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Stopped:
            return cls(2025, 6, 1, tzinfo=UTC)

    monkeypatch.setattr("gpwarehouse.dimensions.merge.datetime", Stopped)
    shared_wh.merge("dim_lot", [{"lot_id": "T", "owner": "A", "at": day(1)}], effective="at", batch_id="same")
    with pytest.raises(BatchConflictError, match="with other content"):
        shared_wh.merge("dim_lot", [{"lot_id": "T", "owner": "B", "at": day(2)}], effective="at", batch_id="same")
