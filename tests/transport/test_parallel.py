"""Several COPYs at once: every row once, and, unless atomicity is given up, all or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Table, func, select, text
from sqlalchemy.engine import Engine

from gpwarehouse import Warehouse
from gpwarehouse.errors import InvalidInputError, LoadError
from gpwarehouse.load import FrameSource, Loader
from gpwarehouse.transport import copy_parallel, copy_rows, leave_statistics_alone
from tests.load.rows import DEFECTS, MEASUREMENTS, defect, measurement, scalar
from tests.transport.rows import BINARY, NASTY, ROWS, TEXT, batch_of, stored, table_of_all

COLUMNS = ("number", "text")
STAGING = "SELECT count(*) FROM pg_class WHERE relname LIKE 'gpwarehouse_staging%'"


@pytest.fixture(scope="module")
def engine(shared_wh: Warehouse) -> Engine:
    return shared_wh.engine


@pytest.fixture
def table(engine: Engine) -> Iterator[Table]:
    with table_of_all(engine) as made:
        yield made


def batches(count: int, fail: bool = False) -> Iterator[pa.RecordBatch]:
    for number in range(count):
        yield pa.record_batch({"number": range(number * 1000, number * 1000 + 1000), "text": [f"t{number}"] * 1000})
    if fail:
        raise KeyError("the file ends here")


def numbers(engine: Engine, table: Table) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(table.c.number).order_by(table.c.number)).scalars())


def staging_tables(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(STAGING)).scalar_one())


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("connections", [2, 4])
def test_every_row_is_stored_once(engine: Engine, table: Table, connections: int, atomic: bool) -> None:
    with engine.begin() as connection:
        done = copy_parallel(connection, table, batches(40), COLUMNS, connections, atomic=atomic)
    assert (done.rows, done.transport) == (40_000, f"copy binary × {connections}")
    assert numbers(engine, table) == list(range(40_000))
    assert staging_tables(engine) == 0


@pytest.mark.parametrize("columns", [BINARY, TEXT], ids=["binary", "text"])
def test_nasty_values_are_stored_through_staging_as_by_one_copy(
    engine: Engine, table: Table, columns: tuple[str, ...]
) -> None:
    whole = batch_of(NASTY)
    pieces = [whole.slice(start, 3) for start in range(0, len(NASTY), 3)]
    with engine.connect() as connection:
        done = copy_parallel(connection, table, pieces, columns, 3)
        assert done.rows == len(NASTY)
        staged = stored(connection, table, columns)
    assert staging_tables(engine) == 1  # the rows were taken back, and with them its DROP
    with engine.connect() as connection:
        leave_statistics_alone(connection)
        copy_rows(connection, table, [whole], columns)
        assert staged == stored(connection, table, columns)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_any_values_are_stored_through_staging_as_by_one_copy(
    engine: Engine, table: Table, rows: list[dict[str, Any]]
) -> None:
    whole = batch_of(rows)
    with engine.connect() as connection:
        copy_parallel(connection, table, [whole.slice(n, 1) for n in range(len(rows))], TEXT, 2)
        staged = stored(connection, table, TEXT)
    with engine.connect() as connection:
        leave_statistics_alone(connection)
        copy_rows(connection, table, [whole], TEXT)
        assert staged == stored(connection, table, TEXT)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_maker_that_fails_leaves_nothing(engine: Engine, table: Table, atomic: bool) -> None:
    with pytest.raises(KeyError, match="the file ends here"), engine.begin() as connection:
        copy_parallel(connection, table, batches(40, fail=True), COLUMNS, 3, atomic=atomic)
    assert numbers(engine, table) == []
    assert staging_tables(engine) == 0


@pytest.mark.parametrize("atomic", [True, False])
def test_rows_that_the_server_refuses_leave_nothing(engine: Engine, table: Table, atomic: bool) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE all_types ADD CONSTRAINT few CHECK (number < 39500)"))
    with pytest.raises(Exception, match="few"), engine.begin() as connection:
        copy_parallel(connection, table, batches(40), COLUMNS, 3, atomic=atomic)
    assert numbers(engine, table) == []
    assert staging_tables(engine) == 0


def test_what_fails_after_the_copies_takes_them_back_where_they_are_atomic(engine: Engine, table: Table) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        copy_parallel(connection, table, batches(10), COLUMNS, 2)
        transaction.rollback()
    assert numbers(engine, table) == []
    assert staging_tables(engine) == 1  # its DROP was taken back too
    with engine.begin() as connection:
        copy_parallel(connection, table, batches(1), COLUMNS, 2)
    assert staging_tables(engine) == 0  # the next load has dropped both


def test_a_staging_table_in_use_is_not_taken_for_left_over(engine: Engine, table: Table) -> None:
    def others() -> Iterator[pa.RecordBatch]:
        with engine.begin() as connection:  # a whole load, in the middle of the first one
            copy_parallel(connection, table, batches(2), COLUMNS, 2)
        yield from batches(5)

    with engine.begin() as connection:
        copy_parallel(connection, table, others(), COLUMNS, 2)
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 7000


@pytest.mark.parametrize("atomic", [True, False])
def test_a_fact_is_loaded_in_parallel_once(wh: Warehouse, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    monkeypatch.setattr("gpwarehouse.transport.columns.CHUNK_ROWS", 50)
    rows = [defect(defect_id=n) for n in range(500)]
    loader = Loader(wh.engine, wh.settings)
    result = loader.load(FrameSource(rows, DEFECTS), parallel=2, atomic=atomic)
    assert (result.rows_loaded, result.transport) == (500, "copy binary × 2")
    assert scalar(wh, f"SELECT count(DISTINCT defect_id) FROM dw.{DEFECTS}") == 500
    assert loader.load(FrameSource(rows, DEFECTS), parallel=2).already_loaded


def test_a_parallel_load_that_is_refused_leaves_nothing(wh: Warehouse) -> None:
    rows = [measurement(slot=n) for n in range(20)]
    rows[11] |= {"cp": 1.0, "cpk": 1.5}
    with pytest.raises(LoadError, match="ck_fact_process_measurements_cpk_cp") as caught:
        Loader(wh.engine, wh.settings).load(FrameSource(rows, MEASUREMENTS), parallel=3, max_rejects=0)
    assert "First: row 12:" in str(caught.value)  # each COPY counts its own lines, so one connection has found it
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0


@pytest.mark.parametrize("parallel", [0, 17, True, 1.5, "2"])
def test_other_numbers_of_connections_are_refused(shared_wh: Warehouse, parallel: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"parallel={parallel!r}"):
        Loader(shared_wh.engine, shared_wh.settings).load(FrameSource([], DEFECTS), parallel=parallel)
