"""Rows that are sent while the rest is read: what is there in the end is what the plain way leaves."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import URL, NullPool, create_engine, text

from gpwarehouse import LoadResult, Warehouse
from gpwarehouse.errors import BatchConflictError, GpwarehouseError, TooManyRejectsError
from gpwarehouse.intake.checksum import checksum_of
from gpwarehouse.intake.first_pass import read_source
from gpwarehouse.intake.frame_source import FrameSource
from gpwarehouse.intake.load_options import LoadOptions
from gpwarehouse.intake.target import target_named
from gpwarehouse.load import streaming
from tests.load.rows import MEASUREMENTS, NOON, measurement, scalar, stored

COPIES = (
    "SELECT {} FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
    f"AND query LIKE 'COPY %{MEASUREMENTS}%'"
)
COLUMNS = ("event_ts", "lot_key", "wafer_key", "time_key", "cd_nm", "source_system", "source_record_no", "parameters")


@pytest.fixture(autouse=True)
def _however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAM_ROWS", 1)


def chunk(lot: str, *changes: dict[str, Any], rows: int = 3) -> pa.Table:
    """Rows of a lot; the first ones with these changes."""
    made = [measurement(lot_id=lot, wafer_id=str(n), cd_nm=n / 7, parameters=f'{{"n": {n}}}') for n in range(rows)]
    return pa.Table.from_pylist([row | change for row, change in zip(made, [*changes, *[{}] * rows], strict=False)])


def chunks(lot: str, last: pa.Table | None = None) -> pa.Table:
    """Read in three steps."""
    return pa.concat_tables([chunk(f"{lot}1"), chunk(f"{lot}2"), last or chunk(f"{lot}3")], promote_options="default")


def copying_at(wh: Warehouse, load: Callable[[Any], LoadResult]) -> tuple[LoadResult, list[int]]:
    """A load's result, and after each batch that was checked, whether the fact was being written to."""
    seen: list[int] = []

    def progress(phase: str, _rows: int) -> None:
        if phase == "read":
            seen.append(scalar(wh, COPIES.format("count(*)")))

    return load(progress), seen


def rows_in(wh: Warehouse, batch: str) -> int:
    return int(scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS} WHERE batch_id = :batch", batch=batch))


def in_plain_way(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why loads were not done early after all."""
    return [r.getMessage() for r in caplog.records if r.name == streaming.__name__]


def test_the_server_takes_rows_before_the_last_ones_are_read(wh: Warehouse) -> None:
    frame = pa.concat_tables([chunk(f"LOT{n}") for n in range(12)])
    result, copying = copying_at(wh, lambda progress: wh.load(MEASUREMENTS, frame, batch_id="b", progress=progress))
    assert (copying[0], copying[-1]) == (0, 1)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (36, 36, 0)
    assert (result.transport, len(result.months_made), result.already_loaded) == ("copy binary", 1, False)
    assert rows_in(wh, "b") == 36


def test_what_is_stored_and_told_is_the_same_as_in_the_plain_way(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = chunks("L", chunk("L3", {"cd_nm": None}, {"wafer_id": None}, {"lot_id": None}))
    first = wh.load(MEASUREMENTS, frame, batch_id="early", max_rejects=1)
    monkeypatch.undo()
    second = wh.load(MEASUREMENTS, frame, batch_id="plain", max_rejects=1, on_conflict="append")
    assert [stored(wh, MEASUREMENTS, b, *COLUMNS) for b in ("early",)] == [stored(wh, MEASUREMENTS, "plain", *COLUMNS)]
    assert (first.rows_loaded, first.rows_rejected) == (8, 1)
    assert (
        first.bytes_sent == second.bytes_sent + 8 * 4
    )  # a NULL each in parameters, where later rows might have something
    assert first.members_made > second.members_made == 0
    rejects = [
        wh.batches.rejects(b)[["row_number", "column_name", "reason"]].values.tolist() for b in ("early", "plain")
    ]
    assert rejects[0] == rejects[1] == [[9, "lot_id", "missing"]]
    batches = [
        stored_batch(wh, b, "checksum", "rows_read", "rows_loaded", "min_event_ts", "status")
        for b in ("early", "plain")
    ]
    assert batches[0] == batches[1]


def stored_batch(wh: Warehouse, batch: str, *columns: str) -> tuple[Any, ...]:
    query = f"SELECT {', '.join(columns)} FROM dw.etl_load_batch WHERE batch_id = :batch"
    with wh.engine.connect() as connection:
        return tuple(connection.execute(text(query), {"batch": batch}).one())


@pytest.mark.parametrize("kind", ["pandas", "parquet"])
def test_frames_and_files_are_sent_early(
    wh: Warehouse, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    frame: Any = chunks("L").to_pandas() if kind == "pandas" else tmp_path / "rows.parquet"
    if kind == "parquet":
        pq.write_table(chunks("L"), frame, row_group_size=3)
    with caplog.at_level(logging.INFO, streaming.__name__):
        assert wh.load(MEASUREMENTS, frame, batch_id="b").rows_loaded == 9
    assert in_plain_way(caplog) == []
    assert rows_in(wh, "b") == 9


def test_texts_in_views_are_sent_early(wh: Warehouse) -> None:
    frame = chunks("L")
    views = frame.cast(
        pa.schema([(f.name, pa.string_view() if f.type == pa.string() else f.type) for f in frame.schema])
    )
    assert wh.load(MEASUREMENTS, views.slice(1), batch_id="b").rows_loaded == 8


def test_a_frame_without_an_id_is_hashed_and_sent_early_under_the_id_of_its_content(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pa.concat_tables([chunk(f"LOT{n}", {"lot_id": None} if n == 5 else {}) for n in range(12)])
    result, copying = copying_at(wh, lambda report: wh.load(MEASUREMENTS, frame, max_rejects=1, progress=report))
    assert (copying[0], copying[-1], result.rows_loaded, result.rows_rejected) == (0, 1, 35, 1)
    early_one = stored_batch(wh, result.batch_id, "batch_id", "checksum", "rows_read")
    wh.batches.delete(result.batch_id)
    monkeypatch.undo()
    plain = wh.load(MEASUREMENTS, frame, max_rejects=1)
    assert stored_batch(wh, plain.batch_id, "batch_id", "checksum", "rows_read") == early_one


def test_a_frame_that_was_loaded_is_known_before_its_rows_are_checked(wh: Warehouse) -> None:
    first = wh.load(MEASUREMENTS, chunks("L"))
    again, seen = copying_at(wh, lambda progress: wh.load(MEASUREMENTS, chunks("L"), progress=progress))
    assert (again.already_loaded, again.batch_id, seen) == (True, first.batch_id, [])
    with pytest.raises(BatchConflictError):
        wh.load(MEASUREMENTS, chunks("L"), on_conflict="error")
    appended = wh.load(MEASUREMENTS, chunks("L"), on_conflict="append")
    assert appended.batch_id != first.batch_id
    assert rows_in(wh, appended.batch_id) == rows_in(wh, first.batch_id) == 9


def test_json_that_cannot_be_read_makes_other_content_of_a_frame(
    wh: Warehouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = chunks("L", chunk("L3", {"parameters": "{bad"}))
    with caplog.at_level(logging.INFO, streaming.__name__):
        result = wh.load(MEASUREMENTS, frame, max_rejects=1)
    assert "a value cannot be read" in in_plain_way(caplog)[0]
    assert (result.rows_loaded, result.rows_rejected) == (8, 1)
    monkeypatch.undo()
    assert wh.load(MEASUREMENTS, frame, max_rejects=1).already_loaded
    other = chunks("L", chunk("L3", {"parameters": "{worse"}))
    assert wh.load(MEASUREMENTS, other, max_rejects=1).rows_loaded == 8


def as_frame(kind: str, table: pa.Table) -> Any:
    if kind == "polars":
        return pytest.importorskip("polars").from_arrow(table)
    if kind == "pandas":
        return table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)
    if kind == "dictionary":
        return table.set_column(table.schema.get_field_index("lot_id"), "lot_id", table["lot_id"].dictionary_encode())
    return table


@pytest.mark.parametrize("kind", ["arrow", "dictionary", "pandas", "polars"])
def test_the_checksum_beforehand_is_that_of_the_first_pass(wh: Warehouse, kind: str) -> None:
    """NaN and what is missing are NULL, whole floats are integers, times are cut to the microsecond."""
    changes = {"cd_nm": float("nan"), "parameters": None, "event_ts": NOON + timedelta(microseconds=1)}
    frame = as_frame(kind, chunks("L", chunk("L3", changes, {"site_no": 3.0})))
    target = target_named(MEASUREMENTS)
    with read_source(FrameSource(frame, MEASUREMENTS), target, wh.engine, wh.settings, LoadOptions()) as found:
        assert found.rows_read == 9
        assert checksum_of(FrameSource(frame, MEASUREMENTS).batches(), target) == found.checksum


def test_what_would_take_long_to_hash_is_read_in_the_plain_way(wh: Warehouse) -> None:
    documents = [row | {"parameters": {"n": 1}} for row in chunks("L").to_pylist()]
    frame = pa.Table.from_pylist(documents)
    assert streaming._is_in_memory(chunks("L"))
    for same in (frame, pl.from_arrow(frame), frame.to_pandas(), frame.to_pandas(types_mapper=pd.ArrowDtype)):
        assert not streaming._is_in_memory(same)
    assert wh.load(MEASUREMENTS, frame).rows_loaded == 9
    assert wh.load(MEASUREMENTS, pd.DataFrame(documents)).already_loaded


def test_a_month_that_comes_to_light_late_is_made_and_every_row_is_there_once(
    wh: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    frame = chunks("L", chunk("L3", {"event_ts": NOON + timedelta(days=40)}))
    with caplog.at_level(logging.INFO, streaming.__name__):
        result = wh.load(MEASUREMENTS, frame, batch_id="b")
    assert "there is no partition m202404" in in_plain_way(caplog)[0]
    assert (result.rows_loaded, len(result.months_made), rows_in(wh, "b")) == (9, 2, 9)


class Told:
    """Keeps what a load tells of its progress."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.phases: list[str] = []
        self.rows: dict[str, list[int]] = {}

    def begin(self, phase: str, rows: int | None, size: int | None) -> None:
        self.begun.append(phase)

    def __call__(self, phase: str, rows: int) -> None:
        if phase not in self.phases[-1:]:
            self.phases.append(phase)
        self.rows.setdefault(phase, []).append(rows)


@pytest.mark.parametrize("late", [{"event_ts": NOON + timedelta(days=40)}, {"cp": 1.0, "cpk": 2.0}])
def test_progress_neither_goes_back_nor_counts_twice_where_a_load_begins_anew(
    wh: Warehouse, caplog: pytest.LogCaptureFixture, late: dict[str, Any]
) -> None:
    told = Told()
    with caplog.at_level(logging.INFO, streaming.__name__):
        wh.load(MEASUREMENTS, chunks("L", chunk("L3", late)), batch_id="b", max_rejects=1, progress=told)
    assert len(in_plain_way(caplog)) == 1  # the rows were read twice
    assert (told.phases, told.begun) == (["read", "prepare", "copy", "analyze"], ["read", "copy"])
    assert told.rows["read"] == [3, 6, 9]
    assert all(rows == sorted(set(rows)) for rows in told.rows.values())


def test_a_column_whose_first_value_comes_late_is_stored(wh: Warehouse) -> None:
    frame = pd.concat([chunks("L").to_pandas().drop(columns="cd_nm"), chunk("L9", {"cd_nm": 5.0}, rows=1).to_pandas()])
    assert wh.load(MEASUREMENTS, frame, batch_id="b").rows_loaded == 10
    assert scalar(wh, f"SELECT sum(cd_nm) FROM dw.{MEASUREMENTS}") == 5.0


def test_a_row_that_only_the_server_refuses_is_a_reject(wh: Warehouse) -> None:
    with wh.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE dw.{MEASUREMENTS} ADD CONSTRAINT of_the_fab CHECK (cd_nm < 100)")
    frame = chunks("L", chunk("L3", {}, {"cd_nm": 100.5}))
    result = wh.load(MEASUREMENTS, frame, batch_id="b", max_rejects=1)
    assert (result.rows_loaded, result.rows_rejected, rows_in(wh, "b")) == (8, 1, 8)
    assert wh.batches.rejects("b").row_number.tolist() == [8]


def test_more_bad_rows_than_allowed_leave_nothing_but_their_record(wh: Warehouse) -> None:
    frame = chunks("L", chunk("L3", {"lot_id": None}))
    with pytest.raises(TooManyRejectsError, match="1 of 9 rows were rejected"):
        wh.load(MEASUREMENTS, frame, batch_id="b", max_rejects=0)
    assert rows_in(wh, "b") == 0
    assert stored_batch(wh, "b", "status") == ("FAILED",)
    assert len(wh.batches.rejects("b")) == 1


def test_a_source_that_fails_in_the_middle_leaves_nothing(wh: Warehouse, tmp_path: Path) -> None:
    for number, table in enumerate((chunk("L1"), chunk("L2"))):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[:40] + bytes(len(whole) - 80) + whole[-40:])
    with pytest.raises(GpwarehouseError, match=r"1\.parquet"):
        wh.load(MEASUREMENTS, tmp_path / "*.parquet", batch_id="b")
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 0


@pytest.mark.parametrize("on_conflict", ["skip", "error", "replace", "append"])
def test_content_loaded_under_another_id_is_treated_as_ever(wh: Warehouse, on_conflict: Any) -> None:
    wh.load(MEASUREMENTS, chunks("L"), batch_id="one")
    if on_conflict in {"error", "replace"}:
        with pytest.raises(BatchConflictError, match="'one'"):
            wh.load(MEASUREMENTS, chunks("L"), batch_id="two", on_conflict=on_conflict)
    else:
        result = wh.load(MEASUREMENTS, chunks("L"), batch_id="two", on_conflict=on_conflict)
        assert result.already_loaded == (on_conflict == "skip")
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == (18 if on_conflict == "append" else 9)


def test_an_id_that_stands_for_other_content_is_refused_or_replaced(wh: Warehouse) -> None:
    wh.load(MEASUREMENTS, chunks("L"), batch_id="b")
    with pytest.raises(BatchConflictError, match="other content"):
        wh.load(MEASUREMENTS, chunks("M"), batch_id="b")
    assert wh.load(MEASUREMENTS, chunks("M"), batch_id="b", on_conflict="replace").rows_replaced == 9
    assert rows_in(wh, "b") == 9


def test_a_connection_lost_in_the_middle_costs_no_row_and_doubles_none(
    wh: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pa.concat_tables([chunk(f"LOT{n}") for n in range(12)])
    killed: list[bool] = []

    def kill(phase: str, rows: int) -> None:
        if phase == "read" and rows == 30 and not killed:
            killed.append(scalar(wh, COPIES.format("pg_terminate_backend(pid)")))

    with caplog.at_level(logging.INFO, streaming.__name__):
        result = wh.load(MEASUREMENTS, frame, batch_id="b", progress=kill)
    assert killed == [True]
    assert len(in_plain_way(caplog)) == 1
    assert (result.rows_loaded, result.already_loaded, rows_in(wh, "b")) == (36, False, 36)


def test_of_two_that_load_the_same_at_once_one_does(wh: Warehouse) -> None:
    barrier, results = threading.Barrier(4), []

    def load(batch: str) -> None:
        barrier.wait()
        results.append(wh.load(MEASUREMENTS, chunks("L"), batch_id=batch))

    threads = [threading.Thread(target=load, args=(name,)) for name in ("a", "a", "a", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.rows_loaded for result in results) == [0, 0, 0, 9]
    assert scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}") == 9
    assert scalar(wh, "SELECT count(*) FROM dw.etl_load_batch WHERE status = 'LOADED'") == 1


def test_a_pool_without_a_connection_to_spare_is_enough(wh: Warehouse) -> None:
    url: URL = wh.engine.url
    with Warehouse(url, pool_size=1, pool_max=1, pool_timeout_s=5) as small:
        assert small.load(MEASUREMENTS, chunks("L"), batch_id="b").rows_loaded == 9


def test_many_loads_at_once_do_not_wait_for_each_others_connections(wh: Warehouse) -> None:
    with Warehouse(wh.engine.url, pool_size=4, pool_max=4, pool_timeout_s=60) as small:
        results: list[LoadResult] = []
        threads = [
            threading.Thread(
                target=lambda n=n: results.append(small.load(MEASUREMENTS, chunks(f"L{n}"), batch_id=f"b{n}"))
            )
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.rows_loaded for result in results] == [9] * 12
        assert small.health().pool.timeouts == 0


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As in a foreground process: a shell has its background jobs ignore SIGINT, and so what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_ends_the_load_and_leaves_neither_rows_nor_threads(wh: Warehouse) -> None:
    def interrupt(phase: str, rows: int) -> None:
        if phase == "read" and rows == 30:
            _thread.interrupt_main()

    frame = pa.concat_tables([chunk(f"LOT{n}") for n in range(12)])
    with pytest.raises(KeyboardInterrupt) as kept:
        wh.load(MEASUREMENTS, frame, batch_id="b", progress=interrupt)
    assert [t.name for t in threading.enumerate() if t.name.startswith("gpwarehouse-")] == []
    assert (scalar(wh, f"SELECT count(*) FROM dw.{MEASUREMENTS}"), wh.health().pool.in_use) == (0, 0)
    del kept


@pytest.mark.parametrize(("table", "mode"), [("dim_equipment", "EXCLUSIVE"), ("dim_lot", "ACCESS EXCLUSIVE")])
def test_whoever_has_a_dimension_and_waits_for_the_fact_gets_it(
    wh: Warehouse, monkeypatch: pytest.MonkeyPatch, table: str, mode: str
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_S", 1)
    others = create_engine(wh.engine.url, poolclass=NullPool)
    has_dimension, outcome = threading.Event(), []

    def change() -> None:  # as a migration does
        try:
            with others.begin() as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '25s'")
                connection.exec_driver_sql(f"LOCK TABLE dw.{table} IN {mode} MODE")
                has_dimension.set()
                connection.exec_driver_sql(f"LOCK TABLE dw.{MEASUREMENTS} IN ACCESS EXCLUSIVE MODE")
                outcome.append("both")
        except Exception as error:
            outcome.append(str(error))

    thread = threading.Thread(target=change)

    def begin(phase: str, rows: int) -> None:
        if phase == "read" and rows == 18 and not has_dimension.is_set():
            thread.start()
            assert has_dimension.wait(60)

    frame = pa.concat_tables([chunk(f"LOT{n}", *[{"equipment_id": f"E{n}"}] * 3) for n in range(12)])
    result = wh.load(MEASUREMENTS, frame, batch_id="b", progress=begin)
    thread.join()
    assert outcome == ["both"]
    assert (result.rows_loaded, rows_in(wh, "b")) == (36, 36)


def test_a_load_with_too_many_bad_rows_makes_no_member(wh: Warehouse) -> None:
    with pytest.raises(TooManyRejectsError):
        wh.load(MEASUREMENTS, chunks("L", chunk("L3", {"lot_id": None})), batch_id="b", max_rejects=0)
    assert scalar(wh, "SELECT count(*) FROM dw.dim_lot WHERE lot_id LIKE 'L%'") == 0


def test_a_connection_lost_before_the_first_row_is_made_anew(wh: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = streaming.ledger.target_of
    killed: list[bool] = []

    def lose(connection: Any, batch_id: str) -> bool:
        if not killed:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            killed.append(scalar(wh, f"SELECT pg_terminate_backend({pid})"))
        return asked(connection, batch_id)

    monkeypatch.setattr(streaming.ledger, "target_of", lose)
    assert wh.load(MEASUREMENTS, chunks("L"), batch_id="b").rows_loaded == 9
    assert (killed, rows_in(wh, "b")) == ([True], 9)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_permits_of_its_own(wh: Warehouse) -> None:
    def one_more() -> bool:
        with streaming._permit(small.engine) as permitted:
            return permitted

    with Warehouse(wh.engine.url, pool_size=2, pool_max=2) as small, streaming._permit(small.engine) as first:
        assert (first, one_more()) == (True, False)
        child = os.fork()
        if child == 0:
            os._exit(0 if one_more() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
